#![allow(clippy::arithmetic_side_effects, reason = "a test's clock does not overflow")]

use super::*;
use countersign_proto::der::Writer;
use countersign_proto::error::Explain;
use countersign_proto::error::code;
use countersign_proto::krb5::msg::krb_error::NewKrbError;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a KDC at one address does with what it is sent in one way.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Does {
    Answer(Vec<u8>),
    Silent,
    Refuse,
    /// Silent at first, then it refuses.
    Vanish,
    /// This first, then nothing.
    Stray(Vec<u8>),
}

const RIGHT: &[u8] = &[0x6B, 0x03, b'y', b'e', b's'];
const ANOTHERS: &[u8] = &[0x6B, 0x02, b'n', b'o'];

fn krb_error(error_code: i32) -> Vec<u8> {
    let service = Principal::parse("krbtgt/EXAMPLE.TEST@EXAMPLE.TEST").unwrap();
    let mut out = Vec::new();
    let error = NewKrbError {
        stime: Timestamp::new(1, 0),
        error_code,
        client: None,
        service: &service,
        e_data: None,
    };
    error.write(&mut Writer::new(&mut out));
    out
}

fn too_big() -> Does {
    Does::Answer(krb_error(KRB_ERR_RESPONSE_TOO_BIG))
}

fn right() -> Does {
    Does::Answer(RIGHT.to_vec())
}

/// The machine with a network and a clock of the test's own.
struct World {
    delivery: Delivery,
    start: Instant,
    now: Instant,
    network: BTreeMap<(SocketAddr, &'static str), Does>,
    names: BTreeMap<String, Vec<SocketAddr>>,
    log: Vec<String>,
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 88))
}

fn kdc(last: u8) -> KdcAddress {
    KdcAddress::socket(format!("10.0.0.{last}"), 88)
}

fn only(transport: Transport, last: u8) -> KdcAddress {
    KdcAddress::Socket { transport: Some(transport), host: format!("10.0.0.{last}"), port: 88 }
}

impl World {
    fn new(addresses: Vec<KdcAddress>, length: usize) -> Self {
        let start = Instant::now();
        let patience = KdcPatience::default();
        let plan = Plan {
            realm: b"EXAMPLE.TEST".to_vec(),
            addresses,
            length,
            udp_preference_limit: 1_465,
            patience,
            end: start + patience.whole,
        };
        let (network, names) = (BTreeMap::new(), BTreeMap::new());
        Self { delivery: Delivery::new(plan), start, now: start, network, names, log: Vec::new() }
    }

    fn with(mut self, last: u8, way: &'static str, does: Does) -> Self {
        self.network.insert((address(last), way), does);
        self
    }

    /// Runs to the end and returns what was done.
    fn run(&mut self) -> Vec<String> {
        for _ in 0..10_000 {
            let step = self.delivery.next(self.now);
            if step == Step::Over {
                return std::mem::take(&mut self.log);
            }
            self.perform(step);
        }
        panic!("no end after 10,000 steps");
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Over => {}
            Step::Resolve { host, until, .. } => {
                self.log.push(format!("resolve {host}"));
                let found = self.names.get(&host).cloned();
                self.now = if found.is_some() { self.now } else { until };
                self.delivery.resolved(found.ok_or(Trouble::Silent), self.now);
            }
            Step::Datagram { to, send, until } => self.ask(to, "udp", send, until),
            Step::Connection { to, until } => self.ask(to, "tcp", true, until),
            Step::Post { url, until } => {
                self.log.push(format!("post {url}"));
                self.now = until;
                self.delivery.came(Err(Trouble::Silent), &mut |_| true, self.now);
            }
        }
    }

    fn ask(&mut self, to: SocketAddr, way: &'static str, send: bool, until: Instant) {
        if send {
            let wait = until.duration_since(self.now).as_secs();
            self.log.push(format!("{way} {} {wait}", to.ip()));
        }
        assert!(until > self.now, "a wait that has ended already");
        let came = match self.network.get(&(to, way)).cloned().unwrap_or(Does::Silent) {
            Does::Answer(bytes) => Ok(bytes),
            Does::Stray(bytes) if send => Ok(bytes),
            Does::Silent | Does::Stray(_) => {
                self.now = until;
                Err(Trouble::Silent)
            }
            Does::Vanish => {
                self.network.insert((to, way), Does::Refuse);
                self.now = until;
                Err(Trouble::Silent)
            }
            Does::Refuse => Err(Trouble::Refused),
        };
        self.now += Duration::from_millis(1).min(until.saturating_duration_since(self.now));
        self.delivery.came(came, &mut |answer| answer == RIGHT, self.now);
    }

    fn refusal(self) -> KdcError {
        self.delivery.conclude().unwrap_err()
    }
}

