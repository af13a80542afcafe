//! What every ticket from a KDC is held to (RFC 4120 sections 3.1.5 and 3.3.4).

use super::error::KdcError;
use super::granting_realm;
use crate::ccache::{Credential, Element};
use crate::crypto::{Etype, Key};
use crate::der::Reader;
use crate::krb5::msg::kdc_rep::{EncKdcRepPart, KdcRep};
use crate::krb5::msg::kdc_req::KdcOptions;
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What was asked.
pub(super) struct Asked<'a> {
    /// The realm whose KDC was asked.
    pub(super) realm: &'a [u8],
    pub(super) nonce: u32,
    pub(super) options: KdcOptions,
    pub(super) etypes: &'a [Etype],
    pub(super) client: &'a Principal,
    /// Whether the KDC may give the client another name.
    pub(super) any_client: bool,
    pub(super) service: &'a Principal,
    pub(super) till: Timestamp,
    pub(super) rtime: Option<Timestamp>,
}

impl Asked<'_> {
    /// Compares the reply with what was asked, and takes the ticket out of it.
    pub(super) fn compare(
        &self,
        rep: &KdcRep<'_>,
        part: &EncKdcRepPart<'_>,
        client: &Principal,
    ) -> Result<Credential, KdcError> {
        if part.nonce != self.nonce {
            return Err(self.modified("nonce", part.nonce.to_string(), self.nonce.to_string()));
        }
        self.compare_client(client)?;
        let server = part.sname.to_principal(part.srealm);
        if server != rep.ticket.sname.to_principal(rep.ticket.realm) {
            let outer = rep.ticket.sname.to_principal(rep.ticket.realm);
            return Err(self.modified("a ticket named for", outer.to_string(), server.to_string()));
        }
        self.compare_service(&server)?;
        self.compare_times(part)?;
        let key = self.session_key(part)?;
        Ok(Credential {
            client: client.clone(),
            server,
            key_etype: key.etype().wire(),
            key: Secret::from(key.expose()),
            authtime: part.authtime,
            starttime: part.starttime.unwrap_or(part.authtime),
            endtime: part.endtime,
            renew_till: part.renew_till.unwrap_or_default(),
            is_skey: self.options.contains(KdcOptions::ENC_TKT_IN_SKEY),
            flags: part.flags.0,
            addresses: addresses(part.caddr),
            authdata: Vec::new(),
            ticket: rep.encoded_ticket.to_vec(),
            second_ticket: Vec::new(),
        })
    }

    fn compare_client(&self, client: &Principal) -> Result<(), KdcError> {
        if client == self.client || self.any_client {
            return Ok(());
        }
        Err(self.modified("a ticket of", client.to_string(), format!("one of {}", self.client)))
    }

    /// The service is the one asked for; or the ticket-granting service of another realm, to be asked next; or, with
    /// canonicalize, the KDC's own name for it.
    fn compare_service(&self, server: &Principal) -> Result<(), KdcError> {
        let canonicalize = self.options.contains(KdcOptions::CANONICALIZE);
        let both_grant = granting_realm(server).is_some() && granting_realm(self.service).is_some();
        let initial = self.realm == self.client.realm && both_grant;
        let permitted = server == self.service || (canonicalize && (server.realm == self.realm || initial));
        if permitted {
            Ok(())
        } else {
            Err(self.modified("a ticket for", server.to_string(), self.service.to_string()))
        }
    }

    fn compare_times(&self, part: &EncKdcRepPart<'_>) -> Result<(), KdcError> {
        let epoch = Timestamp::default();
        if self.till != epoch && part.endtime > self.till {
            return Err(self.modified("a ticket until", part.endtime.to_string(), self.till.to_string()));
        }
        let bound = self.rtime.or(self.options.contains(KdcOptions::RENEWABLE_OK).then_some(self.till));
        match (part.renew_till, bound) {
            (Some(renew_till), Some(bound)) if bound != epoch && renew_till > bound => {
                Err(self.modified("a ticket renewable until", renew_till.to_string(), bound.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn session_key(&self, part: &EncKdcRepPart<'_>) -> Result<Key, KdcError> {
        let number = part.key.etype;
        let Some(etype) = self.etypes.iter().find(|etype| etype.wire() == number) else {
            return Err(self.etype("session key", number));
        };
        Key::new(*etype, part.key.bytes).map_err(|_| {
            let asked = format!("one of {} bytes", etype.key_len());
            self.modified("a session key of", format!("{} bytes for {etype}", part.key.bytes.len()), asked)
        })
    }

    /// Refuses an etype that was not asked for.
    pub(super) fn etype(&self, part: &'static str, etype: i32) -> KdcError {
        KdcError::Etype { part, etype, asked: self.etypes.to_vec(), realm: self.realm.to_vec() }
    }

    pub(super) fn modified(&self, what: &'static str, found: String, asked: String) -> KdcError {
        KdcError::Modified { what, found, asked, realm: self.realm.to_vec() }
    }

    pub(super) fn integrity(&self, part: &'static str) -> KdcError {
        KdcError::Integrity { part, realm: self.realm.to_vec(), client: self.client.clone() }
    }
}

/// HostAddresses as a credential cache keeps them. What cannot be read is left out: addresses prove nothing.
fn addresses(caddr: Option<&[u8]>) -> Vec<Element> {
    let mut rest = Reader::new(caddr.unwrap_or_default());
    let mut addresses = Vec::new();
    while let Ok(address) = rest.within(crate::der::tag::SEQUENCE, |address| {
        Ok(Element {
            element_type: address.field(0, Reader::int32)?,
            data: address.field(1, Reader::octets)?.to_vec(),
        })
    }) {
        addresses.push(address);
    }
    addresses
}
