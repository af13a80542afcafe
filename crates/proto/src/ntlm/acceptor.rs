//! Accepting by NTLM (MS-NLMP section 3.2.5.1): [`Challenged`] → [`Claimed`] → [`Established`].

use super::accounts::{Identity, PROOF_LEN, Verdict, VerifyRequest};
use super::error::{NtlmError, OldResponse, Unverified};
use super::facts::Facts;
use super::flags::NegotiateFlags;
use super::keys::{ExportedSessionKey, SessionBaseKey};
use super::messages::{
    Authenticate, AvFlags, AvPairs, LayoutError, MessageType, Negotiate, NewChallenge, av_id, filetime,
    from_utf16, push_av_pair, to_utf16,
};
use super::protection::Protection;
use crate::gss::{BindingsHash, ChannelBindings};
use crate::krb5::facts::BindingsState;
use crate::krb5::per_message::Role;
use crate::policy::TargetNames;
use crate::secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// What is granted of what a client offers.
const GRANTED: NegotiateFlags = NegotiateFlags(
    NegotiateFlags::DEMANDED.0
        | NegotiateFlags::SEAL.0
        | NegotiateFlags::REQUEST_TARGET.0
        | NegotiateFlags::ALWAYS_SIGN.0
        | NegotiateFlags::IDENTIFY.0,
);

/// Most bytes of a name in UTF-16, more than any directory allows: names of clients go into logs.
const MAX_NAME: usize = 1_024;
/// NTLMv1's response.
const NTLM_V1_LEN: usize = 24;
/// What an NT response has between the proof and the AV pairs: versions, time, the client's challenge, zeros between.
const TEMP_HEADER: usize = 28;

impl TargetNames {
    /// The name that stands for this server, and the flag that says whose it is.
    fn target(&self) -> (&str, NegotiateFlags) {
        if self.netbios_domain.is_empty() || self.netbios_domain == self.netbios_computer {
            (&self.netbios_computer, NegotiateFlags::TARGET_TYPE_SERVER)
        } else {
            (&self.netbios_domain, NegotiateFlags::TARGET_TYPE_DOMAIN)
        }
    }

    /// AV pairs in the order that Windows has. The time makes clients send a MIC.
    fn av_pairs(&self, now: Timestamp) -> Result<Vec<u8>, LayoutError> {
        let mut pairs = Vec::new();
        for (id, name) in [
            (av_id::NB_DOMAIN_NAME, &self.netbios_domain),
            (av_id::NB_COMPUTER_NAME, &self.netbios_computer),
            (av_id::DNS_DOMAIN_NAME, &self.dns_domain),
            (av_id::DNS_COMPUTER_NAME, &self.dns_computer),
        ] {
            if !name.is_empty() {
                push_av_pair(&mut pairs, id, &to_utf16(name))?;
            }
        }
        push_av_pair(&mut pairs, av_id::TIMESTAMP, &filetime(now).to_le_bytes())?;
        push_av_pair(&mut pairs, av_id::EOL, &[])?;
        Ok(pairs)
    }
}

/// A CHALLENGE is on its way.
pub struct Challenged {
    negotiate: Vec<u8>,
    challenge: Vec<u8>,
    server_challenge: [u8; 8],
    flags: NegotiateFlags,
}

