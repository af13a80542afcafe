//! SPAKE, the KDC's side (RFC 9588): who listens learns nothing to try passwords on, and who guesses has one guess a response.

use super::{Proven, failed};
use crate::kdc::Call;
use crate::kdc::armor::Asked;
use crate::kdc::cookie::{self, Opened, SpakeState, Unusable};
use crate::kdc::denied::{Denied, Hint};
use crate::kdc::subject::Subject;
use crate::record::Reason;
use countersign_proto::crypto::spake::{KdcSecret, KdcShare, SpakeGroup};
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::der::Writer;
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_proto::krb5::msg::spake::{
    PaSpake, SF_NONE, SpakeChallenge, SpakeResponse, SpakeSecondFactor, SpakeSupport,
};
use countersign_proto::krb5::spake::{Transcript, derive_key, derive_w};
use countersign_proto::secret::Secret;

/// Answers the client's list of groups with a challenge in the first of them that the realm takes.
pub(super) fn challenge(
    call: &mut Call<'_>,
    asked: &Asked<'_>,
    subject: &Subject,
    support: &SpakeSupport,
    encoded_support: &[u8],
) -> Denied {
    let known = support.groups.iter().filter_map(|group| SpakeGroup::from_wire(*group));
    let Some(group) = known.into_iter().find(|group| call.policy.spake_groups.contains(group)) else {
        return failed(call, asked, subject, Reason::SpakeGroups);
    };
    let share = KdcShare::generate(&derive_w(&subject.key, group), call.rng);
    let factors = vec![SpakeSecondFactor { factor_type: SF_NONE, data: None }];
    let message = PaSpake::Challenge(SpakeChallenge { group: group.wire(), pubkey: share.public(), factors });
    let mut encoded = Vec::new();
    message.write(&mut Writer::new(&mut encoded));
    let mut transcript = Transcript::new(group);
    transcript.absorb(&[encoded_support, &encoded]);
    let x = Secret::from(share.secret().expose().as_slice());
    let state = SpakeState { group, x, transcript: *transcript.hash() };
    let cookie = cookie::seal(call, asked, subject, &state);
    let hints = vec![Hint::new(pa_type::PA_SPAKE, encoded), Hint::new(pa_type::PA_FX_COOKIE, cookie)];
    Denied::continued(krb::KDC_ERR_MORE_PREAUTH_DATA_REQUIRED, hints)
}

/// What the client's response to a challenge proves: nothing, if the password is wrong.
pub(super) fn verify(
    call: &Call<'_>,
    asked: &Asked<'_>,
    subject: &Subject,
    response: &SpakeResponse<'_>,
) -> Result<Option<Proven>, Unusable> {
    let cookie = asked.padata.find(pa_type::PA_FX_COOKIE).ok_or(Unusable::Foreign)?;
    let Opened { state, made } = cookie::open(call, asked, subject, cookie)?;
    let reply_key = reply_key(asked, subject, &state, response);
    Ok(reply_key.map(|reply_key| Proven { reply_key, padata: Vec::new(), made, skewed: false }))
}

/// The key of the reply, if the factor shows that the client has come to the same one.
fn reply_key(
    asked: &Asked<'_>,
    subject: &Subject,
    state: &SpakeState,
    response: &SpakeResponse<'_>,
) -> Option<Key> {
    let w = derive_w(&subject.key, state.group);
    let secret = KdcSecret::from_bytes(&w, state.x.expose().try_into().ok()?).ok()?;
    let shared = secret.shared_secret(response.pubkey).ok()?;
    let mut transcript = Transcript::resume(state.group, state.transcript);
    transcript.absorb(&[response.pubkey]);
    let key = |n| derive_key(&subject.key, &w, &shared, &transcript, asked.encoded_body, n);
    let factor_key = key(1);
    let reply_key = key(0);
    let mut factor = Secret::from(response.factor.cipher);
    let opened = factor_key.cipher(KeyUsage::SPAKE).open_in_place(factor.expose_mut()).ok()?;
    let factor = SpakeSecondFactor::parse(opened).ok()?;
    let right = response.factor.etype == factor_key.etype().wire() && factor.factor_type == SF_NONE;
    right.then_some(reply_key)
}
