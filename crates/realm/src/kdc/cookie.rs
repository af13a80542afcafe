//! The cookie (RFC 6113 section 5.2): what the KDC must remember of a login between two of its requests, left with the client,
//! sealed.

use super::armor::Asked;
use super::subject::{Subject, name_bytes};
use super::{Call, RealmSecrets};
use countersign_proto::crypto::KeyUsage;
use countersign_proto::crypto::spake::{SPAKE_LEN, SpakeGroup};
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use rand_core::CryptoRng;
use std::time::Duration;

/// How long a login may take.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// The usage that MIT's KDC has for its cookies: nobody else has this number.
const COOKIE: KeyUsage = KeyUsage(513);

/// Form of the cookie.
const VERSION: u8 = 1;

/// What stands where there is nothing to remember: RFC 6113 has a KDC that may answer with
/// KDC_ERR_MORE_PREAUTH_DATA_REQUIRED show by a cookie in KDC_ERR_PREAUTH_REQUIRED that it does.
pub(super) const EMPTY: &[u8] = b"countersign";

/// What SPAKE's second step needs of the first.
pub(super) struct SpakeState {
    pub(super) group: SpakeGroup,
    /// The KDC's scalar.
    pub(super) x: Secret,
    /// The transcript so far.
    pub(super) transcript: [u8; SPAKE_LEN],
}

/// A cookie of ours that belongs to the request, opened.
pub(super) struct Opened {
    pub(super) state: SpakeState,
    /// When it was made.
    pub(super) made: Timestamp,
}

/// Why a cookie is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unusable {
    /// None of ours, or of another login.
    Foreign,
    /// Too old, or from before the password was changed.
    Expired,
}

/// Seals the state of a login.
pub(super) fn seal(call: &mut Call<'_>, asked: &Asked<'_>, subject: &Subject, state: &SpakeState) -> Vec<u8> {
    let binding = binding(asked, subject);
    let mut plaintext = Secret::new(Vec::with_capacity(FIXED.saturating_add(binding.len())));
    let out = plaintext.expose_mut();
    out.push(VERSION);
    out.extend_from_slice(&call.now.total_micros().to_be_bytes());
    out.extend_from_slice(&subject.kvno.to_be_bytes());
    out.extend_from_slice(&state.group.wire().to_be_bytes());
    out.extend_from_slice(state.x.expose());
    out.extend_from_slice(&state.transcript);
    out.extend_from_slice(&binding);
    encrypt(&call.kdc.secrets, plaintext.expose(), call.rng)
}

/// Version, time, kvno, group, x, transcript.
const FIXED: usize = 1 + 8 + 4 + 4 + SPAKE_LEN + SPAKE_LEN;

fn encrypt(secrets: &RealmSecrets, plaintext: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
    let mut out = Vec::new();
    secrets.key().cipher(COOKIE).seal(rng, plaintext, &mut out);
    out
}

/// Opens the cookie that came with a request.
pub(super) fn open(
    call: &Call<'_>,
    asked: &Asked<'_>,
    subject: &Subject,
    cookie: &[u8],
) -> Result<Opened, Unusable> {
    let mut buffer = Secret::from(cookie);
    let opened = call.kdc.secrets.key().cipher(COOKIE).open_in_place(buffer.expose_mut());
    let plaintext = opened.map_err(|_| Unusable::Foreign)?;
    let (made, kvno, state, bound_to) = read(plaintext).ok_or(Unusable::Foreign)?;
    if bound_to != binding(asked, subject) {
        return Err(Unusable::Foreign);
    }
    if kvno != subject.kvno || made.abs_diff(call.now) > LIFE {
        return Err(Unusable::Expired);
    }
    Ok(Opened { state, made })
}

fn read(plaintext: &[u8]) -> Option<(Timestamp, u32, SpakeState, &[u8])> {
    let (version, rest) = plaintext.split_first_chunk::<1>()?;
    let (made, rest) = rest.split_first_chunk::<8>()?;
    let (kvno, rest) = rest.split_first_chunk::<4>()?;
    let (group, rest) = rest.split_first_chunk::<4>()?;
    let (x, rest) = rest.split_first_chunk::<SPAKE_LEN>()?;
    let (transcript, rest) = rest.split_first_chunk::<SPAKE_LEN>()?;
    let group = SpakeGroup::from_wire(i32::from_be_bytes(*group)).filter(|_| version == &[VERSION])?;
    let state = SpakeState { group, x: Secret::from(x.as_slice()), transcript: *transcript };
    let made = Timestamp::default().shifted(i64::from_be_bytes(*made));
    Some((made, u32::from_be_bytes(*kvno), state, rest))
}

/// What must be the same in the request that brings the cookie back: the client, the key's etype, the service, and whether there
/// is armor. Nonce and times may differ.
fn binding(asked: &Asked<'_>, subject: &Subject) -> Vec<u8> {
    let mut out = name_bytes(&subject.asked);
    if let Some(sname) = asked.body.sname {
        out.extend(name_bytes(&sname.to_principal(asked.body.realm)));
    }
    out.extend_from_slice(&subject.key.etype().wire().to_be_bytes());
    out.push(asked.armor.is_some().into());
    out
}