impl Challenged {
    /// Takes the client's NEGOTIATE and appends the CHALLENGE to `out`.
    ///
    /// # Errors
    /// If it is no NEGOTIATE, or the client does not offer all of [`NegotiateFlags::DEMANDED`].
    pub fn begin(
        negotiate: &[u8],
        names: &TargetNames,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Self, NtlmError> {
        let offered = Negotiate::parse(negotiate).map_err(layout(MessageType::Negotiate))?.flags;
        check_client(offered)?;
        let (target_name, target_type) = names.target();
        // A version goes with every session that can sign, as Windows has it since Server 2022.
        let ours = NegotiateFlags::TARGET_INFO.union(NegotiateFlags::VERSION);
        let mut flags = offered.intersection(GRANTED).union(ours);
        if offered.contains(NegotiateFlags::REQUEST_TARGET) {
            flags = flags.union(target_type);
        }
        let mut server_challenge = [0; 8];
        rng.fill_bytes(&mut server_challenge);
        let target_info = names.av_pairs(now).map_err(NtlmError::ServerNames)?;
        let target_name = to_utf16(target_name);
        let mut challenge = Vec::new();
        NewChallenge { flags, server_challenge, target_name: &target_name, target_info: &target_info }
            .write(&mut challenge)
            .map_err(NtlmError::ServerNames)?;
        out.extend_from_slice(&challenge);
        Ok(Self { negotiate: negotiate.to_vec(), challenge, server_challenge, flags })
    }

    /// Takes the client's AUTHENTICATE. Nothing of it is believed yet, so that the demands are only kept: `bindings` of
    /// the channels that a client may have come through, if there are any; whether it must be bound to one; the SPNs by which this
    /// service may be reached, none for any.
    ///
    /// # Errors
    /// If it is no AUTHENTICATE, has flags that were not offered or not all that are demanded, comes from nobody, proves
    /// itself with LM or NTLMv1, or has no room for a MIC.
    pub fn authenticate(
        self,
        token: &[u8],
        bindings: &[ChannelBindings],
        require_channel_bindings: bool,
        accepted_spns: &[String],
    ) -> Result<Claimed, NtlmError> {
        let refused = layout(MessageType::Authenticate);
        let message = Authenticate::parse(token).map_err(refused)?;
        check_client(message.flags)?;
        let added = message.flags.without(self.flags).intersection(NegotiateFlags::SESSION_SECURITY);
        if !added.is_empty() {
            return Err(NtlmError::FlagsAdded { added });
        }
        let request = self.read_claim(&message)?;
        let encrypted_key = message.session_key.try_into().map_err(|_| {
            let fault = LayoutError::Length { field: "session key", length: message.session_key.len() };
            NtlmError::Layout { due: MessageType::Authenticate, fault }
        })?;
        let Some((mic_offset, mic)) = message.mic else {
            return Err(NtlmError::MicMissing { user: request.user, domain: request.domain });
        };
        Ok(Claimed {
            flags: message.flags.intersection(self.flags),
            mic,
            signed: [self.negotiate, self.challenge, without_mic(token, mic_offset, mic.len())],
            encrypted_key,
            bindings: bindings.iter().map(ChannelBindings::hash).collect(),
            require_channel_bindings,
            accepted_spns: accepted_spns.to_vec(),
            request,
        })
    }

    /// Who the client says it is, and by which proof.
    fn read_claim(&self, message: &Authenticate<'_>) -> Result<VerifyRequest, NtlmError> {
        let refused = layout(MessageType::Authenticate);
        let user = name("user name", message.user).map_err(refused)?;
        let domain = name("domain", message.domain).map_err(refused)?;
        let workstation = name("workstation", message.workstation).map_err(refused)?;
        if user.is_empty() || message.flags.contains(NegotiateFlags::ANONYMOUS) {
            return Err(NtlmError::Anonymous);
        }
        let old = match message.nt_response.len() {
            0 => Some(OldResponse::Lm),
            NTLM_V1_LEN => Some(OldResponse::NtlmV1),
            _ => None,
        };
        if let Some(what) = old {
            return Err(NtlmError::OldResponse { user, domain, what });
        }
        check_response(message.nt_response).map_err(refused)?;
        Ok(VerifyRequest {
            user,
            domain,
            workstation,
            server_challenge: self.server_challenge,
            lm_response: message.lm_response.to_vec(),
            nt_response: message.nt_response.to_vec(),
        })
    }
}

fn layout(due: MessageType) -> impl Fn(LayoutError) -> NtlmError + Copy {
    move |fault| NtlmError::Layout { due, fault }
}

fn check_client(offered: NegotiateFlags) -> Result<(), NtlmError> {
    let missing = NegotiateFlags::DEMANDED.without(offered);
    if missing.is_empty() { Ok(()) } else { Err(NtlmError::ClientFlags { missing }) }
}

fn name(field: &'static str, bytes: &[u8]) -> Result<String, LayoutError> {
    if bytes.len() > MAX_NAME {
        return Err(LayoutError::Length { field, length: bytes.len() });
    }
    // A backslash would make two names of one, a NUL would end it for programs in C, the others would forge log lines.
    let unfit = |text: &String| text.contains(|character: char| character == '\\' || character.is_control());
    from_utf16(bytes).filter(|text| !unfit(text)).ok_or(LayoutError::Text(field))
}

/// Whether an NT response is long enough for NTLMv2's, and says that it is one.
fn check_response(response: &[u8]) -> Result<(), LayoutError> {
    let short = LayoutError::Length { field: "NT response", length: response.len() };
    let (_, temp) = response.split_at_checked(PROOF_LEN).ok_or(short)?;
    let header: &[u8; TEMP_HEADER] = temp.first_chunk().ok_or(short)?;
    match header {
        [1, 1, ..] => Ok(()),
        [version, highest, ..] => Err(LayoutError::ResponseVersion(*version, *highest)),
    }
}

/// The message as the client signed it: with zeros where the MIC lies.
fn without_mic(token: &[u8], offset: usize, length: usize) -> Vec<u8> {
    let mut message = token.to_vec();
    message.iter_mut().skip(offset).take(length).for_each(|byte| *byte = 0);
    message
}

/// A client's claim, to be verified by an account source.
pub struct Claimed {
    request: VerifyRequest,
    flags: NegotiateFlags,
    encrypted_key: [u8; 16],
    mic: [u8; 16],
    /// What the MIC is over.
    signed: [Vec<u8>; 3],
    bindings: Vec<BindingsHash>,
    require_channel_bindings: bool,
    accepted_spns: Vec<String>,
}

/// Proof that an account source found NTProofStr right. Only [`Claimed::judge`] makes it.
pub struct NtProofVerified(());

/// Proof that channel bindings were compared, or that policy says why not. Only [`Claimed::judge`] makes it.
pub struct BindingsCompared(BindingsState);

impl BindingsCompared {
    /// What became of them.
    #[must_use]
    pub fn state(&self) -> BindingsState {
        self.0
    }
}

/// Proof that the three messages are those that the client saw and sent. Only [`Claimed::judge`] makes it.
pub struct MicVerified(());

/// An accepted context with the proofs that it stands on.
pub struct Established {
    /// What is known.
    pub facts: Facts,
    /// How messages are protected.
    pub protection: Protection,
    /// The client knows the password of the account.
    pub nt_proof: NtProofVerified,
    /// Channel bindings were compared, or policy says why not.
    pub bindings: BindingsCompared,
    /// Nobody altered the handshake.
    pub mic: MicVerified,
}

impl Claimed {
    /// What the account source must be asked.
    #[must_use]
    pub fn request(&self) -> &VerifyRequest {
        &self.request
    }

