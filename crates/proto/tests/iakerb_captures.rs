//! IAKERB as MIT 1.22's two ends spoke it with each other: our acceptor carries the same messages in the same bytes, and
//! accepts the AP-REQ that they led to; and no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_proto::context::{Acceptor, AcceptorStep, Facts};
use countersign_proto::error::{Code, code};
use countersign_proto::gss::MechChoice;
use countersign_proto::gss::framing::{Framed, TokenId};
use countersign_proto::iakerb::ProxyMessage;
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::krb5::replay::ReplayVerdict;
use countersign_proto::policy::{AcceptorPolicy, IakerbPolicy};
use countersign_proto::spnego::message::NegotiationToken;
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use std::path::Path;
use std::time::Duration;

struct Capture {
    name: String,
    time: Timestamp,
    keytab: Keytab,
    outcome: String,
    /// Each handshake's tokens, the initiator's and the acceptor's in turn.
    handshakes: Vec<Vec<Vec<u8>>>,
}

fn bytes(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn captures() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/iakerb");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 10, "{} captures", files.len());
    files.iter().map(|path| capture(path)).collect()
}

fn capture(path: &Path) -> Capture {
    let text = std::fs::read_to_string(path).unwrap();
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        lines.next().unwrap_or_else(|| panic!("{} has no {key}", path.display())).to_owned()
    };
    let mut handshakes = vec![Vec::new()];
    for line in text.lines() {
        if let Some(token) = line.strip_prefix("I = ").or(line.strip_prefix("A = ")) {
            handshakes.last_mut().unwrap().push(bytes(token));
        } else if line.is_empty() && !handshakes.last().unwrap().is_empty() {
            handshakes.push(Vec::new());
        }
    }
    handshakes.retain(|tokens| !tokens.is_empty());
    Capture {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        time: Timestamp::new(value("time").parse().unwrap(), 0),
        keytab: Keytab::parse(&bytes(&value("keytab"))).unwrap(),
        outcome: value("outcome"),
        handshakes,
    }
}

/// The token of the mechanism, out of SPNEGO if it is in it.
fn mech_token(token: &[u8]) -> Vec<u8> {
    match NegotiationToken::parse(token) {
        Ok(NegotiationToken::Init(init)) => init.mech_token.unwrap().to_vec(),
        Ok(NegotiationToken::Resp(resp)) => resp.response_token.unwrap_or_default().to_vec(),
        Err(_) => token.to_vec(),
    }
}

/// What the acceptor carried back.
fn carried(token: &[u8]) -> Vec<u8> {
    let token = mech_token(token);
    let Framed { token_id, body, .. } = Framed::open(&token).unwrap();
    assert_eq!(token_id, TokenId::IakerbProxy);
    ProxyMessage::parse(body).unwrap().message.to_vec()
}

fn acceptor(capture: &Capture) -> Acceptor {
    let mut policy = AcceptorPolicy::default();
    policy.iakerb = Some(IakerbPolicy { realms: vec!["CAPTURE.TEST".to_owned(), "OTHER.TEST".to_owned()] });
    Acceptor::new(ServiceKeys::from_keytab(&capture.keytab).unwrap(), policy)
}

/// Plays the initiator of a handshake to our acceptor; `change` may change what a KDC says. Our tokens must be MIT's, byte by
/// byte, as long as nothing is changed.
fn play(
    capture: &Capture,
    tokens: &[Vec<u8>],
    change: &mut dyn FnMut(usize, &mut Vec<u8>),
) -> Result<Facts, Code> {
    let (now, mut rng) = (capture.time.saturating_add(Duration::from_secs(1)), TestRng::new(7));
    let mut state = acceptor(capture).begin();
    for (index, pair) in tokens.chunks(2).enumerate() {
        let mut out = Vec::new();
        let mut step = state.token(&pair[0], now, &mut rng, &mut out);
        state = loop {
            step = match step {
                AcceptorStep::NeedKdc(need) => {
                    let asked = mech_token(&pair[0]);
                    assert!(asked.ends_with(&need.wish().request), "{} {index}", capture.name);
                    let mut reply = carried(&pair[1]);
                    let before = reply.clone();
                    change(index, &mut reply);
                    let step = need.reply(Ok(&reply), now, &mut out);
                    if reply == before {
                        assert_eq!(out, pair[1], "{} {index}: not as MIT carries it", capture.name);
                    }
                    step
                }
                AcceptorStep::CheckReplay(state) => state.verdict(ReplayVerdict::Fresh, now, &mut out),
                AcceptorStep::Authorize(state) => state.admit(now, &mut rng, &mut out),
                AcceptorStep::AwaitToken(state) => break state,
                AcceptorStep::Done(context) => return Ok(context.facts().clone()),
                AcceptorStep::Rejected(rejected) => return Err(rejected.refusal.code()),
                AcceptorStep::VerifyNtlm(_) => panic!("no NTLM here"),
            };
        };
    }
    panic!("{}: a handshake without an end", capture.name)
}

