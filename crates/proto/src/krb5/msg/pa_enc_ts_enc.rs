//! PA-ENC-TS-ENC, the plaintext of an encrypted timestamp (RFC 4120 section 5.2.7.2) and of an encrypted challenge
//! (RFC 6113 section 5.4.6).

use super::{optional_precise_time, write_precise_time};
use crate::der::{DerError, Problem, Reader, Writer, tag};
use crate::time::Timestamp;

/// The time at which its sender knew the key that it is encrypted under.
///
/// ```text
/// PA-ENC-TS-ENC           ::= SEQUENCE {
///         patimestamp     [0] KerberosTime -- client's time --,
///         pausec          [1] Microseconds OPTIONAL
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaEncTsEnc {
    /// The sender's time, patimestamp and pausec together.
    pub patimestamp: Timestamp,
}

impl PaEncTsEnc {
    /// Reads a PA-ENC-TS-ENC that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER or bytes follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            reader.within(tag::SEQUENCE, |fields| {
                let missing = fields.error(Problem::Missing { expected: tag::context(0) });
                let patimestamp = optional_precise_time(fields, 0, 1)?.ok_or(missing)?;
                Ok(Self { patimestamp })
            })
        })
    }

    /// Writes a PA-ENC-TS-ENC.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| write_precise_time(fields, 0, 1, self.patimestamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_to_the_microsecond_and_without_microseconds_too() {
        for micros in [0, 1, 999_999] {
            let sent = PaEncTsEnc { patimestamp: Timestamp::new(1_790_000_000, micros) };
            let mut out = Vec::new();
            sent.write(&mut Writer::new(&mut out));
            assert_eq!(PaEncTsEnc::parse(&out), Ok(sent));
        }
        let mut out = Vec::new();
        let whole = Timestamp::new(1_790_000_000, 0);
        Writer::new(&mut out).sequence(|fields| fields.field(0, |field| field.time(whole)));
        assert_eq!(PaEncTsEnc::parse(&out), Ok(PaEncTsEnc { patimestamp: whole }));
    }

    #[test]
    fn microseconds_without_a_time_are_refused() {
        for bytes in [&[0x30, 0x00][..], &[0x30, 0x05, 0xA1, 0x03, 0x02, 0x01, 0x05]] {
            let missing = Problem::Missing { expected: 0xA0 };
            assert_eq!(PaEncTsEnc::parse(bytes).unwrap_err().problem, missing);
        }
    }
}
