//! Tokens without a framing of ours: both roles, by functions that wait and by those that are awaited, within the bounds that a service
//! has on its sockets, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::accounts::{Accounts, Answer};
use countersign::bare::{Accepting, Context, Initiating, Progress, Refused};
use countersign::framing::{Framing, Nns, SampleData};
use countersign::limits::{Admission, HandshakeLimits};
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Code, code};
use countersign::proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign::proto::ntlm::nt_hash;
use countersign::{Client, ClientConfig, Refusal, Service, ServiceConfig};
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::told;
use ends::kinds::{KEYS, Keys, Kind};
use ends::{ADDRESS, FACES, Face, SHORT, block_on, client, client_config, service, service_config};
use std::thread;
use std::time::{Duration, Instant};

/// The client's address counts for the limits alone.
fn begin(service: &Service) -> Accepting {
    Accepting::begin(service, ADDRESS)
}

fn take(face: Face, exchange: Accepting, token: &[u8]) -> Result<Progress<Accepting>, Refused> {
    match face {
        Face::Blocking => exchange.token_blocking(token),
        Face::Tokio => block_on(exchange.token(token)),
    }
}

fn initiate(face: Face, client: &Client) -> (Vec<u8>, Initiating) {
    let begun = match face {
        Face::Blocking => Initiating::begin_blocking(client),
        Face::Tokio => block_on(Initiating::begin(client)),
    };
    begun.unwrap_or_else(|failure| panic!("{}", failure.refusal))
}

#[track_caller]
fn refused<H>(taken: Result<Progress<H>, Refused>) -> Refused {
    taken.err().expect("a token that is refused")
}

#[track_caller]
fn progress<H>(taken: Result<Progress<H>, Refused>) -> Progress<H> {
    taken.unwrap_or_else(|refused| panic!("{}", refused.failure.refusal))
}

/// Carries tokens until both ends are through: the service's context, then the client's.
fn meet(face: Face, service: &Service, client: &Client) -> (Context, Context) {
    let (mut token, mut initiating) = initiate(face, client);
    let mut accepting = Some(begin(service));
    let mut accepted = None;
    loop {
        let reply = match progress(take(face, accepting.take().expect("no token after the last"), &token)) {
            Progress::Continue { token, exchange } => {
                accepting = Some(exchange);
                token
            }
            Progress::Done { token, context } => {
                accepted = Some(*context);
                token.expect("a client waits for an answer")
            }
        };
        match progress(initiating.token(&reply)) {
            Progress::Continue { token: another, exchange } => (token, initiating) = (another, exchange),
            Progress::Done { token, context } => {
                assert_eq!(token, None, "the service is through already");
                return (accepted.expect("a service that is through"), *context);
            }
        }
    }
}

fn kind(keys: Keys) -> Kind {
    Kind { framing: Framing::Dword, keys }
}

fn met(face: Face, keys: Keys) -> (Context, Context) {
    let (service, client) = (kind(keys).service_config(), kind(keys).client_config());
    meet(face, &Service::new(service), &Client::new(client))
}

#[test]
fn messages_and_signatures_go_both_ways_by_every_kind_of_keys() {
    for face in FACES {
        for keys in KEYS {
            let (mut serving, mut connecting) = met(face, keys);
            let mutual = keys != Keys::Ntlm;
            assert_eq!((serving.facts().mutual(), connecting.facts().mutual()), (mutual, mutual));
            for length in [0, 1, 1_000, 100_000] {
                let text = vec![b'x'; length];
                for (from, to) in [(0, 1), (1, 0)] {
                    let ends = [&mut serving, &mut connecting];
                    let mut token = ends[from].wrap(&text).unwrap();
                    assert!(length < 16 || !token.windows(16).any(|part| part == [b'x'; 16]), "it is sealed");
                    assert_eq!(ends[to].unwrap(&mut token).unwrap(), text, "{keys:?}");
                    let mic = ends[from].mic(&text).unwrap();
                    ends[to].verify_mic(&text, &mic).unwrap();
                }
            }
        }
    }
}