#[test]
fn the_first_kdc_that_answers_ends_it() {
    let mut world = World::new(vec![kdc(1), kdc(2)], 200).with(1, "udp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1"]);
    let (answer, from) = world.delivery.conclude().unwrap();
    assert_eq!((&answer[..], from), (RIGHT, kdc(1)));
}

#[test]
fn silent_kdcs_are_asked_by_the_other_transport_and_then_again_with_growing_patience() {
    let mut world = World::new(vec![kdc(1), kdc(2)], 200).with(2, "tcp", Does::Refuse);
    let done = world.run();
    assert_eq!(
        done,
        [
            "udp 10.0.0.1 1",
            "udp 10.0.0.2 1",
            "tcp 10.0.0.1 3",
            "tcp 10.0.0.2 3",
            "udp 10.0.0.1 2",
            "tcp 10.0.0.1 6",
            "udp 10.0.0.2 2",
            "udp 10.0.0.1 4",
            // The whole is over before 12 s are.
            "tcp 10.0.0.1 10",
        ]
    );
    assert!(world.now <= world.start + KdcPatience::default().whole);
    let refusal = world.refusal();
    assert_eq!(refusal.code(), code::KDC_NO_ANSWER);
    assert_eq!(
        refusal.have(),
        "10.0.0.1:88 udp: no answer in 7 s (3 tries), tcp: no answer in 20 s (3 tries); \
         10.0.0.2:88 udp: no answer in 3 s (2 tries), tcp: nothing listens there"
    );
}

#[test]
fn requests_over_the_limit_go_by_tcp_first() {
    let mut world = World::new(vec![kdc(1)], 1_465).with(1, "udp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1"]);
    let mut world = World::new(vec![kdc(1)], 1_466).with(1, "tcp", right());
    assert_eq!(world.run(), ["tcp 10.0.0.1 3"]);
}

#[test]
fn a_long_request_falls_back_to_udp_if_it_fits_into_a_datagram() {
    let mut world = World::new(vec![kdc(1)], 32_700).with(1, "tcp", Does::Refuse).with(1, "udp", right());
    assert_eq!(world.run(), ["tcp 10.0.0.1 3", "udp 10.0.0.1 1"]);
    let mut world = World::new(vec![kdc(1)], 32_701).with(1, "tcp", Does::Refuse).with(1, "udp", right());
    assert_eq!(world.run(), ["tcp 10.0.0.1 3"]);
    assert_eq!(world.refusal().code(), code::KDC_UNREACHABLE);
}

#[test]
fn an_answer_too_long_for_udp_leads_to_tcp_of_the_same_kdc_at_once() {
    let mut world = World::new(vec![kdc(1), kdc(2)], 200).with(1, "udp", too_big()).with(1, "tcp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1", "tcp 10.0.0.1 3"]);
}

#[test]
fn refused_datagrams_lead_to_tcp_of_the_same_kdc_at_once() {
    let mut world =
        World::new(vec![kdc(1), kdc(2)], 200).with(1, "udp", Does::Refuse).with(1, "tcp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1", "tcp 10.0.0.1 3"]);
}

