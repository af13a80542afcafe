use super::ticket::RawKey;
use crate::rng::TestRng;
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::der::Writer;
use countersign_proto::gss::framing::{self, TokenId};
use countersign_proto::krb5::msg::ap_rep::{self, EncApRepPart};
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::time::Timestamp;

/// An AP-REP (RFC 4120 section 5.5.2) to be encoded.
#[derive(Clone)]
pub struct ApRep {
    /// The authenticator's ctime and cusec.
    pub ctime: Timestamp,
    /// The acceptor's subkey.
    pub subkey: Option<RawKey>,
    /// First sequence number of the acceptor's direction.
    pub seq_number: Option<u32>,
    /// Bytes that follow the EncAPRepPart inside of the encryption.
    pub appended: Vec<u8>,
    /// The key that it is sealed with; not written.
    pub key: Key,
    /// The usage of that key.
    pub usage: KeyUsage,
    /// The number written as the etype of that key.
    pub etype: i32,
}

impl ApRep {
    /// The token: the AP-REP in its GSS frame.
    #[must_use]
    pub fn token(&self) -> Vec<u8> {
        let part = EncApRepPart {
            ctime: self.ctime,
            subkey: self.subkey.as_ref().map(RawKey::borrowed),
            seq_number: self.seq_number,
        };
        let mut plaintext = Vec::new();
        part.write(&mut Writer::new(&mut plaintext));
        plaintext.extend_from_slice(&self.appended);
        let mut cipher = Vec::new();
        self.key.cipher(self.usage).seal(&mut TestRng::new(8), &plaintext, &mut cipher);
        let enc_part = EncryptedData { etype: self.etype, kvno: None, cipher: &cipher };
        let mut out = Vec::new();
        framing::wrap(TokenId::ApRep, &mut out, |body| ap_rep::ApRep { enc_part }.write(body));
        out
    }
}
