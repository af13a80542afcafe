use super::{Facts, SecurityContext};
use crate::error::Refusal;
use crate::krb5::per_message::{self, MessageError, SequenceMode};
use crate::krb5::{acceptor, initiator};
use crate::ntlm;
use crate::policy::Waiver;
use crate::protection::{ExportKeys, Receiver, Sender};
use crate::spnego::{MechListMic, MechListProven};

/// A context that its mechanism has proved, while the negotiation around it may still owe its own proof.
pub(super) struct Candidate {
    facts: Facts,
    protection: Protection,
    export: ExportKeys,
    require_sealed: bool,
}

enum Protection {
    Kerberos(per_message::Sender, per_message::Receiver),
    /// In one piece until its MICs over the list of mechanisms are done.
    Ntlm(ntlm::protection::Protection),
}

/// Why the list of mechanisms needs no further proof.
pub(super) enum ListProof {
    /// There was none: the mechanism's tokens came bare.
    NotNegotiated,
    /// SPNEGO proved it.
    Negotiated(MechListProven),
}

impl Candidate {
    pub(super) fn accepted(established: acceptor::Established, require_sealed: bool) -> Self {
        let acceptor::Established {
            facts,
            protection,
            keys,
            ticket,
            authenticator,
            bindings,
            conversation,
            fresh,
        } = established;
        // The proofs have no content: to hold them is what counts.
        let _: (acceptor::TicketOpened, acceptor::AuthenticatorOpened) = (ticket, authenticator);
        let _: (acceptor::BindingsCompared, acceptor::NotReplayed) = (bindings, fresh);
        let _: acceptor::ConversationCompared = conversation;
        let protection = kerberos(protection, require_sealed);
        Self::new(Facts::Kerberos(facts), protection, ExportKeys::Kerberos(keys), require_sealed)
    }

    pub(super) fn initiated(established: initiator::Established, require_sealed: bool) -> Self {
        let initiator::Established { facts, protection, keys, ap_rep } = established;
        let _: initiator::ApRepVerified = ap_rep;
        let protection = kerberos(protection, require_sealed);
        Self::new(Facts::Kerberos(facts), protection, ExportKeys::Kerberos(keys), require_sealed)
    }

    pub(super) fn accepted_by_ntlm(established: ntlm::acceptor::Established, require_sealed: bool) -> Self {
        let ntlm::acceptor::Established { facts, protection, nt_proof, bindings, mic } = established;
        let _: (ntlm::acceptor::NtProofVerified, ntlm::acceptor::MicVerified) = (nt_proof, mic);
        let _: ntlm::acceptor::BindingsCompared = bindings;
        Self::new(by_ntlm(facts), Protection::Ntlm(protection), ExportKeys::Ntlm, require_sealed)
    }

    /// A context in which the service proved nothing: only a policy that names that makes one.
    pub(super) fn initiated_by_ntlm(established: ntlm::initiator::Established, require_sealed: bool) -> Self {
        let ntlm::initiator::Established { facts, protection } = established;
        Self::new(by_ntlm(facts), Protection::Ntlm(protection), ExportKeys::Ntlm, require_sealed)
    }

    fn new(mut facts: Facts, protection: Protection, export: ExportKeys, require_sealed: bool) -> Self {
        if !require_sealed {
            facts.give_up(Waiver::AllowUnsealed);
        }
        Self { facts, protection, export, require_sealed }
    }

    pub(super) fn into_facts(self) -> Facts {
        self.facts
    }

    /// The context, once nothing is owed any more.
    pub(super) fn prove(self, list: ListProof) -> SecurityContext {
        let negotiated = match list {
            ListProof::NotNegotiated => false,
            ListProof::Negotiated(MechListProven { .. }) => true,
        };
        let (sender, receiver) = match self.protection {
            Protection::Kerberos(sender, receiver) => {
                (Sender::Kerberos(sender), Receiver::Kerberos(receiver))
            }
            Protection::Ntlm(protection) => {
                let (sender, receiver) = protection.split(self.require_sealed);
                (Sender::Ntlm(sender), Receiver::Ntlm(receiver))
            }
        };
        SecurityContext::new(self.facts, negotiated, sender, receiver, self.export)
    }
}

fn kerberos(protection: per_message::Protection, require_sealed: bool) -> Protection {
    let (sender, receiver) = protection.split(require_sealed, SequenceMode::Strict);
    Protection::Kerberos(sender, receiver)
}

pub(super) fn by_ntlm(facts: ntlm::Facts) -> Facts {
    Facts::Ntlm { facts, waivers: vec![Waiver::AllowNtlm] }
}

impl MechListMic for Candidate {
    fn make(&mut self, list: &[u8], out: &mut Vec<u8>) -> Result<(), MessageError> {
        match &mut self.protection {
            Protection::Kerberos(sender, _) => sender.mic(&[list], out),
            Protection::Ntlm(protection) => {
                out.extend_from_slice(&protection.mic_for_mech_list(list)?);
                Ok(())
            }
        }
    }

    fn verify(&mut self, list: &[u8], mic: &[u8]) -> Result<(), MessageError> {
        match &mut self.protection {
            Protection::Kerberos(_, receiver) => receiver.verify_mic(&[list], mic).map(|_| ()),
            Protection::Ntlm(protection) => protection.verify_mech_list_mic(list, mic),
        }
    }
}

/// A refusal at the end, with what was known by then.
pub(super) struct Unproved {
    pub(super) refusal: Refusal,
    pub(super) facts: Facts,
}
