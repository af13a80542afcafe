//! What each role demands and permits. The defaults are those of DESIGN section 5; what loosens them is behind
//! `dangerous()`, and a context that came about by it says so.

use crate::crypto::Etype;
use crate::gss::{ChannelBindings, MechChoice};
use crate::krb5::msg::principal::Principal;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Etypes that are permitted where nothing is said, the preferred one first.
pub const DEFAULT_PERMITTED_ENCTYPES: [Etype; 4] = [
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha384_192,
    Etype::Aes128CtsHmacSha256_128,
];

/// How far a peer's clock may be from ours where nothing is said.
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What an acceptor demands of initiators.
#[derive(Clone, Debug)]
pub struct AcceptorPolicy {
    /// Etypes of tickets, session keys and subkeys, the preferred one first: of those that an initiator takes too, the
    /// first makes the acceptor's subkey (RFC 4537).
    pub permitted_enctypes: Vec<Etype>,
    /// How far an initiator's clock may be from ours, either way.
    pub clock_skew: Duration,
    /// The service principals whose keys may be used; empty permits every one that has a key.
    ///
    /// If some are named, the service that a client says it means to reach (MS-KILE's KERB_CLIENT_TARGET) must be one of
    /// them too, in any letter case: an alias then needs to be named, whether it has a key or not. If none is named, what
    /// a client means is not compared: many a service has aliases that nobody but the KDC knows.
    pub accept_principals: Vec<Principal>,
    /// Take Kerberos tokens that come bare beside those in SPNEGO.
    pub accept_raw_kerberos: bool,
    /// The channels that this service is reached through, any of which an initiator may be bound to; none if bindings are
    /// not to be compared.
    pub channel_bindings: Vec<ChannelBindings>,
    /// Refuse initiators that are bound to no channel. Has a meaning only with [`Self::channel_bindings`].
    pub require_channel_bindings: bool,
    /// Paths between realms other than up and down the domain tree.
    pub capaths: Capaths,
    /// Whose messages to KDCs are carried for clients that reach none themselves; nobody's where nothing is said.
    pub iakerb: Option<IakerbPolicy>,
    ntlm: Option<NtlmService>,
    waivers: WaiverSet,
}

/// For whom a service carries messages to KDCs (IAKERB). It never does so for a realm that is not named here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IakerbPolicy {
    /// The realms, that of the service first: a client that has none is told that one.
    pub realms: Vec<String>,
}

/// How a service speaks NTLM, where it does.
#[derive(Clone, Debug, Default)]
pub struct NtlmService {
    /// What it calls itself.
    pub names: TargetNames,
    /// The SPNs by which it may be reached, CLASS/HOST; none for any. Clients say which they meant.
    pub accepted_spns: Vec<String>,
}

/// What this server calls itself in its CHALLENGE. Names that are empty are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TargetNames {
    /// NetBIOS name of this machine, in upper case by convention.
    pub netbios_computer: String,
    /// NetBIOS name of its domain; of a machine without a domain, its own name again or nothing.
    pub netbios_domain: String,
    /// DNS name of this machine.
    pub dns_computer: String,
    /// DNS name of its domain.
    pub dns_domain: String,
}

/// What an initiator demands of acceptors.
#[derive(Clone, Debug)]
pub struct InitiatorPolicy {
    /// Etypes of session keys and subkeys, the preferred one first.
    pub permitted_enctypes: Vec<Etype>,
    /// How far the service's clock may be from ours when it is the ticket's life that is judged.
    pub clock_skew: Duration,
    /// Negotiate with SPNEGO even if there is Kerberos alone to offer. If not, its tokens go out bare, which every acceptor of
    /// Kerberos takes; with NTLM to offer it is always negotiated.
    pub negotiate: bool,
    /// The channel that leads to the service, if it has a binding.
    pub channel_bindings: Option<ChannelBindings>,
    sign_only: bool,
    waivers: WaiverSet,
}

/// A demand that was given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Waiver {
    /// An initiator that did not ask for mutual authentication was let in.
    AllowNoMutual,
    /// Messages that are signed but not sealed are taken.
    AllowUnsealed,
    /// The realms that a ticket came through were not checked.
    IgnoreTransited,
    /// NTLM was used, which never proves the service.
    AllowNtlm,
    /// A replay at another instance was not looked for, because the store that they share did not answer. The store's own
    /// setting gives that up.
    OnAbsence,
}

