//! Texts as NTLM has them: UTF-16, little-endian, without a mark at the beginning or the end.

/// The text that `bytes` are, or `None` if they are not UTF-16.
#[must_use]
pub fn from_utf16(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit))).collect::<Result<_, _>>().ok()
}

/// The bytes of `text`.
#[must_use]
pub fn to_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_beyond_the_first_plane() {
        for text in ["", "User", "Ünïcode", "𐐷 clef 𝄞"] {
            assert_eq!(from_utf16(&to_utf16(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn half_a_unit_and_half_a_pair_are_no_text() {
        assert_eq!(from_utf16(b"U\0s"), None);
        assert_eq!(from_utf16(&[0x34, 0xD8]), None);
        assert_eq!(from_utf16(&[0x1E, 0xDD, 0x34, 0xD8]), None);
    }
}
