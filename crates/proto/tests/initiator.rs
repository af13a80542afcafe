//! What an initiator believes, and what it sends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use countersign_proto::context::{AwaitReply, Initiator, InitiatorStep, PeerProof, SecurityContext};
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::der::Reader;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::MechChoice;
use countersign_proto::gss::authenticator_checksum::GssChecksum;
use countersign_proto::gss::framing::{self, TokenId};
use countersign_proto::gss::{ChannelBindings, GssFlags};
use countersign_proto::krb5::acceptor::krb_error;
use countersign_proto::krb5::facts::BindingsState;
use countersign_proto::krb5::msg::ap_req;
use countersign_proto::krb5::msg::authenticator;
use countersign_proto::krb5::msg::authorization_data::ad_type;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::policy::InitiatorPolicy;
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::authorization_data::etype_list;
use countersign_testkit::mint::{ApRep, FLAGS, Mint, NOW, RawKey};
use countersign_testkit::pair::initiator_policy;

fn initiator_with(mint: &Mint, policy: InitiatorPolicy) -> Initiator {
    Initiator::from_ccache(&mint.ccache(&[mint.ticket()]), &mint.service, policy, mint.now).unwrap()
}

fn initiator() -> Initiator {
    initiator_with(&Mint::default(), initiator_policy(|_| {}))
}

fn begin(initiator: &Initiator, now: Timestamp) -> (AwaitReply, Vec<u8>) {
    let mut out = Vec::new();
    let state = initiator.begin(now, &mut TestRng::new(5), &mut out).unwrap();
    (state, out)
}

fn step(state: AwaitReply, token: &[u8]) -> (InitiatorStep, Vec<u8>) {
    let mut out = Vec::new();
    let step = state.token(token, NOW, &mut TestRng::new(6), &mut out);
    (step, out)
}

fn answered(token: &[u8]) -> Result<SecurityContext, Refusal> {
    answered_by(&initiator(), token)
}

fn answered_by(initiator: &Initiator, token: &[u8]) -> Result<SecurityContext, Refusal> {
    match step(begin(initiator, NOW).0, token) {
        (InitiatorStep::Done(context), out) => {
            assert!(out.is_empty(), "nothing is owed after the AP-REP");
            Ok(*context)
        }
        (InitiatorStep::Rejected(refusal), out) => {
            assert!(out.is_empty(), "a service that proved nothing is told nothing");
            Err(*refusal)
        }
        (InitiatorStep::AwaitReply(_), _) => panic!("another token is awaited"),
    }
}

fn refused(token: &[u8], code: Code) -> Refusal {
    let refusal = answered(token).err().unwrap();
    assert_eq!(refusal.code(), code, "{refusal}");
    refusal
}

/// The right answer to what [`initiator`] sends.
fn ap_rep() -> ApRep {
    let mint = Mint::default();
    mint.ap_rep(&mint.ap_req())
}

fn ap_rep_with(change: impl FnOnce(&mut ApRep)) -> Vec<u8> {
    let mut reply = ap_rep();
    change(&mut reply);
    reply.token()
}

fn error_at(error_code: i32, stime: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    krb_error(error_code, &Mint::default().service, false, stime, &mut out);
    out
}

/// What an AP-REQ says once it is opened, as far as these tests look.
struct Opened {
    ctime: Timestamp,
    flags: GssFlags,
    hash: [u8; 16],
    subkey: Vec<u8>,
    seq: u32,
    elements: Vec<(i32, Vec<u8>)>,
    options: u32,
}

fn opened(token: &[u8], session_key: &Key) -> Opened {
    let (token_id, body) = framing::open(token).unwrap();
    assert_eq!(token_id, TokenId::ApReq);
    let request = ap_req::ApReq::parse(body).unwrap();
    let mut cipher = request.authenticator.cipher.to_vec();
    let plaintext = session_key.cipher(KeyUsage::AP_REQ_AUTHENTICATOR).open_in_place(&mut cipher).unwrap();
    let authenticator = authenticator::Authenticator::parse(Reader::new(plaintext)).unwrap();
    let checksum = GssChecksum::parse(authenticator.cksum.unwrap().bytes).ok().unwrap();
    let mut elements = Vec::new();
    if let Some(data) = authenticator.authorization_data {
        assert!(data.elements().all(|element| element.ad_type == ad_type::AD_IF_RELEVANT));
        data.visit_relevant(&mut |element| elements.push((element.ad_type, element.data.to_vec())));
    }
    Opened {
        ctime: authenticator.ctime,
        flags: checksum.flags,
        hash: checksum.bindings.0,
        subkey: authenticator.subkey.unwrap().bytes.to_vec(),
        seq: authenticator.seq_number.unwrap(),
        elements,
        options: request.ap_options.0,
    }
}