#[test]
fn a_kdc_that_begins_to_refuse_datagrams_is_asked_by_tcp_once_in_that_pass() {
    let mut world =
        World::new(vec![kdc(1), kdc(2)], 200).with(1, "udp", Does::Vanish).with(2, "tcp", Does::Refuse);
    let done = world.run();
    assert_eq!(done[4..7], ["udp 10.0.0.1 2", "tcp 10.0.0.1 6", "udp 10.0.0.2 2"], "{done:?}");
    assert_eq!(done[7..], ["tcp 10.0.0.1 12", "udp 10.0.0.2 4"], "{done:?}");
}

#[test]
fn kdcs_that_all_refuse_are_given_up_without_waiting() {
    let mut world = World::new(vec![kdc(1), kdc(2)], 200);
    for last in [1, 2] {
        world = world.with(last, "udp", Does::Refuse).with(last, "tcp", Does::Refuse);
    }
    assert_eq!(world.run(), ["udp 10.0.0.1 1", "tcp 10.0.0.1 3", "udp 10.0.0.2 1", "tcp 10.0.0.2 3"]);
    assert!(world.now - world.start < Duration::from_secs(1));
    assert_eq!(world.refusal().code(), code::KDC_UNREACHABLE);
}

#[test]
fn a_kdc_that_cannot_serve_now_is_passed_over() {
    let unavailable = || Does::Answer(krb_error(KDC_ERR_SVC_UNAVAILABLE));
    let mut world =
        World::new(vec![kdc(1), kdc(2)], 200).with(1, "udp", unavailable()).with(2, "udp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1", "udp 10.0.0.2 1"]);
    let mut world = World::new(vec![kdc(1)], 200).with(1, "udp", unavailable());
    assert_eq!(world.run(), ["udp 10.0.0.1 1"]);
    assert_eq!(world.refusal().code(), code::KDC_UNAVAILABLE);
}

#[test]
fn a_stray_datagram_does_not_end_the_wait_for_the_right_one() {
    for stray in [ANOTHERS, b"garbage", &[0x6B, 0x05, 1], b""] {
        let mut world = World::new(vec![kdc(1)], 200).with(1, "udp", Does::Stray(stray.to_vec()));
        let step = world.delivery.next(world.now);
        let Step::Datagram { to, send: true, until } = step.clone() else { panic!("{step:?}") };
        world.delivery.came(Ok(stray.to_vec()), &mut |answer| answer == RIGHT, world.now);
        assert_eq!(world.delivery.next(world.now), Step::Datagram { to, send: false, until });
        world.delivery.came(Ok(RIGHT.to_vec()), &mut |answer| answer == RIGHT, world.now);
        assert_eq!(world.delivery.next(world.now), Step::Over);
        assert_eq!(world.delivery.conclude().unwrap().0, RIGHT);
    }
}

#[test]
fn a_wait_that_strays_keep_filling_ends_in_time() {
    // These answers never stop coming: each takes a millisecond.
    let mut world = World::new(vec![only(Transport::Udp, 1), kdc(2)], 200).with(
        1,
        "udp",
        Does::Answer(ANOTHERS.to_vec()),
    );
    world = world.with(2, "udp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1", "udp 10.0.0.2 1"]);
    assert!(world.now - world.start < Duration::from_millis(1_100));
}

#[test]
fn an_answer_to_another_request_by_tcp_leads_to_the_next_kdc() {
    for wrong in [ANOTHERS, b"HTTP/1.1 400 Bad Request"] {
        let mut world = World::new(vec![only(Transport::Tcp, 1), kdc(2)], 200)
            .with(1, "tcp", Does::Answer(wrong.to_vec()))
            .with(2, "udp", right());
        assert_eq!(world.run(), ["tcp 10.0.0.1 3", "udp 10.0.0.2 1"]);
    }
}

#[test]
fn a_transport_that_is_prescribed_is_the_only_one() {
    let mut world = World::new(vec![only(Transport::Udp, 1)], 5_000).with(1, "tcp", right());
    assert_eq!(world.run(), ["udp 10.0.0.1 1", "udp 10.0.0.1 2", "udp 10.0.0.1 4"]);
    let mut world = World::new(vec![only(Transport::Tcp, 1)], 10).with(1, "udp", right());
    assert_eq!(world.run(), ["tcp 10.0.0.1 3", "tcp 10.0.0.1 6", "tcp 10.0.0.1 12"]);
    // An answer that does not fit, from a KDC that has nothing but UDP.
    let mut world = World::new(vec![only(Transport::Udp, 1)], 10).with(1, "udp", too_big());
    assert_eq!(world.run(), ["udp 10.0.0.1 1"]);
    assert_eq!(world.refusal().code(), code::KDC_ANSWER_UNUSABLE);
}

