//! Handshake tokens that were altered on the way: no byte that matters can be changed, and none makes us panic.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use countersign_proto::context::{Acceptor, AcceptorStep, Initiator, InitiatorStep};
use countersign_proto::krb5::acceptor::krb_error;
use countersign_proto::krb5::facts::Facts;
use countersign_proto::krb5::replay::ReplayVerdict;
use countersign_proto::policy::AcceptorPolicy;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, NOW};
use std::collections::BTreeSet;
use std::ops::Range;

fn acceptor() -> Acceptor {
    Acceptor::new(Mint::default().service_keys(), AcceptorPolicy::default())
}

/// What would be known of the context if the token is taken; the caller has the last word then.
fn accepted(acceptor: &Acceptor, token: &[u8]) -> Option<Facts> {
    let mut out = Vec::new();
    match acceptor.begin().token(token, NOW, &mut TestRng::new(7), &mut out) {
        AcceptorStep::CheckReplay(check) => match check.verdict(ReplayVerdict::Fresh, NOW, &mut out) {
            AcceptorStep::Authorize(authorize) => Some(authorize.facts().kerberos().unwrap().clone()),
            _ => None,
        },
        AcceptorStep::Rejected(_) => None,
        _ => panic!("a first token leads to a replay check or to an end"),
    }
}

/// Where `needle` stands in `token`, first.
fn place(token: &[u8], needle: &[u8]) -> Range<usize> {
    let at = token.windows(needle.len()).position(|window| window == needle).unwrap();
    at..at + needle.len()
}

/// Every byte of an AP-REQ that nothing protects, because it only says how to try what is protected.
fn unprotected(token: &[u8]) -> BTreeSet<usize> {
    let last_of = |needle: &[u8]| place(token, needle).end - 1..place(token, needle).end;
    [
        // 1.2.840.113554.1.2.2 and Microsoft's 1.2.840.48018.1.2.2 differ in this byte, and are taken for the same.
        last_of(&[0x2A, 0x86, 0x48, 0x86]),
        // ap-options, with the count of unused bits
        place(token, &[0, 0x20, 0, 0, 0]),
        place(token, b"EXAMPLE.TEST"),
        // sname: name type and components
        last_of(&[0xA0, 3, 2, 1, 3]),
        place(token, b"HTTP"),
        // The length of the first component: one that swallows the second whole is an encoding of another name.
        last_of(&[0x1B, 4]),
        place(token, b"a.example.test"),
        // kvno
        last_of(&[0xA1, 3, 2, 1, 2]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn an_ap_req_in_which_any_byte_is_changed_is_refused_or_says_the_same() {
    let token = Mint::default().ap_req().token();
    let acceptor = acceptor();
    let genuine = accepted(&acceptor, &token).unwrap();
    let mut harmless = BTreeSet::new();
    for at in 0..token.len() {
        for value in 0..=u8::MAX {
            let mut altered = token.clone();
            altered[at] = value;
            let Some(facts) = accepted(&acceptor, &altered).filter(|_| value != token[at]) else { continue };
            harmless.insert(at);
            let same = Facts { claimed_service: genuine.claimed_service.clone(), ..facts };
            assert_eq!(format!("{same:?}"), format!("{genuine:?}"), "byte {at} as {value:02x}");
        }
    }
    assert_eq!(harmless, unprotected(&token));
}

#[test]
fn an_ap_req_cut_short_anywhere_is_refused() {
    let token = Mint::default().ap_req().token();
    let acceptor = acceptor();
    for length in 0..token.len() {
        assert!(accepted(&acceptor, &token[..length]).is_none(), "{length}");
    }
}

#[test]
fn an_ap_req_from_which_any_byte_is_taken_or_to_which_any_is_added_is_refused() {
    let token = Mint::default().ap_req().token();
    let acceptor = acceptor();
    for at in 0..token.len() {
        let mut shorter = token.clone();
        shorter.remove(at);
        assert!(accepted(&acceptor, &shorter).is_none(), "{at}");
        for value in [0, 1, 0x30, 0x80, 0xFF] {
            let mut longer = token.clone();
            longer.insert(at, value);
            assert!(accepted(&acceptor, &longer).is_none(), "{at}");
        }
    }
}

/// Whether an initiator takes `token` for the proof of its service.
fn believed(initiator: &Initiator, token: &[u8]) -> bool {
    let mut out = Vec::new();
    let state = initiator.begin(NOW, &mut TestRng::new(1), &mut out).unwrap();
    matches!(state.token(token, NOW, &mut TestRng::new(2), &mut out), InitiatorStep::Done(_))
}

fn initiator() -> Initiator {
    let mint = Mint::default();
    let ccache = mint.ccache(&[mint.ticket()]);
    Initiator::from_ccache(&ccache, &mint.service, countersign_testkit::pair::initiator_policy(|_| {}), NOW)
        .unwrap()
}

#[test]
fn an_ap_rep_in_which_any_byte_is_changed_or_missing_is_refused() {
    let mint = Mint::default();
    let token = mint.ap_rep(&mint.ap_req()).token();
    let initiator = initiator();
    assert!(believed(&initiator, &token));
    let microsoft = place(&token, &[0x48, 0x86]).end - 1;
    for at in 0..token.len() {
        assert!(!believed(&initiator, &token[..at]), "{at}");
        for value in (0..=u8::MAX).filter(|value| *value != token[at]) {
            let mut altered = token.clone();
            altered[at] = value;
            let harmless = at == microsoft && value == 0x82;
            assert_eq!(believed(&initiator, &altered), harmless, "byte {at} as {value:02x}");
        }
    }
}

#[test]
fn a_krb_error_is_never_believed_whatever_is_in_it() {
    let mut token = Vec::new();
    krb_error(37, &Mint::default().service, true, NOW, &mut token);
    let initiator = initiator();
    for at in 0..token.len() {
        assert!(!believed(&initiator, &token[..at]), "{at}");
        for value in 0..=u8::MAX {
            let mut altered = token.clone();
            altered[at] = value;
            assert!(!believed(&initiator, &altered), "byte {at} as {value:02x}");
        }
    }
}
