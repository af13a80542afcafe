//! NTLM against MS-NLMP's published values, and against handshakes with other implementations, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ntlm_pair;
#[path = "vectors/reader.rs"]
mod reader;

use countersign_proto::gss::ChannelBindings;
use countersign_proto::krb5::facts::BindingsState;
use countersign_proto::krb5::per_message::{Confidentiality, Role};
use countersign_proto::ntlm::NegotiateFlags;
use countersign_proto::ntlm::acceptor::Challenged;
use countersign_proto::ntlm::initiator;
use countersign_proto::ntlm::keys::{ExportedSessionKey, NtowfV2};
use countersign_proto::ntlm::messages::{Authenticate, Challenge, Negotiate, to_utf16};
use countersign_proto::ntlm::protection::Protection;
use countersign_proto::ntlm::{NtlmError, nt_hash};
use countersign_proto::time::Timestamp;
use ntlm_pair::{Counter, account_file, bound, challenged, credential, names};
use reader::{Record, records};

/// The list of mechs that the MICs of the captures are over: NTLM alone.
const MECH_LIST: &[u8] = b"\x30\x0c\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a";

fn published() -> Record {
    records(include_str!("vectors/ntlm/ms_nlmp_4_2_4.txt")).remove(0)
}

fn published_key() -> ExportedSessionKey {
    ExportedSessionKey::new(published().bytes("exported_session_key").try_into().unwrap())
}

#[test]
fn keys_and_proof_are_those_of_ms_nlmp_4_2_4() {
    let values = published();
    let hash = nt_hash(values.text("password"));
    assert_eq!(hash.expose()[..], values.bytes("nt_hash"));
    let ntowf = NtowfV2::new(&hash, values.text("user"), values.text("domain"));
    let server_challenge = values.bytes("server_challenge").try_into().unwrap();
    let proof = ntowf.nt_proof(&server_challenge, &values.bytes("temp"));
    assert_eq!(proof[..], values.bytes("nt_proof"));
    let base = ntowf.verify(&server_challenge, &values.bytes("temp"), &proof).unwrap();
    assert_eq!(base.expose()[..], values.bytes("session_base_key"));
    let encrypted = base.seal(&published_key());
    assert_eq!(encrypted[..], values.bytes("encrypted_session_key"));
    assert_eq!(base.seal(&base.open(&encrypted)), encrypted);
}

#[test]
fn messages_of_ms_nlmp_4_2_4_are_read() {
    let values = published();
    let challenge = values.bytes("challenge");
    let challenge = Challenge::parse(&challenge).ok().unwrap();
    assert_eq!(challenge.flags, NegotiateFlags(0xE28A_8233));
    assert_eq!(challenge.server_challenge[..], values.bytes("server_challenge"));
    assert_eq!(challenge.target_name, to_utf16("Server"));
    assert_eq!(challenge.target_info, &values.bytes("temp")[28..64]);

    let authenticate = values.bytes("authenticate");
    let authenticate = Authenticate::parse(&authenticate).ok().unwrap();
    assert_eq!(authenticate.flags, NegotiateFlags(0xE288_8235));
    assert_eq!(authenticate.domain, to_utf16("Domain"));
    assert_eq!(authenticate.user, to_utf16("User"));
    assert_eq!(authenticate.workstation, to_utf16("COMPUTER"));
    assert_eq!(authenticate.lm_response, values.bytes("lm_response"));
    assert_eq!(authenticate.nt_response, [values.bytes("nt_proof"), values.bytes("temp")].concat());
    assert_eq!(authenticate.session_key, values.bytes("encrypted_session_key"));
    assert_eq!(authenticate.mic, None);
}

#[test]
fn acceptor_refuses_the_authenticate_of_ms_nlmp_4_2_4_for_want_of_a_mic() {
    let mut negotiate = Vec::new();
    Negotiate { flags: NegotiateFlags(0xE208_8235) }.write(&mut negotiate);
    let (challenged, _) = challenged(&negotiate).unwrap();
    let refused = challenged.authenticate(&published().bytes("authenticate"), &[], false, &[]).err();
    let (user, domain) = ("User".to_owned(), "Domain".to_owned());
    assert_eq!(refused, Some(NtlmError::MicMissing { user, domain }));
}