#[test]
fn all_addresses_of_a_name_are_asked_in_their_order_at_the_configured_port() {
    let mut world = World::new(vec![KdcAddress::socket("kdc.example.test", 88)], 200).with(2, "udp", right());
    let found = vec![SocketAddr::from(([10, 0, 0, 7], 0)), SocketAddr::from(([10, 0, 0, 2], 12_345))];
    world.names.insert("kdc.example.test".into(), found);
    assert_eq!(world.run(), ["resolve kdc.example.test", "udp 10.0.0.7 1", "udp 10.0.0.2 1"]);
}

#[test]
fn two_names_of_one_address_are_one_kdc() {
    let names = ["a.example.test", "b.example.test"];
    let mut world = World::new(names.map(|name| KdcAddress::socket(name, 88)).into(), 200);
    for name in names {
        world.names.insert(name.into(), vec![address(1)]);
    }
    let asked = world.run().iter().filter(|done| done.starts_with("udp")).count();
    assert_eq!(asked, 3 + 1, "once more in the first pass than for one name");
}

#[test]
fn a_name_without_an_address_is_passed_over_and_told() {
    let unknown = KdcAddress::socket("nowhere.example.test", 88);
    let mut world = World::new(vec![unknown.clone(), kdc(2)], 200).with(2, "udp", right());
    assert_eq!(world.run(), ["resolve nowhere.example.test", "udp 10.0.0.2 1"]);
    let mut world = World::new(vec![unknown], 200);
    world.names.insert("nowhere.example.test".into(), Vec::new());
    world.run();
    let refusal = world.refusal();
    assert_eq!(refusal.have(), "nowhere.example.test its name: the name has no address");
    assert_eq!(refusal.code(), code::KDC_UNREACHABLE);
}

#[test]
fn kdcs_whose_turn_never_came_are_told_too() {
    let kdcs = (1..=20).map(|last| only(Transport::Tcp, last)).collect();
    let mut world = World::new(kdcs, 200);
    let done = world.run();
    assert_eq!(done.len(), 10, "3 s each of 30 s: {done:?}");
    let refusal = world.refusal();
    let told = refusal.have();
    assert!(told.ends_with("10.0.0.12 tcp: not tried, the time was up; 8 more"), "{told}");
}

#[test]
fn only_messages_of_a_kdc_are_taken_for_such() {
    for message in [RIGHT, ANOTHERS, &[0x6D, 0x00], &[0x7E, 0x01, 0]] {
        assert!(is_kdc_message(message), "{message:?}");
    }
    let wrong: [&[u8]; 8] = [
        b"",
        &[0x6B],
        &[0x6B, 0x01],
        &[0x6B, 0x00, 0x00],
        &[0x6B, 0x81, 0x01, 0x00],
        &[0x6B, 0x80, 0x00, 0x00],
        &[0x6A, 0x00],
        &[0x6E, 0x00],
    ];
    for message in wrong {
        assert!(!is_kdc_message(message), "{message:?}");
    }
}

/// What the outside may do, whatever was asked of it.
#[derive(Clone, Debug)]
enum Event {
    Silence,
    Refusal,
    Cut,
    Bytes(Vec<u8>),
    Addresses(Vec<u8>),
}

