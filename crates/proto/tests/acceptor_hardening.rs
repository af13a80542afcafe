//! What a sender may try that costs an acceptor memory, or a reader of its log the truth.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use countersign_proto::context::{AcceptorStep, CheckReplay};
use countersign_proto::crypto::{Etype, KeyUsage};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::error::{Code, code};
use countersign_proto::gss::framing::{self, Framed, Mech, TokenId};
use countersign_proto::krb5::acceptor::{Asked, krb_error};
use countersign_proto::krb5::msg::ap_rep::{self, EncApRepPart};
use countersign_proto::krb5::msg::authorization_data::ad_type;
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::name::NameRef;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::krb5::replay::{ReplayUnavailable, ReplayVerdict};
use countersign_proto::policy::AcceptorPolicy;
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::authorization_data::{client_target, if_relevant};
use countersign_testkit::mint::{ApReq, Mint, NOW};
use countersign_testkit::pair::{Pair, Service, acceptor_policy, told};

const SKEW_MICROS: i64 = 300_000_000;

/// A mint at a whole second, as tickets have no fractions: limits can be met exactly.
fn mint() -> Mint {
    Mint { now: Timestamp::new(NOW.seconds(), 0), ..Mint::default() }
}

fn service() -> Service {
    Service::new(&mint(), AcceptorPolicy::default())
}

fn altered(alter: impl FnOnce(&mut ApReq)) -> ApReq {
    let mut request = mint().ap_req();
    alter(&mut request);
    request
}

/// What the acceptor asks of the replay store, if it gets that far.
fn asks_store(request: &ApReq) -> Result<CheckReplay, (Code, Option<Principal>)> {
    let service = service();
    let mut out = Vec::new();
    match service.acceptor.begin().token(&request.token(), service.now, &mut TestRng::new(7), &mut out) {
        AcceptorStep::CheckReplay(check) => Ok(check),
        AcceptorStep::Rejected(rejected) => Err((
            rejected.refusal.code(),
            rejected.facts.map(|facts| facts.kerberos().unwrap().client.clone()),
        )),
        _ => panic!("neither asked nor refused"),
    }
}

fn refused_unstored(request: &ApReq, code: Code) {
    assert_eq!(asks_store(request).err().unwrap(), (code, Some(mint().client)));
}

#[test]
fn an_authenticator_whose_ticket_is_over_takes_no_room_in_the_replay_store() {
    let ending = |micros| altered(|request| request.ticket.endtime = mint().now.shifted(micros));
    asks_store(&ending(-SKEW_MICROS)).ok().unwrap();
    refused_unstored(&ending(-SKEW_MICROS - 1_000_000), code::TICKET_EXPIRED);
    service().refuses(&ending(-SKEW_MICROS - 1_000_000), code::TICKET_EXPIRED, 32);
}

#[test]
fn an_authenticator_of_a_time_after_its_tickets_life_takes_no_room_in_the_replay_store() {
    let end = mint().ticket().endtime;
    let made_at = |ctime| altered(|request| request.authenticator.ctime = ctime);
    asks_store(&made_at(end.shifted(2 * SKEW_MICROS))).ok().unwrap();
    let never = made_at(end.shifted(2 * SKEW_MICROS + 1));
    refused_unstored(&never, code::CLOCK_SKEW);
    // No other chance on this connection.
    service().refuses(&never, code::CLOCK_SKEW, 37);
}

#[test]
fn what_may_become_acceptable_is_remembered_before_it_is_refused() {
    let early = altered(|request| request.authenticator.ctime = mint().now.shifted(SKEW_MICROS + 1));
    let mut service = service();
    service.offer(&early.token()).again();
    service.now = early.authenticator.ctime;
    service.refuses(&early, code::REPLAY, 34);
}

