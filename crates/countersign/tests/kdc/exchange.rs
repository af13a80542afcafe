//! What KDCs and strangers may do on the network.

use crate::fake::{
    ANOTHERS, FakeKdc, On, REQUEST, RIGHT, always, always_framed, connections, datagrams, framed,
    wait_for_close,
};
use crate::{FACES, Face, PATIENCE, REALM, address, kdcs, runtime};
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::proto::der::Writer;
use countersign::proto::error::code;
use countersign::proto::krb5::msg::krb_error::NewKrbError;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5conf::{KdcAddress, Krb5Conf, Transport};
use countersign::proto::time::Timestamp;
use std::future::Future;
use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// KRB_ERR_RESPONSE_TOO_BIG.
static TOO_BIG: LazyLock<Vec<u8>> = LazyLock::new(|| krb_error(52));
/// KDC_ERR_SVC_UNAVAILABLE.
static UNAVAILABLE: LazyLock<Vec<u8>> = LazyLock::new(|| krb_error(29));

fn krb_error(error_code: i32) -> Vec<u8> {
    let service = Principal::parse("krbtgt/EXAMPLE.TEST@EXAMPLE.TEST").unwrap();
    let stime = Timestamp::new(1_790_000_000, 0);
    let mut out = Vec::new();
    let error = NewKrbError { stime, error_code, client: None, service: &service, e_data: None };
    error.write(&mut Writer::new(&mut out));
    out
}

fn only(transport: Transport, at: SocketAddr) -> KdcAddress {
    KdcAddress::Socket { transport: Some(transport), host: at.ip().to_string(), port: at.port() }
}

/// Both faces get the right answer from these KDCs, the first of which `make` makes.
#[track_caller]
fn answered(make: impl Fn() -> FakeKdc) {
    for face in FACES {
        let kdc = make();
        assert_eq!(face.exchange(&kdcs([address(kdc.at)])).unwrap(), RIGHT, "{face:?}");
    }
}

#[test]
fn a_kdc_answers_by_udp() {
    answered(|| FakeKdc::new(always(RIGHT), On::Refuse));
}

#[test]
fn a_kdc_whose_answer_is_too_long_for_udp_is_asked_by_tcp() {
    for face in FACES {
        let kdc = FakeKdc::new(always(&TOO_BIG), always_framed(RIGHT));
        let next = FakeKdc::new(always(RIGHT), On::Refuse);
        assert_eq!(face.exchange(&kdcs([address(kdc.at), address(next.at)])).unwrap(), RIGHT);
        assert_eq!((kdc.asked(), next.asked()), (2, 0), "{face:?}");
    }
}

#[test]
fn a_kdc_without_udp_is_asked_by_tcp() {
    answered(|| FakeKdc::new(On::Refuse, always_framed(RIGHT)));
    answered(|| FakeKdc::new(On::Silent, always_framed(RIGHT)));
}

#[test]
fn a_kdc_that_is_silent_is_told_after_all_passes() {
    for face in FACES {
        let kdc = FakeKdc::new(On::Silent, On::Silent);
        let began = Instant::now();
        let refusal = face.exchange(&kdcs([address(kdc.at)])).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_NO_ANSWER);
        let told = format!("{} udp: no answer in 1.4 s (3 tries), tcp: no answer in 4.2 s (3 tries)", kdc.at);
        assert_eq!(refusal.have(), told, "{face:?}");
        assert!(began.elapsed() < Duration::from_secs(15));
    }
}