#[test]
fn the_sealed_message_is_that_of_ms_nlmp_4_2_4() {
    let values = published();
    let flags = NegotiateFlags(0xE288_8235);
    let mut wrapped = Vec::new();
    let (mut sender, _) = Protection::new(Role::Initiator, &published_key(), flags).split(true);
    sender.wrap(Confidentiality::Sealed, &values.bytes("plaintext"), &mut wrapped).unwrap();
    assert_eq!(wrapped, values.bytes("wrapped"));
    let (_, mut receiver) = Protection::new(Role::Acceptor, &published_key(), flags).split(true);
    assert_eq!(receiver.unwrap_in_place(&mut wrapped).ok().unwrap().plaintext, values.bytes("plaintext"));
}

/// A field that may be `-` for none.
fn given<'r>(capture: &'r Record, field: &str) -> Option<&'r str> {
    Some(capture.text(field)).filter(|text| *text != "-")
}

fn captures(peer_role: &str) -> Vec<Record> {
    let mut captures = records(include_str!("vectors/ntlm/captures.txt"));
    captures.retain(|capture| capture.text("peer_role") == peer_role);
    assert_eq!(captures.len(), 4, "two peers, with and without bindings");
    captures
}

fn bindings(capture: &Record) -> Option<ChannelBindings> {
    given(capture, "bindings").map(ntlm_pair::bindings)
}

fn now(capture: &Record) -> Timestamp {
    Timestamp::default().shifted(capture.number("now"))
}

/// Takes what the peer protected, and protects again what it took.
fn check_messages(capture: &Record, mut protection: Protection) {
    if given(capture, "peer_list_mic").is_some() {
        protection.verify_mech_list_mic(MECH_LIST, &capture.bytes("peer_list_mic")).unwrap();
        let ours = protection.mic_for_mech_list(MECH_LIST).unwrap();
        assert_eq!(ours[..], capture.bytes("our_list_mic"));
    }
    let (mut sender, mut receiver) = protection.split(true);
    for index in 0..3 {
        let message = capture.bytes(&format!("message_{index}"));
        let mut token = capture.bytes(&format!("peer_wrap_{index}"));
        assert_eq!(receiver.unwrap_in_place(&mut token).ok().unwrap().plaintext, message);
        let mut ours = Vec::new();
        sender.wrap(Confidentiality::Sealed, &message, &mut ours).unwrap();
        assert_eq!(ours, capture.bytes(&format!("our_wrap_{index}")));
    }
    receiver.verify_mic(&[b"m", b"ic"], &capture.bytes("peer_mic")).unwrap();
    let mut ours = Vec::new();
    sender.mic(&[b"mi", b"c"], &mut ours).unwrap();
    assert_eq!(ours, capture.bytes("our_mic"));
}

#[test]
fn acceptor_takes_other_initiators_and_answers_them_byte_for_byte() {
    for capture in captures("initiator") {
        let mut challenge = Vec::new();
        let negotiate = capture.bytes("negotiate");
        let mut rng = Counter::new();
        let challenged =
            Challenged::begin(&negotiate, &names(), now(&capture), &mut rng, &mut challenge).unwrap();
        assert_eq!(challenge, capture.bytes("challenge"));

        let bindings = bindings(&capture);
        let spns: Vec<_> = given(&capture, "spn").map(str::to_owned).into_iter().collect();
        let authenticate = capture.bytes("authenticate");
        let claimed =
            challenged.authenticate(&authenticate, bindings.as_slice(), bindings.is_some(), &spns).unwrap();
        let verdict = account_file(claimed.request());
        let context = claimed.judge(verdict).ok().unwrap();
        let facts = &context.facts;
        assert_eq!((&*facts.client.user, &*facts.client.domain), ("alice", "EXAMPLE"));
        assert_eq!(facts.workstation, "PEER");
        assert!(!facts.mutual);
        if bindings.is_some() {
            assert_eq!(facts.bindings, BindingsState::Matched);
            assert_eq!(facts.target_name.as_deref(), given(&capture, "spn"));
        }
        check_messages(&capture, context.protection);
    }
}

#[test]
fn initiator_makes_byte_for_byte_what_other_acceptors_took() {
    for capture in captures("acceptor") {
        let policy = bound(bindings(&capture));
        let mut token = Vec::new();
        let negotiated = initiator::begin(&policy, &mut token);
        assert_eq!(token, capture.bytes("negotiate"));

        token.clear();
        let (spn, mut rng) = (given(&capture, "spn"), Counter::new());
        let challenge = capture.bytes("challenge");
        let context = negotiated
            .challenge(&challenge, &credential(), spn, now(&capture), &mut rng, &mut token)
            .unwrap();
        assert_eq!(token, capture.bytes("authenticate"));
        assert!(!context.facts.mutual);
        check_messages(&capture, context.protection);
    }
}
