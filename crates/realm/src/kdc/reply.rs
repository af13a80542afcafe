//! The reply around a ticket (RFC 4120 section 5.4.2), in armor if the request was (RFC 6113 section 5.4.3).

use super::Call;
use super::armor::{Armor, Asked, End};
use super::denied::Hint;
use super::ticket::{NewTicket, ROOM, room_for};
use countersign_proto::crypto::{Key, KeyUsage, krb_fx_cf2};
use countersign_proto::der::Writer;
use countersign_proto::krb5::msg::checksum::ChecksumRef;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::kdc_rep::{LastReq, NewEncKdcRepPart, NewKdcRep};
use countersign_proto::krb5::msg::kdc_req::KdcReqKind;
use countersign_proto::krb5::msg::pa_data::{PaData, pa_type};
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;

/// A ticket, and what is said of it.
pub(super) struct Reply<'a> {
    pub(super) kind: KdcReqKind,
    pub(super) ticket: &'a NewTicket<'a>,
    pub(super) encoded_ticket: &'a [u8],
    pub(super) last_req: &'a [LastReq],
    pub(super) key_expiration: Option<Timestamp>,
    /// What the encrypted part is under, before armor adds to it.
    pub(super) reply_key: Key,
    pub(super) usage: KeyUsage,
    /// Version of the client's key, where it is that.
    pub(super) kvno: Option<u32>,
    pub(super) padata: Vec<Hint>,
}

impl Reply<'_> {
    /// Writes the AS-REP or TGS-REP.
    pub(super) fn write(mut self, call: &mut Call<'_>, asked: &Asked<'_>) -> Vec<u8> {
        let mut client = Some(self.ticket.client.clone());
        if let Some(armor) = &asked.armor {
            self.wrap(armor, call, asked.body.nonce);
            client = armor.outer_client(client);
        }
        call.record.reply_etype = Some(self.reply_key.etype());
        let cipher = self.encrypted_part(call, asked);
        let padata: Vec<_> = self.padata.iter().map(Hint::padata).collect();
        let enc_part =
            EncryptedData { etype: self.reply_key.etype().wire(), kvno: self.kvno, cipher: &cipher };
        let reply = NewKdcRep {
            kind: self.kind,
            padata: &padata,
            client: client.as_ref().unwrap_or(self.ticket.client),
            encoded_ticket: self.encoded_ticket,
            enc_part,
        };
        let mut out = Vec::new();
        reply.write(&mut Writer::new(&mut out));
        out
    }

    /// Puts the padata into armor, and strengthens the reply key, so that it is as good as the armor even if the password is not.
    fn wrap(&mut self, armor: &Armor<'_>, call: &mut Call<'_>, nonce: u32) {
        let strengthen = Key::generate(self.reply_key.etype(), call.rng);
        let padata: Vec<_> = self.padata.iter().map(Hint::padata).collect();
        let end = End {
            strengthen: &strengthen,
            client: self.ticket.client,
            encoded_ticket: self.encoded_ticket,
            now: call.now,
        };
        let value = armor.seal(&padata, nonce, Some(&end), call.rng);
        self.padata = vec![Hint::new(pa_type::PA_FX_FAST, value)];
        self.reply_key = krb_fx_cf2(&strengthen, &self.reply_key, b"strengthenkey", b"replykey");
    }

    fn encrypted_part(&self, call: &mut Call<'_>, asked: &Asked<'_>) -> Vec<u8> {
        let proof =
            self.ticket.flags.contains(TicketFlags::ENC_PA_REP).then(|| self.request_proof(asked.message));
        let encrypted_pa_data = proof.iter().flat_map(|proof| {
            let element = |padata_type, padata_value| PaData { padata_type, padata_value };
            [element(pa_type::PA_REQ_ENC_PA_REP, proof.as_slice()), element(pa_type::PA_FX_FAST, &[])]
        });
        let encrypted_pa_data: Vec<_> = encrypted_pa_data.collect();
        let part = NewEncKdcRepPart {
            key: EncryptionKeyRef {
                etype: self.ticket.session_key.etype().wire(),
                bytes: self.ticket.session_key.expose(),
            },
            last_req: self.last_req,
            nonce: asked.body.nonce,
            key_expiration: self.key_expiration,
            flags: self.ticket.flags,
            authtime: self.ticket.authtime,
            starttime: Some(self.ticket.life.starttime),
            endtime: self.ticket.life.endtime,
            renew_till: self.ticket.life.renew_till,
            service: self.ticket.service,
            encrypted_pa_data: &encrypted_pa_data,
        };
        let mut plaintext =
            Secret::new(Vec::with_capacity(room_for(self.ticket.service).saturating_add(ROOM)));
        part.write(self.kind, &mut Writer::new(plaintext.expose_mut()));
        let mut cipher = Vec::new();
        self.reply_key.cipher(self.usage).seal(call.rng, plaintext.expose(), &mut cipher);
        cipher
    }

    /// Checksum over the request as it arrived, by which the client sees that nobody took anything out of it
    /// (RFC 6806 section 11).
    fn request_proof(&self, message: &[u8]) -> Vec<u8> {
        let sum = self.reply_key.checksum(KeyUsage::AS_REQ).sign(&[message]);
        let cksumtype = self.reply_key.etype().checksum_type();
        let mut out = Vec::new();
        ChecksumRef { cksumtype, bytes: sum.as_ref() }.write(&mut Writer::new(&mut out));
        out
    }
}
