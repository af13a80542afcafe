//! FAST, the KDC's side (RFC 6113 section 5.4): armor of a ticket-granting ticket of this realm for AS requests, and of the
//! request's own for TGS requests.

use super::Call;
use super::denied::Denied;
use super::tgs_request::Shown;
use super::tgt;
use crate::record::Reason;
use countersign_proto::crypto::{Key, KeyUsage, krb_fx_cf2};
use countersign_proto::der::{DerError, Reader, Writer};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::ap_req::ApReq;
use countersign_proto::krb5::msg::checksum::ChecksumRef;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::fast::{
    FX_FAST_ARMOR_AP_REQUEST, KrbFastArmor, KrbFastArmoredRep, KrbFastArmoredReq, KrbFastReq,
    NewKrbFastFinished, NewKrbFastResponse,
};
use countersign_proto::krb5::msg::kdc_req::{KdcReq, KdcReqBody};
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use rand_core::CryptoRng;
use std::ops::Range;

/// KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS (RFC 6113 section 5.4.2).
const KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS: i32 = 93;

/// Bits 0 to 15 of FastOptions: a KDC must know them or refuse.
const CRITICAL: u32 = 0xFFFF_0000;
/// The client's name is not to be seen outside of the armor.
const HIDE_CLIENT_NAMES: u32 = 1 << 30;

/// A request as it is heeded: what is in the armor, if it has any.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) body: &'a KdcReqBody<'a>,
    /// The body as it was sent.
    pub(super) encoded_body: &'a [u8],
    pub(super) padata: MethodData<'a>,
    /// In what the reply is to be wrapped.
    pub(super) armor: Option<Armor<'a>>,
    /// The whole message as it was sent.
    pub(super) message: &'a [u8],
}

impl<'a> Asked<'a> {
    /// What is outside of armor.
    pub(super) fn outside(request: &'a KdcReq<'a>, message: &'a [u8]) -> Self {
        let KdcReq { body, encoded_body, padata, .. } = request;
        Self { body, encoded_body, padata: *padata, armor: None, message }
    }
}

/// The armor of one request and its reply.
#[derive(Clone, Copy)]
pub(super) struct Armor<'a> {
    pub(super) key: &'a Key,
    hides_client: bool,
}

/// An armored request, opened.
pub(super) struct Armored {
    key: Key,
    buffer: Secret,
    plaintext: Range<usize>,
}

impl Armored {
    /// Opens the value of PA-FX-FAST in an AS request whose outer body is `encoded_body`.
    ///
    /// An authenticator seen before is as good as a new one: who repeats a request cannot open what is answered.
    pub(super) fn open_as(call: &Call<'_>, value: &[u8], encoded_body: &[u8]) -> Result<Self, Denied> {
        let request = KrbFastArmoredReq::parse(value).map_err(|_| Denied::malformed())?;
        let key = match &request.armor {
            Some(armor) => armor_key(call, armor)?,
            None => return Err(refused()),
        };
        Self::open(key, &request, encoded_body)
    }

    /// Opens the value of PA-FX-FAST in a TGS request. Its armor is that of the request's own ticket, and no other.
    pub(super) fn open_tgs(call: &Call<'_>, value: &[u8], shown: &Shown) -> Result<Self, Denied> {
        let request = KrbFastArmoredReq::parse(value).map_err(|_| Denied::malformed())?;
        match &shown.subkey {
            Some(subkey) if request.armor.is_none() && call.policy.permits(subkey.etype()) => {
                Self::open(key_of(subkey, &shown.tgt.session_key), &request, &shown.ap_req)
            }
            _ => Err(refused()),
        }
    }

    fn open(key: Key, request: &KrbFastArmoredReq<'_>, checked: &[u8]) -> Result<Self, Denied> {
        let sum = &request.req_checksum;
        if sum.cksumtype != key.etype().checksum_type() {
            return Err(Denied::new(krb::KRB_AP_ERR_INAPP_CKSUM, Reason::Armor));
        }
        let modified = |_| Denied::new(krb::KRB_AP_ERR_MODIFIED, Reason::Armor);
        key.checksum(KeyUsage::FAST_REQ_CHECKSUM).verify(&[checked], sum.bytes).map_err(modified)?;
        if request.enc_fast_req.etype != key.etype().wire() {
            return Err(refused());
        }
        let cipher = key.cipher(KeyUsage::FAST_ENC);
        let mut buffer = Secret::from(request.enc_fast_req.cipher);
        let length = cipher.open_in_place(buffer.expose_mut()).map_err(modified)?.len();
        let start = cipher.prefix_len();
        Ok(Self { key, buffer, plaintext: start..start.saturating_add(length) })
    }

    /// Reads the request proper.
    pub(super) fn request(&self) -> Result<KrbFastReq<'_>, DerError> {
        let plaintext = self.buffer.expose().get(self.plaintext.clone()).unwrap_or_default();
        KrbFastReq::parse(Reader::new(plaintext))
    }

    /// What is to be heeded of it.
    pub(super) fn inside<'a>(
        &'a self,
        request: &KrbFastReq<'a>,
        body: &'a KdcReqBody<'a>,
        message: &'a [u8],
    ) -> Asked<'a> {
        let hides_client = request.fast_options & HIDE_CLIENT_NAMES != 0;
        Asked {
            body,
            encoded_body: request.req_body,
            padata: request.padata,
            armor: Some(Armor { key: &self.key, hides_client }),
            message,
        }
    }
}

