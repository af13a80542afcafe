use super::{Builder, Counted, LayoutError, MAX_NEGOTIATE, Message, MessageType, VERSION};
use crate::ntlm::NegotiateFlags;

const HEADER: usize = 40;

/// NEGOTIATE (MS-NLMP section 2.2.1.1), by which a client says what it can do.
///
/// The names of client and domain that may follow are in a code page that nobody tells, and are not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiate {
    /// What the client can do.
    pub flags: NegotiateFlags,
}

impl Negotiate {
    /// Reads the message.
    ///
    /// # Errors
    /// If it is something else, or longer than [`MAX_NEGOTIATE`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LayoutError> {
        let message = Message::open(bytes, MessageType::Negotiate, MAX_NEGOTIATE)?;
        Ok(Self { flags: message.flags(12)? })
    }

    /// Appends the message, which names neither client nor domain.
    pub fn write(&self, out: &mut Vec<u8>) {
        let empty = Counted { bytes: &[], length: 0 };
        let mut message = Builder::new(out, MessageType::Negotiate, HEADER);
        message.bytes(&self.flags.0.to_le_bytes());
        message.field(empty);
        message.field(empty);
        message.bytes(&VERSION);
        message.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let negotiate = Negotiate { flags: NegotiateFlags(0xE208_8235) };
        let mut bytes = Vec::new();
        negotiate.write(&mut bytes);
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(Negotiate::parse(&bytes), Ok(negotiate));
    }

    #[test]
    fn sixteen_bytes_are_enough_and_fewer_are_refused() {
        let mut bytes = Vec::new();
        Negotiate { flags: NegotiateFlags::UNICODE }.write(&mut bytes);
        assert!(Negotiate::parse(&bytes[..16]).is_ok());
        for length in 0..16 {
            assert!(Negotiate::parse(&bytes[..length]).is_err(), "{length}");
        }
        bytes.resize(MAX_NEGOTIATE + 1, 0);
        assert_eq!(Negotiate::parse(&bytes), Err(LayoutError::Long(MAX_NEGOTIATE + 1)));
    }

    #[test]
    fn another_message_is_told_by_its_type() {
        let mut bytes = Vec::new();
        Negotiate { flags: NegotiateFlags::UNICODE }.write(&mut bytes);
        bytes[8] = 3;
        assert_eq!(Negotiate::parse(&bytes), Err(LayoutError::Type(3)));
        bytes[0] = b'M';
        assert_eq!(Negotiate::parse(&bytes), Err(LayoutError::NotNtlm));
    }
}