#[test]
fn a_clock_ahead_of_ours_gets_no_other_chance_from_a_store_that_did_not_remember() {
    let at = |micros| altered(|request| request.authenticator.ctime = mint().now.shifted(micros));
    let verdict = ReplayVerdict::Unavailable(ReplayUnavailable::Full);
    let mut out = Vec::new();
    let ahead = asks_store(&at(SKEW_MICROS + 1)).ok().unwrap().verdict(verdict, mint().now, &mut out);
    let AcceptorStep::Rejected(rejected) = ahead else { panic!("another chance") };
    assert_eq!((rejected.refusal.code(), told(&out).error_code), (code::REPLAY_STORE_FULL, 60));
    out.clear();
    let behind = asks_store(&at(-SKEW_MICROS - 1)).ok().unwrap().verdict(verdict, mint().now, &mut out);
    assert!(matches!(behind, AcceptorStep::AwaitToken(_)));
    assert_eq!(told(&out).error_code, 37);
}

/// A name of `bytes` bytes, its realm counted.
fn name_of(bytes: usize) -> Principal {
    Principal::new("EXAMPLE.TEST", &["HTTP", &"x".repeat(bytes.saturating_sub(16))])
}

#[test]
fn a_name_has_at_most_1024_bytes_with_its_realm() {
    let claimed = |bytes| altered(|request| request.ticket.service = name_of(bytes));
    service().offer(&claimed(1_024).token()).accepted();
    let (rejected, sent) = service().offer(&claimed(1_025).token()).refused();
    assert_eq!((rejected.refusal.code(), sent), (code::TOKEN_MALFORMED, vec![]));

    let client = |bytes| {
        altered(|request| {
            request.ticket.client = name_of(bytes);
            request.authenticator.client = name_of(bytes);
        })
    };
    service().offer(&client(1_024).token()).accepted();
    service().refuses(&client(1_025), code::TICKET_MALFORMED, 60);
    let long = altered(|request| request.authenticator.client = name_of(1_025));
    service().refuses(&long, code::AUTHENTICATOR_MALFORMED, 60);
}

#[test]
fn a_realm_alone_or_many_components_together_are_bounded_too() {
    let realm = |bytes| Principal::new(&"R".repeat(bytes), &["x"]);
    let many = Principal::new("R", &["x".repeat(33).as_str(); 32]);
    for (service, parses) in [(realm(1_023), true), (realm(1_024), false), (many, false)] {
        let mut token = Vec::new();
        krb_error(60, &service, false, NOW, &mut token);
        assert_eq!(KrbError::parse(framing::open(&token).unwrap().1).is_ok(), parses, "{service}");
    }
}

#[test]
fn a_name_that_comes_without_a_realm_is_bounded_by_itself() {
    for (bytes, parses) in [(1_024, true), (1_025, false)] {
        let mut encoded = Vec::new();
        Principal::new("", &["x", &"x".repeat(bytes).split_off(1)])
            .write_name(&mut Writer::new(&mut encoded));
        assert_eq!(NameRef::parse(&mut Reader::new(&encoded)).is_ok(), parses, "{bytes}");
    }
}

fn targeting(target: &str) -> ApReq {
    let data = if_relevant(&[(ad_type::KERB_CLIENT_TARGET, &client_target(target))]);
    altered(|request| request.authenticator.authorization_data = Some(data))
}

fn accepting(principals: &[Principal]) -> Service {
    Service::new(&mint(), acceptor_policy(|policy| policy.accept_principals = principals.to_vec()))
}

#[test]
fn a_target_name_is_compared_only_with_principals_that_are_named() {
    for target in ["HTTP/alias.example.test@EXAMPLE.TEST", "cifs/a", "no name@at@all", "HTTP/a\\b", ""] {
        service().offer(&targeting(target).token()).accepted();
        accepting(&[mint().service]).refuses(&targeting(target), code::TARGET_NAME_MISMATCH, 35);
    }
}

#[test]
fn a_target_name_ends_at_its_last_at_sign_and_a_backslash_in_it_is_a_character() {
    let odd = Principal::new("EXAMPLE.TEST", &["HTTP", "a\\b@c"]);
    let accepts = |target: &str| {
        let mut service = accepting(&[mint().service, odd.clone()]);
        service.offer(&targeting(target).token()).accepted();
    };
    accepts("HTTP/a\\b@c@EXAMPLE.TEST");
    accepts("http/A\\B@C@example.test");
    // Read as an escape, the backslash would vanish.
    accepting(&[mint().service]).refuses(&targeting("HTTP/\\a.example.test"), code::TARGET_NAME_MISMATCH, 35);
}

