//! Messages between a client and its KDC, taken apart so far as nobody's key is needed.
//!
//! It is a second and much smaller reading of what `countersign_proto` reads, on purpose: what a test finds on the wire
//! must not depend on the code under test.

use crate::tlv::Tlv;
use countersign_proto::time::Civil;
use std::ops::Range;

/// A message between a client and its KDC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KdcMessage(Tlv);

/// Which message it is (RFC 4120 section 5.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// AS-REQ.
    AsReq,
    /// AS-REP.
    AsRep,
    /// TGS-REQ.
    TgsReq,
    /// TGS-REP.
    TgsRep,
    /// KRB-ERROR.
    Error,
}

/// PA-ENC-TIMESTAMP (RFC 4120 section 5.2.7.2).
pub const PA_ENC_TIMESTAMP: i32 = 2;
/// PA-ETYPE-INFO2 (RFC 4120 section 5.2.7.5).
pub const PA_ETYPE_INFO2: i32 = 19;
/// PA-FX-COOKIE (RFC 6113 section 5.2).
pub const PA_FX_COOKIE: i32 = 133;
/// PA-FX-FAST (RFC 6113 section 5.4).
pub const PA_FX_FAST: i32 = 136;
/// PA-REQ-ENC-PA-REP (RFC 6806 section 11).
pub const PA_REQ_ENC_PA_REP: i32 = 149;
/// PA-SPAKE (RFC 9588 section 4).
pub const PA_SPAKE: i32 = 151;

/// A PA-DATA: its type and its value.
pub type PaData = (i32, Vec<u8>);

