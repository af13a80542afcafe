//! What both ends said to each other before the AP-REQ, and the proof in the AP-REQ that both saw the same
//! (draft-ietf-kitten-iakerb-03 section 4, as MIT 1.22 speaks it).

use super::msg::checksum::ChecksumRef;
use crate::crypto::{Key, KeyUsage};
use crate::der::{Reader, Writer, tag};

/// Most bytes of all proxy tokens of one handshake.
const MAX_BYTES: usize = 256 * 1_024;

/// All proxy tokens of a handshake, with their frames, in the order in which they went, both ways.
#[derive(Clone, Default)]
pub struct Transcript(Vec<u8>);

impl Transcript {
    /// Takes in a token that came or is about to go. Whether there is room for it: 256 KiB in all.
    #[must_use]
    pub fn record(&mut self, token: &[u8]) -> bool {
        let room = self.0.len().saturating_add(token.len()) <= MAX_BYTES;
        if room {
            self.0.extend_from_slice(token);
        }
        room
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes the proof, under the subkey in the initiator's authenticator.
    ///
    /// ```text
    /// IAKERB-FINISHED ::= SEQUENCE {
    ///         gss-mic         [1] Checksum,
    ///         ...
    /// }
    /// ```
    #[must_use]
    pub fn prove(&self, subkey: &Key) -> Vec<u8> {
        let sum = subkey.checksum(KeyUsage::IAKERB_FINISHED).sign(&[&self.0]);
        let checksum = ChecksumRef { cksumtype: subkey.etype().checksum_type(), bytes: sum.as_ref() };
        let mut out = Vec::new();
        Writer::new(&mut out).sequence(|finished| finished.field(1, |field| checksum.write(field)));
        out
    }

    /// Whether `finished` is the proof over this transcript.
    #[must_use]
    pub fn is_proved_by(&self, finished: &[u8], subkey: &Key) -> bool {
        let checksum = Reader::whole(finished, |reader| {
            let mut fields = reader.element(tag::SEQUENCE)?;
            fields.field(1, ChecksumRef::parse)
        });
        checksum.is_ok_and(|checksum| {
            checksum.cksumtype == subkey.etype().checksum_type()
                && subkey.checksum(KeyUsage::IAKERB_FINISHED).verify(&[&self.0], checksum.bytes).is_ok()
        })
    }
}