#[test]
fn the_framing_that_a_service_has_on_its_sockets_does_not_count() {
    for framing in [Framing::Nns(Nns::default()), Framing::Sample(SampleData::Sealed)] {
        let service = Service::new(ServiceConfig { framing, ..service_config() });
        let client = Client::new(ClientConfig { framing, ..client_config() });
        let (mut serving, mut connecting) = meet(Face::Blocking, &service, &client);
        let mut token = connecting.wrap(b"text").unwrap();
        assert_eq!(serving.unwrap(&mut token).unwrap(), b"text");
    }
}

// DESIGN rule 10.
#[test]
fn a_client_is_confirmed_by_its_first_message_or_signature() {
    for by_mic in [true, false] {
        let (mut serving, mut connecting) = met(Face::Blocking, KEYS[0]);
        assert!(connecting.peer_confirmed());
        assert!(!serving.peer_confirmed());
        if by_mic {
            let mic = connecting.mic(b"text").unwrap();
            serving.verify_mic(b"other text", &mic).unwrap_err();
            assert!(!serving.peer_confirmed());
            serving.verify_mic(b"text", &mic).unwrap();
        } else {
            let mut token = connecting.wrap(b"text").unwrap();
            serving.unwrap(&mut token).unwrap();
        }
        assert!(serving.peer_confirmed());
    }
}

#[test]
fn who_the_ends_are_is_known_at_both() {
    let (serving, connecting) = met(Face::Tokio, KEYS[0]);
    for context in [&serving, &connecting] {
        assert_eq!(context.facts().service().unwrap(), "HTTP/a.example.test@EXAMPLE.TEST");
    }
    assert_eq!(serving.facts().client(), "alice@EXAMPLE.TEST");
}

#[test]
fn a_message_that_is_signed_only_is_taken_where_the_policy_says_so() {
    for keys in KEYS.into_iter().filter(|keys| *keys != Keys::Ntlm) {
        let (mut serving, mut connecting) = met(Face::Blocking, keys);
        let mut token = connecting.wrap_signed(b"can be read").unwrap();
        assert!(token.windows(11).any(|part| part == b"can be read"), "{keys:?}");
        assert_eq!(serving.unwrap(&mut token).unwrap_err().code(), code::MESSAGE_NOT_SEALED);
    }
    let signs = Framing::Sample(SampleData::Signed);
    for keys in KEYS {
        let kind = Kind { framing: signs, keys };
        let service = Service::new(kind.service_config());
        let (mut serving, mut connecting) =
            meet(Face::Blocking, &service, &Client::new(kind.client_config()));
        let mut token = connecting.wrap_signed(b"can be read").unwrap();
        assert_eq!(serving.unwrap(&mut token).unwrap(), b"can be read", "{keys:?}");
    }
}

#[test]
fn a_message_that_is_refused_leaves_the_context_as_it_was() {
    for keys in KEYS {
        let (mut serving, mut connecting) = met(Face::Blocking, keys);
        let refuses = |serving: &mut Context, token: &[u8], codes: &[Code]| {
            let refusal = serving.unwrap(&mut token.to_vec()).unwrap_err();
            assert!(codes.contains(&refusal.code()), "{keys:?}: {refusal}");
        };
        let first = connecting.wrap(b"first").unwrap();
        let second = connecting.wrap(b"second").unwrap();
        refuses(&mut serving, b"", &[code::MESSAGE_MALFORMED]);
        refuses(&mut serving, &second, &[code::MESSAGE_OUT_OF_ORDER]);
        assert_eq!(serving.unwrap(&mut first.clone()).unwrap(), b"first", "{keys:?}");
        refuses(&mut serving, &first, &[code::MESSAGE_REPLAYED]);
        assert_eq!(serving.unwrap(&mut second.clone()).unwrap(), b"second", "{keys:?}");
        // One's own is not the peer's.
        let own = serving.wrap(b"mine").unwrap();
        refuses(
            &mut serving,
            &own,
            &[code::MESSAGE_DIRECTION, code::MESSAGE_INTEGRITY, code::MESSAGE_REPLAYED],
        );
    }
}

