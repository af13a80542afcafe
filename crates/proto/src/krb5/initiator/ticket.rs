//! The ticket that an initiator presents, out of a credential cache.

use super::error::InitiateError;
use crate::ccache::{Ccache, Credential};
use crate::crypto::{Etype, Key};
use crate::der::Reader;
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::{Ticket, TicketFlags};
use crate::policy::InitiatorPolicy;
use crate::time::Timestamp;
use std::time::Duration;

/// How many of the cache's tickets a refusal lists.
const MAX_LISTED: usize = 8;

/// A service ticket with its session key, ready to be presented.
#[derive(Clone)]
pub struct ServiceTicket {
    /// The client that it was issued to.
    pub client: Principal,
    /// The service that it is for, its realm the ticket's if the cache has none.
    pub service: Principal,
    /// Session key.
    pub session_key: Key,
    /// Etype of the key that it is under, which we do not have.
    pub etype: i32,
    /// Version of that key.
    pub kvno: Option<u32>,
    /// Flags.
    pub flags: TicketFlags,
    /// When the client authenticated to its KDC.
    pub authtime: Timestamp,
    /// From when on it is good.
    pub starttime: Timestamp,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// The Ticket, encoded.
    pub encoded: Vec<u8>,
}

impl ServiceTicket {
    /// The first ticket in `ccache` for `service` that is good now and whose session key is permitted. A service without
    /// realm is looked for in any realm.
    ///
    /// # Errors
    /// If there is none; the error tells of the last one what is wrong with it.
    pub fn select(
        ccache: &Ccache,
        service: &Principal,
        permitted_enctypes: &[Etype],
        clock_skew: Duration,
        now: Timestamp,
    ) -> Result<Self, InitiateError> {
        let mut fault = None;
        for credential in ccache.find_service(service) {
            match Self::from_credential(credential, permitted_enctypes, clock_skew, now) {
                Ok(ticket) => return Ok(ticket),
                Err(error) => fault = Some(error),
            }
        }
        Err(fault.unwrap_or_else(|| {
            let cached = ccache.credentials.iter().take(MAX_LISTED);
            let cached = cached.map(|credential| service_of(credential).to_string()).collect();
            InitiateError::NoTicket { service: service.clone(), cached }
        }))
    }

    /// Checks one ticket of a cache.
    ///
    /// # Errors
    /// If it is not good now, its session key is not permitted, or it is no ticket at all.
    pub fn from_credential(
        credential: &Credential,
        permitted_enctypes: &[Etype],
        clock_skew: Duration,
        now: Timestamp,
    ) -> Result<Self, InitiateError> {
        let service = service_of(credential);
        let epoch = Timestamp::default();
        let from = if credential.starttime == epoch { credential.authtime } else { credential.starttime };
        let until = credential.endtime;
        check_times(&service, from, until, clock_skew, now)?;
        let session_key = session_key(credential, permitted_enctypes)?;
        let mut reader = Reader::new(&credential.ticket);
        let parsed = Ticket::parse(&mut reader).and_then(|ticket| reader.finish().map(|()| ticket));
        let ticket =
            parsed.map_err(|fault| InitiateError::CachedTicket { service: service.clone(), fault })?;
        Ok(Self {
            client: credential.client.clone(),
            service,
            session_key,
            etype: ticket.enc_part.etype,
            kvno: ticket.enc_part.kvno,
            flags: TicketFlags(credential.flags),
            authtime: credential.authtime,
            starttime: from,
            endtime: until,
            encoded: credential.ticket.clone(),
        })
    }
}

fn service_of(credential: &Credential) -> Principal {
    Principal { realm: credential.service_realm().to_vec(), ..credential.server.clone() }
}

impl ServiceTicket {
    /// Whether it is good now, and `policy` permits the etype of its session key.
    ///
    /// # Errors
    /// If it is not, or not yet, or policy does not.
    pub fn check(&self, policy: &InitiatorPolicy, now: Timestamp) -> Result<(), InitiateError> {
        let etype = self.session_key.etype();
        if !policy.permitted_enctypes.contains(&etype) {
            let (service, permitted) = (self.service.clone(), policy.permitted_enctypes.clone());
            return Err(InitiateError::SessionKeyEtype { service, etype: etype.wire(), permitted });
        }
        check_times(&self.service, self.starttime, self.endtime, policy.clock_skew, now)
    }
}

fn check_times(
    service: &Principal,
    from: Timestamp,
    until: Timestamp,
    clock_skew: Duration,
    now: Timestamp,
) -> Result<(), InitiateError> {
    if from > now.saturating_add(clock_skew) || until <= now {
        return Err(InitiateError::TicketNotValid { service: service.clone(), from, until, now });
    }
    Ok(())
}

fn session_key(credential: &Credential, permitted_enctypes: &[Etype]) -> Result<Key, InitiateError> {
    let service = || service_of(credential);
    let number = credential.key_etype;
    let Some(etype) = Etype::from_wire(number).filter(|etype| permitted_enctypes.contains(etype)) else {
        let permitted = permitted_enctypes.to_vec();
        return Err(InitiateError::SessionKeyEtype { service: service(), etype: number, permitted });
    };
    let length = credential.key.len();
    Key::new(etype, credential.key.expose()).map_err(|_| InitiateError::SessionKeyLength {
        service: service(),
        etype,
        length,
    })
}