fn sent_by(initiator: &Initiator) -> Opened {
    opened(&begin(initiator, NOW).1, &initiator.ticket().unwrap().session_key)
}

// weakness 6
#[test]
fn everything_that_protects_is_asked_of_every_service_and_nothing_is_delegated() {
    let sent = sent_by(&initiator());
    assert_eq!((sent.flags, sent.options), (FLAGS, 0x2000_0000));
    assert!(!sent.flags.contains(GssFlags::DELEG));
    assert_eq!((sent.ctime, sent.hash), (NOW, [0; 16]));
    assert!(sent.elements.is_empty());
}

#[test]
fn each_handshake_has_a_subkey_and_a_sequence_number_of_its_own() {
    let mut rng = TestRng::new(1);
    let mut seen: Vec<(Vec<u8>, u32)> = Vec::new();
    for _ in 0..16 {
        let mut out = Vec::new();
        let _state = initiator().begin(NOW, &mut rng, &mut out).unwrap();
        let sent = opened(&out, &Mint::default().ticket().session_key);
        assert!(seen.iter().all(|(subkey, seq)| *subkey != sent.subkey && *seq != sent.seq));
        assert!((1..1 << 30).contains(&sent.seq), "some peers take it for a signed number");
        seen.push((sent.subkey, sent.seq));
    }
}

#[test]
fn the_etypes_that_are_preferred_to_the_session_keys_are_offered_and_it_comes_last() {
    let offered = |session, permitted: &[Etype]| {
        let mint = Mint { session_etype: session, ..Mint::default() };
        let policy = initiator_policy(|policy| policy.permitted_enctypes = permitted.to_vec());
        sent_by(&initiator_with(&mint, policy)).elements
    };
    use Etype::{Aes128CtsHmacSha1_96 as A17, Aes256CtsHmacSha1_96 as A18, Aes256CtsHmacSha384_192 as A20};
    assert_eq!(offered(A18, &[A18, A17]), []);
    let list = |etypes: &[i32]| vec![(ad_type::AD_ETYPE_NEGOTIATION, etype_list(etypes))];
    assert_eq!(offered(A17, &[A18, A17, A20]), list(&[18, 17]));
    assert_eq!(offered(A17, &[A20, A18, A17]), list(&[20, 18, 17]));
}

// weakness 9
#[test]
fn bindings_are_sent_as_their_hash_with_the_word_that_they_must_be_compared() {
    let bindings = ChannelBindings::from_application_data(b"tls-server-end-point:x".to_vec());
    let policy = initiator_policy(|policy| policy.channel_bindings = Some(bindings.clone()));
    let initiator = initiator_with(&Mint::default(), policy);
    let sent = sent_by(&initiator);
    assert_eq!(sent.hash, bindings.hash().0);
    assert_eq!(sent.elements, [(ad_type::KERB_AP_OPTIONS, vec![0, 0x40, 0, 0])]);
    let context = answered_by(&initiator, &ap_rep().token()).ok().unwrap();
    assert_eq!(context.facts().kerberos().unwrap().bindings, BindingsState::Sent);
}

// weaknesses 2, 3, 4 and 5: only a verified AP-REP ends in a context, whatever else arrives
#[test]
fn a_service_that_answers_with_its_ap_rep_is_authenticated() {
    let mint = Mint::default();
    let context = answered(&ap_rep().token()).ok().unwrap();
    let facts = context.facts().kerberos().unwrap();
    assert!(facts.mutual);
    assert_eq!((&facts.client, &facts.service), (&mint.client, &mint.service));
    assert_eq!((facts.flags, facts.bindings), (FLAGS, BindingsState::NotCompared));
    assert_eq!((facts.session_etype, facts.message_etype), (mint.session_etype, mint.session_etype));
    assert_eq!(
        (facts.endtime, facts.waivers.len()),
        (Timestamp::new(mint.ticket().endtime.seconds(), 250_000), 0)
    );
    assert_eq!((context.mech(), context.peer_proof()), (MechChoice::Kerberos, PeerProof::Confirmed));
}

