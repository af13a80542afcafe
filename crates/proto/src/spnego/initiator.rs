//! The initiator's side: [`Offer`] until the acceptor's first answer, [`Chosen`] while the mechanism works,
//! [`Finishing`] when it has a context and the acceptor's last word is missing.

use super::acceptor::name;
use super::message::{NegState, NegTokenResp, NegotiationToken, encode_mechs, write_init};
use super::{MechChoice, MechListMic, MechListProven, SpnegoError};

/// A list was sent, the optimistic token of its first mechanism with it.
pub struct Offer {
    mechs: Vec<MechChoice>,
    encoded_mechs: Vec<u8>,
}

/// What the acceptor's first answer means.
pub enum Choice<'t> {
    /// It takes the first mechanism, whose token this is.
    First(Chosen, Answer<'t>),
    /// It takes another one, which must begin afresh; its first token goes out by [`Chosen::write`].
    Other(Chosen),
}

/// An answer of the acceptor, for the mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer<'t> {
    /// Where the acceptor thinks the negotiation stands.
    pub state: Option<NegState>,
    /// The mechanism's token.
    pub mech_token: Option<&'t [u8]>,
    /// The acceptor's MIC over our list.
    pub mic: Option<&'t [u8]>,
}

impl Offer {
    /// Appends the first message: these mechanisms, the preferred one first, and the first one's token.
    #[must_use]
    pub fn write(mechs: Vec<MechChoice>, mech_token: &[u8], out: &mut Vec<u8>) -> Self {
        let oids: Vec<_> = mechs.iter().map(|mech| mech.oid()).collect();
        let encoded_mechs = encode_mechs(&oids);
        write_init(&encoded_mechs, Some(mech_token), out);
        Self { mechs, encoded_mechs }
    }

    /// Reads the acceptor's first answer. One that names no mechanism means the first (Java); a rejection with a token
    /// goes to the mechanism, which knows the reason.
    ///
    /// # Errors
    /// If it is none, a rejection without a token, or a choice that was not offered or not told as it must be.
    pub fn answered<'t>(self, token: &'t [u8]) -> Result<Choice<'t>, SpnegoError> {
        let message = read_resp(token)?;
        let answer =
            Answer { state: message.neg_state, mech_token: nonempty(&message), mic: message.mech_list_mic };
        if answer.state == Some(NegState::Reject) && answer.mech_token.is_none() {
            return Err(SpnegoError::Rejected { began: false });
        }
        let first = self.mechs.first().copied();
        let chosen = message.supported_mech.map_or(Ok(first), |oid| self.offered(oid).map(Some))?;
        let Some(mech) = chosen else { return Err(SpnegoError::Rejected { began: false }) };
        let reselected = Some(mech) != first;
        let chosen = Chosen { mech, encoded_mechs: self.encoded_mechs, reselected };
        if !reselected {
            return Ok(Choice::First(chosen, answer));
        }
        // Windows 2003 tells NTLM by accept-incomplete; NTLM has its list proved in any case.
        let told = answer.state == Some(NegState::RequestMic)
            || (answer.state == Some(NegState::AcceptIncomplete) && mech == MechChoice::Ntlm);
        if told {
            Ok(Choice::Other(chosen))
        } else {
            Err(SpnegoError::Choice { chosen: name(mech.oid()), offered: true })
        }
    }

    fn offered(&self, oid: &[u8]) -> Result<MechChoice, SpnegoError> {
        let refused = || SpnegoError::Choice { chosen: name(oid), offered: false };
        MechChoice::from_oid(oid).filter(|mech| self.mechs.contains(mech)).ok_or_else(refused)
    }
}

/// A mechanism was chosen and works.
pub struct Chosen {
    mech: MechChoice,
    encoded_mechs: Vec<u8>,
    reselected: bool,
}

/// What the end of the mechanism's part led to.
pub enum Concluded {
    /// Nothing is owed any more; what was appended, if anything, is the last message.
    Done(MechListProven),
    /// The acceptor owes its last word.
    Finishing(Finishing),
}

impl Chosen {
    /// The mechanism.
    #[must_use]
    pub fn mech(&self) -> MechChoice {
        self.mech
    }

    /// Appends a token of the mechanism, which is not its last.
    pub fn write(&self, mech_token: &[u8], out: &mut Vec<u8>) {
        let response_token = Some(mech_token);
        NegTokenResp { response_token, ..NegTokenResp::default() }.write(out);
    }

