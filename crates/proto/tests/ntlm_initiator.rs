//! What an initiator of NTLM demands of a server, and what it says to one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod ntlm_pair;

use countersign_proto::error::{Explain, code};
use countersign_proto::krb5::facts::BindingsState;
use countersign_proto::ntlm::initiator::Credential;
use countersign_proto::ntlm::messages::{
    Authenticate, AvPairs, Negotiate, NewChallenge, av_id, filetime, push_av_pair, to_utf16,
};
use countersign_proto::ntlm::{NegotiateFlags, NtlmError};
use countersign_proto::policy::InitiatorPolicy;
use ntlm_pair::{Counter, NOW, authenticated, bindings, bound, credential, negotiate};

const OFFERED: NegotiateFlags =
    NegotiateFlags(NegotiateFlags::DEMANDED.0 | NegotiateFlags::SEAL.0 | NegotiateFlags::TARGET_INFO.0);

fn target_info(pairs: &[(u16, &[u8])]) -> Vec<u8> {
    let mut target_info = Vec::new();
    for (id, value) in pairs {
        push_av_pair(&mut target_info, *id, value).unwrap();
    }
    push_av_pair(&mut target_info, av_id::EOL, &[]).unwrap();
    target_info
}

fn challenge(flags: NegotiateFlags, target_info: &[u8]) -> Vec<u8> {
    let mut challenge = Vec::new();
    NewChallenge { flags, server_challenge: [5; 8], target_name: &[], target_info }
        .write(&mut challenge)
        .unwrap();
    challenge
}

fn answer(challenge: &[u8], policy: &InitiatorPolicy, spn: Option<&str>) -> Result<Vec<u8>, NtlmError> {
    authenticated(negotiate(policy).0, challenge, spn).map(|(_, message)| message)
}

fn refusal(challenge: &[u8]) -> NtlmError {
    answer(challenge, &InitiatorPolicy::default(), None).err().unwrap()
}

/// AV pairs of an AUTHENTICATE, without the end.
fn pairs_of(authenticate: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let message = Authenticate::parse(authenticate).ok().unwrap();
    let pairs = AvPairs::parse(&message.nt_response[44..]).ok().unwrap();
    pairs.iter().map(|(id, value)| (id, value.to_vec())).collect()
}

#[test]
fn negotiate_asks_for_sealing_and_for_nothing_weak() {
    let (_, negotiate) = negotiate(&InitiatorPolicy::default());
    assert_eq!(
        Negotiate::parse(&negotiate).unwrap().flags.to_string(),
        "UNICODE,REQUEST_TARGET,SIGN,SEAL,NTLM,ALWAYS_SIGN,EXTENDED_SESSIONSECURITY,TARGET_INFO,VERSION,128,KEY_EXCH"
    );
}

#[test]
fn initiator_refuses_a_server_that_lacks_any_one_of_what_is_demanded() {
    let info = target_info(&[]);
    for bit in 0..32 {
        let missing = NegotiateFlags(1 << bit);
        if NegotiateFlags::DEMANDED.union(NegotiateFlags::SEAL).contains(missing) {
            let refused = refusal(&challenge(OFFERED.without(missing), &info));
            assert_eq!(refused, NtlmError::ServerFlags { missing });
            assert_eq!(refused.code(), code::NTLM_SERVER_TOO_WEAK);
        }
    }
}

#[test]
fn initiator_takes_a_server_that_only_signs_if_policy_gives_sealing_up() {
    let mut policy = InitiatorPolicy::default();
    policy.dangerous().allow_unsealed();
    let challenge = challenge(OFFERED.without(NegotiateFlags::SEAL), &target_info(&[]));
    let message = answer(&challenge, &policy, None).unwrap();
    assert!(!Authenticate::parse(&message).ok().unwrap().flags.contains(NegotiateFlags::SEAL));
}

#[test]
fn initiator_refuses_a_challenge_without_target_info_or_with_a_broken_one() {
    let without = challenge(OFFERED.without(NegotiateFlags::TARGET_INFO), &[]);
    assert_eq!(refusal(&without), NtlmError::TargetInfoAbsent);
    assert_eq!(refusal(&challenge(OFFERED, &[])), NtlmError::TargetInfoAbsent);
    let cut = &target_info(&[(av_id::NB_DOMAIN_NAME, b"D\0")])[..6];
    assert_eq!(refusal(&challenge(OFFERED, cut)).code(), code::NTLM_CHALLENGE_MALFORMED);
}

