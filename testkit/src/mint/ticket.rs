use crate::rng::TestRng;
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::der::{Writer, tag};
use countersign_proto::krb5::msg::PVNO;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::time::Timestamp;

/// A key as it is written into a message: of any etype and length.
#[derive(Clone)]
pub struct RawKey {
    /// The number written as its etype.
    pub etype: i32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl RawKey {
    /// `key` as it is.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        Self { etype: key.etype().wire(), bytes: key.expose().to_vec() }
    }

    pub(super) fn borrowed(&self) -> EncryptionKeyRef<'_> {
        EncryptionKeyRef { etype: self.etype, bytes: &self.bytes }
    }
}

/// A ticket (RFC 4120 section 5.3) to be encoded. The first four fields are outside of the encryption.
#[derive(Clone)]
pub struct Ticket {
    /// Realm and sname.
    pub service: Principal,
    /// The key that it is sealed with; not written.
    pub key: Key,
    /// The number written as the etype of that key.
    pub etype: i32,
    /// The number written as the version of that key.
    pub kvno: Option<i64>,
    /// Flags.
    pub flags: TicketFlags,
    /// The session key as it is used by the client.
    pub session_key: Key,
    /// The session key as it is written into the ticket.
    pub written_session_key: RawKey,
    /// crealm and cname.
    pub client: Principal,
    /// tr-type.
    pub transited_type: i32,
    /// Contents of the transited encoding.
    pub transited: Vec<u8>,
    /// When the client authenticated.
    pub authtime: Timestamp,
    /// From when on it is good.
    pub starttime: Option<Timestamp>,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// Until when it can be renewed.
    pub renew_till: Option<Timestamp>,
    /// An AuthorizationData, encoded.
    pub authorization_data: Option<Vec<u8>>,
    /// Bytes that follow the EncTicketPart inside of the encryption.
    pub appended: Vec<u8>,
}

impl Ticket {
    /// Takes another session key, in the ticket and for the client.
    pub fn set_session_key(&mut self, key: Key) {
        self.written_session_key = RawKey::of(&key);
        self.session_key = key;
    }

    /// The Ticket, sealed and encoded.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut cipher = Vec::new();
        self.key.cipher(KeyUsage::TICKET).seal(&mut TestRng::new(7), &self.encode_part(), &mut cipher);
        let mut out = Vec::new();
        Writer::new(&mut out).constructed(tag::application(1), |ticket| {
            ticket.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| self.service.write_realm(field));
                fields.field(2, |field| self.service.write_name(field));
                fields.field(3, |field| field.sequence(|data| self.encrypted_data(data, &cipher)));
            });
        });
        out
    }

    /// Written here and not by proto, whose kvno is never negative.
    fn encrypted_data(&self, data: &mut Writer<'_>, cipher: &[u8]) {
        data.field(0, |field| field.integer(self.etype.into()));
        if let Some(kvno) = self.kvno {
            data.field(1, |field| field.integer(kvno));
        }
        data.field(2, |field| field.octets(cipher));
    }

    /// The EncTicketPart, encoded and not sealed, with what is appended.
    #[must_use]
    pub fn encode_part(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out).constructed(tag::application(3), |part| part.sequence(|f| self.fields(f)));
        out.extend_from_slice(&self.appended);
        out
    }

    fn fields(&self, fields: &mut Writer<'_>) {
        fields.field(0, |field| field.flags(self.flags.0));
        fields.field(1, |field| self.written_session_key.borrowed().write(field));
        fields.field(2, |field| self.client.write_realm(field));
        fields.field(3, |field| self.client.write_name(field));
        fields.field(4, |field| {
            field.sequence(|transited| {
                transited.field(0, |field| field.integer(self.transited_type.into()));
                transited.field(1, |field| field.octets(&self.transited));
            });
        });
        fields.field(5, |field| field.time(self.authtime));
        if let Some(starttime) = self.starttime {
            fields.field(6, |field| field.time(starttime));
        }
        fields.field(7, |field| field.time(self.endtime));
        if let Some(renew_till) = self.renew_till {
            fields.field(8, |field| field.time(renew_till));
        }
        if let Some(encoded) = &self.authorization_data {
            fields.field(10, |field| field.encoded(encoded));
        }
    }
}
