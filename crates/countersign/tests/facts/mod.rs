//! Facts and keys that were never proved, for tests of what is said about them.

use countersign::proto::context::Facts;
use countersign::proto::crypto::Etype;
use countersign::proto::gss::GssFlags;
use countersign::proto::keytab::{Keytab, KeytabEntry};
use countersign::proto::krb5::facts::{BindingsState, Facts as KerberosFacts};
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5::msg::ticket::TicketFlags;
use countersign::proto::ntlm;
use countersign::proto::secret::Secret;
use countersign::proto::time::Timestamp;

fn principal(name: &str) -> Principal {
    Principal::parse(name).unwrap()
}

/// Alice by Kerberos, with a ticket under version 3 of the key.
pub(crate) fn kerberos() -> Facts {
    Facts::Kerberos(KerberosFacts {
        client: principal("alice@EXAMPLE.TEST"),
        service: principal("echo/a.example.test@EXAMPLE.TEST"),
        claimed_service: principal("echo/a.example.test@EXAMPLE.TEST"),
        ticket_etype: 18,
        kvno: Some(3),
        session_etype: Etype::Aes256CtsHmacSha1_96,
        message_etype: Etype::Aes256CtsHmacSha1_96,
        flags: GssFlags::default(),
        ticket_flags: TicketFlags::default(),
        mutual: true,
        by_iakerb: false,
        bindings: BindingsState::Matched,
        authtime: Timestamp::default(),
        starttime: Timestamp::default(),
        endtime: Timestamp::default(),
        waivers: Vec::new(),
    })
}

/// Alice by NTLM.
pub(crate) fn ntlm() -> ntlm::Facts {
    ntlm::Facts {
        client: ntlm::accounts::Identity { user: "alice".into(), domain: "EXAMPLE".into(), guest: false },
        workstation: String::new(),
        target_name: None,
        flags: ntlm::NegotiateFlags::default(),
        mutual: false,
        bindings: BindingsState::NotCompared,
    }
}

/// Versions 3 and 7 of a service's key.
pub(crate) fn keys() -> ServiceKeys {
    let entry = |kvno: u32| KeytabEntry {
        principal: principal("echo/a.example.test@EXAMPLE.TEST"),
        timestamp: 0,
        kvno,
        etype: 18,
        key: Secret::new(kvno.to_be_bytes().repeat(8)),
    };
    ServiceKeys::from_keytab(&Keytab { entries: vec![entry(7), entry(3)] }).unwrap()
}
