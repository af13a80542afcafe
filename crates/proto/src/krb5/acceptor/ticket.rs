//! Opening the ticket, and what the ticket alone decides.

use super::error::{AcceptError, KeyPart};
use crate::crypto::{Etype, Key};
use crate::der::Reader;
use crate::krb5::facts::Facts;
use crate::krb5::keys::{Claim, ServiceKey, ServiceKeys};
use crate::krb5::msg::authorization_data::{AuthorizationData, ad_type};
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::{EncTicketPart, TicketFlags};
use crate::krb5::transited;
use crate::policy::{AcceptorPolicy, Waiver};
use crate::secret::Secret;
use crate::time::Timestamp;
use std::ops::Range;

/// Proof that one of our keys opened the ticket. Only this module's `open` makes it.
pub struct TicketOpened(());

/// A ticket's plaintext, the key that opened it, and the proof of that.
pub(super) struct Opened<'k> {
    buffer: Secret,
    plaintext: Range<usize>,
    pub(super) key: &'k ServiceKey,
    pub(super) proof: TicketOpened,
}

/// Finds the key (DESIGN rule 7) and opens the ticket with it.
pub(super) fn open<'k>(
    service: &Principal,
    enc_part: &EncryptedData<'_>,
    keys: &'k ServiceKeys,
    policy: &AcceptorPolicy,
) -> Result<Opened<'k>, AcceptError> {
    let etype = permitted_etype(service, KeyPart::Ticket, enc_part.etype, policy)?;
    let claim = Claim { service: service.clone(), kvno: enc_part.kvno, etype };
    let accepted = policy.accept_principals.as_slice();
    let mut buffer = Secret::new(Vec::with_capacity(enc_part.cipher.len()));
    for key in keys.candidates(&claim, accepted) {
        let bytes = buffer.expose_mut();
        bytes.clear();
        bytes.extend_from_slice(enc_part.cipher);
        let cipher = key.ticket_cipher();
        if let Ok(plaintext) = cipher.open_in_place(bytes) {
            let start = cipher.prefix_len();
            let plaintext = start..start.saturating_add(plaintext.len());
            return Ok(Opened { buffer, plaintext, key, proof: TicketOpened(()) });
        }
    }
    let absence = keys.why_absent(&claim, accepted);
    let have = keys.describe(service);
    Err(AcceptError::Key { absence, service: claim.service, kvno: claim.kvno, etype, have })
}

impl Opened<'_> {
    /// Reads what the ticket says.
    pub(super) fn parse(&self, service: &Principal) -> Result<EncTicketPart<'_>, AcceptError> {
        let plaintext = self.buffer.expose().get(self.plaintext.clone()).unwrap_or_default();
        EncTicketPart::parse(Reader::new(plaintext))
            .map_err(|fault| AcceptError::Ticket { service: service.clone(), fault })
    }
}

/// The etype with this number, if it is implemented and permitted.
pub(super) fn permitted_etype(
    service: &Principal,
    part: KeyPart,
    number: i32,
    policy: &AcceptorPolicy,
) -> Result<Etype, AcceptError> {
    let unknown = || AcceptError::EtypeUnknown { service: service.clone(), etype: number };
    let etype = Etype::from_wire(number).ok_or_else(unknown)?;
    if policy.permits(etype) {
        return Ok(etype);
    }
    let permitted = policy.permitted_enctypes.clone();
    Err(AcceptError::EtypeNotPermitted { service: service.clone(), part, etype: number, permitted })
}

/// The session key in the ticket.
pub(super) fn session_key(
    service: &Principal,
    ticket: &EncTicketPart<'_>,
    policy: &AcceptorPolicy,
) -> Result<Key, AcceptError> {
    let etype = permitted_etype(service, KeyPart::SessionKey, ticket.key.etype, policy)?;
    let length = ticket.key.bytes.len();
    Key::new(etype, ticket.key.bytes).map_err(|_| AcceptError::SessionKeyLength {
        service: service.clone(),
        etype,
        length,
    })
}

