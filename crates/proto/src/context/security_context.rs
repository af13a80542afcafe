use crate::gss::framing::Mech;
use crate::krb5::per_message::{Receiver, Role, Sender, SequenceMode};
use crate::krb5::{acceptor, facts::Facts, initiator};

/// A context that both ends agree on. It can be built from proofs only.
pub struct SecurityContext {
    facts: Facts,
    mech: Mech,
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
    pub(super) fn accepted(
        established: acceptor::Established,
        mode: SequenceMode,
        require_sealed: bool,
    ) -> Self {
        let acceptor::Established { facts, protection, ticket, authenticator, bindings, fresh } = established;
        // The proofs have no content: to hold them is what counts.
        let _: (acceptor::TicketOpened, acceptor::AuthenticatorOpened) = (ticket, authenticator);
        let _: (acceptor::BindingsCompared, acceptor::NotReplayed) = (bindings, fresh);
        let (sender, receiver) = protection.split(require_sealed, mode);
        Self { facts, mech: Mech::Krb5, sender, receiver }
    }

    pub(super) fn initiated(
        established: initiator::Established,
        mode: SequenceMode,
        require_sealed: bool,
    ) -> Self {
        let initiator::Established { facts, protection, ap_rep } = established;
        let _: initiator::ApRepVerified = ap_rep;
        let (sender, receiver) = protection.split(require_sealed, mode);
        Self { facts, mech: Mech::Krb5, sender, receiver }
    }

    /// Who, by which keys, under which conditions.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The mechanism that authenticated.
    #[must_use]
    pub fn mech(&self) -> Mech {
        self.mech
    }

    /// What is proved of the peer so far (DESIGN rule 10). An initiator's peer is confirmed from the start.
    #[must_use]
    pub fn peer_proof(&self) -> PeerProof {
        if self.receiver.role() == Role::Initiator || self.receiver.has_verified_any() {
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