/// The name by which a configuration gives the demand up.
impl fmt::Display for Waiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllowNoMutual => "allow_no_mutual",
            Self::AllowUnsealed => "allow_unsealed",
            Self::IgnoreTransited => "ignore_transited",
            Self::AllowNtlm => "allow_ntlm",
            Self::OnAbsence => "on_absence",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct WaiverSet {
    allow_no_mutual: bool,
    allow_unsealed: bool,
    ignore_transited: bool,
    allow_ntlm: bool,
}

impl Default for AcceptorPolicy {
    fn default() -> Self {
        Self {
            permitted_enctypes: DEFAULT_PERMITTED_ENCTYPES.to_vec(),
            clock_skew: DEFAULT_CLOCK_SKEW,
            accept_principals: Vec::new(),
            accept_raw_kerberos: true,
            channel_bindings: Vec::new(),
            require_channel_bindings: false,
            capaths: Capaths::default(),
            iakerb: None,
            ntlm: None,
            waivers: WaiverSet::default(),
        }
    }
}

impl AcceptorPolicy {
    /// The settings that give up a demand.
    pub fn dangerous(&mut self) -> DangerousAcceptor<'_> {
        DangerousAcceptor(self)
    }

    /// The mechanisms that an initiator may choose among.
    #[must_use]
    pub fn mechs(&self) -> Vec<MechChoice> {
        let ntlm = self.ntlm.as_ref().map(|_| MechChoice::Ntlm);
        let iakerb = self.iakerb.as_ref().map(|_| MechChoice::Iakerb);
        std::iter::once(MechChoice::Kerberos).chain(iakerb).chain(ntlm).collect()
    }

    /// How this service speaks NTLM, if [`DangerousAcceptor::allow_ntlm`] was called.
    #[must_use]
    pub fn ntlm(&self) -> Option<&NtlmService> {
        self.ntlm.as_ref()
    }

    /// Whether tickets and keys of this etype may be used.
    #[must_use]
    pub fn permits(&self, etype: Etype) -> bool {
        self.permitted_enctypes.contains(&etype)
    }

    /// Whether messages are taken that are signed but not sealed: [`DangerousAcceptor::allow_unsealed`].
    #[must_use]
    pub fn takes_unsealed(&self) -> bool {
        self.gives_up(Waiver::AllowUnsealed)
    }

    pub(crate) fn gives_up(&self, waiver: Waiver) -> bool {
        self.waivers.contains(waiver)
    }
}

impl Default for InitiatorPolicy {
    fn default() -> Self {
        Self {
            permitted_enctypes: DEFAULT_PERMITTED_ENCTYPES.to_vec(),
            clock_skew: DEFAULT_CLOCK_SKEW,
            negotiate: false,
            channel_bindings: None,
            sign_only: false,
            waivers: WaiverSet::default(),
        }
    }
}

impl InitiatorPolicy {
    /// The settings that give up a demand.
    pub fn dangerous(&mut self) -> DangerousInitiator<'_> {
        DangerousInitiator(self)
    }

    /// Whether keys of this etype may be used.
    #[must_use]
    pub fn permits(&self, etype: Etype) -> bool {
        self.permitted_enctypes.contains(&etype)
    }

    /// Whether messages are taken that are signed but not sealed: [`DangerousInitiator::allow_unsealed`].
    #[must_use]
    pub fn takes_unsealed(&self) -> bool {
        self.gives_up(Waiver::AllowUnsealed)
    }

    /// Whether confidentiality is asked for, which [`DangerousInitiator::sign_only`] gives up.
    #[must_use]
    pub fn asks_to_seal(&self) -> bool {
        !self.sign_only
    }

    pub(crate) fn gives_up(&self, waiver: Waiver) -> bool {
        self.waivers.contains(waiver)
    }
}

impl WaiverSet {
    const fn contains(self, waiver: Waiver) -> bool {
        match waiver {
            Waiver::AllowNoMutual => self.allow_no_mutual,
            Waiver::AllowUnsealed => self.allow_unsealed,
            Waiver::IgnoreTransited => self.ignore_transited,
            Waiver::AllowNtlm => self.allow_ntlm,
            // No policy does.
            Waiver::OnAbsence => false,
        }
    }
}

