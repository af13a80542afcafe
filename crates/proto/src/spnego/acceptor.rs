//! The acceptor's side: [`Negotiation`] while the mechanism works, [`AwaitMic`] when only the initiator's MIC is missing.

use super::message::{NegState, NegTokenInit, NegTokenResp, NegotiationToken};
use super::{MechChoice, MechListMic, MechListProven, SpnegoError};
use crate::gss::framing::{Mech, dotted};

/// Which mechanism was chosen, and what must still be told or proved about the choice.
pub struct Negotiation {
    choice: MechChoice,
    /// As the initiator wrote it: it wants to read the same.
    oid: Vec<u8>,
    /// The list exactly as it came.
    encoded_mechs: Vec<u8>,
    /// It was not the initiator's first: its optimistic token was for another, and both owe a MIC.
    reselected: bool,
    /// The choice was told.
    told: bool,
}

/// What a message holds for the mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried<'t> {
    /// The mechanism's token.
    pub mech_token: Option<&'t [u8]>,
    /// The initiator's MIC over the list.
    pub mic: Option<&'t [u8]>,
}

impl Negotiation {
    /// Chooses the first mechanism of the initiator's list that is allowed. What is carried for it is the optimistic
    /// token, if that was meant for the chosen one.
    ///
    /// # Errors
    /// If none is allowed; the error has the list.
    pub fn begin<'t>(
        init: &NegTokenInit<'t>,
        allowed: &[MechChoice],
    ) -> Result<(Self, Carried<'t>), SpnegoError> {
        let known = init.mechs().enumerate().find_map(|(place, oid)| {
            MechChoice::from_oid(oid)
                .filter(|choice| allowed.contains(choice))
                .map(|choice| (place, oid, choice))
        });
        let (place, oid, choice) = known.ok_or_else(|| no_common(init, allowed))?;
        // Kerberos has two numbers: a token for one is a token for the other.
        let reselected = place > 0 && init.mechs().next().and_then(MechChoice::from_oid) != Some(choice);
        let negotiation = Self {
            choice,
            oid: oid.to_vec(),
            encoded_mechs: init.encoded_mechs.to_vec(),
            reselected,
            told: false,
        };
        let mech_token = init.mech_token.filter(|token| !reselected && !token.is_empty());
        Ok((negotiation, Carried { mech_token, mic: init.mech_list_mic }))
    }

    /// The mechanism.
    #[must_use]
    pub fn choice(&self) -> MechChoice {
        self.choice
    }

    /// Reads a later message of the initiator.
    ///
    /// # Errors
    /// If it is none, says reject, chooses a mechanism, or carries nothing.
    pub fn later<'t>(&self, token: &'t [u8]) -> Result<Carried<'t>, SpnegoError> {
        read_resp(token)
    }

    /// Appends the message that waits for the initiator, with what the mechanism has to say to it.
    pub fn write_pending(&mut self, mech_token: Option<&[u8]>, out: &mut Vec<u8>) {
        let first = !self.told;
        let state = if first && self.reselected { NegState::RequestMic } else { NegState::AcceptIncomplete };
        self.write(state, mech_token, None, out);
    }

    /// Appends the end of a negotiation that failed, with the mechanism's error token if it has one.
    pub fn write_reject(&mut self, mech_error: Option<&[u8]>, out: &mut Vec<u8>) {
        self.write(NegState::Reject, mech_error, None, out);
    }

    /// Ends the mechanism's part: it has a context, and `mech_token` (empty if none) as its last token. `demanded` says
    /// that the mechanism wants the list proved even if its first entry was chosen (NTLM does).
    ///
    /// # Errors
    /// If a MIC is owed with the initiator's last token and was not there, or one that came is wrong.
    pub fn conclude(
        mut self,
        mech_token: &[u8],
        peer_mic: Option<&[u8]>,
        demanded: bool,
        context: &mut dyn MechListMic,
        out: &mut Vec<u8>,
    ) -> Result<Concluded, SpnegoError> {
        let mech_token = Some(mech_token).filter(|token| !token.is_empty());
        if let Some(mic) = peer_mic {
            context.verify(&self.encoded_mechs, mic).map_err(SpnegoError::MicWrong)?;
            let ours = self.mic(context)?;
            self.write(NegState::AcceptCompleted, mech_token, Some(&ours), out);
            return Ok(Concluded::Done(MechListProven(())));
        }
        if !self.reselected && !demanded {
            self.write(NegState::AcceptCompleted, mech_token, None, out);
            return Ok(Concluded::Done(MechListProven(())));
        }
        // Whoever sends the mechanism's last token sends a MIC with it (RFC 4178 section 5).
        if mech_token.is_none() {
            return Err(SpnegoError::MicMissing);
        }
        let ours = self.mic(context)?;
        self.write(NegState::AcceptIncomplete, mech_token, Some(&ours), out);
        Ok(Concluded::AwaitMic(AwaitMic { encoded_mechs: self.encoded_mechs }))
    }

    fn mic(&self, context: &mut dyn MechListMic) -> Result<Vec<u8>, SpnegoError> {
        let mut mic = Vec::new();
        context.make(&self.encoded_mechs, &mut mic).map_err(SpnegoError::MicUnmakeable)?;
        Ok(mic)
    }

    /// supportedMech goes into the first message alone.
    fn write(&mut self, state: NegState, mech_token: Option<&[u8]>, mic: Option<&[u8]>, out: &mut Vec<u8>) {
        let first = !std::mem::replace(&mut self.told, true);
        let supported_mech = (first && state != NegState::Reject).then_some(self.oid.as_slice());
        NegTokenResp {
            neg_state: Some(state),
            supported_mech,
            response_token: mech_token,
            mech_list_mic: mic,
        }
        .write(out);
    }
}

