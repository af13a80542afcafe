//! Group 2: P-256 (RFC 9588). Every point but the identity generates it, and elements are written
//! compressed (SEC 1 section 2.3.3).

#![allow(
    clippy::arithmetic_side_effects,
    reason = "the operators are a group's and a field's, which have no overflow"
)]

use super::{Blind, SPAKE_LEN, ScalarBytes, SpakeError, SpakeGroup};
use crate::secret::Secret;
use ::p256::elliptic_curve::Generate;
use ::p256::elliptic_curve::group::{Group, GroupEncoding};
use ::p256::elliptic_curve::ops::Reduce;
use ::p256::elliptic_curve::point::DecompressPoint;
use ::p256::{AffinePoint, FieldBytes, NonZeroScalar, ProjectivePoint, Scalar};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Length of an element: a byte that says whether y is odd, and x.
pub(super) const ELEMENT_LEN: usize = 33;

const M: [u8; ELEMENT_LEN] = [
    0x02, 0x88, 0x6E, 0x2F, 0x97, 0xAC, 0xE4, 0x6E, 0x55, 0xBA, 0x9D, 0xD7, 0x24, 0x25, 0x79, 0xF2, 0x99,
    0x3B, 0x64, 0xE1, 0x6E, 0xF3, 0xDC, 0xAB, 0x95, 0xAF, 0xD4, 0x97, 0x33, 0x3D, 0x8F, 0xA1, 0x2F,
];
const N: [u8; ELEMENT_LEN] = [
    0x03, 0xD8, 0xBB, 0xD6, 0xC6, 0x39, 0xC6, 0x29, 0x37, 0xB0, 0x4D, 0x99, 0x7F, 0x38, 0xC3, 0x77, 0x07,
    0x19, 0xC6, 0x29, 0xD7, 0x01, 0x4D, 0x49, 0xA2, 0x4B, 0x4F, 0x98, 0xBA, 0xA1, 0x29, 0x2B, 0x49,
];

/// A fresh x or y, by drawing until one is below the order, which all but one in four billion are at once.
pub(super) fn random_scalar(rng: &mut dyn CryptoRng) -> ScalarBytes {
    let scalar = Zeroizing::new(NonZeroScalar::generate_from_rng(rng));
    ScalarBytes::start_of(Zeroizing::new(FieldBytes::from(*scalar)).as_slice())
}

/// Whether these bytes are a scalar below the order, and not 0.
pub(super) fn is_scalar(bytes: &[u8; SPAKE_LEN]) -> bool {
    NonZeroScalar::from_repr(FieldBytes::from(*bytes)).is_some().into()
}

/// xG + wM or yG + wN.
pub(super) fn share(blind: Blind, w: &ScalarBytes, scalar: &ScalarBytes) -> [u8; ELEMENT_LEN] {
    let mine = Zeroizing::new(ProjectivePoint::GENERATOR * *reduced(scalar));
    encode(&(*mine + *blinded(blind, w)))
}

/// x(S - wN) or y(T - wM).
pub(super) fn agree(
    blind: Blind,
    w: &ScalarBytes,
    scalar: &ScalarBytes,
    share: &[u8; ELEMENT_LEN],
) -> Result<Secret, SpakeError> {
    let group = SpakeGroup::P256;
    let share = decode(share).ok_or(SpakeError::NotAnElement { group })?;
    let bare = Zeroizing::new(ProjectivePoint::from(share) - *blinded(blind, w));
    let k = Zeroizing::new(*bare * *reduced(scalar));
    if k.is_identity().into() {
        return Err(SpakeError::Identity { group });
    }
    Ok(Secret::from(Zeroizing::new(encode(&k)).as_slice()))
}

/// wM or wN.
fn blinded(blind: Blind, w: &ScalarBytes) -> Zeroizing<ProjectivePoint> {
    // Both constants are points: a test says so.
    let constant = match blind {
        Blind::M => decode(&M),
        Blind::N => decode(&N),
    };
    Zeroizing::new(ProjectivePoint::from(constant.unwrap_or_default()) * *reduced(w))
}

/// A point in compressed form and in no other; the identity has none.
fn decode(bytes: &[u8; ELEMENT_LEN]) -> Option<AffinePoint> {
    let (x, y_is_odd) = match bytes {
        [2, x @ ..] => (x, 0),
        [3, x @ ..] => (x, 1),
        _ => return None,
    };
    AffinePoint::decompress(&FieldBytes::from(*x), y_is_odd.into()).into()
}

fn encode(point: &ProjectivePoint) -> [u8; ELEMENT_LEN] {
    let affine = Zeroizing::new(point.to_affine());
    affine.to_bytes().into()
}

fn reduced(bytes: &ScalarBytes) -> Zeroizing<Scalar> {
    let bytes = Zeroizing::new(FieldBytes::from(**bytes));
    Zeroizing::new(<Scalar as Reduce<FieldBytes>>::reduce(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_points() {
        assert!(decode(&M).is_some() && decode(&N).is_some());
    }
}