#[test]
fn an_ap_rep_in_which_any_bit_is_changed_is_refused() {
    let token = ap_rep().token();
    let state = initiator();
    // One bit makes the object identifier that Windows uses of ours: it says the same, and nothing protects it.
    let microsoft = token.windows(2).position(|pair| pair == [0x48, 0x86]).unwrap() + 1;
    for bit in 0..token.len() * 8 {
        let mut altered = token.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let accepted = answered_by(&state, &altered).is_ok();
        assert_eq!(accepted, altered[microsoft] == 0x82, "bit {bit}");
    }
}

#[test]
fn an_ap_rep_under_another_session_key_is_refused() {
    let other = Mint::default().key(&Principal::new("R", &["x"]), 1, Etype::Aes256CtsHmacSha1_96);
    refused(&ap_rep_with(|reply| reply.key = other), code::AP_REP_INTEGRITY);
    refused(&ap_rep_with(|reply| reply.etype = 17), code::AP_REP_INTEGRITY);
    refused(&ap_rep_with(|reply| reply.etype = 26), code::AP_REP_INTEGRITY);
}

#[test]
fn an_ap_rep_under_another_use_of_the_session_key_is_refused() {
    let usage = KeyUsage::AP_REQ_AUTHENTICATOR;
    refused(&ap_rep_with(|reply| reply.usage = usage), code::AP_REP_INTEGRITY);
}

#[test]
fn an_ap_rep_for_another_authenticator_of_the_same_session_key_is_refused() {
    for micros in [1, -1, 1_000_000, -1_000_000] {
        refused(&ap_rep_with(|reply| reply.ctime = reply.ctime.shifted(micros)), code::AP_REP_MISMATCH);
    }
}

#[test]
fn an_ap_rep_that_opens_to_something_else_is_refused() {
    refused(&ap_rep_with(|reply| reply.appended = vec![0]), code::AP_REP_MALFORMED);
}

#[test]
fn a_subkey_of_an_etype_that_was_not_offered_is_refused() {
    let subkey = |etype, length| Some(RawKey { etype, bytes: vec![1; length] });
    for (etype, length) in [(17, 16), (20, 32), (23, 16), (26, 32), (-1, 16)] {
        let refusal =
            refused(&ap_rep_with(|reply| reply.subkey = subkey(etype, length)), code::REPLY_SUBKEY_ETYPE);
        assert!(refusal.have().contains("aes256-cts-hmac-sha1-96"), "{refusal}");
    }
    refused(&ap_rep_with(|reply| reply.subkey = subkey(18, 16)), code::REPLY_SUBKEY_ETYPE);
}

#[test]
fn a_subkey_of_each_etype_that_was_offered_is_taken() {
    use Etype::{Aes128CtsHmacSha1_96 as A17, Aes256CtsHmacSha1_96 as A18, Aes256CtsHmacSha384_192 as A20};
    let mint = Mint { session_etype: A17, ..Mint::default() };
    let policy = initiator_policy(|policy| policy.permitted_enctypes = vec![A20, A18, A17]);
    let initiator = initiator_with(&mint, policy);
    for etype in [A20, A18, A17] {
        let mut reply = mint.ap_rep(&mint.ap_req());
        reply.subkey = Some(RawKey::of(&Key::generate(etype, &mut TestRng::new(9))));
        let context = answered_by(&initiator, &reply.token()).ok().unwrap();
        assert_eq!(context.facts().kerberos().unwrap().message_etype, etype);
    }
}

#[test]
fn without_a_subkey_of_the_acceptor_the_initiators_own_protects_messages() {
    let token = ap_rep_with(|reply| {
        reply.subkey = None;
        reply.seq_number = None;
    });
    let mut context = answered(&token).ok().unwrap();
    let mut wrapped = Vec::new();
    context.sender().wrap(Confidentiality::Sealed, b"x", &mut TestRng::new(1), &mut wrapped).unwrap();
    assert_eq!(wrapped[2], 2, "sealed, and not by an acceptor's subkey");
    let subkey = sent_by(&initiator()).subkey;
    let key = Key::new(Etype::Aes256CtsHmacSha1_96, &subkey).unwrap();
    assert!(key.cipher(KeyUsage::INITIATOR_SEAL).open_in_place(&mut wrapped[16..]).is_ok());
}

#[test]
fn a_krb_error_ends_the_handshake_and_proves_nothing() {
    for error_code in [0, 31, 34, 35, 36, 46, 60, -1, i32::MAX] {
        refused(&error_at(error_code, NOW), code::KRB_ERROR_RECEIVED);
    }
    let refusal = refused(&error_at(35, NOW), code::KRB_ERROR_RECEIVED);
    assert!(refusal.saw().contains("35 KRB_AP_ERR_NOT_US"), "{refusal}");
}