/// NTLM's keys are a stream, which has gone on with what was refused.
#[test]
fn a_message_that_was_altered_is_refused_and_by_kerberos_the_right_one_is_still_good() {
    for keys in KEYS {
        let (mut serving, mut connecting) = met(Face::Blocking, keys);
        let mut token = connecting.wrap(b"text").unwrap();
        let mut altered = token.clone();
        *altered.last_mut().unwrap() ^= 1;
        let refusal = serving.unwrap(&mut altered).unwrap_err();
        assert!([code::MESSAGE_INTEGRITY, code::MESSAGE_MALFORMED].contains(&refusal.code()), "{refusal}");
        let taken = serving.unwrap(&mut token).map(<[u8]>::to_vec);
        assert_eq!(taken.is_ok(), keys != Keys::Ntlm, "{keys:?}");
    }
}

#[test]
fn messages_are_held_to_the_longest_at_either_end() {
    let service = Service::new(ServiceConfig { max_message: 100, ..service_config() });
    let (mut serving, mut connecting) = meet(Face::Blocking, &service, &client());
    let mut fits = connecting.wrap(&[1; 100]).unwrap();
    assert_eq!(serving.unwrap(&mut fits).unwrap(), [1; 100]);
    let mut too_long = connecting.wrap(&[1; 101]).unwrap();
    assert_eq!(serving.unwrap(&mut too_long).unwrap_err().code(), code::FRAME_TOO_LONG);
    assert_eq!(serving.wrap(&[1; 101]).unwrap_err().code(), code::MESSAGE_TOO_LONG);
    assert_eq!(serving.wrap_signed(&[1; 101]).unwrap_err().code(), code::MESSAGE_TOO_LONG);
    serving.wrap(&[1; 100]).unwrap();
}

#[test]
fn both_ends_make_the_same_key_for_a_label_and_ntlm_makes_none() {
    for keys in KEYS {
        let (serving, connecting) = met(Face::Blocking, keys);
        if keys == Keys::Ntlm {
            let refusal = serving.export_key(b"label", 32).err().unwrap();
            assert_eq!(refusal.code(), code::PSEUDO_RANDOM_NOT_DEFINED);
            continue;
        }
        let export = |context: &Context, label: &[u8], length| {
            context.export_key(label, length).unwrap().expose().to_vec()
        };
        for length in [1, 32, 65_536] {
            let key = export(&serving, b"label", length);
            assert_eq!(key.len(), length);
            assert_eq!(key, export(&connecting, b"label", length), "{keys:?}");
        }
        assert_ne!(export(&serving, b"label", 32), export(&serving, b"other", 32));
        let (other, _) = met(Face::Blocking, keys);
        assert_ne!(export(&serving, b"label", 32), export(&other, b"label", 32), "of another handshake");
        let refusal = serving.export_key(b"label", 65_537).err().unwrap();
        assert_eq!(refusal.code(), code::PSEUDO_RANDOM_TOO_LONG);
    }
}

#[test]
fn an_empty_token_and_one_that_is_too_long_are_not_looked_at() {
    for face in FACES {
        for (token, code) in [
            (vec![], code::FRAME_EMPTY),
            (vec![0x60; 65_537], code::FRAME_TOO_LONG),
            (vec![0x42; 65_536], code::TOKEN_UNRECOGNISED),
        ] {
            let refused = refused(take(face, begin(&service()), &token));
            assert_eq!(refused.failure.refusal.code(), code);
            assert_eq!(refused.token, None);
        }
        for (token, code) in [(vec![], code::FRAME_EMPTY), (vec![0x60; 65_537], code::FRAME_TOO_LONG)] {
            let (_, initiating) = initiate(face, &client());
            let refused = refused(initiating.token(&token));
            assert_eq!(refused.failure.refusal.code(), code);
            assert!(refused.failure.refusal.saw().ends_with(" proved itself"), "{}", refused.failure.refusal);
        }
    }
}

