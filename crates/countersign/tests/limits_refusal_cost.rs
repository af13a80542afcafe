//! What a refusal costs the service, set against what an accept costs: nobody gains by sending what is refused. Without
//! sockets: a token in, what the peer is told out, the replay store in between.
//!
//! Each kind is measured in turn, round after round, and the fastest round of each counts: whatever else the machine does
//! only ever adds to a round.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::framing::{FrameReader, HANDSHAKE_LIMIT, Header};
use countersign::proto::context::{Acceptor, AcceptorStep};
use countersign::proto::crypto::{Etype, Key};
use countersign::proto::error::{Code, Refusal, code};
use countersign::proto::gss::{BindingsHash, ChannelBindings};
use countersign::proto::keytab::Keytab;
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::AcceptorPolicy;
use countersign::proto::time::Timestamp;
use countersign::replay::MemoryReplayStore;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{ApReq, FLAGS, Mint, NOW, gss_checksum};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Handshakes of one kind in a round.
const BATCH: u64 = 50;
const ROUNDS: usize = 60;

/// What a refusal may cost that comes before anything is decrypted, in accepts.
const EARLY: f64 = 0.5;
/// What the latest may cost.
const LATE: f64 = 1.2;

/// What one may cost on which as many keys are tried as are ever tried, none of them with success: the only one that costs
/// more. It takes a keytab with eight different keys of the ticket's etype.
const EIGHT_KEYS: f64 = if cfg!(debug_assertions) { 3.0 } else { 2.0 };

/// A way in which handshakes end.
struct Kind {
    name: &'static str,
    /// How it must end; `None` is an accept.
    code: Option<Code>,
    limit: f64,
    acceptor: Acceptor,
    tokens: Vec<Vec<u8>>,
    now: Timestamp,
    welcome: bool,
    /// Whether the tokens were offered before.
    again: bool,
}

impl Kind {
    fn early(name: &'static str, code: Code, tokens: Vec<Vec<u8>>) -> Self {
        Self { name, code: Some(code), limit: EARLY, tokens, ..Self::accept() }
    }

    fn late(name: &'static str, code: Code) -> Self {
        Self { name, code: Some(code), limit: LATE, ..Self::accept() }
    }

    fn accept() -> Self {
        Self {
            name: "accept",
            code: None,
            limit: f64::INFINITY,
            acceptor: acceptor(AcceptorPolicy::default()),
            tokens: tokens(|_| ()),
            now: NOW,
            welcome: true,
            again: false,
        }
    }

    /// All of its handshakes, with a store that knows none of them, or all.
    fn round(&self) -> Duration {
        let store = MemoryReplayStore::new(1_000_000, Duration::from_secs(300), &mut TestRng::new(1));
        if self.again {
            for token in &self.tokens {
                self.offer(&store, token);
            }
        }
        let began = Instant::now();
        for token in &self.tokens {
            assert_eq!(black_box(self.offer(&store, black_box(token))), self.code, "{}", self.name);
        }
        began.elapsed()
    }

    /// A handshake from its frame to its end.
    fn offer(&self, store: &MemoryReplayStore, token: &[u8]) -> Option<Code> {
        let mut reader = FrameReader::new(Header::Length, HANDSHAKE_LIMIT);
        reader.want()[..token.len()].copy_from_slice(token);
        reader.filled(token.len());
        let frame = match reader.next_frame() {
            Ok(frame) => frame.unwrap(),
            Err(error) => return Some(Refusal::from(error).code()),
        };
        let (mut out, mut rng) = (Vec::new(), rand::rng());
        let mut step = self.acceptor.begin().token(frame.body, self.now, &mut rng, &mut out);
        loop {
            step = match step {
                AcceptorStep::CheckReplay(asked) => {
                    let verdict = store.verdict(asked.presented(), self.now);
                    asked.verdict(verdict, self.now, &mut out)
                }
                AcceptorStep::Authorize(asked) if self.welcome => asked.admit(self.now, &mut rng, &mut out),
                AcceptorStep::Authorize(asked) => {
                    let refusal = Refusal::new(code::CLIENT_NOT_ALLOWED, asked.facts().client(), "a list");
                    asked.refuse(refusal, self.now, &mut out)
                }
                AcceptorStep::Done(_) => return None,
                AcceptorStep::Rejected(rejected) => return Some(rejected.refusal.code()),
                // Only a clock that is off is told while there is another chance.
                AcceptorStep::AwaitToken(state) => {
                    let cause = Refusal::new(code::CONNECTION_CUT, "the end of the connection", "");
                    return Some(state.abandon(cause).refusal.code());
                }
                _ => panic!("{}: nobody else is to be asked", self.name),
            }
        }
    }
}

fn acceptor(policy: AcceptorPolicy) -> Acceptor {
    Acceptor::new(Mint::default().service_keys(), policy)
}

