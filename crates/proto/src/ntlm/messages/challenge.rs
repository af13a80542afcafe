use super::{
    Builder, Counted, LayoutError, MAX_MESSAGE, Message, MessageType, VERSION, VERSION_LEN, check_payload,
};
use crate::ntlm::NegotiateFlags;

/// Up to the target info, which old peers leave out with all that follows.
const HEADER_WITHOUT_INFO: usize = 32;
const HEADER_WITHOUT_VERSION: usize = 48;
const HEADER: usize = HEADER_WITHOUT_VERSION + VERSION_LEN;

/// CHALLENGE (MS-NLMP section 2.2.1.2), by which a server challenges a client.
#[derive(Clone, Copy)]
pub struct Challenge<'m> {
    /// What both can do, in the server's opinion.
    pub flags: NegotiateFlags,
    /// What the client's proof must be made over.
    pub server_challenge: [u8; 8],
    /// Name of the server or its domain, in the encoding that the flags tell. Nobody protects it.
    pub target_name: &'m [u8],
    /// AV pairs, not yet read; empty if there are none.
    pub target_info: &'m [u8],
}

impl<'m> Challenge<'m> {
    /// Reads the message.
    ///
    /// # Errors
    /// If it is something else, longer than [`MAX_MESSAGE`], or has a field that does not lie in the payload.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, LayoutError> {
        let message = Message::open(bytes, MessageType::Challenge, MAX_MESSAGE)?;
        let flags = message.flags(20)?;
        let target_name = message.field(12, "target name")?;
        if !flags.contains(NegotiateFlags::TARGET_INFO) {
            check_payload(HEADER_WITHOUT_INFO, &[target_name])?;
            let server_challenge = message.array(24)?;
            return Ok(Self { flags, server_challenge, target_name: target_name.bytes, target_info: &[] });
        }
        let target_info = message.field(40, "target info")?;
        // Whether a version follows does not matter: nothing in it is believed.
        check_payload(HEADER_WITHOUT_VERSION, &[target_name, target_info])?;
        let server_challenge = message.array(24)?;
        Ok(Self { flags, server_challenge, target_name: target_name.bytes, target_info: target_info.bytes })
    }
}

/// A CHALLENGE to be sent.
pub struct NewChallenge<'a> {
    /// What both can do.
    pub flags: NegotiateFlags,
    /// Eight random bytes.
    pub server_challenge: [u8; 8],
    /// Name of the server or its domain, in UTF-16.
    pub target_name: &'a [u8],
    /// AV pairs with the one that ends them.
    pub target_info: &'a [u8],
}

impl NewChallenge<'_> {
    /// Appends the message.
    ///
    /// # Errors
    /// If a field is longer than 65,535 bytes; then nothing is appended.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), LayoutError> {
        let target_name = Counted::new("target name", self.target_name)?;
        let target_info = Counted::new("target info", self.target_info)?;
        let mut message = Builder::new(out, MessageType::Challenge, HEADER);
        message.field(target_name);
        message.bytes(&self.flags.0.to_le_bytes());
        message.bytes(&self.server_challenge);
        message.bytes(&[0; 8]);
        message.field(target_info);
        message.bytes(&VERSION);
        message.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        let flags = NegotiateFlags::TARGET_INFO.union(NegotiateFlags::UNICODE);
        NewChallenge { flags, server_challenge: [9; 8], target_name: b"D\0", target_info: &[0; 4] }
            .write(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = written();
        let read = Challenge::parse(&bytes).ok().unwrap();
        assert_eq!(read.server_challenge, [9; 8]);
        assert_eq!((read.target_name, read.target_info), (&b"D\0"[..], &[0; 4][..]));
    }

    #[test]
    fn every_shorter_message_is_refused() {
        let bytes = written();
        for length in 0..bytes.len() {
            assert!(Challenge::parse(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_field_that_points_into_the_header_or_past_the_end_is_refused() {
        for (at, field) in [(16, "target name"), (44, "target info")] {
            for offset in [0, 47, 0xFFFF_FFFF_u32] {
                let mut bytes = written();
                bytes[at..at + 4].copy_from_slice(&offset.to_le_bytes());
                assert_eq!(Challenge::parse(&bytes).err(), Some(LayoutError::Outside(field)), "{offset}");
            }
        }
    }

    #[test]
    fn a_challenge_without_target_info_reads_as_that() {
        let mut bytes = b"NTLMSSP\0\x02\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0".to_vec();
        bytes.extend([7; 8]);
        let read = Challenge::parse(&bytes).ok().unwrap();
        assert_eq!((read.server_challenge, read.target_info.len()), ([7; 8], 0));
    }

    #[test]
    fn a_field_too_long_to_be_told_is_not_written() {
        let mut bytes = Vec::new();
        let long = vec![0; 65_536];
        let challenge = NewChallenge {
            flags: NegotiateFlags::UNICODE,
            server_challenge: [0; 8],
            target_name: &[],
            target_info: &long,
        };
        let refused = LayoutError::Length { field: "target info", length: 65_536 };
        assert_eq!(challenge.write(&mut bytes), Err(refused));
        assert!(bytes.is_empty());
    }
}