#[test]
fn a_token_that_comes_after_the_deadline_is_not_looked_at() {
    for face in FACES {
        let service = Service::new(ServiceConfig { handshake_deadline: SHORT, ..service_config() });
        let client = Client::new(ClientConfig { handshake_deadline: SHORT, ..client_config() });
        let (accepting, (token, initiating)) = (begin(&service), initiate(face, &client));
        thread::sleep(SHORT);
        let late = refused(take(face, accepting, &token));
        assert_eq!(late.failure.refusal.code(), code::HANDSHAKE_DEADLINE);
        assert_eq!(late.token, None);
        assert_eq!(service.admission().open(), 0, "its place is free");
        let late = refused(initiating.token(b"any"));
        assert_eq!(late.failure.refusal.code(), code::HANDSHAKE_DEADLINE);
        // In time it is good.
        meet(face, &self::service(), &self::client());
    }
}

#[test]
fn a_handshake_holds_its_place_until_it_is_over_and_gives_it_up_to_a_newcomer() {
    let limits = HandshakeLimits { total: 1, per_address: 1, ..HandshakeLimits::default() };
    for face in FACES {
        let service = Service::new(ServiceConfig { admission: Admission::new(limits), ..service_config() });
        let (token, _) = initiate(face, &client());
        let slow = begin(&service);
        assert_eq!(service.admission().open(), 1);
        let newcomer = begin(&service);
        assert_eq!(service.admission().open(), 1);
        let evicted = refused(take(face, slow, &token));
        assert_eq!(evicted.failure.refusal.code(), code::HANDSHAKES_EXHAUSTED);
        assert!(matches!(progress(take(face, newcomer, &token)), Progress::Done { .. }));
        assert_eq!(service.admission().open(), 0);
        drop(begin(&service));
        assert_eq!(service.admission().open(), 0, "who is dropped gives it up");
    }
}

#[test]
fn a_token_that_was_seen_before_is_refused_and_the_client_told_so() {
    for face in FACES {
        let service = service();
        let (token, _) = initiate(face, &client());
        assert!(matches!(progress(take(face, begin(&service), &token)), Progress::Done { .. }));
        let refused = refused(take(face, begin(&service), &token));
        assert_eq!(refused.failure.refusal.code(), code::REPLAY);
        assert_eq!(Some(told(&refused.token.unwrap()).error_code), code::REPLAY.krb_error());
    }
}

#[test]
fn a_client_that_is_refused_learns_what_its_protocol_has_a_word_for() {
    for face in FACES {
        let closed = ServiceConfig {
            authorize: Box::new(|_| {
                Err(Refusal::new(code::CLIENT_NOT_ALLOWED, "alice", "a list without her"))
            }),
            ..service_config()
        };
        let (token, initiating) = initiate(face, &client());
        let refused = refused(take(face, begin(&Service::new(closed)), &token));
        assert_eq!(refused.failure.refusal.code(), code::CLIENT_NOT_ALLOWED);
        assert_eq!(refused.failure.facts.unwrap().client(), "alice@EXAMPLE.TEST");
        let told = self::refused(initiating.token(&refused.token.unwrap()));
        assert_eq!(told.failure.refusal.code(), code::KRB_ERROR_RECEIVED);
        assert_eq!(told.token, None);
    }
}

#[test]
fn a_service_without_the_key_is_refused_by_the_client() {
    let mint = Mint::default();
    for face in FACES {
        let (_, initiating) = initiate(face, &client());
        let refused = refused(initiating.token(&mint.ap_rep(&mint.ap_req()).token()));
        assert_eq!(refused.failure.refusal.code(), code::AP_REP_MISMATCH, "{}", refused.failure.refusal);
    }
}

/// Answers after a while, or never.
struct Slow(Option<Duration>);

impl Accounts for Slow {
    fn verify<'a>(&'a self, request: &'a VerifyRequest) -> Answer<'a> {
        let Some(after) = self.0 else { return Box::pin(std::future::pending()) };
        Box::pin(async move {
            // It must depend on no runtime: who waits is woken by a thread.
            let (send, done) = tokio::sync::oneshot::channel();
            thread::spawn(move || {
                thread::sleep(after);
                send.send(())
            });
            done.await.unwrap();
            let identity =
                Identity { user: request.user.clone(), domain: request.domain.clone(), guest: false };
            request
                .verify_with(&nt_hash("secret"))
                .map_or(Verdict::Invalid, |session_base_key| Verdict::Valid { session_base_key, identity })
        })
    }
}