    /// Takes the account source's answer, and makes every check that waits for it, as only what the proof protects can be
    /// believed: the client's bindings, the service that it means to reach, the MIC.
    ///
    /// # Errors
    /// The first of the checks that fails, in this order.
    pub fn judge(self, verdict: Verdict) -> Result<Established, NtlmError> {
        let (session_base_key, identity, nt_proof) = self.check_verdict(verdict)?;
        let pairs = self.pairs()?;
        let bindings = self.compare_bindings(pairs.channel_bindings())?;
        let target_name = self.check_target(pairs)?;
        let key = session_base_key.open(&self.encrypted_key);
        let mic = self.check_mic(pairs, &key)?;
        let facts = Facts {
            client: identity,
            workstation: self.request.workstation,
            target_name,
            flags: self.flags,
            mutual: false,
            bindings: bindings.state(),
        };
        let protection = Protection::new(Role::Acceptor, &key, self.flags);
        Ok(Established { facts, protection, nt_proof, bindings, mic })
    }

    fn check_verdict(
        &self,
        verdict: Verdict,
    ) -> Result<(SessionBaseKey, Identity, NtProofVerified), NtlmError> {
        let (user, domain) = self.account();
        let (key, identity) = match verdict {
            Verdict::Valid { session_base_key, identity } => (session_base_key, identity),
            Verdict::Invalid => return Err(NtlmError::Proof { user, domain }),
            Verdict::Unavailable => {
                return Err(NtlmError::Unverified { user, domain, why: Unverified::NoAnswer });
            }
        };
        if identity.guest {
            return Err(NtlmError::Guest { user, domain, guest: identity.user });
        }
        let why = Unverified::KeyLength(key.len());
        let key =
            SessionBaseKey::from_bytes(key.expose()).ok_or(NtlmError::Unverified { user, domain, why })?;
        Ok((key, identity, NtProofVerified(())))
    }

