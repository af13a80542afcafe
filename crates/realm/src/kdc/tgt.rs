//! Opening a ticket-granting ticket of this realm, and the authenticator that comes with it (RFC 4120 section 3.2.3).

use super::Call;
use super::denied::Denied;
use crate::accounts::Account;
use crate::record::Reason;
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::der::Reader;
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::authenticator::Authenticator;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::{EncTicketPart, Ticket, TicketFlags};
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;

/// What a ticket-granting ticket says. One of the realm's own keys opened it, and it is good now.
pub(super) struct Tgt {
    pub(super) session_key: Key,
    pub(super) client: Principal,
    pub(super) flags: TicketFlags,
    pub(super) authtime: Timestamp,
    pub(super) starttime: Timestamp,
    pub(super) endtime: Timestamp,
    pub(super) renew_till: Option<Timestamp>,
    /// An AuthorizationData's elements, laid end to end as encoded.
    pub(super) authorization: Vec<u8>,
}

/// Opens a ticket-granting ticket.
pub(super) fn open(call: &Call<'_>, ticket: &Ticket<'_>) -> Result<Tgt, Denied> {
    // A ticket of another realm's KDC would need a key that the two share, and there is none.
    if ticket.realm != call.realm() {
        return Err(Denied::new(krb::KDC_ERR_POLICY, Reason::TgtForeign));
    }
    let granting = call.granting_service();
    if !ticket.sname.components().eq(granting.components.iter().map(Vec::as_slice)) {
        return Err(Denied::new(krb::KRB_AP_ERR_NOT_US, Reason::TgtForeign));
    }
    let key = key_of(&call.granting_account()?, &ticket.enc_part)?;
    let unreadable = || Denied::new(krb::KRB_AP_ERR_BAD_INTEGRITY, Reason::TgtIntegrity);
    let mut buffer = Secret::from(ticket.enc_part.cipher);
    let opened = key.cipher(KeyUsage::TICKET).open_in_place(buffer.expose_mut()).map_err(|_| unreadable())?;
    let part = EncTicketPart::parse(Reader::new(opened)).map_err(|_| unreadable())?;
    let tgt = Tgt {
        session_key: permitted_key(call, &part.key)?,
        client: part.cname.to_principal(part.crealm),
        flags: part.flags,
        authtime: part.authtime,
        starttime: part.valid_from(),
        endtime: part.endtime,
        renew_till: part.renew_till,
        authorization: super::authorization::elements(part.authorization_data.as_ref()),
    };
    check_times(call, &tgt)?;
    Ok(tgt)
}

/// The realm's key of the ticket's kvno and etype; of the newest kvno, if the ticket names none.
fn key_of(account: &Account, enc_part: &EncryptedData<'_>) -> Result<Key, Denied> {
    let newest = account.newest_keys().next().map(|key| key.kvno);
    let kvno = enc_part.kvno.or(newest);
    let of_kvno = account.keys.iter().filter(|key| Some(key.kvno) == kvno);
    let mut of_etype = of_kvno.filter(|key| key.key.etype().wire() == enc_part.etype);
    let absent = || Denied::new(krb::KRB_AP_ERR_BADKEYVER, Reason::TgtIntegrity);
    of_etype.next().map(|key| key.key.clone()).ok_or_else(absent)
}

/// A key that a message holds, if its etype is permitted.
fn permitted_key(call: &Call<'_>, key: &EncryptionKeyRef<'_>) -> Result<Key, Denied> {
    let refused = || Denied::new(krb::KDC_ERR_ETYPE_NOSUPP, Reason::Etypes);
    let etype =
        Etype::from_wire(key.etype).filter(|etype| call.policy.permits(*etype)).ok_or_else(refused)?;
    Key::new(etype, key.bytes).map_err(|_| refused())
}

/// The times are our own clock's, or that of a KDC beside us: the end needs no leeway.
fn check_times(call: &Call<'_>, tgt: &Tgt) -> Result<(), Denied> {
    let not_yet = tgt.starttime > call.now.saturating_add(call.policy.clock_skew);
    if not_yet || tgt.flags.contains(TicketFlags::INVALID) {
        return Err(Denied::new(krb::KRB_AP_ERR_TKT_NYV, Reason::TgtNotYetValid));
    }
    if tgt.endtime < call.now {
        return Err(Denied::new(krb::KRB_AP_ERR_TKT_EXPIRED, Reason::TgtExpired));
    }
    Ok(())
}

/// What an authenticator says. The ticket's session key opened it, and it is of the ticket's client and of now.
pub(super) struct OpenAuthenticator {
    pub(super) subkey: Option<Key>,
    /// Type and bytes of its checksum.
    pub(super) cksum: Option<(i32, Vec<u8>)>,
}

/// Opens an authenticator.
pub(super) fn open_authenticator(
    call: &Call<'_>,
    tgt: &Tgt,
    authenticator: &EncryptedData<'_>,
    usage: KeyUsage,
) -> Result<OpenAuthenticator, Denied> {
    let unreadable = || Denied::new(krb::KRB_AP_ERR_BAD_INTEGRITY, Reason::Authenticator);
    if authenticator.etype != tgt.session_key.etype().wire() {
        return Err(unreadable());
    }
    let mut buffer = Secret::from(authenticator.cipher);
    let opened =
        tgt.session_key.cipher(usage).open_in_place(buffer.expose_mut()).map_err(|_| unreadable())?;
    let authenticator = Authenticator::parse(Reader::new(opened)).map_err(|_| unreadable())?;
    if authenticator.cname.to_principal(authenticator.crealm) != tgt.client {
        return Err(Denied::new(krb::KRB_AP_ERR_BADMATCH, Reason::Authenticator));
    }
    if authenticator.ctime.abs_diff(call.now) > call.policy.clock_skew {
        return Err(Denied::new(krb::KRB_AP_ERR_SKEW, Reason::Skew));
    }
    Ok(OpenAuthenticator {
        subkey: authenticator.subkey.as_ref().map(|key| permitted_key(call, key)).transpose()?,
        cksum: authenticator.cksum.map(|sum| (sum.cksumtype, sum.bytes.to_vec())),
    })
}
