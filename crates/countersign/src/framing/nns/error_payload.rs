//! What an error record says: a status of 32 bits in a payload of 8 bytes, whose order differs by the peer's generation.

use countersign_proto::error::SecurityStatus;

/// In which order the 8 bytes of an error stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ErrorOrder {
    /// As .NET Framework and .NET up to 7 write and read them.
    #[default]
    BigEndian,
    /// As .NET 8 and later do, with the sign carried on.
    LittleEndian,
}

/// The payload that says `status`.
#[must_use]
pub fn encode_error(status: SecurityStatus, order: ErrorOrder) -> [u8; 8] {
    match order {
        ErrorOrder::BigEndian => u64::from(status.0).to_be_bytes(),
        ErrorOrder::LittleEndian => i64::from(status.0.cast_signed()).to_le_bytes(),
    }
}

/// The status that a payload says, in whichever order: the half that is all zeros or all ones is none of it. 4 bytes are
/// taken too. `None` if there is no telling.
#[must_use]
pub fn decode_error(payload: &[u8]) -> Option<SecurityStatus> {
    let filler = |half: [u8; 4]| half == [0; 4] || half == [0xFF; 4];
    if let Ok(short) = <[u8; 4]>::try_from(payload) {
        return Some(SecurityStatus(likelier(short)));
    }
    let [a, b, c, d, e, f, g, h] = <[u8; 8]>::try_from(payload).ok()?;
    match ([a, b, c, d], [e, f, g, h]) {
        (high, low) if filler(high) => Some(SecurityStatus(u32::from_be_bytes(low))),
        (low, high) if filler(high) => Some(SecurityStatus(u32::from_le_bytes(low))),
        _ => None,
    }
}

/// Of the two ways to read 4 bytes the one that is a status: an error of a facility, or a small number.
fn likelier(bytes: [u8; 4]) -> u32 {
    let little = u32::from_le_bytes(bytes);
    if little >> 28 == 8 || little >> 16 == 0 { little } else { u32::from_be_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: SecurityStatus = SecurityStatus::SEC_E_LOGON_DENIED;
    const TRUST: SecurityStatus = SecurityStatus::TRUST_FAILURE;

    #[test]
    fn both_orders_are_written_as_their_generations_write_them() {
        assert_eq!(encode_error(DENIED, ErrorOrder::BigEndian), [0, 0, 0, 0, 0x80, 9, 3, 0x0C]);
        assert_eq!(
            encode_error(DENIED, ErrorOrder::LittleEndian),
            [0x0C, 3, 9, 0x80, 0xFF, 0xFF, 0xFF, 0xFF]
        );
        assert_eq!(encode_error(TRUST, ErrorOrder::BigEndian), [0, 0, 0, 0, 0, 0, 6, 0xFE]);
        assert_eq!(encode_error(TRUST, ErrorOrder::LittleEndian), [0xFE, 6, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_order_is_read() {
        for status in [DENIED, TRUST] {
            for order in [ErrorOrder::BigEndian, ErrorOrder::LittleEndian] {
                assert_eq!(decode_error(&encode_error(status, order)), Some(status));
            }
            assert_eq!(decode_error(&status.0.to_be_bytes()), Some(status));
            assert_eq!(decode_error(&status.0.to_le_bytes()), Some(status));
        }
        let sign_carried_on = [0xFF, 0xFF, 0xFF, 0xFF, 0x80, 9, 3, 0x0C];
        assert_eq!(decode_error(&sign_carried_on), Some(DENIED));
    }

    #[test]
    fn what_is_no_error_is_not_taken_for_one() {
        for payload in [&[][..], &[0; 3], &[0; 7], &[0; 9], &[1, 2, 3, 4, 5, 6, 7, 8]] {
            assert_eq!(decode_error(payload), None, "{payload:?}");
        }
    }
}
