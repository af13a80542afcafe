//! KDC-PROXY-MESSAGE, what goes by HTTPS between a client and a proxy that reaches the KDC for it (MS-KKDCP section
//! 2.2.2).

use super::extensions;
use super::name::realm;
use crate::der::{DerError, Problem, Reader, Writer, tag};

/// A Kerberos message on its way through a proxy, in either direction.
///
/// ```text
/// KDC-PROXY-MESSAGE ::= SEQUENCE {
///         kerb-message    [0] OCTET STRING -- four bytes of length, then the message, as over TCP --,
///         target-domain   [1] Realm OPTIONAL,
///         dclocator-hint  [2] INTEGER OPTIONAL
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KdcProxyMessage<'a> {
    /// The Kerberos message, without the length before it.
    pub message: &'a [u8],
    /// Realm whose KDC is to get a request; answers have none.
    pub target_domain: Option<&'a [u8]>,
    /// Flags for the proxy's search for a domain controller (MS-NRPC DsrGetDcName).
    pub dclocator_hint: Option<u32>,
}

impl<'a> KdcProxyMessage<'a> {
    /// Reads a KDC-PROXY-MESSAGE that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, bytes follow it, the realm is too long, or the length within kerb-message is not that of what
    /// follows it there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            reader.within(tag::SEQUENCE, |fields| {
                let message = fields.field(0, |field| {
                    let wrong = field.error(Problem::Value("a length in kerb-message that is not its own"));
                    without_length(field.octets()?).ok_or(wrong)
                })?;
                let target_domain = fields.optional_field(1, realm)?;
                let dclocator_hint = fields.optional_field(2, Reader::uint32)?;
                extensions(fields)?;
                Ok(Self { message, target_domain, dclocator_hint })
            })
        })
    }

    /// Writes a KDC-PROXY-MESSAGE. The message must be shorter than 4 GiB, as every message is that has a length of four
    /// bytes.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let length = u32::try_from(self.message.len()).unwrap_or(u32::MAX);
        writer.sequence(|fields| {
            let kerb_message = [&length.to_be_bytes(), self.message].concat();
            fields.field(0, |field| field.octets(&kerb_message));
            if let Some(realm) = self.target_domain {
                fields.field(1, |field| field.general_string(realm));
            }
            if let Some(hint) = self.dclocator_hint {
                fields.field(2, |field| field.integer(hint.into()));
            }
        });
    }
}

fn without_length(kerb_message: &[u8]) -> Option<&[u8]> {
    let (length, message) = kerb_message.split_first_chunk()?;
    (usize::try_from(u32::from_be_bytes(*length)) == Ok(message.len())).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(message: &KdcProxyMessage<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn a_request_has_the_bytes_that_the_specification_says() {
        let message =
            KdcProxyMessage { message: b"\x6a\x00", target_domain: Some(b"A.B"), dclocator_hint: None };
        let expected = b"\x30\x11\xa0\x08\x04\x06\x00\x00\x00\x02\x6a\x00\xa1\x05\x1b\x03A.B";
        assert_eq!(written(&message), expected);
        assert_eq!(KdcProxyMessage::parse(expected), Ok(message));
    }

    #[test]
    fn a_length_that_is_not_the_messages_is_refused() {
        for kerb_message in [&b""[..], b"\0\0\0", b"\0\0\0\x01", b"\0\0\0\x01ab", b"\x80\0\0\x02ab"] {
            let mut out = Vec::new();
            Writer::new(&mut out).sequence(|fields| fields.field(0, |field| field.octets(kerb_message)));
            let problem = KdcProxyMessage::parse(&out).unwrap_err().problem;
            assert_eq!(problem, Problem::Value("a length in kerb-message that is not its own"));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            message in proptest::collection::vec(any::<u8>(), 0..300),
            realm in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            dclocator_hint in proptest::option::of(any::<u32>()),
        ) {
            let sent = KdcProxyMessage { message: &message, target_domain: realm.as_deref(), dclocator_hint };
            let bytes = written(&sent);
            prop_assert_eq!(KdcProxyMessage::parse(&bytes), Ok(sent));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = KdcProxyMessage::parse(&bytes);
        }
    }
}
