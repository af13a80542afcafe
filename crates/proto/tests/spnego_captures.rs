//! SPNEGO as real peers sent it to each other: read, written again to the same bytes, and replayed against our acceptor.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_proto::context::Acceptor;
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::policy::AcceptorPolicy;
use countersign_proto::spnego::message::{NegState, NegotiationToken, encode_mechs, write_init};
use countersign_proto::time::Timestamp;
use countersign_testkit::pair::Service;
use std::time::Duration;

const CAPTURES: &str = include_str!("vectors/spnego/captures.txt");

struct Capture {
    name: String,
    time: Timestamp,
    tokens: Vec<Vec<u8>>,
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = ")
}

fn captures() -> Vec<Capture> {
    let mut captures: Vec<Capture> = Vec::new();
    for line in CAPTURES.lines() {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']').to_owned();
            captures.push(Capture { name, time: Timestamp::default(), tokens: Vec::new() });
        } else if let Some(time) = value(line, "time") {
            captures.last_mut().unwrap().time = Timestamp::new(time.parse().unwrap(), 0);
        } else if let Some(token) = value(line, "I").or(value(line, "A")) {
            captures.last_mut().unwrap().tokens.push(bytes(token));
        }
    }
    assert_eq!(captures.len(), 7);
    captures
}

/// The service that the Kerberos captures were made for, some seconds after.
fn service(capture: &Capture) -> Service {
    let keytab = CAPTURES.lines().find_map(|line| value(line, "keytab")).unwrap();
    let keys = ServiceKeys::from_keytab(&Keytab::parse(&bytes(keytab)).unwrap()).unwrap();
    let now = capture.time.saturating_add(Duration::from_secs(2));
    Service::of(Acceptor::new(keys, AcceptorPolicy::default()), now)
}

#[test]
fn every_captured_message_is_read_and_written_again_to_the_same_bytes() {
    for Capture { name, tokens, .. } in captures() {
        for (place, token) in tokens.iter().enumerate() {
            let mut written = Vec::new();
            match NegotiationToken::parse(token).unwrap_or_else(|fault| panic!("{name} {place}: {fault}")) {
                NegotiationToken::Resp(message) => message.write(&mut written),
                NegotiationToken::Init(init) => {
                    let mechs: Vec<_> = init.mechs().collect();
                    assert_eq!(encode_mechs(&mechs), init.encoded_mechs);
                    write_init(init.encoded_mechs, init.mech_token, &mut written);
                }
            }
            assert_eq!(&written, token, "{name} {place}");
        }
    }
}

#[test]
fn captured_initiators_of_kerberos_are_accepted_by_us_at_their_time() {
    for capture in captures().iter().filter(|capture| capture.name.ends_with("-kerberos")) {
        let mut service = service(capture);
        let first = &capture.tokens[0];
        if !capture.name.contains("reselected") {
            let (context, _) = service.offer(first).accepted();
            assert_eq!(context.facts().client(), "alice@CAPTURE.TEST", "{}", capture.name);
            assert!(context.negotiated());
            // The same again is a replay, in SPNEGO too.
            let (rejected, _) = service.offer(first).refused();
            assert_eq!(rejected.refusal.code().number(), 3005);
            continue;
        }
        let (state, reply) = service.offer(first).again();
        assert_eq!(reply, capture.tokens[1], "MIT asks for another mech and for the MIC in the same bytes");
        let (_, reply) = service.offer_to(state, &capture.tokens[2]).again();
        let NegotiationToken::Resp(message) = NegotiationToken::parse(&reply).unwrap() else {
            panic!("an Init")
        };
        assert_eq!(message.neg_state, Some(NegState::AcceptIncomplete));
        assert!(message.mech_list_mic.is_some(), "we send the MIC with our last token, as MIT does");
    }
}

#[test]
fn every_captured_ntlm_handshake_proves_the_list_at_both_ends() {
    let captures = captures();
    let ntlm: Vec<_> = captures.iter().filter(|capture| !capture.name.ends_with("-kerberos")).collect();
    assert_eq!(ntlm.len(), 3);
    for capture in ntlm {
        let [.., authenticate, last] = &capture.tokens[..] else { panic!("{}", capture.name) };
        for token in [authenticate, last] {
            let NegotiationToken::Resp(message) = NegotiationToken::parse(token).unwrap() else {
                panic!("an Init")
            };
            assert_eq!(message.mech_list_mic.map(<[u8]>::len), Some(16), "{}", capture.name);
        }
    }
}