#[test]
fn bytes_that_are_no_answer_are_refused() {
    refused(&[], code::TOKEN_UNRECOGNISED);
    refused(b"HTTP/1.1 200 OK", code::TOKEN_UNRECOGNISED);
    refused(&begin(&initiator(), NOW).1, code::TOKEN_UNEXPECTED);
    let mut cut = error_at(60, NOW);
    let last = cut.len() - 1;
    cut[last] = 0xFF;
    cut.push(0);
    refused(&cut, code::TOKEN_MALFORMED);
    let mut as_reply = Vec::new();
    framing::wrap(TokenId::ApRep, &mut as_reply, |body| body.encoded(&[0x6F, 0]));
    refused(&as_reply, code::TOKEN_MALFORMED);
}

// weakness 17
#[test]
fn a_service_that_says_our_clock_is_off_gets_one_ap_req_with_its_time() {
    let initiator = initiator();
    let theirs = NOW.shifted(400_000_000);
    let (state, first) = begin(&initiator, NOW);
    let (InitiatorStep::AwaitReply(state), second) = step(state, &error_at(37, theirs)) else { panic!() };
    let key = &initiator.ticket().unwrap().session_key;
    let (first, second) = (opened(&first, key), opened(&second, key));
    assert_eq!((first.ctime, second.ctime), (NOW, theirs));
    assert!(first.subkey != second.subkey && first.seq != second.seq);
    let token = ap_rep_with(|reply| reply.ctime = theirs);
    assert!(matches!(step(state, &token).0, InitiatorStep::Done(_)));
}

#[test]
fn the_answer_to_the_first_ap_req_does_not_answer_the_retry() {
    let (state, _) = begin(&initiator(), NOW);
    let (InitiatorStep::AwaitReply(state), _) = step(state, &error_at(37, NOW.shifted(1_000_000))) else {
        panic!()
    };
    let (InitiatorStep::Rejected(refusal), _) = step(state, &ap_rep().token()) else { panic!() };
    assert_eq!(refusal.code(), code::AP_REP_MISMATCH);
}

// weakness 14
#[test]
fn a_second_skew_is_refused() {
    let (state, _) = begin(&initiator(), NOW);
    let skewed = error_at(37, NOW.shifted(400_000_000));
    let (InitiatorStep::AwaitReply(state), _) = step(state, &skewed) else { panic!() };
    let (InitiatorStep::Rejected(refusal), out) = step(state, &skewed) else { panic!() };
    assert_eq!(refusal.code(), code::CLOCK_SKEW_REPORTED);
    assert!(refusal.have().contains("once already") && out.is_empty(), "{refusal}");
}

#[test]
fn a_time_outside_of_the_tickets_life_is_not_tried() {
    let initiator = initiator();
    let ticket = initiator.ticket().unwrap();
    let (from, until) = (ticket.starttime, ticket.endtime);
    let tried = |stime| {
        let (step, out) = step(begin(&initiator, NOW).0, &error_at(37, stime));
        match step {
            InitiatorStep::AwaitReply(_) => true,
            InitiatorStep::Rejected(refusal) => {
                assert_eq!(refusal.code(), code::CLOCK_SKEW_REPORTED);
                assert!(out.is_empty());
                false
            }
            InitiatorStep::Done(_) => panic!("believed a KRB-ERROR"),
        }
    };
    assert!(tried(from) && tried(until.shifted(-1)));
    assert!(!tried(from.shifted(-1)) && !tried(until));
}

#[test]
fn a_time_that_a_service_told_is_never_kept() {
    let initiator = initiator();
    let (state, _) = begin(&initiator, NOW);
    let (InitiatorStep::AwaitReply(_), _) = step(state, &error_at(37, NOW.shifted(400_000_000))) else {
        panic!()
    };
    assert_eq!(sent_by(&initiator).ctime, NOW);
}

#[test]
fn a_connection_that_ends_is_a_service_that_never_proved_itself() {
    let refusal = begin(&initiator(), NOW).0.abandon("the connection ended");
    assert_eq!(refusal.code(), code::SERVICE_NEVER_PROVED);
    assert!(refusal.saw().contains("HTTP/a.example.test@EXAMPLE.TEST"), "{refusal}");
    let (state, _) = begin(&initiator(), NOW);
    let (InitiatorStep::AwaitReply(state), _) = step(state, &error_at(37, NOW.shifted(1_000_000))) else {
        panic!()
    };
    assert_eq!(state.abandon("the connection ended").code(), code::SERVICE_NEVER_PROVED);
}