#[test]
fn the_whole_ends_in_time() {
    for face in FACES {
        let kdc = FakeKdc::new(On::Silent, On::Silent);
        let conf = Krb5Conf::builder().realm(REALM, [address(kdc.at)]).build();
        let patience = KdcPatience { whole: Duration::from_millis(300), ..PATIENCE };
        let began = Instant::now();
        let refusal = face.exchange(&Kdcs::with_patience(Arc::new(conf), patience)).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_NO_ANSWER, "{refusal}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn kdcs_that_refuse_are_told_at_once() {
    for face in FACES {
        let kdc = FakeKdc::new(On::Refuse, On::Refuse);
        let began = Instant::now();
        let refusal = face.exchange(&kdcs([address(kdc.at)])).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_UNREACHABLE);
        assert_eq!(
            refusal.have(),
            format!("{} udp: nothing listens there, tcp: nothing listens there", kdc.at)
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{face:?}");
    }
}

#[test]
fn garbage_before_the_right_answer_is_passed_over() {
    answered(|| {
        let handle = datagrams(|datagram| {
            for garbage in [&b""[..], b"garbage", &[0x6B, 0x7F, 0], &[0; 60_000]] {
                datagram.answer(garbage);
            }
            datagram.answer(RIGHT);
        });
        FakeKdc::new(handle, On::Refuse)
    });
}

#[test]
fn an_answer_to_another_request_is_passed_over() {
    answered(|| {
        let handle = datagrams(|datagram| {
            datagram.answer(ANOTHERS);
            datagram.answer(RIGHT);
        });
        FakeKdc::new(handle, On::Refuse)
    });
}

#[test]
fn only_strange_answers_are_told_as_such() {
    for (face, bytes, told) in [
        (Face::Blocking, ANOTHERS, "the answer is to another request"),
        (Face::Tokio, b"garbage", "the answer is no Kerberos message"),
    ] {
        let kdc = FakeKdc::new(always(bytes), On::Refuse);
        let refusal = face.exchange(&kdcs([only(Transport::Udp, kdc.at)])).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_ANSWER_UNUSABLE);
        assert_eq!(refusal.have(), format!("{} udp: {told} (3 tries)", kdc.at));
    }
}

#[test]
fn datagrams_of_strangers_do_not_arrive() {
    answered(|| {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let handle = datagrams(move |datagram| {
            // It would be accepted if it were heard: it has the tag and the bytes of the right answer's beginning.
            stranger.send_to(&[0x6B, 0x03, b'b', b'a', b'd'], datagram.from).unwrap();
            datagram.answer(RIGHT);
        });
        FakeKdc::new(handle, On::Refuse)
    });
    for face in FACES {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = datagrams(move |datagram| {
            stranger.send_to(RIGHT, datagram.from).unwrap();
        });
        let kdc = FakeKdc::new(silent, On::Refuse);
        let refusal = face.exchange(&kdcs([only(Transport::Udp, kdc.at)])).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_NO_ANSWER, "{face:?}");
    }
}

#[test]
fn a_kdc_that_answers_the_third_datagram_only_is_heard() {
    answered(|| {
        let handle = datagrams(|datagram| {
            if datagram.number == 2 {
                datagram.answer(RIGHT);
            }
        });
        FakeKdc::new(handle, On::Refuse)
    });
}

#[test]
fn an_answer_that_comes_while_the_next_kdc_is_asked_is_not_lost() {
    for face in FACES {
        let handle = datagrams(|datagram| {
            if datagram.number == 0 {
                std::thread::sleep(PATIENCE.datagram + Duration::from_millis(100));
                datagram.answer(RIGHT);
            }
        });
        let slow = FakeKdc::new(handle, On::Refuse);
        let silent = FakeKdc::new(On::Silent, On::Refuse);
        let kdcs = kdcs([only(Transport::Udp, slow.at), only(Transport::Udp, silent.at)]);
        assert_eq!(face.exchange(&kdcs).unwrap(), RIGHT, "{face:?}");
    }
}

#[test]
fn a_dead_kdc_leads_to_the_next_which_is_then_asked_first() {
    for face in FACES {
        let dead = FakeKdc::new(datagrams(|_| {}), On::Refuse);
        let alive = FakeKdc::new(always(RIGHT), On::Refuse);
        let kdcs = kdcs([address(dead.at), address(alive.at)]);
        assert_eq!(face.exchange(&kdcs).unwrap(), RIGHT);
        assert_eq!((dead.asked(), alive.asked()), (1, 1), "{face:?}");
        // A clone knows too.
        assert_eq!(face.exchange(&kdcs.clone()).unwrap(), RIGHT);
        assert_eq!((dead.asked(), alive.asked()), (1, 2), "{face:?}");
    }
}

