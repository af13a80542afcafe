use crate::gss::{GssFlags, MechChoice};
use crate::krb5::facts::{BindingsState, Facts as KerberosFacts};
use crate::ntlm::{Facts as NtlmFacts, NegotiateFlags};
use crate::policy::Waiver;
use crate::time::Timestamp;

/// What a context knows: who, by which mechanism, under which conditions.
#[derive(Clone, Debug)]
pub enum Facts {
    /// A context of Kerberos.
    Kerberos(KerberosFacts),
    /// A context of NTLM, in which the service proved nothing.
    Ntlm {
        /// What NTLM knows.
        facts: NtlmFacts,
        /// Demands that were given up, none twice.
        waivers: Vec<Waiver>,
    },
}

impl Facts {
    /// The client, for people: `alice@EXAMPLE.TEST`, or by NTLM `EXAMPLE\alice`.
    #[must_use]
    pub fn client(&self) -> String {
        match self {
            Self::Kerberos(facts) => facts.client.to_string(),
            Self::Ntlm { facts, .. } if facts.client.domain.is_empty() => {
                facts.client.user.escape_debug().to_string()
            }
            Self::Ntlm { facts, .. } => {
                format!("{}\\{}", facts.client.domain.escape_debug(), facts.client.user.escape_debug())
            }
        }
    }

    /// The service principal that was proved, which NTLM has none of.
    #[must_use]
    pub fn service(&self) -> Option<String> {
        self.kerberos().map(|facts| facts.service.to_string())
    }

    /// The service that the client said it meant: a claim.
    #[must_use]
    pub fn claimed_service(&self) -> Option<String> {
        match self {
            Self::Kerberos(facts) => Some(facts.claimed_service.to_string()),
            Self::Ntlm { facts, .. } => facts.target_name.clone(),
        }
    }

    /// The mechanism that authenticated.
    #[must_use]
    pub fn mech(&self) -> MechChoice {
        match self {
            Self::Kerberos(facts) if facts.by_iakerb => MechChoice::Iakerb,
            Self::Kerberos(_) => MechChoice::Kerberos,
            Self::Ntlm { .. } => MechChoice::Ntlm,
        }
    }

    /// Whether the service proved itself to the client.
    #[must_use]
    pub fn mutual(&self) -> bool {
        self.kerberos().is_some_and(|facts| facts.mutual)
    }

    /// Whether confidentiality was agreed on: Kerberos' CONF flag, NTLM's SEAL. Without it messages are to be signed only, which
    /// an end takes whose policy demands no more. With it a client may still mean to sign only: MIT's and Heimdal's
    /// libraries set the flag whatever their programs ask for.
    #[must_use]
    pub fn sealed(&self) -> bool {
        match self {
            Self::Kerberos(facts) => facts.flags.contains(GssFlags::CONF),
            Self::Ntlm { facts, .. } => facts.flags.contains(NegotiateFlags::SEAL),
        }
    }

    /// Whether signatures were agreed on: Kerberos' INTEG flag, NTLM's SIGN. Messages are signed either way; who asked for neither
    /// this nor [`Facts::sealed`] meant to send without protection.
    #[must_use]
    pub fn signed(&self) -> bool {
        match self {
            Self::Kerberos(facts) => facts.flags.contains(GssFlags::INTEG),
            Self::Ntlm { facts, .. } => facts.flags.contains(NegotiateFlags::SIGN),
        }
    }

    /// Until when the context is good: the end of the ticket's life, by the KDC's clock. NTLM knows no end.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.kerberos().map(|facts| facts.endtime)
    }

    /// What became of the channel bindings.
    #[must_use]
    pub fn bindings(&self) -> BindingsState {
        match self {
            Self::Kerberos(facts) => facts.bindings,
            Self::Ntlm { facts, .. } => facts.bindings,
        }
    }

    /// Demands that were given up for this context.
    #[must_use]
    pub fn waivers(&self) -> &[Waiver] {
        match self {
            Self::Kerberos(facts) => &facts.waivers,
            Self::Ntlm { waivers, .. } => waivers,
        }
    }

    pub(super) fn give_up(&mut self, waiver: Waiver) {
        match self {
            Self::Kerberos(facts) => facts.waivers.push(waiver),
            Self::Ntlm { waivers, .. } => waivers.push(waiver),
        }
    }

    /// What protects messages: the etype, or `ntlm`.
    #[must_use]
    pub fn protection(&self) -> &'static str {
        self.kerberos().map_or("ntlm", |facts| facts.message_etype.name())
    }

    /// More, if the mechanism was Kerberos.
    #[must_use]
    pub fn kerberos(&self) -> Option<&KerberosFacts> {
        match self {
            Self::Kerberos(facts) => Some(facts),
            Self::Ntlm { .. } => None,
        }
    }
}
