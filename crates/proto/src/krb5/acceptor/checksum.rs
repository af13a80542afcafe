//! The GSS checksum in the authenticator: flags and channel bindings.

use super::error::AcceptError;
use crate::crypto::{Etype, Key};
use crate::gss::authenticator_checksum::{CKSUMTYPE, GssChecksum};
use crate::gss::{BindingsHash, ChannelBindings, GssFlags};
use crate::krb5::facts::BindingsState;
use crate::krb5::msg::authenticator::Authenticator;
use crate::krb5::msg::principal::Principal;
use crate::krb5::transcript::Transcript;
use crate::policy::{AcceptorPolicy, Waiver};

/// Proof that channel bindings were compared, or that policy says why not. Only this module's `compare` makes it.
pub struct BindingsCompared(BindingsState);

impl BindingsCompared {
    /// What became of them.
    #[must_use]
    pub fn state(&self) -> BindingsState {
        self.0
    }
}

/// Proof that the client saw the same messages to and from its KDC as we carried, or that there were none. Only this module's
/// `compare_transcript` makes it.
pub struct ConversationCompared(());

/// The flags that an acceptor grants: the others have no meaning here or were not asked for.
const GRANTED: GssFlags = GssFlags(
    GssFlags::MUTUAL.0
        | GssFlags::REPLAY.0
        | GssFlags::SEQUENCE.0
        | GssFlags::CONF.0
        | GssFlags::INTEG.0
        | GssFlags::IDENTIFY.0
        | GssFlags::EXTENDED_ERROR.0,
);

/// Reads the checksum, which must be there.
pub(super) fn read<'a>(
    client: &Principal,
    authenticator: &Authenticator<'a>,
) -> Result<GssChecksum<'a>, AcceptError> {
    let absent = |found| AcceptError::ChecksumAbsent { client: client.clone(), found };
    let checksum = authenticator.cksum.ok_or_else(|| absent(None))?;
    if checksum.cksumtype != CKSUMTYPE {
        return Err(absent(Some(checksum.cksumtype)));
    }
    GssChecksum::parse(checksum.bytes)
        .map_err(|fault| AcceptError::Checksum { client: client.clone(), fault })
}

/// Holds the initiator's bindings against ours, in constant time.
pub(super) fn compare(
    client: &Principal,
    theirs: &BindingsHash,
    asserted: bool,
    policy: &AcceptorPolicy,
) -> Result<BindingsCompared, AcceptError> {
    if policy.channel_bindings.is_empty() {
        return Ok(BindingsCompared(BindingsState::NotCompared));
    }
    let ours: Vec<_> = policy.channel_bindings.iter().map(ChannelBindings::hash).collect();
    if theirs.matches_any(&ours) {
        return Ok(BindingsCompared(BindingsState::Matched));
    }
    if !theirs.is_none() {
        let (theirs, ours) = (theirs.to_string(), BindingsHash::listed(&ours));
        return Err(AcceptError::BindingsMismatch { client: client.clone(), theirs, ours });
    }
    if asserted || policy.require_channel_bindings {
        return Err(AcceptError::BindingsMissing { client: client.clone(), asserted });
    }
    Ok(BindingsCompared(BindingsState::AbsentAtInitiator))
}

/// Holds what the initiator says was said before its AP-REQ against what was: by IAKERB the proof is owed exactly when there was
/// something.
pub(super) fn compare_transcript(
    client: &Principal,
    gss: &GssChecksum<'_>,
    subkey: Option<&Key>,
    transcript: Option<&Transcript>,
) -> Result<ConversationCompared, AcceptError> {
    let Some(transcript) = transcript else { return Ok(ConversationCompared(())) };
    let proved = match (gss.iakerb_finished, subkey) {
        (None, _) => transcript.is_empty(),
        (Some(finished), Some(subkey)) => !transcript.is_empty() && transcript.is_proved_by(finished, subkey),
        (Some(_), None) => false,
    };
    if proved {
        return Ok(ConversationCompared(()));
    }
    Err(AcceptError::Transcript { client: client.clone(), absent: gss.iakerb_finished.is_none() })
}

/// The flags that are granted of those asked for; mutual authentication must be among them, or given up by policy. With
/// RC4 it cannot be given up: both directions would begin at the same number, and so with the same key stream.
pub(super) fn grant(
    client: &Principal,
    asked: GssFlags,
    message_etype: Etype,
    policy: &AcceptorPolicy,
) -> Result<(GssFlags, Option<Waiver>), AcceptError> {
    if asked.contains(GssFlags::DCE_STYLE) {
        return Err(AcceptError::DceStyle { client: client.clone() });
    }
    let granted = asked.intersection(GRANTED);
    if granted.contains(GssFlags::MUTUAL) {
        return Ok((granted, None));
    }
    if policy.gives_up(Waiver::AllowNoMutual) && !message_etype.is_weak() {
        return Ok((granted, Some(Waiver::AllowNoMutual)));
    }
    Err(AcceptError::MutualNotRequested { client: client.clone(), flags: asked.to_string() })
}
