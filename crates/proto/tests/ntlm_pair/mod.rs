//! An initiator and an acceptor of NTLM in one memory, and a client that says what no honest one would.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use countersign_proto::gss::ChannelBindings;
use countersign_proto::ntlm::acceptor::{self, Challenged};
use countersign_proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign_proto::ntlm::initiator::{self, Credential};
use countersign_proto::ntlm::keys::{ExportedSessionKey, NtowfV2};
use countersign_proto::ntlm::messages::{Challenge, NewAuthenticate, av_id, push_av_pair, to_utf16};
use countersign_proto::ntlm::{NegotiateFlags, NtlmError, nt_hash};
use countersign_proto::policy::InitiatorPolicy;
use countersign_proto::policy::TargetNames;
use countersign_proto::time::Timestamp;
use rand_core::{Infallible, TryCryptoRng, TryRng};

pub(crate) const PASSWORD: &str = "Pa55wörd";
pub(crate) const NOW: Timestamp = Timestamp::new(1_795_000_000, 0);

/// Counts bytes from 1, so that what is drawn from it can be written down.
pub(crate) struct Counter(u8);

impl Counter {
    pub(crate) fn new() -> Self {
        Self(1)
    }
}

impl TryRng for Counter {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("NTLM draws bytes")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("NTLM draws bytes")
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

pub(crate) fn names() -> TargetNames {
    TargetNames {
        netbios_computer: "SERVER".to_owned(),
        netbios_domain: "EXAMPLE".to_owned(),
        dns_computer: "server.example.test".to_owned(),
        dns_domain: "example.test".to_owned(),
    }
}

pub(crate) fn credential() -> Credential {
    Credential { user: "alice".to_owned(), domain: "EXAMPLE".to_owned(), nt_hash: nt_hash(PASSWORD) }
}

/// What a file of NT hashes that knows alice's password answers.
pub(crate) fn account_file(request: &VerifyRequest) -> Verdict {
    request.verify_with(&nt_hash(PASSWORD)).map_or(Verdict::Invalid, |session_base_key| Verdict::Valid {
        session_base_key,
        identity: Identity { user: request.user.clone(), domain: request.domain.clone(), guest: false },
    })
}

pub(crate) fn bindings(data: &str) -> ChannelBindings {
    ChannelBindings::from_application_data(data.as_bytes().to_vec())
}

/// The policy of an initiator that comes through a channel.
pub(crate) fn bound(channel_bindings: Option<ChannelBindings>) -> InitiatorPolicy {
    let mut policy = InitiatorPolicy::default();
    policy.channel_bindings = channel_bindings;
    policy
}

/// What an acceptor demands.
#[derive(Default)]
pub(crate) struct Demands {
    pub(crate) bindings: Option<ChannelBindings>,
    pub(crate) require_bindings: bool,
    pub(crate) spns: Vec<String>,
}

impl Demands {
    /// Takes an AUTHENTICATE to its end.
    pub(crate) fn judge(
        &self,
        challenged: Challenged,
        authenticate: &[u8],
    ) -> Result<acceptor::Established, NtlmError> {
        let bindings = self.bindings.as_slice();
        let claimed = challenged.authenticate(authenticate, bindings, self.require_bindings, &self.spns)?;
        let verdict = account_file(claimed.request());
        claimed.judge(verdict)
    }
}

pub(crate) fn challenged(negotiate: &[u8]) -> Result<(Challenged, Vec<u8>), NtlmError> {
    let mut challenge = Vec::new();
    let challenged = Challenged::begin(negotiate, &names(), NOW, &mut Counter::new(), &mut challenge)?;
    Ok((challenged, challenge))
}

pub(crate) fn negotiate(policy: &InitiatorPolicy) -> (initiator::Negotiated, Vec<u8>) {
    let mut negotiate = Vec::new();
    let negotiated = initiator::begin(policy, &mut negotiate);
    (negotiated, negotiate)
}

pub(crate) fn authenticated(
    negotiated: initiator::Negotiated,
    challenge: &[u8],
    spn: Option<&str>,
) -> Result<(initiator::Established, Vec<u8>), NtlmError> {
    let mut authenticate = Vec::new();
    let mut rng = Counter::new();
    let context = negotiated.challenge(challenge, &credential(), spn, NOW, &mut rng, &mut authenticate)?;
    Ok((context, authenticate))
}

/// A client every word of which can be set. Its proof is right and so is its MIC, over whatever it says.
pub(crate) struct Client {
    pub(crate) password: String,
    pub(crate) user: String,
    pub(crate) domain: String,
    pub(crate) flags: NegotiateFlags,
    /// AV pairs without the one that ends them.
    pub(crate) pairs: Vec<(u16, Vec<u8>)>,
}

impl Client {
    pub(crate) fn honest() -> Self {
        Self {
            password: PASSWORD.to_owned(),
            user: "alice".to_owned(),
            domain: "EXAMPLE".to_owned(),
            flags: NegotiateFlags::DEMANDED.union(NegotiateFlags::SEAL),
            pairs: vec![(av_id::FLAGS, vec![2, 0, 0, 0])],
        }
    }

    pub(crate) fn with_pair(mut self, id: u16, value: &[u8]) -> Self {
        self.pairs.push((id, value.to_vec()));
        self
    }

    pub(crate) fn without_pairs(self) -> Self {
        Self { pairs: Vec::new(), ..self }
    }

    /// Its AUTHENTICATE, and the acceptor that waits for it.
    pub(crate) fn authenticate(&self) -> (Challenged, Vec<u8>) {
        let mut temp = [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[0; 8], &[7; 8], &[0; 4]].concat();
        for (id, value) in &self.pairs {
            push_av_pair(&mut temp, *id, value).unwrap();
        }
        push_av_pair(&mut temp, av_id::EOL, &[]).unwrap();
        self.authenticate_with(&temp)
    }

    /// The same with another `temp` behind the proof.
    pub(crate) fn authenticate_with(&self, temp: &[u8]) -> (Challenged, Vec<u8>) {
        let (_, negotiate) = negotiate(&InitiatorPolicy::default());
        let (challenged, challenge) = challenged(&negotiate).unwrap();
        let server_challenge = Challenge::parse(&challenge).ok().unwrap().server_challenge;
        let ntowf = NtowfV2::new(&nt_hash(&self.password), &self.user, &self.domain);
        let proof = ntowf.nt_proof(&server_challenge, temp);
        let key = ExportedSessionKey::new([9; 16]);
        let mut message = Vec::new();
        NewAuthenticate {
            flags: self.flags,
            nt_response: &[&proof, temp].concat(),
            domain: &to_utf16(&self.domain),
            user: &to_utf16(&self.user),
            session_key: &ntowf.session_base_key(&proof).seal(&key),
        }
        .write(&mut message)
        .unwrap();
        let mic = key.mic(&[&negotiate, &challenge, &message]);
        message[NewAuthenticate::MIC_OFFSET..][..16].copy_from_slice(&mic);
        (challenged, message)
    }
}