/// Gives up demands of an acceptor. Each use of one is in the context and in the audit line.
pub struct DangerousAcceptor<'a>(&'a mut AcceptorPolicy);

impl DangerousAcceptor<'_> {
    /// Let initiators in that do not ask for mutual authentication: they cannot know whom they talk to.
    pub fn allow_no_mutual(&mut self) -> &mut Self {
        self.0.waivers.allow_no_mutual = true;
        self
    }

    /// Take messages that are signed but not sealed.
    pub fn allow_unsealed(&mut self) -> &mut Self {
        self.0.waivers.allow_unsealed = true;
        self
    }

    /// Do not check which realms a ticket came through: each of them could have made it.
    pub fn ignore_transited(&mut self) -> &mut Self {
        self.0.waivers.ignore_transited = true;
        self
    }
}

impl DangerousAcceptor<'_> {
    /// Accept NTLM: the client cannot know whom it talks to, its password can be guessed from what a listener sees, and
    /// messages are protected by RC4.
    pub fn allow_ntlm(&mut self, service: NtlmService) -> &mut Self {
        self.0.ntlm = Some(service);
        self.0.waivers.allow_ntlm = true;
        self
    }
}

/// Gives up demands of an initiator. Each use of one is in the context.
pub struct DangerousInitiator<'a>(&'a mut InitiatorPolicy);

impl DangerousInitiator<'_> {
    /// Log in by NTLM where Kerberos is not to be had: the service proves nothing, so this may be anybody.
    pub fn allow_ntlm(&mut self) -> &mut Self {
        self.0.waivers.allow_ntlm = true;
        self
    }

    /// Take messages that are signed but not sealed.
    pub fn allow_unsealed(&mut self) -> &mut Self {
        self.0.waivers.allow_unsealed = true;
        self
    }

    /// Ask for signatures alone, and take messages with no more than that, as [`Self::allow_unsealed`] does: anybody on the
    /// way can read what is sent.
    pub fn sign_only(&mut self) -> &mut Self {
        self.0.sign_only = true;
        self.allow_unsealed()
    }
}

/// Paths between realms, as `[capaths]` of krb5.conf has them: for a client realm and a server realm the realms that a
/// ticket may come through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capaths(BTreeMap<RealmPair, Vec<Realm>>);

type Realm = Vec<u8>;
/// Client realm and server realm.
type RealmPair = (Realm, Realm);

impl Capaths {
    /// Sets the realms between `client` and `server`, in the order of the way from one to the other; none says that the two
    /// trust each other directly. An acceptor is content with any order, an initiator goes by it.
    pub fn set(&mut self, client: &str, server: &str, between: &[&str]) {
        let between = between.iter().map(|realm| realm.as_bytes().to_vec()).collect();
        self.0.insert((client.as_bytes().to_vec(), server.as_bytes().to_vec()), between);
    }

    /// The realms between the two, if any path was set.
    #[must_use]
    pub fn get(&self, client: &[u8], server: &[u8]) -> Option<&[Vec<u8>]> {
        self.0.get(&(client.to_vec(), server.to_vec())).map(Vec::as_slice)
    }

    /// The way from `client` to `server`, both ends included: through what was set between them, or straight if nothing was.
    /// A realm's way to itself is the realm alone.
    #[must_use]
    pub fn path<'a>(&'a self, client: &'a [u8], server: &'a [u8]) -> Vec<&'a [u8]> {
        if client == server {
            return vec![client];
        }
        let between = self.get(client, server).unwrap_or_default().iter().map(Vec::as_slice);
        std::iter::once(client).chain(between).chain([server]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_through_what_lies_between_in_order() {
        let mut capaths = Capaths::default();
        capaths.set("A", "D", &["C", "B"]);
        capaths.set("A", "E", &[]);
        for (client, server, path) in
            [("A", "D", "A C B D"), ("D", "A", "D A"), ("A", "E", "A E"), ("A", "X", "A X"), ("A", "A", "A")]
        {
            let expected: Vec<&[u8]> = path.split(' ').map(str::as_bytes).collect();
            assert_eq!(capaths.path(client.as_bytes(), server.as_bytes()), expected, "{client} to {server}");
        }
    }
}
