use super::ticket::{RawKey, Ticket};
use crate::rng::TestRng;
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::der::Writer;
use countersign_proto::gss::authenticator_checksum::{self, CKSUMTYPE};
use countersign_proto::gss::framing::{self, TokenId};
use countersign_proto::gss::{BindingsHash, GssFlags};
use countersign_proto::krb5::msg::ap_req::{self, ApOptions};
use countersign_proto::krb5::msg::authenticator::NewAuthenticator;
use countersign_proto::krb5::msg::checksum::ChecksumRef;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;

/// A checksum of any type and contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawChecksum {
    /// The number written as its type.
    pub cksumtype: i32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The GSS checksum (RFC 4121 section 4.1.1) without delegation and extensions.
#[must_use]
pub fn gss_checksum(bindings: BindingsHash, flags: GssFlags) -> RawChecksum {
    RawChecksum { cksumtype: CKSUMTYPE, bytes: authenticator_checksum::encode(bindings, flags, None, None) }
}

/// An authenticator (RFC 4120 section 5.5.1) to be encoded.
#[derive(Clone)]
pub struct Authenticator {
    /// crealm and cname.
    pub client: Principal,
    /// Checksum.
    pub checksum: Option<RawChecksum>,
    /// ctime and cusec.
    pub ctime: Timestamp,
    /// The initiator's subkey.
    pub subkey: Option<RawKey>,
    /// First sequence number of the initiator's direction.
    pub seq_number: Option<u32>,
    /// An AuthorizationData, encoded; see [`super::authorization_data`].
    pub authorization_data: Option<Vec<u8>>,
    /// Bytes that follow the Authenticator inside of the encryption.
    pub appended: Vec<u8>,
}

impl Authenticator {
    /// Encoded and not sealed, with what is appended.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let checksum = self.checksum.as_ref();
        let authenticator = NewAuthenticator {
            client: &self.client,
            cksum: checksum.map(|sum| ChecksumRef { cksumtype: sum.cksumtype, bytes: &sum.bytes }),
            ctime: self.ctime,
            subkey: self.subkey.as_ref().map(RawKey::borrowed),
            seq_number: self.seq_number,
            authorization_data: self.authorization_data.as_deref(),
        };
        let mut out = Vec::new();
        authenticator.write(&mut Writer::new(&mut out));
        out.extend_from_slice(&self.appended);
        out
    }
}

/// An AP-REQ (RFC 4120 section 5.5.1) to be encoded.
#[derive(Clone)]
pub struct ApReq {
    /// Options.
    pub ap_options: ApOptions,
    /// The ticket.
    pub ticket: Ticket,
    /// The authenticator.
    pub authenticator: Authenticator,
    /// The key that the authenticator is sealed with; not written.
    pub key: Key,
    /// The usage of that key.
    pub usage: KeyUsage,
    /// The number written as the etype of that key.
    pub etype: i32,
    /// Where the authenticator's confounder comes from: the same seed gives the same bytes.
    pub seed: u64,
}

impl ApReq {
    /// The token: the AP-REQ in its GSS frame.
    #[must_use]
    pub fn token(&self) -> Vec<u8> {
        let mut out = Vec::new();
        framing::wrap(TokenId::ApReq, &mut out, |body| body.encoded(&self.body()));
        out
    }

    /// The AP-REQ without frame.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut cipher = Vec::new();
        let plaintext = self.authenticator.encode();
        self.key.cipher(self.usage).seal(&mut TestRng::new(self.seed), &plaintext, &mut cipher);
        let sealed = EncryptedData { etype: self.etype, kvno: None, cipher: &cipher };
        let mut out = Vec::new();
        ap_req::ApReq::write(&mut Writer::new(&mut out), self.ap_options, &self.ticket.encode(), &sealed);
        out
    }
}