/// A service of NTLM with these accounts.
fn ntlm_service(accounts: Slow, handshake_deadline: Duration) -> Service {
    let accounts: Option<Box<dyn Accounts>> = Some(Box::new(accounts));
    Service::new(ServiceConfig { accounts, handshake_deadline, ..kind(Keys::Ntlm).service_config() })
}

fn ntlm_client() -> Client {
    Client::new(kind(Keys::Ntlm).client_config())
}

#[test]
fn accounts_that_take_their_time_are_waited_for() {
    for face in FACES {
        let began = Instant::now();
        let (serving, _) = meet(face, &ntlm_service(Slow(Some(SHORT)), ends::AMPLE), &ntlm_client());
        assert!(began.elapsed() >= SHORT);
        assert_eq!(serving.facts().client(), r"EXAMPLE\alice");
    }
}

#[test]
fn accounts_that_do_not_answer_in_time_are_a_missed_deadline_and_the_client_is_rejected() {
    for face in FACES {
        let service = ntlm_service(Slow(None), SHORT);
        let (token, initiating) = initiate(face, &ntlm_client());
        let Progress::Continue { token, exchange } = progress(take(face, begin(&service), &token)) else {
            panic!("NTLM has another token")
        };
        let Progress::Continue { token, exchange: initiating } = progress(initiating.token(&token)) else {
            panic!("a MIC is owed")
        };
        let refused = refused(take(face, exchange, &token));
        let failure = &refused.failure;
        assert_eq!(failure.refusal.code(), code::HANDSHAKE_DEADLINE, "{}", failure.refusal);
        assert_eq!(service.admission().open(), 0, "its place is free");
        let told = self::refused(initiating.token(&refused.token.expect("SPNEGO's reject")));
        assert_eq!(told.failure.refusal.code(), code::NEGOTIATION_REJECTED, "{}", told.failure.refusal);
    }
}

#[test]
fn a_handshake_that_is_cancelled_while_its_accounts_are_asked_gives_up_its_place() {
    let service = ntlm_service(Slow(None), ends::AMPLE);
    let (token, initiating) = initiate(Face::Tokio, &ntlm_client());
    let Progress::Continue { token, exchange } = progress(take(Face::Tokio, begin(&service), &token)) else {
        panic!("NTLM has another token")
    };
    let Progress::Continue { token, .. } = progress(initiating.token(&token)) else {
        panic!("a MIC is owed")
    };
    block_on(async {
        tokio::time::timeout(SHORT, exchange.token(&token)).await.err().expect("nobody answers");
    });
    assert_eq!(service.admission().open(), 0);
}

#[test]
fn exchanges_and_contexts_can_go_to_other_threads() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let (service, client) = (service(), client());
    let (token, initiating) = block_on(send(Initiating::begin(&client))).unwrap();
    let progress = progress(block_on(send(send(begin(&service)).token(&token))));
    let Progress::Done { token, context } = progress else { panic!("Kerberos has one token") };
    let mut serving = *send(context);
    let token = token.unwrap();
    let Progress::Done { context, .. } = self::progress(send(initiating).token(&token)) else {
        panic!("Kerberos has one token")
    };
    let mut connecting = *send(context);
    let sealed = thread::spawn(move || connecting.wrap(b"text").unwrap()).join().unwrap();
    assert_eq!(serving.unwrap(&mut sealed.clone()).unwrap(), b"text");
}

#[test]
fn the_etype_of_the_keys_is_the_one_that_both_permit() {
    let (serving, connecting) = met(Face::Blocking, Keys::Kerberos(Etype::Aes256CtsHmacSha384_192));
    assert_eq!(serving.facts().protection(), "aes256-cts-hmac-sha384-192");
    assert_eq!(connecting.facts().protection(), "aes256-cts-hmac-sha384-192");
}