#[test]
fn initiator_refuses_another_message_in_place_of_the_challenge() {
    let (_, negotiate) = negotiate(&InitiatorPolicy::default());
    assert_eq!(refusal(&negotiate).code(), code::TOKEN_UNEXPECTED);
    assert_eq!(refusal(b"\x60\x28").code(), code::TOKEN_UNRECOGNISED);
}

#[test]
fn authenticate_holds_a_mic_flag_the_bindings_and_the_service() {
    let policy = bound(Some(bindings("here")));
    let challenge = challenge(OFFERED, &target_info(&[(av_id::NB_DOMAIN_NAME, b"D\0")]));
    let (context, message) =
        authenticated(negotiate(&policy).0, &challenge, Some("HTTP/a.example.test")).unwrap();
    assert_eq!(
        pairs_of(&message),
        [
            (av_id::NB_DOMAIN_NAME, b"D\0".to_vec()),
            (av_id::FLAGS, vec![2, 0, 0, 0]),
            (av_id::CHANNEL_BINDINGS, bindings("here").hash().0.to_vec()),
            (av_id::TARGET_NAME, to_utf16("HTTP/a.example.test")),
        ]
    );
    assert_eq!(context.facts.bindings, BindingsState::Sent);
    assert_eq!(context.facts.target_name.as_deref(), Some("HTTP/a.example.test"));
    assert!(!context.facts.mutual);
}

#[test]
fn a_server_cannot_say_for_us_which_channel_and_which_service_we_mean() {
    let challenge = challenge(
        OFFERED,
        &target_info(&[
            (av_id::FLAGS, &[1, 0, 0, 0]),
            (av_id::TARGET_NAME, b"X\0"),
            (av_id::CHANNEL_BINDINGS, &[7; 16]),
        ]),
    );
    let message = answer(&challenge, &InitiatorPolicy::default(), None).unwrap();
    let (flags, bindings, target) = (vec![3, 0, 0, 0], vec![0; 16], vec![]);
    let expected = [(av_id::FLAGS, flags), (av_id::CHANNEL_BINDINGS, bindings), (av_id::TARGET_NAME, target)];
    assert_eq!(pairs_of(&message), expected);
}

#[test]
fn the_time_is_the_servers_if_it_offers_one_and_else_ours() {
    let time_of = |info: &[u8]| {
        let message = answer(&challenge(OFFERED, info), &InitiatorPolicy::default(), None).unwrap();
        let response = Authenticate::parse(&message).ok().unwrap().nt_response.to_vec();
        u64::from_le_bytes(response[24..32].try_into().unwrap())
    };
    assert_eq!(time_of(&target_info(&[(av_id::TIMESTAMP, &[3, 0, 0, 0, 0, 0, 0, 0])])), 3);
    assert_eq!(time_of(&target_info(&[])), filetime(NOW));
}

#[test]
fn no_flag_is_sent_that_was_not_asked_for() {
    let message =
        answer(&challenge(NegotiateFlags(0xFFFF_FFFF), &target_info(&[])), &InitiatorPolicy::default(), None);
    let (_, asked) = negotiate(&InitiatorPolicy::default());
    let asked = Negotiate::parse(&asked).unwrap().flags;
    assert_eq!(Authenticate::parse(&message.unwrap()).ok().unwrap().flags, asked);
}

#[test]
fn lm_response_is_zeros() {
    let message = answer(&challenge(OFFERED, &target_info(&[])), &InitiatorPolicy::default(), None);
    assert_eq!(Authenticate::parse(&message.unwrap()).ok().unwrap().lm_response, [0; 24]);
}

#[test]
fn a_credential_without_a_user_or_too_long_is_refused_and_nothing_is_sent() {
    for credential in [
        Credential { user: String::new(), ..credential() },
        Credential { user: "u".repeat(32_768), ..credential() },
        Credential { domain: "d".repeat(32_768), ..credential() },
    ] {
        let challenge = challenge(OFFERED, &target_info(&[]));
        let mut out = Vec::new();
        let refused = negotiate(&InitiatorPolicy::default())
            .0
            .challenge(&challenge, &credential, None, NOW, &mut Counter::new(), &mut out)
            .err();
        assert_eq!(refused.unwrap().code(), code::NTLM_CREDENTIAL_UNUSABLE);
        assert!(out.is_empty());
    }
}
