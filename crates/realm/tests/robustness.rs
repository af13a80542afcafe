//! No bytes make the KDC panic, and none that are no request are answered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_proto::krb5::kdc_exchange::{Exchange, Renew, Step, TgsExchange, TicketOptions};
use countersign_proto::krb5::msg::kdc_req::KdcReq;
use countersign_realm::{MAX_REQUEST, Outcome};
use countersign_testkit::TestRng;
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};
use support::{NOW, PASSWORD, SERVICE, TestRealm, named, password};

/// Every kind of request that our own client makes, each good.
fn recorded() -> &'static (TestRealm, Vec<Vec<u8>>) {
    static RECORDED: OnceLock<(TestRealm, Vec<Vec<u8>>)> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let realm = TestRealm::lenient();
        let options = TicketOptions {
            renewable: Some(std::time::Duration::from_secs(86_400)),
            ..TicketOptions::default()
        };
        let tgt = realm.tgt(options.clone());
        let mut requests = Vec::new();
        for login in [password("alice", PASSWORD), password("alice", PASSWORD).with_armor(realm.armor(), 0)] {
            let mut exchange = realm.begin(login, options.clone(), NOW);
            loop {
                requests.push(exchange.request().message.to_vec());
                let reply = realm.handle(exchange.request().message).reply.unwrap();
                match exchange.reply(&reply, NOW, &mut realm.fresh_rng()) {
                    Ok(Step::NeedKdc(next)) => exchange = next,
                    Ok(Step::Done(_)) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let mut rng = TestRng::new(3);
        let ticket = options.usable(&tgt, NOW).unwrap();
        let tgts = vec![ticket.clone()];
        let shared = Arc::new(options.clone());
        let service = TgsExchange::begin(named(SERVICE), Vec::new(), tgts, shared, 0, NOW, &mut rng).unwrap();
        requests.push(service.request().message.to_vec());
        requests.push(Renew::begin(&ticket, &options, 0, NOW, &mut rng).request().message.to_vec());
        (realm, requests)
    })
}

#[test]
fn what_is_no_request_is_not_answered() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let reply = realm.handle(&recorded().1[0]).reply.unwrap();
    for bytes in [&b""[..], b"nonsense", &[0x6A], &reply, &tgt.ticket, &[0x6A, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]]
    {
        let handled = realm.handle(bytes);
        assert_eq!((handled.reply, handled.record.outcome), (None, Outcome::Ignored));
    }
    let mut longer = recorded().1[0].clone();
    longer.push(0);
    assert_eq!(realm.handle(&longer).reply, None);
}

#[test]
fn a_request_that_is_too_long_is_not_looked_at() {
    let realm = TestRealm::new();
    let of_length = |length: usize| {
        let request = &recorded().1[0];
        let filled =
            |filler: usize| support::wire::with_padata(request, |padata| padata.push((-1, vec![0; filler])));
        let overhead = filled(60_000).len() - 60_000;
        filled(length - overhead)
    };
    let longest = of_length(MAX_REQUEST);
    assert_eq!(longest.len(), MAX_REQUEST);
    assert!(realm.handle(&longest).reply.is_some());
    assert_eq!(realm.handle(&of_length(MAX_REQUEST + 1)).reply, None);
}

#[test]
fn every_byte_of_every_request_may_be_altered_and_every_end_cut_off() {
    let (realm, requests) = recorded();
    for request in requests {
        assert!(realm.handle(request).reply.is_some());
        let parsed = KdcReq::parse(request).unwrap();
        let body = request.len() - parsed.encoded_body.len();
        for at in 0..request.len() {
            assert_eq!(realm.handle(&request[..at]).reply, None);
            for mask in [0x01, 0x80] {
                let mut altered = request.clone();
                altered[at] ^= mask;
                let granted = realm.handle(&altered).record.outcome == Outcome::Granted;
                // The authenticator vouches for the body, and SPAKE and FAST do.
                assert!(!granted || at < body, "{:?}, byte {at}", parsed.kind);
            }
        }
        realm.accounts.change("alice", |alice| alice.failures = countersign_realm::Failures::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_not_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (realm, _) = recorded();
        prop_assert_eq!(realm.handle(&bytes).reply, None);
    }

    #[test]
    fn requests_with_pieces_of_others_in_them_are_survived(
        one in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        length in 0_usize..64,
    ) {
        let (realm, requests) = recorded();
        let mut altered = requests[one.index(requests.len())].clone();
        let source = &requests[other.index(requests.len())];
        let (from, to) = (from.index(source.len()), to.index(altered.len()));
        let piece = source[from..].iter().copied().take(length).collect::<Vec<_>>();
        let end = (to + piece.len()).min(altered.len());
        altered.splice(to..end, piece);
        let handled = realm.handle(&altered);
        prop_assert_eq!(handled.reply.is_none(), handled.record.outcome == Outcome::Ignored);
    }
}