    /// Reads a later answer of the acceptor.
    ///
    /// # Errors
    /// If it is none, or a rejection without a token.
    pub fn answered<'t>(&self, token: &'t [u8]) -> Result<Answer<'t>, SpnegoError> {
        let message = read_resp(token)?;
        let answer =
            Answer { state: message.neg_state, mech_token: nonempty(&message), mic: message.mech_list_mic };
        if answer.state == Some(NegState::Reject) && answer.mech_token.is_none() {
            return Err(SpnegoError::Rejected { began: true });
        }
        Ok(answer)
    }

    /// The acceptor's token was the mechanism's last: it has a context.
    ///
    /// # Errors
    /// If the acceptor owed its MIC with that token and did not send it, or sent a wrong one, or rejects all the same.
    pub fn conclude_on_answer(
        self,
        answer: &Answer<'_>,
        context: &mut dyn MechListMic,
        out: &mut Vec<u8>,
    ) -> Result<Concluded, SpnegoError> {
        if answer.state == Some(NegState::Reject) {
            return Err(SpnegoError::Rejected { began: true });
        }
        let completed = answer.state.is_none_or(|state| state == NegState::AcceptCompleted);
        match answer.mic {
            Some(mic) => {
                context.verify(&self.encoded_mechs, mic).map_err(SpnegoError::MicWrong)?;
                if !completed {
                    self.write_mic(NegState::AcceptCompleted, None, context, out)?;
                }
                Ok(Concluded::Done(MechListProven(())))
            }
            None if self.reselected => Err(SpnegoError::MicMissing),
            None if completed => Ok(Concluded::Done(MechListProven(()))),
            None => {
                // It waits for something, and after the mechanism's end only a MIC is left to send.
                self.write_mic(NegState::AcceptIncomplete, None, context, out)?;
                Ok(Concluded::Finishing(Finishing { encoded_mechs: self.encoded_mechs }))
            }
        }
    }

    /// The mechanism has a context, and `mech_token` is its last token: it goes out with our MIC, and the acceptor must
    /// answer with its own.
    ///
    /// # Errors
    /// If the MIC cannot be made.
    pub fn conclude_with_token(
        self,
        mech_token: &[u8],
        context: &mut dyn MechListMic,
        out: &mut Vec<u8>,
    ) -> Result<Finishing, SpnegoError> {
        self.write_mic(NegState::AcceptIncomplete, Some(mech_token), context, out)?;
        Ok(Finishing { encoded_mechs: self.encoded_mechs })
    }

    fn write_mic(
        &self,
        state: NegState,
        mech_token: Option<&[u8]>,
        context: &mut dyn MechListMic,
        out: &mut Vec<u8>,
    ) -> Result<(), SpnegoError> {
        let mut mic = Vec::new();
        context.make(&self.encoded_mechs, &mut mic).map_err(SpnegoError::MicUnmakeable)?;
        let message = NegTokenResp {
            neg_state: Some(state),
            supported_mech: None,
            response_token: mech_token,
            mech_list_mic: Some(&mic),
        };
        message.write(out);
        Ok(())
    }
}

/// The mechanism has a context and our MIC is sent; the acceptor's last word, with its MIC, is still to come.
pub struct Finishing {
    encoded_mechs: Vec<u8>,
}

impl Finishing {
    /// Takes the acceptor's last message. There is no answer to it.
    ///
    /// # Errors
    /// If it rejects, has no MIC or a wrong one, or a token that the mechanism does not wait for.
    pub fn token(self, token: &[u8], context: &mut dyn MechListMic) -> Result<MechListProven, SpnegoError> {
        let message = read_resp(token)?;
        if message.neg_state == Some(NegState::Reject) {
            return Err(SpnegoError::Rejected { began: true });
        }
        if nonempty(&message).is_some() {
            return Err(SpnegoError::Unexpected("a mechanism's token after its last one"));
        }
        let mic = message.mech_list_mic.ok_or(SpnegoError::MicMissing)?;
        context.verify(&self.encoded_mechs, mic).map_err(SpnegoError::MicWrong)?;
        Ok(MechListProven(()))
    }
}

fn read_resp(token: &[u8]) -> Result<NegTokenResp<'_>, SpnegoError> {
    match NegotiationToken::parse(token)? {
        NegotiationToken::Resp(message) => Ok(message),
        NegotiationToken::Init(_) => {
            Err(SpnegoError::Unexpected("a first message (NegTokenInit) as an answer"))
        }
    }
}

/// Old IIS sends an empty token where it has none.
fn nonempty<'t>(message: &NegTokenResp<'t>) -> Option<&'t [u8]> {
    message.response_token.filter(|token| !token.is_empty())
}
