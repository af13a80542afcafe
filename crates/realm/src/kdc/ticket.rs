//! Making a ticket (RFC 4120 section 5.3).

use super::Call;
use super::grant::Life;
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::der::{Writer, tag};
use countersign_proto::krb5::msg::PVNO;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use rand_core::CryptoRng;

/// tr-type of the realms on the way, of which there are none (RFC 4120 section 3.3.3.2).
const DOMAIN_X500_COMPRESS: i64 = 1;

/// Bytes of a message with a key in it beside its names and lists, and more.
pub(super) const ROOM: usize = 1_024;

/// Bytes that a name and its realm take at most.
pub(super) fn room_for(principal: &Principal) -> usize {
    const TAG_AND_LENGTH: usize = 6;
    let parts = principal.components.iter().map(|component| component.len().saturating_add(TAG_AND_LENGTH));
    parts.fold(principal.realm.len().saturating_add(32), usize::saturating_add)
}

/// A ticket to be made.
pub(super) struct NewTicket<'a> {
    pub(super) service: &'a Principal,
    pub(super) client: &'a Principal,
    pub(super) flags: TicketFlags,
    pub(super) session_key: &'a Key,
    pub(super) authtime: Timestamp,
    pub(super) life: &'a Life,
    /// An AuthorizationData, encoded.
    pub(super) authorization_data: Option<&'a [u8]>,
}

impl NewTicket<'_> {
    /// The ticket, encoded, under a key of the service; the record tells of it.
    pub(super) fn seal(&self, call: &mut Call<'_>, key: &Key, kvno: Option<u32>) -> Vec<u8> {
        call.record.session_etype = Some(self.session_key.etype());
        call.record.ticket_etype = Some(key.etype());
        call.record.endtime = Some(self.life.endtime);
        self.encoded(key, kvno, call.rng)
    }

    fn encoded(&self, key: &Key, kvno: Option<u32>, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let data = self.authorization_data.map_or(0, <[u8]>::len);
        let room = room_for(self.client).saturating_add(data).saturating_add(ROOM);
        let mut plaintext = Secret::new(Vec::with_capacity(room));
        self.write_part(&mut Writer::new(plaintext.expose_mut()));
        let mut cipher = Vec::new();
        key.cipher(KeyUsage::TICKET).seal(rng, plaintext.expose(), &mut cipher);
        let enc_part = EncryptedData { etype: key.etype().wire(), kvno, cipher: &cipher };
        let mut out = Vec::new();
        Writer::new(&mut out).constructed(tag::application(1), |ticket| {
            ticket.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| self.service.write_realm(field));
                fields.field(2, |field| self.service.write_name(field));
                fields.field(3, |field| enc_part.write(field));
            });
        });
        out
    }

    /// Writes the EncTicketPart.
    fn write_part(&self, writer: &mut Writer<'_>) {
        let key =
            EncryptionKeyRef { etype: self.session_key.etype().wire(), bytes: self.session_key.expose() };
        writer.constructed(tag::application(3), |part| {
            part.sequence(|fields| {
                fields.field(0, |field| field.flags(self.flags.0));
                fields.field(1, |field| key.write(field));
                fields.field(2, |field| self.client.write_realm(field));
                fields.field(3, |field| self.client.write_name(field));
                fields.field(4, |field| {
                    field.sequence(|transited| {
                        transited.field(0, |field| field.integer(DOMAIN_X500_COMPRESS));
                        transited.field(1, |field| field.octets(&[]));
                    });
                });
                fields.field(5, |field| field.time(self.authtime));
                fields.field(6, |field| field.time(self.life.starttime));
                fields.field(7, |field| field.time(self.life.endtime));
                if let Some(renew_till) = self.life.renew_till {
                    fields.field(8, |field| field.time(renew_till));
                }
                if let Some(data) = self.authorization_data {
                    fields.field(10, |field| field.encoded(data));
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::crypto::Etype;
    use countersign_proto::der::Reader;
    use countersign_proto::krb5::msg::ticket::{EncTicketPart, Ticket};

    #[test]
    fn a_ticket_of_any_name_reads_back_and_its_plaintext_fits_into_what_is_reserved_for_it() {
        for (count, length) in [(1, 1), (32, 30), (1, 1_000)] {
            let component = "c".repeat(length);
            let client = Principal::new("R", &vec![component.as_str(); count]);
            let service = Principal::new("R.TEST", &["HTTP", "a.example.test"]);
            let key = Key::new(Etype::Aes256CtsHmacSha1_96, &[7; 32]).unwrap();
            let at = |seconds: i64| Timestamp::new(1_790_000_000 + seconds, 0);
            let life = Life { starttime: at(0), endtime: at(10), renew_till: Some(at(20)) };
            let data = [0x30, 0x0B, 0x30, 0x09, 0xA0, 0x03, 0x02, 0x01, 0x07, 0xA1, 0x02, 0x04, 0x00];
            let ticket = NewTicket {
                service: &service,
                client: &client,
                flags: TicketFlags::RENEWABLE,
                session_key: &key,
                authtime: at(-5),
                life: &life,
                authorization_data: Some(&data),
            };
            let mut plaintext = Vec::with_capacity(room_for(&client) + data.len() + ROOM);
            let reserved = plaintext.capacity();
            ticket.write_part(&mut Writer::new(&mut plaintext));
            assert_eq!(plaintext.capacity(), reserved);
            let part = EncTicketPart::parse(Reader::new(&plaintext)).unwrap();
            assert_eq!(part.cname.to_principal(part.crealm), client);
            assert_eq!((part.authtime, part.starttime, part.endtime), (at(-5), Some(at(0)), at(10)));
            assert_eq!((part.renew_till, part.transited_type, part.transited), (Some(at(20)), 1, &[][..]));
            let types = part.authorization_data.unwrap().elements().map(|element| element.ad_type);
            assert_eq!(types.collect::<Vec<_>>(), [7]);
            let sealed = ticket.encoded(&key, Some(3), &mut countersign_testkit::TestRng::new(1));
            let closed = Reader::whole(&sealed, Ticket::parse).unwrap();
            assert_eq!(closed.sname.to_principal(closed.realm), service);
            assert_eq!((closed.enc_part.kvno, closed.enc_part.etype), (Some(3), 18));
        }
    }
}
