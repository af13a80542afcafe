//! Initiating by NTLM (MS-NLMP section 3.1.5.1): [`begin`] → [`Negotiated`] → [`Established`].

use super::accounts::Identity;
use super::error::NtlmError;
use super::facts::Facts;
use super::flags::NegotiateFlags;
use super::keys::{ExportedSessionKey, NtHash, NtowfV2};
use super::messages::{
    AvFlags, AvPairs, Challenge, LayoutError, MessageType, Negotiate, NewAuthenticate, av_id, filetime,
    push_av_pair, to_utf16,
};
use super::protection::Protection;
use crate::gss::{BindingsHash, ChannelBindings};
use crate::krb5::facts::BindingsState;
use crate::krb5::per_message::Role;
use crate::policy::{InitiatorPolicy, Waiver};
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// What every server is asked for, SEAL apart.
const ASKED: NegotiateFlags = NegotiateFlags(
    NegotiateFlags::DEMANDED.0
        | NegotiateFlags::REQUEST_TARGET.0
        | NegotiateFlags::ALWAYS_SIGN.0
        | NegotiateFlags::TARGET_INFO.0
        | NegotiateFlags::VERSION.0,
);

/// An account to log in with.
#[derive(Clone)]
pub struct Credential {
    /// Name of the account, not empty.
    pub user: String,
    /// Its domain as the server is to see it; empty to leave it to the server.
    pub domain: String,
    /// NT hash of its password.
    pub nt_hash: NtHash,
}

/// Appends the NEGOTIATE to `out`. Of the policy only channel bindings count, and whether messages are to be sealed or may
/// do without.
#[must_use]
pub fn begin(policy: &InitiatorPolicy, out: &mut Vec<u8>) -> Negotiated {
    let asked = if policy.asks_to_seal() { ASKED.union(NegotiateFlags::SEAL) } else { ASKED };
    let mut negotiate = Vec::new();
    Negotiate { flags: asked }.write(&mut negotiate);
    out.extend_from_slice(&negotiate);
    Negotiated {
        negotiate,
        asked,
        bindings: policy.channel_bindings.as_ref().map(ChannelBindings::hash),
        require_sealed: !policy.gives_up(Waiver::AllowUnsealed),
    }
}

/// A NEGOTIATE is on its way.
pub struct Negotiated {
    negotiate: Vec<u8>,
    asked: NegotiateFlags,
    bindings: Option<BindingsHash>,
    require_sealed: bool,
}

/// A context with a server that has proved nothing.
pub struct Established {
    /// What is known.
    pub facts: Facts,
    /// How messages are protected.
    pub protection: Protection,
}

impl Negotiated {
    /// Takes the server's CHALLENGE and appends the AUTHENTICATE to `out`. `target_spn` is the service to be reached: a
    /// server that checks it cannot be given our proof by another one.
    ///
    /// # Errors
    /// If it is no CHALLENGE, offers too little or no target info; if the credential has no user, or does not fit.
    pub fn challenge(
        self,
        token: &[u8],
        credential: &Credential,
        target_spn: Option<&str>,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Established, NtlmError> {
        let refused = |fault| NtlmError::Layout { due: MessageType::Challenge, fault };
        let message = Challenge::parse(token).map_err(refused)?;
        self.check_server(&message)?;
        let offered = AvPairs::parse(message.target_info).map_err(refused)?;
        if credential.user.is_empty() {
            return Err(NtlmError::Credential(None));
        }

        let unusable = |fault| NtlmError::Credential(Some(fault));
        let pairs = self.own_pairs(offered, target_spn).map_err(unusable)?;
        let temp = new_temp(offered.timestamp().unwrap_or_else(|| filetime(now)), &pairs, rng);
        let ntowf = NtowfV2::new(&credential.nt_hash, &credential.user, &credential.domain);
        let proof = ntowf.nt_proof(&message.server_challenge, &temp);
        let key = ExportedSessionKey::generate(rng);
        let flags = message.flags.intersection(self.asked);
        let mut authenticate = Vec::new();
        NewAuthenticate {
            flags,
            nt_response: &[&proof[..], &temp[..]].concat(),
            domain: &to_utf16(&credential.domain),
            user: &to_utf16(&credential.user),
            session_key: &ntowf.session_base_key(&proof).seal(&key),
        }
        .write(&mut authenticate)
        .map_err(unusable)?;
        let mic = key.mic(&[&self.negotiate, token, &authenticate]);
        put_mic(&mut authenticate, &mic);
        out.extend_from_slice(&authenticate);

        let protection = Protection::new(Role::Initiator, &key, flags);
        Ok(Established { facts: self.facts(credential, target_spn, flags), protection })
    }

    fn check_server(&self, message: &Challenge<'_>) -> Result<(), NtlmError> {
        let seal = if self.require_sealed { NegotiateFlags::SEAL } else { NegotiateFlags::default() };
        let missing = NegotiateFlags::DEMANDED.union(seal).without(message.flags);
        if !missing.is_empty() {
            return Err(NtlmError::ServerFlags { missing });
        }
        if message.target_info.is_empty() {
            return Err(NtlmError::TargetInfoAbsent);
        }
        Ok(())
    }

    /// The server's pairs, then ours. Of the kinds that only a client sends none of the server's is taken over, or it
    /// could say for us which channel and which service we mean.
    fn own_pairs(&self, offered: AvPairs<'_>, target_spn: Option<&str>) -> Result<Vec<u8>, LayoutError> {
        let ours = [av_id::FLAGS, av_id::CHANNEL_BINDINGS, av_id::TARGET_NAME];
        let mut pairs = Vec::new();
        for (id, value) in offered.iter().filter(|(id, _)| !ours.contains(id)) {
            push_av_pair(&mut pairs, id, value)?;
        }
        let flags = offered.flags().0 | AvFlags::MIC.0;
        push_av_pair(&mut pairs, av_id::FLAGS, &flags.to_le_bytes())?;
        push_av_pair(&mut pairs, av_id::CHANNEL_BINDINGS, &self.bindings.unwrap_or(BindingsHash::NONE).0)?;
        push_av_pair(&mut pairs, av_id::TARGET_NAME, &to_utf16(target_spn.unwrap_or_default()))?;
        push_av_pair(&mut pairs, av_id::EOL, &[])?;
        Ok(pairs)
    }

    fn facts(&self, credential: &Credential, target_spn: Option<&str>, flags: NegotiateFlags) -> Facts {
        Facts {
            client: Identity {
                user: credential.user.clone(),
                domain: credential.domain.clone(),
                guest: false,
            },
            workstation: String::new(),
            target_name: target_spn.map(str::to_owned),
            flags,
            mutual: false,
            bindings: if self.bindings.is_some() { BindingsState::Sent } else { BindingsState::NotCompared },
        }
    }
}

/// What the proof protects (MS-NLMP section 3.3.2): two versions, the time, eight random bytes, the pairs.
fn new_temp(time: u64, pairs: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
    let mut client_challenge = [0; 8];
    rng.fill_bytes(&mut client_challenge);
    [&[1, 1, 0, 0, 0, 0, 0, 0][..], &time.to_le_bytes(), &client_challenge, &[0; 4], pairs, &[0; 4]].concat()
}

fn put_mic(authenticate: &mut [u8], mic: &[u8; 16]) {
    let place = authenticate.iter_mut().skip(NewAuthenticate::MIC_OFFSET);
    place.zip(mic).for_each(|(to, from)| *to = *from);
}