    /// The AV pairs that the client put under its proof.
    fn pairs(&self) -> Result<AvPairs<'_>, NtlmError> {
        let pairs = self.request.nt_response.get(PROOF_LEN.saturating_add(TEMP_HEADER)..);
        AvPairs::parse(pairs.unwrap_or_default()).map_err(layout(MessageType::Authenticate))
    }

    /// Holds the client's bindings against ours, in constant time.
    fn compare_bindings(&self, theirs: BindingsHash) -> Result<BindingsCompared, NtlmError> {
        if self.bindings.is_empty() {
            return Ok(BindingsCompared(BindingsState::NotCompared));
        }
        if theirs.matches_any(&self.bindings) {
            return Ok(BindingsCompared(BindingsState::Matched));
        }
        let (user, domain) = self.account();
        if !theirs.is_none() {
            let (theirs, ours) = (theirs.to_string(), BindingsHash::listed(&self.bindings));
            return Err(NtlmError::BindingsMismatch { user, domain, theirs, ours });
        }
        if self.require_channel_bindings {
            return Err(NtlmError::BindingsMissing { user, domain });
        }
        Ok(BindingsCompared(BindingsState::AbsentAtInitiator))
    }

    /// The service that the client means to reach must be one of those accepted, if any are named: then it must say which,
    /// and be sure of it itself. Case does not count in an SPN.
    fn check_target(&self, pairs: AvPairs<'_>) -> Result<Option<String>, NtlmError> {
        let refused = layout(MessageType::Authenticate);
        let length = pairs.get(av_id::TARGET_NAME).map_or(0, <[u8]>::len);
        if length > MAX_NAME {
            return Err(refused(LayoutError::AvPairLength { id: av_id::TARGET_NAME, length }));
        }
        let target = pairs.target_name().map_err(refused)?;
        let accepted = &self.accepted_spns;
        let sure = !pairs.flags().contains(AvFlags::UNVERIFIED_TARGET_NAME);
        let meant = target.as_deref().filter(|_| sure);
        if accepted.is_empty()
            || accepted.iter().any(|spn| meant.is_some_and(|meant| spn.eq_ignore_ascii_case(meant)))
        {
            return Ok(target);
        }
        let (user, domain) = self.account();
        let target = target.unwrap_or_default();
        Err(NtlmError::TargetName { user, domain, target, accepted: accepted.clone() })
    }

    /// The MIC must be there by the client's own, proved word: else somebody could have cut it out.
    fn check_mic(&self, pairs: AvPairs<'_>, key: &ExportedSessionKey) -> Result<MicVerified, NtlmError> {
        let (user, domain) = self.account();
        if !pairs.flags().contains(AvFlags::MIC) {
            return Err(NtlmError::MicMissing { user, domain });
        }
        if !secret::ct_eq(&key.mic(&self.signed.each_ref().map(Vec::as_slice)), &self.mic) {
            return Err(NtlmError::Mic { user, domain });
        }
        Ok(MicVerified(()))
    }

    fn account(&self) -> (String, String) {
        (self.request.user.clone(), self.request.domain.clone())
    }
}
