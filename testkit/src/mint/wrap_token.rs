use crate::rng::TestRng;
use countersign_proto::crypto::{Key, KeyUsage};

/// A wrap token of RFC 4121 section 4.2.6.2, made by hand from key and fields as an initiator would make it.
#[derive(Clone)]
pub struct WrapToken {
    /// The key that protects messages.
    pub key: Key,
    /// Flags: 1 sent by the acceptor, 2 sealed, 4 acceptor's subkey.
    pub flags: u8,
    /// EC of a sealed token: bytes of filler after the plaintext.
    pub extra_count: u16,
    /// RRC: places that what follows the header is rotated to the right.
    pub rotation: u16,
    /// The RRC in the sealed copy of the header.
    pub inner_rotation: u16,
    /// SND_SEQ.
    pub seq: u64,
}

impl WrapToken {
    /// A sealed token of an initiator that has an acceptor's subkey: no filler, not rotated.
    #[must_use]
    pub const fn new(key: Key, seq: u64) -> Self {
        Self { key, flags: 6, extra_count: 0, rotation: 0, inner_rotation: 0, seq }
    }

    /// Sealed around `text`.
    #[must_use]
    pub fn sealed(&self, text: &[u8]) -> Vec<u8> {
        let mut plaintext = text.to_vec();
        plaintext.resize(text.len() + usize::from(self.extra_count), 0xEE);
        plaintext.extend(self.header(self.extra_count, self.inner_rotation));
        self.sealing(&plaintext)
    }

    /// Sealed around `plaintext`, which should end in filler and a copy of the header, and need not.
    #[must_use]
    pub fn sealing(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        self.key.cipher(KeyUsage::INITIATOR_SEAL).seal(&mut TestRng::new(13), plaintext, &mut body);
        self.rotated(self.extra_count, body)
    }

    /// Signed around `text`; [`WrapToken::flags`] must not say that it is sealed.
    #[must_use]
    pub fn signed(&self, text: &[u8]) -> Vec<u8> {
        let checksum = self.key.checksum(KeyUsage::INITIATOR_SEAL);
        let tag = checksum.sign(&[text, &self.header(0, 0)]);
        let body = [text, tag.as_ref()].concat();
        self.rotated(u16::try_from(tag.as_ref().len()).unwrap(), body)
    }

    /// The 16 bytes of the header with this EC and RRC.
    #[must_use]
    pub fn header(&self, extra_count: u16, rotation: u16) -> Vec<u8> {
        let mut header = vec![5, 4, self.flags, 0xFF];
        header.extend(extra_count.to_be_bytes());
        header.extend(rotation.to_be_bytes());
        header.extend(self.seq.to_be_bytes());
        header
    }

    fn rotated(&self, extra_count: u16, mut body: Vec<u8>) -> Vec<u8> {
        let places = usize::from(self.rotation) % body.len();
        body.rotate_right(places);
        [self.header(extra_count, self.rotation), body].concat()
    }
}
