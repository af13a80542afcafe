use super::Facts;
use crate::gss::MechChoice;
use crate::krb5::per_message::Role;
use crate::protection::{Receiver, Sender};

/// A context that both ends agree on. It can be built from proofs only.
pub struct SecurityContext {
    facts: Facts,
    negotiated: bool,
    sender: Sender,
    receiver: Receiver,
}

/// What is proved of the peer so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerProof {
    /// The peer proved who it is; whether it accepted our proof is not known before its first message.
    Authenticated,
    /// The peer proved who it is, and by a message or by its AP-REP that it holds the session's key now.
    Confirmed,
}

impl SecurityContext {
    /// Only [`super::candidate::Candidate::prove`] calls this, when it holds every proof.
    pub(super) fn new(facts: Facts, negotiated: bool, sender: Sender, receiver: Receiver) -> Self {
        Self { facts, negotiated, sender, receiver }
    }

    /// Who, by which keys, under which conditions.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The mechanism that authenticated.
    #[must_use]
    pub fn mech(&self) -> MechChoice {
        self.facts.mech()
    }

    /// Whether SPNEGO chose it; if not, its tokens came bare.
    #[must_use]
    pub fn negotiated(&self) -> bool {
        self.negotiated
    }

    /// What is proved of the peer so far (DESIGN rule 10). An initiator's peer is confirmed from the start by Kerberos, and
    /// never by NTLM, which proves no service.
    #[must_use]
    pub fn peer_proof(&self) -> PeerProof {
        let proved_service = self.receiver.role() == Role::Initiator && self.facts.mutual();
        if proved_service || self.receiver.has_verified_any() {
            PeerProof::Confirmed
        } else {
            PeerProof::Authenticated
        }
    }

    /// Protects messages to the peer.
    pub fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// Verifies messages of the peer.
    pub fn receiver(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    /// The facts and both directions apart.
    #[must_use]
    pub fn into_parts(self) -> (Facts, Sender, Receiver) {
        (self.facts, self.sender, self.receiver)
    }
}
