use super::{
    Builder, Counted, Field, LayoutError, MAX_MESSAGE, Message, MessageType, VERSION, VERSION_LEN,
    check_payload, payload_start,
};
use crate::ntlm::NegotiateFlags;

const MIC_LEN: usize = 16;
/// Up to the version, which old peers leave out.
const HEADER_WITHOUT_VERSION: usize = 64;
const HEADER_WITHOUT_MIC: usize = HEADER_WITHOUT_VERSION + VERSION_LEN;
const HEADER: usize = HEADER_WITHOUT_MIC + MIC_LEN;

/// AUTHENTICATE (MS-NLMP section 2.2.1.3), a client's proof. Texts are in the encoding that the flags tell.
#[derive(Clone, Copy)]
pub struct Authenticate<'m> {
    /// What both can do, in the client's opinion.
    pub flags: NegotiateFlags,
    /// LM response; 24 zeros or nothing from a client that only speaks NTLMv2.
    pub lm_response: &'m [u8],
    /// NT response.
    pub nt_response: &'m [u8],
    /// Domain of the account.
    pub domain: &'m [u8],
    /// Name of the account.
    pub user: &'m [u8],
    /// Name of the client's machine, by its own word.
    pub workstation: &'m [u8],
    /// The session's key, encrypted.
    pub session_key: &'m [u8],
    /// Where in the message the MIC lies, and what it is; only AV pair 6 can tell whether it means anything.
    pub mic: Option<(usize, [u8; MIC_LEN])>,
}

impl<'m> Authenticate<'m> {
    /// Reads the message.
    ///
    /// # Errors
    /// If it is something else, longer than [`MAX_MESSAGE`], or has a field that does not lie in the payload.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, LayoutError> {
        let message = Message::open(bytes, MessageType::Authenticate, MAX_MESSAGE)?;
        let fields = [
            message.field(12, "LM response")?,
            message.field(20, "NT response")?,
            message.field(28, "domain")?,
            message.field(36, "user name")?,
            message.field(44, "workstation")?,
            message.field(52, "session key")?,
        ];
        check_payload(HEADER_WITHOUT_VERSION, &fields)?;
        let mic = match mic_offset(payload_start(message, &fields)) {
            Some(offset) => Some((offset, message.array(offset)?)),
            None => None,
        };
        let flags = message.flags(60)?;
        let [lm_response, nt_response, domain, user, workstation, session_key] =
            fields.map(|field: Field<'m>| field.bytes);
        Ok(Self { flags, lm_response, nt_response, domain, user, workstation, session_key, mic })
    }
}

/// Where the MIC lies in a message whose payload starts at `payload`: clients that leave out the version put it there.
const fn mic_offset(payload: usize) -> Option<usize> {
    if payload >= HEADER {
        Some(HEADER_WITHOUT_MIC)
    } else if payload >= HEADER_WITHOUT_VERSION.saturating_add(MIC_LEN) {
        Some(HEADER_WITHOUT_VERSION)
    } else {
        None
    }
}

/// An AUTHENTICATE to be sent; texts are in UTF-16. The LM response is 24 zeros.
pub struct NewAuthenticate<'a> {
    /// What both can do.
    pub flags: NegotiateFlags,
    /// NT response.
    pub nt_response: &'a [u8],
    /// Domain of the account.
    pub domain: &'a [u8],
    /// Name of the account.
    pub user: &'a [u8],
    /// The session's key, encrypted.
    pub session_key: &'a [u8; 16],
}

impl NewAuthenticate<'_> {
    /// Where in the message the MIC lies.
    pub const MIC_OFFSET: usize = HEADER_WITHOUT_MIC;

    /// Appends the message, with zeros for a MIC.
    ///
    /// # Errors
    /// If a field is longer than 65,535 bytes; then nothing is appended.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), LayoutError> {
        let lm_response = Counted::new("LM response", &[0; 24])?;
        let nt_response = Counted::new("NT response", self.nt_response)?;
        let domain = Counted::new("domain", self.domain)?;
        let user = Counted::new("user name", self.user)?;
        let workstation = Counted::new("workstation", &[])?;
        let session_key = Counted::new("session key", self.session_key)?;
        let mut message = Builder::new(out, MessageType::Authenticate, HEADER);
        for field in [lm_response, nt_response, domain, user, workstation, session_key] {
            message.field(field);
        }
        message.bytes(&self.flags.0.to_le_bytes());
        message.bytes(&VERSION);
        message.bytes(&[0; MIC_LEN]);
        message.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        NewAuthenticate {
            flags: NegotiateFlags::DEMANDED,
            nt_response: &[5; 44],
            domain: b"D\0",
            user: b"U\0",
            session_key: &[6; 16],
        }
        .write(&mut bytes)
        .unwrap();
        bytes
    }

    /// The message with `cut` bytes of the header taken out at `at`, and every offset put right.
    #[allow(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
    fn without(at: usize, cut: usize) -> Vec<u8> {
        let mut bytes = written();
        for field in (12..60).step_by(8) {
            bytes[field + 4] -= cut as u8;
        }
        bytes.drain(at..at + cut);
        bytes
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut bytes = written();
        bytes[72..88].fill(9);
        let read = Authenticate::parse(&bytes).ok().unwrap();
        assert_eq!(read.flags, NegotiateFlags::DEMANDED);
        assert_eq!((read.lm_response, read.nt_response), (&[0; 24][..], &[5; 44][..]));
        assert_eq!((read.domain, read.user, read.workstation), (&b"D\0"[..], &b"U\0"[..], &[][..]));
        assert_eq!((read.session_key, read.mic), (&[6; 16][..], Some((72, [9; 16]))));
    }

    #[test]
    fn the_start_of_the_payload_tells_whether_version_and_mic_are_there() {
        let mut bytes = without(64, 8);
        bytes[64..80].fill(9);
        assert_eq!(Authenticate::parse(&bytes).ok().unwrap().mic, Some((64, [9; 16])));
        assert_eq!(Authenticate::parse(&without(72, 16)).ok().unwrap().mic, None);
        assert_eq!(Authenticate::parse(&without(64, 24)).ok().unwrap().mic, None);
    }

    #[test]
    fn every_shorter_message_is_refused() {
        let bytes = written();
        for length in 0..bytes.len() {
            assert!(Authenticate::parse(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_field_that_points_into_the_header_or_past_the_end_is_refused() {
        for (at, field) in [(12, "LM response"), (20, "NT response"), (28, "domain"), (36, "user name")] {
            for offset in [0, 63, 0xFFFF_FFF0_u32] {
                let mut bytes = written();
                bytes[at + 4..at + 8].copy_from_slice(&offset.to_le_bytes());
                assert_eq!(Authenticate::parse(&bytes).err(), Some(LayoutError::Outside(field)), "{offset}");
            }
        }
    }

    #[test]
    fn fields_may_lie_on_each_other_and_anywhere_in_the_payload() {
        let mut bytes = written();
        let user = bytes[40..44].to_vec();
        bytes[32..36].copy_from_slice(&user);
        assert_eq!(Authenticate::parse(&bytes).ok().unwrap().domain, b"U\0");
    }
}
