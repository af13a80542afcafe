//! Group 1: edwards25519 (RFC 9588).
//!
//! The curve has eight times as many points as the subgroup that G generates. x and y are multiples of 8, so whatever
//! part of a share lies outside the subgroup vanishes from K; kept is an eighth of them, below the order, as 8 times that
//! would no longer be a multiple of 8 once it is reduced.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "the operators are a group's and a field's, which have no overflow"
)]

use super::{Blind, SPAKE_LEN, ScalarBytes, SpakeError, SpakeGroup};
use crate::crypto::wiped::Wiped;
use crate::secret::Secret;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Length of an element: y, and the sign of x in the highest bit.
pub(super) const ELEMENT_LEN: usize = 32;

const M: [u8; ELEMENT_LEN] = [
    0xD0, 0x48, 0x03, 0x2C, 0x6E, 0xA0, 0xB6, 0xD6, 0x97, 0xDD, 0xC2, 0xE8, 0x6B, 0xDA, 0x85, 0xA3, 0x3A,
    0xDA, 0xC9, 0x20, 0xF1, 0xBF, 0x18, 0xE1, 0xB0, 0xC6, 0xD1, 0x66, 0xA5, 0xCE, 0xCD, 0xAF,
];
const N: [u8; ELEMENT_LEN] = [
    0xD3, 0xBF, 0xB5, 0x18, 0xF4, 0x4F, 0x34, 0x30, 0xF2, 0x9D, 0x0C, 0x92, 0xAF, 0x50, 0x38, 0x65, 0xA1,
    0xED, 0x32, 0x81, 0xDC, 0x69, 0xB3, 0x5D, 0xD8, 0x68, 0xBA, 0x85, 0xF8, 0x86, 0xC4, 0xAB,
];

/// An eighth of a fresh x or y: twice as many random bytes as a scalar has leave no bias when they are reduced.
pub(super) fn random_scalar(rng: &mut dyn CryptoRng) -> ScalarBytes {
    let mut wide = Wiped::<{ 2 * SPAKE_LEN }>::new();
    rng.fill_bytes(wide.as_mut_slice());
    let scalar = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide));
    ScalarBytes::start_of(scalar.as_bytes())
}

/// Whether these bytes are a reduced scalar.
pub(super) fn is_scalar(bytes: &[u8; SPAKE_LEN]) -> bool {
    Scalar::from_canonical_bytes(*bytes).is_some().into()
}

/// xG + wM or yG + wN, of an eighth of x or y.
pub(super) fn share(blind: Blind, w: &ScalarBytes, eighth: &ScalarBytes) -> [u8; ELEMENT_LEN] {
    let mine = Zeroizing::new(EdwardsPoint::mul_base(&reduced(eighth)).mul_by_cofactor());
    (*mine + *blinded(blind, w)).compress().to_bytes()
}

/// x(S - wN) or y(T - wM), of an eighth of x or y.
pub(super) fn agree(
    blind: Blind,
    w: &ScalarBytes,
    eighth: &ScalarBytes,
    share: &[u8; ELEMENT_LEN],
) -> Result<Secret, SpakeError> {
    let group = SpakeGroup::Edwards25519;
    let share = decode(share).ok_or(SpakeError::NotAnElement { group })?;
    let bare = Zeroizing::new(share - *blinded(blind, w));
    let k = Zeroizing::new((*bare * *reduced(eighth)).mul_by_cofactor());
    if k.is_identity() {
        return Err(SpakeError::Identity { group });
    }
    Ok(Secret::from(Zeroizing::new(k.compress()).as_bytes().as_slice()))
}

/// wM or wN.
fn blinded(blind: Blind, w: &ScalarBytes) -> Zeroizing<EdwardsPoint> {
    // Both constants are points: a test says so.
    let constant = match blind {
        Blind::M => decode(&M),
        Blind::N => decode(&N),
    };
    Zeroizing::new(constant.unwrap_or_default() * *reduced(w))
}

/// A point by its one encoding (RFC 8032 section 5.1.3): the library also takes a y beyond the field.
fn decode(bytes: &[u8; ELEMENT_LEN]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (point.compress().as_bytes() == bytes).then_some(point)
}

fn reduced(bytes: &ScalarBytes) -> Zeroizing<Scalar> {
    Zeroizing::new(Scalar::from_bytes_mod_order(**bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::EIGHT_TORSION;

    #[test]
    fn what_a_share_has_outside_the_subgroup_vanishes() {
        // 8 times 7070... is beyond the order: reduced, it would be no multiple of 8.
        let [w, mine, other] = [1, 2, 7].map(|byte| ScalarBytes::start_of(&[byte; SPAKE_LEN]));
        let honest = share(Blind::N, &w, &mine);
        let k = agree(Blind::N, &w, &other, &honest).unwrap();
        for torsion in EIGHT_TORSION {
            let shifted = (decode(&honest).unwrap() + torsion).compress().to_bytes();
            assert!(agree(Blind::N, &w, &other, &shifted).unwrap().ct_eq(k.expose()));
        }
    }

    #[test]
    fn the_constants_are_points_of_the_subgroup() {
        for constant in [M, N] {
            assert!(decode(&constant).is_some_and(|point| point.is_torsion_free() && !point.is_identity()));
        }
    }
}