/// Frames with tokens of as many authenticators, changed by `change`. Their tickets have what an Active Directory's have at
/// least: some 700 bytes of authorization data that may be ignored.
fn tokens(change: impl Fn(&mut ApReq)) -> Vec<Vec<u8>> {
    (0..BATCH).map(|number| framed(&token(number, &change))).collect()
}

fn token(number: u64, change: impl Fn(&mut ApReq)) -> Vec<u8> {
    use countersign_testkit::mint::authorization_data::if_relevant;
    let mut ticket = Mint::default().ticket();
    ticket.authorization_data = Some(if_relevant(&[(128, &[0; 700])]));
    let mut request = Mint::default().ap_req_with(ticket);
    request.seed = number;
    change(&mut request);
    request.token()
}

fn framed(token: &[u8]) -> Vec<u8> {
    [&u32::try_from(token.len()).unwrap().to_le_bytes()[..], token].concat()
}

fn kinds() -> Vec<Kind> {
    let raw = |bytes: &[u8]| vec![bytes.to_vec(); usize::try_from(BATCH).unwrap()];
    let half = |_| framed(&token(0, |_| ())[..600]);
    let mut kinds = vec![
        Kind::accept(),
        Kind::early("another protocol", code::FRAME_TOO_LONG, raw(b"GET / HTTP/1.1\r\n\r\n")),
        Kind::early("an empty frame", code::FRAME_EMPTY, raw(&[0; 4])),
        Kind::early("garbage", code::TOKEN_UNRECOGNISED, raw(&framed(&[0x41; 1_000]))),
        Kind::early("a token cut short", code::TOKEN_MALFORMED, (0..BATCH).map(half).collect()),
        Kind::early("an etype that there is not", code::ETYPE_KEY_ABSENT, tokens(|ap| ap.ticket.etype = 17)),
    ];
    kinds.extend(late());
    kinds
}

/// The key of another version, which none of ours is.
fn of_kvno_9(request: &mut ApReq) {
    request.ticket.kvno = Some(9);
    request.ticket.key = other_key();
}

fn other_key() -> Key {
    Key::generate(Etype::Aes256CtsHmacSha1_96, &mut TestRng::new(9))
}

fn late() -> Vec<Kind> {
    let mut bound = AcceptorPolicy::default();
    bound.channel_bindings = vec![ChannelBindings::from_application_data(b"here".to_vec())];
    bound.require_channel_bindings = true;
    vec![
        Kind {
            acceptor: acceptor(bound),
            tokens: tokens(|ap| ap.authenticator.checksum = Some(gss_checksum(BindingsHash([1; 16]), FLAGS))),
            ..Kind::late("bound to another channel", code::CHANNEL_BINDINGS_MISMATCH)
        },
        // A ticket may say another version than its key has, so the key is tried before the ticket is refused.
        Kind { tokens: tokens(of_kvno_9), ..Kind::late("a kvno that there is not", code::KVNO_ABSENT) },
        Kind { again: true, ..Kind::late("a replay", code::REPLAY) },
        Kind {
            tokens: tokens(|ap| ap.authenticator.ctime = NOW.shifted(-301_000_000)),
            ..Kind::late("a clock that is off", code::CLOCK_SKEW)
        },
        Kind { welcome: false, ..Kind::late("not allowed in", code::CLIENT_NOT_ALLOWED) },
        Kind {
            acceptor: Acceptor::new(many_keys(), AcceptorPolicy::default()),
            limit: EIGHT_KEYS,
            tokens: tokens(|ap| {
                ap.ticket.key = Key::generate(Etype::Aes256CtsHmacSha1_96, &mut TestRng::new(9))
            }),
            ..Kind::late("under none of eight keys", code::SERVICE_KEY_ABSENT)
        },
    ]
}

/// Keys of eight services, all of which are tried.
fn many_keys() -> ServiceKeys {
    let mint = Mint::default();
    let entry = |number: u32| {
        let service = Principal::new("EXAMPLE.TEST", &["HTTP", &format!("{number}.example.test")]);
        mint.entry(&service, mint.kvno, mint.ticket_etype)
    };
    ServiceKeys::from_keytab(&Keytab { entries: (0..8).map(entry).collect() }).unwrap()
}

#[test]
fn a_refusal_before_decryption_costs_at_most_half_an_accept_and_the_latest_a_fifth_more_than_one() {
    let kinds = kinds();
    let mut fastest = vec![Duration::MAX; kinds.len()];
    for _ in 0..ROUNDS {
        for (kind, fastest) in kinds.iter().zip(&mut fastest) {
            *fastest = kind.round().min(*fastest);
        }
    }
    let accept = fastest[0].as_secs_f64();
    println!("an accept: {:.2} us", accept * 1e6 / BATCH as f64);
    let mut over = Vec::new();
    for (kind, fastest) in kinds.iter().zip(&fastest).skip(1) {
        let cost = fastest.as_secs_f64() / accept;
        println!("{:>8} {cost:.2} of one: {}", kind.code.unwrap(), kind.name);
        if cost > kind.limit {
            over.push(format!("{} costs {cost:.2} accepts, {} are permitted", kind.name, kind.limit));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}