/// What the end of the mechanism's part led to.
pub enum Concluded {
    /// Nothing is owed any more.
    Done(MechListProven),
    /// The initiator owes its MIC.
    AwaitMic(AwaitMic),
}

/// The mechanism has a context; the initiator's MIC over the list is still to come.
pub struct AwaitMic {
    encoded_mechs: Vec<u8>,
}

impl AwaitMic {
    /// Takes the initiator's last message. There is no answer to it.
    ///
    /// # Errors
    /// If it has no MIC, a wrong one, or a token that the mechanism does not wait for.
    pub fn token(self, token: &[u8], context: &mut dyn MechListMic) -> Result<MechListProven, SpnegoError> {
        let Carried { mech_token, mic } = read_resp(token)?;
        if mech_token.is_some() {
            return Err(SpnegoError::Unexpected("a mechanism's token after its last one"));
        }
        let mic = mic.ok_or(SpnegoError::MicMissing)?;
        context.verify(&self.encoded_mechs, mic).map_err(SpnegoError::MicWrong)?;
        Ok(MechListProven(()))
    }
}

/// Appends the refusal of a first message that led to no choice.
pub fn write_bare_reject(out: &mut Vec<u8>) {
    NegTokenResp { neg_state: Some(NegState::Reject), ..NegTokenResp::default() }.write(out);
}

fn read_resp(token: &[u8]) -> Result<Carried<'_>, SpnegoError> {
    let NegotiationToken::Resp(message) = NegotiationToken::parse(token)? else {
        return Err(SpnegoError::Unexpected("a second first message (NegTokenInit)"));
    };
    if message.neg_state == Some(NegState::Reject) {
        return Err(SpnegoError::Rejected { began: true });
    }
    if message.supported_mech.is_some() {
        return Err(SpnegoError::Unexpected("an initiator that chooses the mechanism (supportedMech)"));
    }
    let mech_token = message.response_token.filter(|token| !token.is_empty());
    if mech_token.is_none() && message.mech_list_mic.is_none() {
        return Err(SpnegoError::Unexpected("a message with neither a token nor a mechListMIC"));
    }
    Ok(Carried { mech_token, mic: message.mech_list_mic })
}

fn no_common(init: &NegTokenInit<'_>, allowed: &[MechChoice]) -> SpnegoError {
    let offered = init.mechs().map(name).collect::<Vec<_>>().join(", ");
    let known: Vec<_> = init.mechs().filter_map(MechChoice::from_oid).collect();
    if !known.is_empty() && known.iter().all(|choice| *choice == MechChoice::Ntlm) {
        return SpnegoError::OnlyNtlm { offered };
    }
    let allowed = allowed.iter().map(|choice| name(choice.oid())).collect::<Vec<_>>().join(", ");
    SpnegoError::NoCommonMech { offered, allowed }
}

/// NegoEx, which is known by name only: peers offer it, and it is passed over.
const NEGOEX: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x1E];

pub(super) fn name(oid: &[u8]) -> String {
    match Mech::from_oid(oid) {
        Some(mech) => mech.to_string(),
        None if oid == NEGOEX => "NegoEx".to_owned(),
        None => dotted(oid),
    }
}