#[test]
fn a_target_name_is_bounded_and_shown_in_part() {
    service().offer(&targeting(&"x".repeat(1_024)).token()).accepted();
    service().refuses(&targeting(&"x".repeat(1_025)), code::AUTHENTICATOR_MALFORMED, 60);
    let request = targeting(&"\u{202E}".repeat(1_024));
    let rejected = accepting(&[mint().service]).refuses(&request, code::TARGET_NAME_MISMATCH, 35);
    let text = rejected.refusal.to_string();
    assert!(text.contains("\\u{202e}") && !text.contains('\u{202E}') && text.len() < 1_000, "{text}");
    assert!(rejected.refusal.have().contains(&mint().service.to_string()), "{text}");
}

#[test]
fn two_clients_do_not_look_the_same_in_a_log() {
    let shown = |name: &str| {
        let client = Principal::new("EXAMPLE.TEST", &[name]);
        let request = altered(|request| {
            request.ticket.client = client.clone();
            request.authenticator.client = client;
            request.authenticator.checksum = None;
        });
        service().refuses(&request, code::CHECKSUM_ABSENT, 50).refusal.saw().to_owned()
    };
    for disguised in ["ali\u{200B}ce", "alice\u{2060}", "\u{202E}ecila", "alice\u{2028}", "alice\u{FE0F}"] {
        let text = shown(disguised);
        assert!(text.is_ascii(), "{text:?}");
        assert_ne!(text, shown("alice"));
    }
}

#[test]
fn anonymous_clients_are_refused_by_flag_name_and_realm() {
    let anonymous = Principal::new("WELLKNOWN:ANONYMOUS", &["WELLKNOWN", "ANONYMOUS"]);
    let of = |client: Principal, flags: u32| {
        altered(|request| {
            request.ticket.flags = TicketFlags(request.ticket.flags.0 | flags);
            request.ticket.client = client.clone();
            request.authenticator.client = client;
        })
    };
    for (client, flags) in [
        (anonymous.clone(), 1 << 15),
        (anonymous, 0),
        (mint().client, 1 << 15),
        (Principal::new("EXAMPLE.TEST", &["WELLKNOWN", "ANONYMOUS"]), 0),
        (Principal::new("WELLKNOWN:ANONYMOUS", &["alice"]), 0),
    ] {
        service().refuses(&of(client, flags), code::ANONYMOUS_CLIENT, 60);
    }
    for name in [&["ANONYMOUS"][..], &["WELLKNOWN", "ANONYMOUS", "x"], &["WELLKNOWN", "org.h5l.fast-cookie"]]
    {
        service().offer(&of(Principal::new("EXAMPLE.TEST", name), 0).token()).accepted();
    }
}

const KERBEROS: [Mech; 4] = [Mech::Krb5, Mech::MsKrb5, Mech::OldKrb5, Mech::UserToUser];

fn framed_as(mech: Mech, request: &ApReq) -> Vec<u8> {
    let mut token = Vec::new();
    framing::wrap_as(mech, TokenId::ApReq, &mut token, |body| body.encoded(&request.body()));
    token
}

#[test]
fn an_answer_goes_in_the_frame_of_what_it_answers() {
    for mech in KERBEROS {
        let answer = |request: &ApReq| {
            let token = framed_as(mech, request);
            let mut service = service();
            let mut out = Vec::new();
            let mut step =
                service.acceptor.begin().token(&token, service.now, &mut TestRng::new(7), &mut out);
            if let AcceptorStep::CheckReplay(check) = step {
                step = check.verdict(ReplayVerdict::Fresh, service.now, &mut out);
            }
            if let AcceptorStep::Authorize(asked) = step {
                let _end = asked.admit(service.now, &mut service.rng, &mut out);
            }
            let Framed { mech: answered, token_id, .. } = Framed::open(&out).unwrap();
            assert_eq!(answered, mech);
            token_id
        };
        assert_eq!(answer(&mint().ap_req()), TokenId::ApRep);
        // Refused before the store is asked, after it, and for a clock that may be tried again.
        assert_eq!(answer(&altered(|request| request.authenticator.checksum = None)), TokenId::KrbError);
        let early = altered(|request| request.ticket.starttime = Some(mint().ticket().endtime));
        assert_eq!(answer(&early), TokenId::KrbError);
        let skewed = mint().now.shifted(-2 * SKEW_MICROS);
        assert_eq!(answer(&altered(|request| request.authenticator.ctime = skewed)), TokenId::KrbError);
    }
}

