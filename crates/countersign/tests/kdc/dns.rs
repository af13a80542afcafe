//! KDCs that the DNS knows, from a name server of the test's own.

use crate::fake::{FakeKdc, On, RIGHT, always, always_framed, datagrams};
use crate::{FACES, Face, PATIENCE, REALM};
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::proto::error::code;
use countersign::proto::krb5conf::Krb5Conf;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const UDP: &str = "_kerberos._udp.EXAMPLE.TEST";
const TCP: &str = "_kerberos._tcp.EXAMPLE.TEST";

/// What is said of a name.
#[derive(Clone)]
enum Says {
    /// SRV records: priority, port, target; and their time to live in seconds.
    Records(Vec<(u16, u16, &'static str)>, u32),
    /// This response code: 2 is SERVFAIL, 3 NXDOMAIN.
    Code(u8),
    Nothing,
}

/// A name server on the loopback, by UDP. It ends when it is dropped.
struct NameServer {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Of names that are not in `zone` it says that they do not exist.
    fn new(zone: impl IntoIterator<Item = (&'static str, Says)>) -> Self {
        let zone: BTreeMap<_, _> = zone.into_iter().map(|(name, says)| (name.to_lowercase(), says)).collect();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let (asked, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, stop, at) = (asked.clone(), ended.clone(), socket.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while !stop.load(Ordering::SeqCst) {
                let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
                let (name, question) = question(&buffer[..count]);
                log.lock().unwrap().push(name.clone());
                let says = zone.get(&name.to_lowercase()).cloned().unwrap_or(Says::Code(3));
                if let Some(response) = response(&buffer[..2], question, says) {
                    socket.send_to(&response, from).unwrap();
                }
            }
        });
        Self { at, asked, ended, thread: Some(thread) }
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked
    }

    fn kdcs(&self) -> Kdcs {
        self.kdcs_within(PATIENCE.whole)
    }

    fn kdcs_within(&self, whole: Duration) -> Kdcs {
        let patience = KdcPatience { whole, ..PATIENCE };
        Kdcs::with_name_servers(Arc::new(Krb5Conf::default()), patience, vec![self.at])
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the name server failed");
    }
}

/// The name that is asked for, and the question's bytes; it must be for an SRV record.
fn question(query: &[u8]) -> (String, &[u8]) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let label = &query[at + 1..][..usize::from(query[at])];
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        at += 1 + label.len();
    }
    assert_eq!(query[at + 1..at + 5], [0, 33, 0, 1], "type SRV, class IN");
    (labels.join("."), &query[12..at + 5])
}

