//! What a KDC and a client would make, made by hand: tickets, keytabs, credential caches and AP-REQs in which every
//! field can be set, right or wrong, so that each check of an acceptor or initiator can be hit alone.

mod ap_rep;
mod ap_req;
pub mod authorization_data;
mod files;
mod ticket;
mod wrap_token;

pub use ap_rep::ApRep;
pub use ap_req::{ApReq, Authenticator, RawChecksum, gss_checksum};
pub use files::{ccache_bytes, keytab_bytes};
pub use ticket::{RawKey, Ticket};
pub use wrap_token::WrapToken;

use crate::rng::TestRng;
use countersign_proto::ccache::{Ccache, Credential};
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::gss::{BindingsHash, GssFlags};
use countersign_proto::keytab::{Keytab, KeytabEntry};
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::krb5::msg::ap_req::ApOptions;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use std::time::Duration;

/// The time at which a mint's tickets are one minute old: 2026-11-23 02:00:00.25 UTC.
pub const NOW: Timestamp = Timestamp::new(1_795_399_200, 250_000);

/// The flags that a client asks for who wants everything that is granted here.
pub const FLAGS: GssFlags = GssFlags(
    GssFlags::MUTUAL.0 | GssFlags::REPLAY.0 | GssFlags::SEQUENCE.0 | GssFlags::CONF.0 | GssFlags::INTEG.0,
);

/// Who meets whom, and with keys of which etypes. What it makes is right in every field; tests then change fields.
#[derive(Clone, Debug)]
pub struct Mint {
    /// The client.
    pub client: Principal,
    /// The service.
    pub service: Principal,
    /// Version of the service's key.
    pub kvno: u32,
    /// Etype of the service's key.
    pub ticket_etype: Etype,
    /// Etype of session keys.
    pub session_etype: Etype,
    /// Etype of initiators' subkeys.
    pub subkey_etype: Etype,
    /// The time at which everything is made.
    pub now: Timestamp,
}

impl Default for Mint {
    /// alice and HTTP/a.example.test in EXAMPLE.TEST, kvno 2, etype 18 throughout, at [`NOW`].
    fn default() -> Self {
        Self::of_etype(Etype::Aes256CtsHmacSha1_96)
    }
}

impl Mint {
    /// The default with another etype for every key.
    #[must_use]
    pub fn of_etype(etype: Etype) -> Self {
        Self {
            client: Principal::new("EXAMPLE.TEST", &["alice"]),
            service: Principal::new("EXAMPLE.TEST", &["HTTP", "a.example.test"]),
            kvno: 2,
            ticket_etype: etype,
            session_etype: etype,
            subkey_etype: etype,
            now: NOW,
        }
    }

    /// The key of `principal` in version `kvno`: the same whenever asked for, and unlike any other.
    #[must_use]
    pub fn key(&self, principal: &Principal, kvno: u32, etype: Etype) -> Key {
        let text = format!("{principal} {kvno} {etype}");
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        Key::generate(etype, &mut TestRng::new(text.bytes().fold(0xCBF2_9CE4_8422_2325, fnv)))
    }

    /// The service's key.
    #[must_use]
    pub fn service_key(&self) -> Key {
        self.key(&self.service, self.kvno, self.ticket_etype)
    }

    /// A ticket for the service, one minute old and good for eight hours, TRANSITED-POLICY-CHECKED not set.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        let minute = Duration::from_secs(60);
        let session_key = self.key(&self.client, 0, self.session_etype);
        Ticket {
            service: self.service.clone(),
            key: self.service_key(),
            etype: self.ticket_etype.wire(),
            kvno: Some(self.kvno.into()),
            flags: TicketFlags::PRE_AUTHENT,
            written_session_key: RawKey::of(&session_key),
            session_key,
            client: self.client.clone(),
            transited_type: 1,
            transited: Vec::new(),
            authtime: self.now.saturating_sub(minute),
            starttime: Some(self.now.saturating_sub(minute)),
            endtime: self.now.saturating_add(minute * 480),
            renew_till: None,
            authorization_data: None,
            appended: Vec::new(),
        }
    }

    /// An AP-REQ around [`Mint::ticket`], with GSS checksum, subkey and sequence number, bound to no channel.
    #[must_use]
    pub fn ap_req(&self) -> ApReq {
        self.ap_req_with(self.ticket())
    }

    /// An AP-REQ around `ticket`.
    #[must_use]
    pub fn ap_req_with(&self, ticket: Ticket) -> ApReq {
        let subkey = self.key(&self.client, 1, self.subkey_etype);
        ApReq {
            ap_options: ApOptions::MUTUAL_REQUIRED,
            key: ticket.session_key.clone(),
            usage: KeyUsage::AP_REQ_AUTHENTICATOR,
            etype: ticket.session_key.etype().wire(),
            ticket,
            authenticator: Authenticator {
                client: self.client.clone(),
                checksum: Some(gss_checksum(BindingsHash::NONE, FLAGS)),
                ctime: self.now,
                subkey: Some(RawKey::of(&subkey)),
                seq_number: Some(0x1234),
                authorization_data: None,
                appended: Vec::new(),
            },
            seed: 1,
        }
    }

    /// The AP-REP that answers `request`, with a subkey and a sequence number.
    #[must_use]
    pub fn ap_rep(&self, request: &ApReq) -> ApRep {
        ApRep {
            ctime: request.authenticator.ctime,
            subkey: Some(RawKey::of(&self.key(&self.service, 0, self.session_etype))),
            seq_number: Some(0x4321),
            appended: Vec::new(),
            key: request.ticket.session_key.clone(),
            usage: KeyUsage::AP_REP,
            etype: request.ticket.session_key.etype().wire(),
        }
    }

    /// A keytab entry with the key of `principal`.
    #[must_use]
    pub fn entry(&self, principal: &Principal, kvno: u32, etype: Etype) -> KeytabEntry {
        KeytabEntry {
            principal: principal.clone(),
            timestamp: 0,
            kvno,
            etype: etype.wire(),
            key: Secret::from(self.key(principal, kvno, etype).expose()),
        }
    }

    /// A keytab with the service's key alone.
    #[must_use]
    pub fn keytab(&self) -> Keytab {
        Keytab { entries: vec![self.entry(&self.service, self.kvno, self.ticket_etype)] }
    }

    /// The keys of [`Mint::keytab`], ready for use.
    #[must_use]
    pub fn service_keys(&self) -> ServiceKeys {
        ServiceKeys::from_keytab(&self.keytab()).unwrap()
    }

    /// A credential cache of the client that holds `tickets`.
    #[must_use]
    pub fn ccache(&self, tickets: &[Ticket]) -> Ccache {
        let credentials = tickets.iter().map(|ticket| self.credential(ticket)).collect();
        Ccache { credentials, ..Ccache::new(self.client.clone()) }
    }

    /// `ticket` as a credential cache holds it.
    #[must_use]
    pub fn credential(&self, ticket: &Ticket) -> Credential {
        Credential {
            client: ticket.client.clone(),
            server: ticket.service.clone(),
            key_etype: ticket.written_session_key.etype,
            key: Secret::from(ticket.written_session_key.bytes.as_slice()),
            authtime: ticket.authtime,
            starttime: ticket.starttime.unwrap_or_default(),
            endtime: ticket.endtime,
            renew_till: ticket.renew_till.unwrap_or_default(),
            is_skey: false,
            flags: ticket.flags.0,
            addresses: Vec::new(),
            authdata: Vec::new(),
            ticket: ticket.encode(),
            second_ticket: Vec::new(),
        }
    }
}