#[test]
fn a_kdc_that_cannot_serve_leads_to_the_next() {
    for face in FACES {
        let sick = FakeKdc::new(always(&UNAVAILABLE), always_framed(&UNAVAILABLE));
        let well = FakeKdc::new(always(RIGHT), On::Refuse);
        assert_eq!(face.exchange(&kdcs([address(sick.at), address(well.at)])).unwrap(), RIGHT);
        assert_eq!(sick.asked(), 1);
        let refusal = face.exchange(&kdcs([address(sick.at)])).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_UNAVAILABLE, "{face:?}");
    }
}

#[test]
fn an_answer_by_tcp_may_come_byte_by_byte() {
    answered(|| {
        let handle = connections(|mut stream| {
            for byte in framed(RIGHT) {
                stream.write_all(&[byte]).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        FakeKdc::new(On::Refuse, handle)
    });
}

#[test]
fn a_long_answer_comes_by_tcp_whole() {
    for face in FACES {
        let mut long = vec![0x6B, 0x83, 0x03, 0x00, 0x00];
        long.resize(5 + 0x3_0000, 7);
        let sent = long.clone();
        let kdc = FakeKdc::new(
            On::Refuse,
            connections(move |mut stream| stream.write_all(&framed(&sent)).unwrap()),
        );
        let kdcs = kdcs([address(kdc.at)]);
        let got = face.exchange_if(&kdcs, REALM.as_bytes(), REQUEST, &mut |_| true).unwrap();
        assert!(got == long, "{face:?}: {} bytes", got.len());
    }
}

#[test]
fn a_connection_that_ends_early_is_told() {
    for face in FACES {
        for sent in [&b""[..], b"\0\0", b"\0\0\0\x05\x6b\x03y"] {
            let kdc =
                FakeKdc::new(On::Refuse, connections(move |mut stream| stream.write_all(sent).unwrap()));
            let refusal = face.exchange(&kdcs([only(Transport::Tcp, kdc.at)])).unwrap_err();
            assert_eq!(refusal.code(), code::KDC_ANSWER_UNUSABLE);
            let told = format!("{} tcp: the connection ended before the answer did", kdc.at);
            assert_eq!(refusal.have(), told, "{face:?}");
        }
    }
}

#[test]
fn a_connection_that_announces_too_much_is_closed_at_once() {
    for face in FACES {
        for announced in [0x7FFF_FFFF_u32, 0x8000_0000, 0xFFFF_FFFF, 0x0010_0001] {
            let handle = connections(move |mut stream| {
                stream.write_all(&announced.to_be_bytes()).unwrap();
                wait_for_close(&mut stream);
            });
            let kdc = FakeKdc::new(On::Refuse, handle);
            let refusal = face.exchange(&kdcs([only(Transport::Tcp, kdc.at)])).unwrap_err();
            let told =
                format!("{} tcp: an answer of {announced} bytes is announced, more than is taken", kdc.at);
            assert_eq!(refusal.have(), told, "{face:?}");
        }
    }
}

#[test]
fn kdcs_are_reached_by_ipv6() {
    // A machine without IPv6 on its loopback fails here: say so instead of passing.
    for face in FACES {
        let kdc = FakeKdc::on(Ipv6Addr::LOCALHOST.into(), always(&TOO_BIG), always_framed(RIGHT));
        assert_eq!(face.exchange(&kdcs([address(kdc.at)])).unwrap(), RIGHT, "{face:?}");
    }
}

#[test]
fn kdcs_are_reached_by_name() {
    for face in FACES {
        let kdc = FakeKdc::new(always(RIGHT), On::Refuse);
        let kdcs = kdcs([KdcAddress::socket("localhost", kdc.at.port())]);
        assert_eq!(face.exchange(&kdcs).unwrap(), RIGHT, "{face:?}");
    }
}

#[test]
fn a_realm_without_kdcs_is_told_escaped() {
    for face in FACES {
        let kdcs = kdcs([]);
        let refusal = face.exchange_if(&kdcs, b"\xffA\x1b", REQUEST, &mut |_| true).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_NOT_CONFIGURED);
        assert_eq!(refusal.saw(), "realm \\xffA\\x1b, for which krb5.conf names no KDC");
        assert_eq!(refusal.have(), "dns_lookup_kdc switched off");
    }
}

#[cfg(not(feature = "dns-srv"))]
#[test]
fn a_build_that_asks_no_dns_says_so() {
    for face in FACES {
        let refusal = face.exchange(&Kdcs::new(Arc::new(Krb5Conf::default()))).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_NOT_CONFIGURED);
        assert_eq!(refusal.have(), "a program built without the feature dns-srv, which asks no DNS");
    }
}

#[cfg(not(feature = "kkdcp"))]
#[test]
fn a_build_that_speaks_to_no_proxy_says_so() {
    for face in FACES {
        let url = "https://127.0.0.1:1/KdcProxy".to_owned();
        let refusal = face.exchange(&kdcs([KdcAddress::Https { url }])).unwrap_err();
        assert_eq!(refusal.code(), code::KKDCP_FAILED);
        assert!(refusal.have().contains("built without the feature kkdcp"), "{refusal}");
    }
}

#[test]
fn a_dropped_exchange_leaves_no_socket_behind() {
    let (heard, was_heard) = channel();
    let (of_udp, of_tcp) = (heard.clone(), heard);
    let udp = datagrams(move |datagram| of_udp.send(Some(datagram.from)).unwrap());
    let tcp = connections(move |mut stream| {
        of_tcp.send(None).unwrap();
        wait_for_close(&mut stream);
        of_tcp.send(None).unwrap();
    });
    let kdc = FakeKdc::new(udp, tcp);
    let conf = Krb5Conf::builder().realm(REALM, [address(kdc.at)]).build();
    let patience =
        KdcPatience { connection: Duration::from_secs(60), whole: Duration::from_secs(60), ..PATIENCE };
    let kdcs = Kdcs::with_patience(Arc::new(conf), patience);
    let client = runtime().block_on(async {
        let mut accepts = |_: &[u8]| true;
        let exchange = kdcs.exchange(REALM.as_bytes(), REQUEST, &mut accepts);
        let arrived = tokio::task::spawn_blocking(move || {
            let client = was_heard.recv().unwrap();
            assert_eq!(was_heard.recv().unwrap(), None, "the connection after the datagram");
            (client.expect("a datagram first"), was_heard)
        });
        tokio::select! {
            done = exchange => panic!("{done:?}"),
            arrived = arrived => arrived.unwrap(),
        }
    });
    let (client, was_heard) = client;
    assert_eq!(was_heard.recv_timeout(Duration::from_secs(10)), Ok(None), "the connection is closed");
    // The kernel says that nobody has the port any more.
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    probe.connect(client).unwrap();
    probe.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    probe.send(b"anybody there?").unwrap();
    let error = probe.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_exchange_can_move_between_threads() {
    fn is_send<T: Future + Send>(future: T) -> T {
        future
    }
    let kdc = FakeKdc::new(always(RIGHT), On::Refuse);
    let kdcs = kdcs([address(kdc.at)]);
    let answer = runtime().block_on(async {
        let task = async move {
            let mut accepts = |_: &[u8]| true;
            is_send(kdcs.exchange(REALM.as_bytes(), REQUEST, &mut accepts)).await
        };
        tokio::spawn(task).await.unwrap()
    });
    assert_eq!(answer.unwrap(), RIGHT);
}