/// Whether the ticket is good now (RFC 4120 section 3.2.3): not before its start, not after its end, not INVALID.
pub(super) fn check_times(facts: &Facts, policy: &AcceptorPolicy, now: Timestamp) -> Result<(), AcceptError> {
    let client = || facts.client.clone();
    let skew = policy.clock_skew;
    let invalid = facts.ticket_flags.contains(TicketFlags::INVALID);
    let (from, until) = (facts.starttime, facts.endtime);
    if invalid || from > now.saturating_add(skew) {
        return Err(AcceptError::NotYetValid { client: client(), from, invalid, now, skew });
    }
    if until < now.saturating_sub(skew) {
        return Err(AcceptError::Expired { client: client(), until, now, skew });
    }
    Ok(())
}

/// Whether ticket or authenticator can no more be accepted at any later time: then a replay of it never can either, and the
/// replay store need not know of it.
pub(super) fn check_not_over(
    facts: &Facts,
    ctime: Timestamp,
    policy: &AcceptorPolicy,
    now: Timestamp,
) -> Result<(), AcceptError> {
    let client = || facts.client.clone();
    let skew = policy.clock_skew;
    let until = facts.endtime;
    if until < now.saturating_sub(skew) {
        return Err(AcceptError::Expired { client: client(), until, now, skew });
    }
    // When an authenticator of a time after this is not too early any more, the ticket has expired.
    if ctime > until.saturating_add(skew).saturating_add(skew) {
        return Err(AcceptError::Skew { client: client(), ctime, now, skew });
    }
    Ok(())
}

/// Refuses clients that nobody knows: the KDC says so by a flag, or by the name or the realm that it gives them (RFC 8062
/// sections 3 and 4).
pub(super) fn check_named(client: &Principal, flags: TicketFlags) -> Result<(), AcceptError> {
    let name = client.components.iter().map(Vec::as_slice);
    if flags.contains(TicketFlags::ANONYMOUS)
        || name.eq([&b"WELLKNOWN"[..], b"ANONYMOUS"])
        || client.realm == b"WELLKNOWN:ANONYMOUS"
    {
        return Err(AcceptError::Anonymous { client: client.clone() });
    }
    Ok(())
}

/// Whether the realms that the ticket came through were on the way; gives the waiver that let an unchecked path pass.
pub(super) fn check_transited(
    client: &Principal,
    service: &Principal,
    ticket: &EncTicketPart<'_>,
    policy: &AcceptorPolicy,
) -> Result<Option<Waiver>, AcceptError> {
    if ticket.flags.contains(TicketFlags::TRANSITED_POLICY_CHECKED) {
        return Ok(None);
    }
    let path = transited::check(
        ticket.transited_type,
        ticket.transited,
        &client.realm,
        &service.realm,
        &policy.capaths,
    );
    match path {
        Ok(()) => Ok(None),
        Err(_) if policy.gives_up(Waiver::IgnoreTransited) => Ok(Some(Waiver::IgnoreTransited)),
        Err(fault) => Err(AcceptError::Transited { client: client.clone(), service: service.clone(), fault }),
    }
}

/// Refuses elements that must be understood and are not (RFC 4120 section 5.2.6).
pub(super) fn check_authorization_data(
    client: &Principal,
    place: &'static str,
    data: Option<&AuthorizationData<'_>>,
) -> Result<(), AcceptError> {
    const UNDERSTOOD: [i32; 10] = [
        ad_type::AD_IF_RELEVANT,
        ad_type::AD_KDC_ISSUED,
        ad_type::AD_MANDATORY_FOR_KDC,
        ad_type::AD_CAMMAC,
        ad_type::AD_WIN2K_PAC,
        ad_type::AD_ETYPE_NEGOTIATION,
        ad_type::KERB_AUTH_DATA_TOKEN_RESTRICTIONS,
        ad_type::KERB_LOCAL,
        ad_type::KERB_AP_OPTIONS,
        ad_type::KERB_CLIENT_TARGET,
    ];
    let critical =
        data.and_then(|data| data.elements().find(|element| !UNDERSTOOD.contains(&element.ad_type)));
    critical.map_or(Ok(()), |element| {
        Err(AcceptError::AuthorizationData { client: client.clone(), place, ad_type: element.ad_type })
    })
}