/// Reads the body of the request proper.
pub(super) fn inner_body<'a>(request: &KrbFastReq<'a>) -> Result<KdcReqBody<'a>, DerError> {
    Reader::whole(request.req_body, KdcReqBody::parse)
}

/// Refuses options that must be understood and are not.
pub(super) fn critical_options(request: &KrbFastReq<'_>) -> Result<(), Denied> {
    if request.fast_options & CRITICAL & !HIDE_CLIENT_NAMES == 0 {
        return Ok(());
    }
    Err(Denied::new(KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS, Reason::FastOption))
}

/// The key of armor that is an AP-REQ with a subkey (RFC 6113 section 5.4.1.1). Whose ticket it is does not matter.
fn armor_key(call: &Call<'_>, armor: &KrbFastArmor<'_>) -> Result<Key, Denied> {
    if armor.armor_type != FX_FAST_ARMOR_AP_REQUEST {
        return Err(refused());
    }
    let ap_req = ApReq::parse(armor.armor_value).map_err(|_| Denied::malformed())?;
    let tgt = tgt::open(call, &ap_req.ticket)?;
    let shown = tgt::open_authenticator(call, &tgt, &ap_req.authenticator, KeyUsage::AP_REQ_AUTHENTICATOR)?;
    let subkey = shown.subkey.ok_or_else(refused)?;
    Ok(key_of(&subkey, &tgt.session_key))
}

fn key_of(subkey: &Key, session_key: &Key) -> Key {
    krb_fx_cf2(subkey, session_key, b"subkeyarmor", b"ticketarmor")
}

fn refused() -> Denied {
    Denied::new(krb::KDC_ERR_PREAUTH_FAILED, Reason::Armor)
}

/// What ends an exchange in armor.
pub(super) struct End<'a> {
    /// What the reply key is mixed with.
    pub(super) strengthen: &'a Key,
    pub(super) client: &'a Principal,
    pub(super) encoded_ticket: &'a [u8],
    pub(super) now: Timestamp,
}

impl Armor<'_> {
    /// The value of PA-FX-FAST with this padata in it, and beside a ticket with the end of the exchange.
    pub(super) fn seal(
        &self,
        padata: &[PaData<'_>],
        nonce: u32,
        end: Option<&End<'_>>,
        rng: &mut dyn CryptoRng,
    ) -> Vec<u8> {
        let etype = self.key.etype();
        let sum = end.map(|end| self.key.checksum(KeyUsage::FAST_FINISHED).sign(&[end.encoded_ticket]));
        let finished = end.zip(sum.as_ref()).map(|(end, sum)| NewKrbFastFinished {
            timestamp: end.now,
            client: end.client,
            ticket_checksum: ChecksumRef { cksumtype: etype.checksum_type(), bytes: sum.as_ref() },
        });
        let strengthen_key = end.map(|End { strengthen, .. }| EncryptionKeyRef {
            etype: strengthen.etype().wire(),
            bytes: strengthen.expose(),
        });
        let response = NewKrbFastResponse { padata, strengthen_key, finished, nonce };
        let mut plaintext = Secret::new(Vec::with_capacity(room(padata, end)));
        response.write(&mut Writer::new(plaintext.expose_mut()));
        let mut cipher = Vec::new();
        self.key.cipher(KeyUsage::FAST_REP).seal(rng, plaintext.expose(), &mut cipher);
        let enc_fast_rep = EncryptedData { etype: etype.wire(), kvno: None, cipher: &cipher };
        let mut value = Vec::new();
        KrbFastArmoredRep { enc_fast_rep }.write(&mut Writer::new(&mut value));
        value
    }

    /// The client as it is named outside of the armor.
    pub(super) fn outer_client(&self, client: Option<Principal>) -> Option<Principal> {
        if self.hides_client { Some(anonymous()) } else { client }
    }
}

/// More bytes than a KrbFastResponse takes: it holds a key, so its buffer must not grow.
fn room(padata: &[PaData<'_>], end: Option<&End<'_>>) -> usize {
    const ELEMENT: usize = 32;
    let values = padata.iter().map(|element| element.padata_value.len().saturating_add(ELEMENT));
    let names = end.map_or(0, |end| super::ticket::room_for(end.client));
    values.chain([names]).fold(super::ticket::ROOM, usize::saturating_add)
}

/// The name of nobody in particular (RFC 8062 section 3).
fn anonymous() -> Principal {
    const KRB_NT_WELLKNOWN: i32 = 11;
    let name = Principal::new("WELLKNOWN:ANONYMOUS", &["WELLKNOWN", "ANONYMOUS"]);
    Principal { name_type: KRB_NT_WELLKNOWN, ..name }
}