fn response(id: &[u8], question: &[u8], says: Says) -> Option<Vec<u8>> {
    let (code, records, ttl) = match says {
        Says::Records(records, ttl) => (0, records, ttl),
        Says::Code(code) => (code, Vec::new(), 0),
        Says::Nothing => return None,
    };
    let mut out = [id, &[0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0], question].concat();
    for (priority, port, target) in records {
        let mut data = [priority.to_be_bytes(), [0, 0], port.to_be_bytes()].concat();
        for label in target.split('.').filter(|label| !label.is_empty()) {
            data.push(label.len() as u8);
            data.extend_from_slice(label.as_bytes());
        }
        data.push(0);
        out.extend_from_slice(&[0xC0, 12, 0, 33, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

fn records(list: &[(u16, SocketAddr)]) -> Says {
    Says::Records(list.iter().map(|(priority, at)| (*priority, at.port(), "localhost")).collect(), 300)
}

#[test]
fn kdcs_come_from_srv_records_which_are_kept() {
    for face in FACES {
        let kdc = FakeKdc::new(always(RIGHT), On::Refuse);
        let server = NameServer::new([(UDP, records(&[(0, kdc.at)])), (TCP, records(&[(0, kdc.at)]))]);
        let kdcs = server.kdcs();
        for _ in 0..3 {
            assert_eq!(face.exchange(&kdcs).unwrap(), RIGHT, "{face:?}");
        }
        // No search domain was appended, and each name was asked for once.
        assert_eq!(server.asked(), [TCP, UDP], "{face:?}");
        assert_eq!(kdc.asked(), 3);
    }
}

#[test]
fn records_are_kept_for_as_long_as_they_say() {
    for face in FACES {
        let kdc = FakeKdc::new(always(RIGHT), On::Refuse);
        let server = NameServer::new([(UDP, Says::Records(vec![(0, kdc.at.port(), "localhost")], 1))]);
        let kdcs = server.kdcs();
        face.exchange(&kdcs).unwrap();
        assert_eq!(server.asked().len(), 2);
        std::thread::sleep(Duration::from_millis(1_200));
        face.exchange(&kdcs).unwrap();
        assert_eq!(server.asked().len(), 4, "{face:?}");
    }
}

#[test]
fn records_for_tcp_alone_lead_to_tcp() {
    for face in FACES {
        let kdc = FakeKdc::new(always(b"not by this way"), always_framed(RIGHT));
        let server = NameServer::new([(TCP, records(&[(0, kdc.at)]))]);
        assert_eq!(face.exchange(&server.kdcs()).unwrap(), RIGHT);
        assert_eq!(kdc.asked(), 1, "{face:?}");
    }
}

#[test]
fn a_kdc_of_a_lower_priority_value_is_asked_first() {
    for face in FACES {
        let first = FakeKdc::new(datagrams(|_| {}), On::Refuse);
        let second = FakeKdc::new(always(RIGHT), On::Refuse);
        let server = NameServer::new([(UDP, records(&[(20, second.at), (10, first.at)]))]);
        assert_eq!(face.exchange(&server.kdcs()).unwrap(), RIGHT);
        assert_eq!((first.asked(), second.asked()), (1, 1), "{face:?}");
    }
}

#[track_caller]
fn unknown(face: Face, server: &NameServer) {
    let refusal = face.exchange(&server.kdcs()).unwrap_err();
    assert_eq!(refusal.code(), code::KDC_NOT_CONFIGURED, "{face:?}: {refusal}");
    assert_eq!(refusal.have(), "no SRV record _kerberos of that domain in the DNS");
}

#[test]
fn a_realm_that_the_dns_does_not_know_is_told() {
    for face in FACES {
        unknown(face, &NameServer::new([]));
        unknown(face, &NameServer::new([(UDP, Says::Code(0)), (TCP, Says::Code(0))]));
        let root = || Says::Records(vec![(0, 0, ".")], 300);
        unknown(face, &NameServer::new([(UDP, root()), (TCP, root())]));
    }
}

#[test]
fn a_name_server_that_fails_is_told() {
    for face in FACES {
        for server in [
            NameServer::new([(UDP, Says::Code(2)), (TCP, Says::Code(2))]),
            NameServer::new([(UDP, Says::Code(2))]),
            NameServer::new([(TCP, Says::Code(5))]),
        ] {
            let refusal = face.exchange(&server.kdcs()).unwrap_err();
            assert_eq!(refusal.code(), code::KDC_LOOKUP_FAILED, "{face:?}: {refusal}");
            assert!(refusal.saw().starts_with("no SRV record _kerberos of EXAMPLE.TEST: "), "{refusal}");
        }
    }
}

#[test]
fn one_answer_of_two_is_enough() {
    for face in FACES {
        let kdc = FakeKdc::new(always(RIGHT), On::Refuse);
        let server = NameServer::new([(UDP, records(&[(0, kdc.at)])), (TCP, Says::Code(2))]);
        assert_eq!(face.exchange(&server.kdcs()).unwrap(), RIGHT, "{face:?}");
    }
}

#[test]
fn a_name_server_that_is_silent_is_given_up_in_time() {
    for face in FACES {
        let server = NameServer::new([(UDP, Says::Nothing), (TCP, Says::Nothing)]);
        let began = Instant::now();
        let refusal = face.exchange(&server.kdcs_within(Duration::from_millis(500))).unwrap_err();
        assert_eq!(refusal.code(), code::KDC_LOOKUP_FAILED, "{face:?}: {refusal}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn realms_that_are_no_domains_are_not_asked_for() {
    let server = NameServer::new([]);
    for face in FACES {
        for realm in ["", "A B", "X500:/C=US", "A..B", "\u{e9}.TEST"] {
            let refusal = face.exchange_if(&server.kdcs(), realm.as_bytes(), b"", &mut |_| true).unwrap_err();
            assert_eq!(refusal.code(), code::KDC_NOT_CONFIGURED, "{realm}");
        }
    }
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn configured_kdcs_are_used_without_the_dns() {
    for face in FACES {
        let kdc = FakeKdc::new(always(RIGHT), On::Refuse);
        let server = NameServer::new([]);
        let conf = Krb5Conf::builder().realm(REALM, [crate::address(kdc.at)]).build();
        let kdcs = Kdcs::with_name_servers(Arc::new(conf), PATIENCE, vec![server.at]);
        assert_eq!(face.exchange(&kdcs).unwrap(), RIGHT, "{face:?}");
        assert_eq!(server.asked(), [""; 0]);
    }
}