impl KdcMessage {
    /// The message in `bytes`; none if they are not one.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self(Tlv::parse(bytes)?)).filter(|message| message.known_kind().is_some())
    }

    /// The message that `bytes` are.
    ///
    /// # Panics
    /// If they are none.
    #[must_use]
    #[track_caller]
    pub fn of(bytes: &[u8]) -> Self {
        Self::parse(bytes).unwrap_or_else(|| panic!("no message of a KDC: {bytes:02x?}"))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Which message it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.known_kind().expect("parse has seen it")
    }

    /// A KRB-ERROR's code; none for another message.
    #[must_use]
    pub fn error_code(&self) -> Option<i32> {
        self.error_field(6)?.as_integer()
    }

    /// The PA-DATA of a request or reply, or a KRB-ERROR's METHOD-DATA; none if it has none.
    #[must_use]
    pub fn padata(&self) -> Vec<PaData> {
        let list = match self.kind() {
            Kind::Error => self.error_field(12).and_then(Tlv::bytes).and_then(Tlv::parse),
            _ => self.fields().get(self.padata_field()).cloned(),
        };
        let entry = |entry: &Tlv| Some((entry.get(1)?.as_integer()?, entry.get(2)?.bytes()?.to_vec()));
        list.iter().flat_map(Tlv::children).filter_map(entry).collect()
    }

    /// The types of [`padata`](Self::padata).
    #[must_use]
    pub fn padata_types(&self) -> Vec<i32> {
        self.padata().into_iter().map(|(padata_type, _)| padata_type).collect()
    }

    /// The message with this PA-DATA or METHOD-DATA in place of what it has.
    #[must_use]
    pub fn with_padata(mut self, padata: &[PaData]) -> Self {
        let entries = padata.iter().map(|(padata_type, value)| {
            let value = Tlv::octet_string(value);
            Tlv::sequence(vec![Tlv::field(1, Tlv::integer(*padata_type)), Tlv::field(2, value)])
        });
        let list = Tlv::sequence(entries.collect());
        match self.kind() {
            Kind::Error => self.set_field(12, Some(Tlv::octet_string(&list.encode()))),
            _ => self.set_field(self.padata_field(), Some(list).filter(|list| !list.children().is_empty())),
        }
        self
    }

    /// The message without PA-DATA of this type.
    #[must_use]
    pub fn without_padata(self, padata_type: i32) -> Self {
        let kept: Vec<_> = self.padata().into_iter().filter(|(known, _)| *known != padata_type).collect();
        self.with_padata(&kept)
    }

    /// The KDC's time in a KRB-ERROR, in seconds since 1970; none for another message.
    #[must_use]
    pub fn time(&self) -> Option<i64> {
        let text = str::from_utf8(self.error_field(4)?.bytes()?).ok()?;
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
        let civil = Civil {
            year: text.get(..4)?.parse().ok()?,
            month: number(4, 6)?,
            day: number(6, 8)?,
            hour: number(8, 10)?,
            minute: number(10, 12)?,
            second: number(12, 14)?,
        };
        civil.to_unix_seconds()
    }

    /// A KRB-ERROR with another time of the KDC, in seconds since 1970.
    #[must_use]
    pub fn with_time(mut self, seconds: i64) -> Self {
        const GENERALIZED_TIME: u8 = 0x18;
        let Civil { year, month, day, hour, minute, second } = Civil::from_unix_seconds(seconds);
        let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        self.set_field(4, Some(Tlv::primitive(GENERALIZED_TIME, text.as_bytes())));
        self
    }

    /// A KRB-ERROR with another code.
    #[must_use]
    pub fn with_error_code(mut self, code: i32) -> Self {
        self.set_field(6, Some(Tlv::integer(code)));
        self
    }

    /// A reply with the ticket of `other` in place of its own.
    ///
    /// # Panics
    /// If one of them is no reply.
    #[must_use]
    #[track_caller]
    pub fn with_ticket_of(mut self, other: &Self) -> Self {
        let ticket = other.reply_field(5).expect("the other is a reply").clone();
        assert!(self.reply_field(5).is_some(), "only a reply has a ticket");
        self.set_field(5, Some(ticket));
        self
    }

    /// A reply with the encrypted part of `other` in place of its own.
    ///
    /// # Panics
    /// If one of them is no reply.
    #[must_use]
    #[track_caller]
    pub fn with_enc_part_of(mut self, other: &Self) -> Self {
        let enc_part = other.reply_field(6).expect("the other is a reply").clone();
        assert!(self.reply_field(6).is_some(), "only a reply has an encrypted part");
        self.set_field(6, Some(enc_part));
        self
    }

    /// A reply whose client has another name, of these components.
    #[must_use]
    pub fn with_client(mut self, components: &[&str]) -> Self {
        const NT_PRINCIPAL: i32 = 1;
        let components = components.iter().map(|component| Tlv::general_string(component)).collect();
        let name = [Tlv::integer(NT_PRINCIPAL), Tlv::sequence(components)];
        let fields = (0..).zip(name).map(|(number, part)| Tlv::field(number, part)).collect();
        self.set_field(4, Some(Tlv::sequence(fields)));
        self
    }

    /// Where in the bytes of a reply stands the encrypted part of its ticket, with its etype and kvno: what its client can
    /// neither read nor check.
    ///
    /// # Panics
    /// If it is no reply.
    #[must_use]
    #[track_caller]
    pub fn place_of_sealed_ticket(&self) -> Range<usize> {
        let ticket = self.reply_field(5).and_then(|ticket| ticket.children().first());
        let sealed = ticket.and_then(|ticket| ticket.get(3)).expect("a reply has a ticket").encode();
        let start = self.encode().windows(sealed.len()).position(|bytes| bytes == sealed);
        let start = start.expect("the ticket is a part of the reply");
        start..start + sealed.len()
    }

    /// The etype that a reply's encrypted part is under; none for another message.
    #[must_use]
    pub fn enc_part_etype(&self) -> Option<i32> {
        self.reply_field(6)?.get(0)?.as_integer()
    }

    /// The service that a request asks for, its components with slashes between; empty for another message.
    #[must_use]
    pub fn service(&self) -> String {
        let name = self.body_field(3).and_then(|name| name.get(1));
        let components = name.into_iter().flat_map(Tlv::children).filter_map(Tlv::bytes);
        components.map(String::from_utf8_lossy).collect::<Vec<_>>().join("/")
    }

    /// The realm that a request is for; empty for another message.
    #[must_use]
    pub fn realm(&self) -> String {
        let realm = self.body_field(2).and_then(Tlv::bytes).unwrap_or_default();
        String::from_utf8_lossy(realm).into_owned()
    }

    /// The etypes that a request lists, best first; none for another message.
    #[must_use]
    pub fn etypes(&self) -> Vec<i32> {
        let list = self.body_field(8).map(Tlv::children).unwrap_or_default();
        list.iter().filter_map(Tlv::as_integer).collect()
    }

    /// The options of a request, bit 0 of RFC 4120 section 5.4.1 the highest; 0 for another message.
    #[must_use]
    pub fn options(&self) -> u32 {
        let bits = self.body_field(0).and_then(Tlv::bytes).unwrap_or_default();
        // The first byte of a BIT STRING says how many bits of the last one are none.
        bits.iter().skip(1).take(4).fold(0, |options, byte| (options << 8) | u32::from(*byte))
    }

    fn known_kind(&self) -> Option<Kind> {
        Some(match self.0.tag {
            0x6a => Kind::AsReq,
            0x6b => Kind::AsRep,
            0x6c => Kind::TgsReq,
            0x6d => Kind::TgsRep,
            0x7e => Kind::Error,
            _ => return None,
        })
        .filter(|_| self.0.children().len() == 1)
    }

    /// The SEQUENCE inside the application tag.
    fn fields(&self) -> &Tlv {
        &self.0.children()[0]
    }

    fn set_field(&mut self, number: u8, element: Option<Tlv>) {
        let sequence = self.0.children_mut().and_then(|children| children.first_mut());
        sequence.expect("parse has seen it").set(number, element);
    }

    fn is_request(&self) -> bool {
        matches!(self.kind(), Kind::AsReq | Kind::TgsReq)
    }

    fn padata_field(&self) -> u8 {
        if self.is_request() { 3 } else { 2 }
    }

    fn body_field(&self, number: u8) -> Option<&Tlv> {
        self.is_request().then(|| self.fields().get(4)).flatten()?.get(number)
    }

    fn reply_field(&self, number: u8) -> Option<&Tlv> {
        let is_reply = matches!(self.kind(), Kind::AsRep | Kind::TgsRep);
        is_reply.then(|| self.fields().get(number)).flatten()
    }

    fn error_field(&self, number: u8) -> Option<&Tlv> {
        (self.kind() == Kind::Error).then(|| self.fields().get(number)).flatten()
    }
}

/// The value of a PA-ETYPE-INFO2 with one entry: an etype, a salt and string-to-key parameters.
#[must_use]
pub fn etype_info2(etype: i32, salt: Option<&str>, s2kparams: Option<&[u8]>) -> Vec<u8> {
    let mut entry = Tlv::sequence(vec![Tlv::field(0, Tlv::integer(etype))]);
    entry.set(1, salt.map(Tlv::general_string));
    entry.set(2, s2kparams.map(Tlv::octet_string));
    Tlv::sequence(vec![entry]).encode()
}

/// `bytes` with the bits of `mask` turned over in the byte at `index`.
///
/// # Panics
/// If there is no such byte.
#[must_use]
#[track_caller]
pub fn flip(mut bytes: Vec<u8>, index: usize, mask: u8) -> Vec<u8> {
    bytes[index] ^= mask;
    bytes
}