fn unchanged(_: usize, _: &mut Vec<u8>) {}

fn accepted() -> Vec<Capture> {
    let accepted: Vec<_> =
        captures().into_iter().filter(|capture| capture.outcome.starts_with("authenticated")).collect();
    assert!(accepted.len() >= 6, "{} that were accepted", accepted.len());
    accepted
}

#[test]
fn what_mit_carries_is_carried_in_the_same_bytes_and_the_user_is_accepted() {
    for capture in accepted() {
        for tokens in &capture.handshakes {
            let facts = play(&capture, tokens, &mut unchanged);
            let facts = facts.unwrap_or_else(|code| panic!("{}: {code}", capture.name));
            assert!(capture.outcome.ends_with(&facts.client()), "{}", capture.name);
            assert_eq!(facts.mech(), MechChoice::Iakerb, "{}", capture.name);
            assert!(facts.mutual());
        }
    }
}

#[test]
fn a_change_of_anything_that_was_carried_is_noticed() {
    let captures = accepted();
    let capture = captures.iter().find(|capture| capture.name == "spake").unwrap();
    let tokens = &capture.handshakes[0];
    let carried = tokens.len() / 2 - 1;
    assert!(carried >= 3);
    for which in 0..carried {
        let length = carried_length(tokens, which);
        for at in (0..length).step_by(7) {
            let refused = play(capture, tokens, &mut |index, reply| {
                if index == which {
                    reply[at] ^= 1;
                }
            });
            assert_eq!(refused.unwrap_err(), code::IAKERB_TRANSCRIPT, "answer {which}, byte {at}");
        }
    }
}

fn carried_length(tokens: &[Vec<u8>], which: usize) -> usize {
    carried(&tokens[which * 2 + 1]).len()
}

#[test]
fn an_ap_req_is_accepted_only_after_what_led_to_it() {
    for capture in accepted().iter().filter(|capture| !capture.name.starts_with("spnego")) {
        let tokens = &capture.handshakes[0];
        // Nothing before it, a message too few, a message twice.
        let alone = tokens[tokens.len() - 2..].to_vec();
        let refused = play(capture, &alone, &mut unchanged).unwrap_err();
        assert_eq!(refused, code::IAKERB_TRANSCRIPT, "{}", capture.name);
        let refused = play(capture, &tokens[2..], &mut unchanged).unwrap_err();
        assert_eq!(refused, code::IAKERB_TRANSCRIPT, "{}", capture.name);
        let twice = [&tokens[..2], &tokens[..]].concat();
        let refused = play(capture, &twice, &mut unchanged).unwrap_err();
        // The question for the realm is asked first or not at all.
        let expected =
            if capture.name == "realm-discovery" { code::TOKEN_UNEXPECTED } else { code::IAKERB_TRANSCRIPT };
        assert_eq!(refused, expected, "{}", capture.name);
    }
}

#[test]
fn an_ap_req_that_proves_nothing_is_accepted_only_if_nothing_was_said() {
    let captures = accepted();
    let cached = captures.iter().find(|capture| capture.name == "cached-ticket").unwrap();
    let alone = cached.handshakes.iter().find(|tokens| tokens.len() == 2).expect("a handshake with a ticket");
    assert!(play(cached, alone, &mut unchanged).is_ok());
    let longer = cached.handshakes.iter().find(|tokens| tokens.len() > 2).expect("one that gets the ticket");
    let after_talk = [&longer[..2], &alone[..]].concat();
    assert_eq!(play(cached, &after_talk, &mut unchanged).unwrap_err(), code::IAKERB_TRANSCRIPT);
}
