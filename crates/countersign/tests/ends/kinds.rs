//! Every framing with every kind of keys.

use super::{AMPLE, Face, Session, Socket, mint, sessions};
use countersign::accounts::{Accounts, Answer};
use countersign::framing::nns::Protection;
use countersign::framing::{Framing, Nns, SampleData};
use countersign::proto::context::{Acceptor, Initiator};
use countersign::proto::crypto::Etype;
use countersign::proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign::proto::ntlm::initiator::Credential;
use countersign::proto::ntlm::nt_hash;
use countersign::proto::policy::{
    AcceptorPolicy, DEFAULT_PERMITTED_ENCTYPES, InitiatorPolicy, NtlmService, TargetNames,
};
use countersign::{Client, ClientConfig, ClientCredential, Service, ServiceConfig};
use countersign_testkit::mint::Mint;
use std::future::ready;

/// What protects messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keys {
    Kerberos(Etype),
    Ntlm,
}

/// All that there are.
pub(crate) const KEYS: [Keys; 6] = [
    Keys::Kerberos(Etype::Aes256CtsHmacSha1_96),
    Keys::Kerberos(Etype::Aes128CtsHmacSha1_96),
    Keys::Kerberos(Etype::Aes256CtsHmacSha384_192),
    Keys::Kerberos(Etype::Aes128CtsHmacSha256_128),
    Keys::Kerberos(Etype::ArcfourHmac),
    Keys::Ntlm,
];

/// All layouts of data.
pub(crate) const FRAMINGS: [Framing; 5] = [
    Framing::Dword,
    nns(Protection::EncryptAndSign),
    nns(Protection::Sign),
    Framing::Sample(SampleData::Sealed),
    Framing::Sample(SampleData::Signed),
];

const fn nns(protection: Protection) -> Framing {
    let error_order = countersign::framing::nns::ErrorOrder::BigEndian;
    Framing::Nns(Nns { protection, error_order })
}

/// A framing and keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) framing: Framing,
    pub(crate) keys: Keys,
}

/// All that there are.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    FRAMINGS.into_iter().flat_map(|framing| KEYS.map(|keys| Kind { framing, keys }))
}

/// A password source with one account.
struct Alice;

impl Accounts for Alice {
    fn verify<'a>(&'a self, request: &'a VerifyRequest) -> Answer<'a> {
        let identity = || Identity { user: "alice".into(), domain: "EXAMPLE".into(), guest: false };
        let verified = request.verify_with(&nt_hash("secret"));
        Box::pin(ready(verified.map_or(Verdict::Invalid, |session_base_key| Verdict::Valid {
            session_base_key,
            identity: identity(),
        })))
    }
}

impl Kind {
    /// Whether each direction has room for one message alone.
    pub(crate) fn is_single(self) -> bool {
        matches!(self.framing, Framing::Sample(_))
    }

    /// Whether an empty message marks the end.
    pub(crate) fn marks_ends(self) -> bool {
        !matches!(self.framing, Framing::Nns(_))
    }

    /// Whether messages go in clear text.
    fn signs_only(self) -> bool {
        let nns_signs = matches!(self.framing, Framing::Nns(Nns { protection: Protection::Sign, .. }));
        nns_signs || self.framing == Framing::Sample(SampleData::Signed)
    }

    fn mint(self) -> Mint {
        match self.keys {
            Keys::Kerberos(etype) => Mint { now: mint().now, ..Mint::of_etype(etype) },
            Keys::Ntlm => mint(),
        }
    }

    /// The parts of a service.
    pub(crate) fn service_config(self) -> ServiceConfig {
        let mut policy = AcceptorPolicy::default();
        policy.permitted_enctypes = self.etypes();
        if self.signs_only() {
            policy.dangerous().allow_unsealed();
        }
        if self.keys == Keys::Ntlm {
            policy.dangerous().allow_ntlm(NtlmService { names: names(), accepted_spns: Vec::new() });
        }
        let config = ServiceConfig::new(Acceptor::new(self.mint().service_keys(), policy));
        let accounts: Option<Box<dyn Accounts>> = Some(Box::new(Alice));
        ServiceConfig { framing: self.framing, handshake_deadline: AMPLE, accounts, ..config }
    }

    /// The parts of a client of it.
    pub(crate) fn client_config(self) -> ClientConfig {
        let mut policy = InitiatorPolicy::default();
        policy.permitted_enctypes = self.etypes();
        if self.signs_only() {
            policy.dangerous().sign_only();
        }
        let config = ClientConfig::new(ClientCredential::Ready(self.initiator(policy)));
        ClientConfig { framing: self.framing, handshake_deadline: AMPLE, ..config }
    }

    fn initiator(self, mut policy: InitiatorPolicy) -> Initiator {
        let mint = self.mint();
        if self.keys == Keys::Ntlm {
            policy.dangerous().allow_ntlm();
            let (user, domain) = ("alice".to_owned(), "EXAMPLE".to_owned());
            let credential = Credential { user, domain, nt_hash: nt_hash("secret") };
            return Initiator::by_ntlm(mint.service, credential, policy).unwrap();
        }
        let ccache = mint.ccache(&[mint.ticket()]);
        Initiator::from_ccache(&ccache, &mint.service, policy, mint.now).unwrap()
    }

    fn etypes(self) -> Vec<Etype> {
        match self.keys {
            Keys::Kerberos(etype) => vec![etype],
            Keys::Ntlm => DEFAULT_PERMITTED_ENCTYPES.to_vec(),
        }
    }

    /// Both ends of a session of this kind: the service's, then the client's.
    pub(crate) fn sessions<S: Socket>(self, faces: (Face, Face), pair: (S, S)) -> (Session<S>, Session<S>) {
        let service = Service::new(self.service_config());
        sessions(faces, &service, &Client::new(self.client_config()), pair)
    }
}

fn names() -> TargetNames {
    TargetNames {
        netbios_computer: "A".to_owned(),
        netbios_domain: "EXAMPLE".to_owned(),
        dns_computer: "a.example.test".to_owned(),
        dns_domain: "example.test".to_owned(),
    }
}
