use super::Facts;
use crate::gss::MechChoice;
use crate::krb5::per_message::Role;
use crate::krb5::pseudo_random::{PrfKey, PseudoRandomError};
use crate::protection::{ExportKeys, Receiver, Sender};
use crate::secret::Secret;

/// A context that both ends agree on. It can be built from proofs only.
pub struct SecurityContext {
    facts: Facts,
    negotiated: bool,
    sender: Sender,
    receiver: Receiver,
    export: ExportKeys,
}

/// A context taken apart, so that each part can go its own way.
pub struct ContextParts {
    /// Who, by which keys, under which conditions.
    pub facts: Facts,
    /// Protects messages to the peer.
    pub sender: Sender,
    /// Verifies messages of the peer.
    pub receiver: Receiver,
    /// Makes keys for protocols above.
    pub export: ExportKeys,
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
    pub(super) fn new(
        facts: Facts,
        negotiated: bool,
        sender: Sender,
        receiver: Receiver,
        export: ExportKeys,
    ) -> Self {
        Self { facts, negotiated, sender, receiver, export }
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

    /// `length` bytes of a key for a protocol above, which the peer gets for the same `input` too, and nobody else
    /// (GSS_Pseudo_random, RFC 4401); `input` is to begin with a label that no other protocol uses.
    ///
    /// # Errors
    /// If NTLM made the context, or `length` is more than [`crate::krb5::pseudo_random::MAX_PSEUDO_RANDOM_LEN`].
    pub fn pseudo_random(
        &self,
        key: PrfKey,
        input: &[u8],
        length: usize,
    ) -> Result<Secret, PseudoRandomError> {
        self.export.pseudo_random(key, input, length)
    }

    /// The facts, both directions and the keys for protocols above, apart.
    #[must_use]
    pub fn into_parts(self) -> ContextParts {
        let Self { facts, negotiated: _, sender, receiver, export } = self;
        ContextParts { facts, sender, receiver, export }
    }
}