fn event() -> impl Strategy<Value = Event> {
    let answers = prop_oneof![
        Just(ANOTHERS.to_vec()),
        Just(krb_error(KRB_ERR_RESPONSE_TOO_BIG)),
        Just(krb_error(KDC_ERR_SVC_UNAVAILABLE)),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    prop_oneof![
        3 => Just(Event::Silence),
        1 => Just(Event::Refusal),
        1 => Just(Event::Cut),
        4 => answers.prop_map(Event::Bytes),
        2 => proptest::collection::vec(100..110_u8, 0..12).prop_map(Event::Addresses),
    ]
}

fn any_kdc() -> impl Strategy<Value = KdcAddress> {
    let transport = prop_oneof![Just(None), Just(Some(Transport::Udp)), Just(Some(Transport::Tcp))];
    prop_oneof![
        4 => (transport.clone(), 1..6_u8).prop_map(|(transport, last)| {
            KdcAddress::Socket { transport, host: format!("10.0.0.{last}"), port: 88 }
        }),
        2 => (transport, 0..3_u8).prop_map(|(transport, name)| {
            KdcAddress::Socket { transport, host: format!("kdc{name}.example.test"), port: 88 }
        }),
        1 => Just(KdcAddress::Https { url: "https://proxy.example.test/KdcProxy".into() }),
    ]
}

/// Where a KDC of [`any_kdc`], or a name in [`event`], may lead.
fn is_in_the_list(kdcs: &[KdcAddress], resolved: &[SocketAddr], to: SocketAddr) -> bool {
    let literal = |kdc: &KdcAddress| match kdc {
        KdcAddress::Socket { host, .. } => host.parse::<IpAddr>().is_ok_and(|ip| ip == to.ip()),
        KdcAddress::Https { .. } => false,
    };
    to.port() == 88 && (kdcs.iter().any(literal) || resolved.iter().any(|address| address.ip() == to.ip()))
}

proptest! {
    #[test]
    fn whatever_happens_it_ends_in_time_and_sends_to_nobody_else(
        kdcs in proptest::collection::vec(any_kdc(), 0..40),
        events in proptest::collection::vec((event(), 1..3_000_u64), 1..60),
        length in prop_oneof![Just(100_usize), Just(2_000), Just(40_000)],
        passes in 0..20_u32,
    ) {
        let start = Instant::now();
        let patience = KdcPatience { passes, ..KdcPatience::default() };
        let end = start + patience.whole;
        let plan = Plan {
            realm: b"EXAMPLE.TEST".to_vec(),
            addresses: kdcs.clone(),
            length,
            udp_preference_limit: 1_465,
            patience,
            end,
        };
        let mut delivery = Delivery::new(plan);
        let (mut now, mut resolved, mut events) = (start, Vec::new(), events.iter().cycle());
        let mut steps = 0;
        loop {
            let step = delivery.next(now);
            let until = match &step {
                Step::Over => break,
                Step::Resolve { until, .. } | Step::Post { until, .. } => *until,
                Step::Datagram { to, until, .. } | Step::Connection { to, until } => {
                    prop_assert!(is_in_the_list(&kdcs, &resolved, *to), "{to}");
                    *until
                }
            };
            prop_assert!(now < until && until <= end);
            let (event, millis) = events.next().unwrap();
            let was = now;
            now = (now + Duration::from_millis(*millis)).min(until);
            let came = match event {
                Event::Silence => {
                    now = until;
                    Err(Trouble::Silent)
                }
                Event::Refusal => Err(Trouble::Refused),
                Event::Cut => Err(Trouble::Cut),
                Event::Bytes(bytes) => Ok(bytes.clone()),
                Event::Addresses(_) => Ok(Vec::new()),
            };
            match (step, event) {
                (Step::Resolve { .. }, Event::Addresses(last)) => {
                    let found: Vec<_> = last.iter().map(|last| address(*last)).collect();
                    resolved.extend(found.clone());
                    delivery.resolved(Ok(found), now);
                }
                (Step::Resolve { .. }, _) => delivery.resolved(came.map(|_| Vec::new()), now),
                _ => delivery.came(came, &mut |_| false, now),
            }
            steps += 1;
            prop_assert!(now > was && steps <= 30_001, "{steps} steps");
        }
        prop_assert!(now <= end);
        let error = delivery.conclude().unwrap_err();
        prop_assert!(error.have().len() < 10_000);
        prop_assert!(!error.saw().is_empty());
    }
}