#[test]
fn a_client_turned_away_by_the_caller_is_told_in_its_own_frame() {
    let service = service();
    let mut out = Vec::new();
    let token = framed_as(Mech::OldKrb5, &mint().ap_req());
    let AcceptorStep::CheckReplay(check) =
        service.acceptor.begin().token(&token, service.now, &mut TestRng::new(7), &mut out)
    else {
        panic!("no replay check")
    };
    let AcceptorStep::Authorize(asked) = check.verdict(ReplayVerdict::Fresh, service.now, &mut out) else {
        panic!("nothing to decide")
    };
    let refusal = countersign_proto::error::Refusal::new(code::CLIENT_NOT_ALLOWED, "a client", "no room");
    let _end = asked.refuse(refusal, service.now, &mut out);
    assert_eq!(Framed::open(&out).unwrap().mech, Mech::OldKrb5);
}

#[test]
fn an_initiator_takes_an_answer_under_any_number_of_kerberos() {
    for mech in KERBEROS {
        let mut pair = Pair::new(
            &Mint::default(),
            countersign_testkit::pair::initiator_policy(|_| {}),
            AcceptorPolicy::default(),
        );
        let meeting = pair.meet_altered(|delivery| {
            let token = delivery.token.take().unwrap();
            let (token_id, body) = framing::open(&token).unwrap();
            let mut reframed = Vec::new();
            framing::wrap_as(mech, token_id, &mut reframed, |writer| writer.encoded(body));
            delivery.token = Some(reframed);
        });
        let _both = meeting.contexts();

        let mut error = Vec::new();
        let service = Mint::default().service;
        krb_error(60, Asked { mech, service: &service }, false, NOW, &mut error);
        let meeting = Pair::new(
            &Mint::default(),
            countersign_testkit::pair::initiator_policy(|_| {}),
            AcceptorPolicy::default(),
        )
        .meet_altered(|delivery| {
            if delivery.index == 1 {
                delivery.token = Some(error.clone());
            }
        });
        assert_eq!(meeting.initiator.err().unwrap().code(), code::KRB_ERROR_RECEIVED);
    }
}

/// First number of the acceptor's direction when the initiator's is `seq`, with RC4 and so without an acceptor's subkey.
fn rc4_seq_for(seq: u32) -> u32 {
    let mint = Mint::of_etype(Etype::ArcfourHmac);
    let policy = acceptor_policy(|policy| policy.permitted_enctypes = vec![Etype::ArcfourHmac]);
    let mut request = mint.ap_req();
    request.authenticator.seq_number = Some(seq);
    let (_, sent) = Service::new(&mint, policy).offer(&request.token()).accepted();
    let reply = ap_rep::ApRep::parse(framing::open(&sent).unwrap().1).unwrap();
    let mut cipher = reply.enc_part.cipher.to_vec();
    let session_key = request.ticket.session_key;
    let plaintext = session_key.cipher(KeyUsage::AP_REP).open_in_place(&mut cipher).unwrap();
    EncApRepPart::parse(Reader::new(plaintext)).unwrap().seq_number.unwrap()
}

#[test]
fn two_directions_of_rc4_under_one_key_share_no_number() {
    const NUMBERS: u32 = 1 << 29;
    for seq in [0, 1, NUMBERS - 1, NUMBERS, NUMBERS + 1, 1 << 30, 3 * NUMBERS, 5 * NUMBERS, u32::MAX] {
        let ours = rc4_seq_for(seq);
        assert_ne!(ours, 0);
        let apart = ours.wrapping_sub(seq).min(seq.wrapping_sub(ours));
        assert!(apart >= NUMBERS, "{seq} and {ours}");
    }
}
