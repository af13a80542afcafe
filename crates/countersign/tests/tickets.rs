//! Tickets in a program: many who ask at once, both faces, clients that log in when they connect.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::kdc::Kdcs;
use countersign::proto::crypto::Etype as ProtoEtype;
use countersign::proto::error::code;
use countersign::proto::krb5::kdc_exchange::{Login, TicketOptions};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5::msg::ticket::TicketFlags;
use countersign::proto::krb5conf::{KdcAddress, Krb5Conf};
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::secret::Secret;
use countersign::tickets::{Tickets, TicketsConfig};
use countersign::{Client, ClientConfig, ClientCredential, Delegate, Service, TicketClient};
use countersign_testkit::kdc_message::Kind;
use countersign_testkit::{Domain, Etype, Fate, KdcProxy, Realm};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

const REALM: &str = "KDC.TEST";
const SPN: &str = "echo/a.example.test";
const PASSWORD: &str = "Secret.123";

fn realm() -> Realm {
    let realm = Realm::new(REALM);
    realm.add_user_with("alice", PASSWORD, &["+requires_preauth"]);
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    realm
}

fn conf(kdc: SocketAddrV4) -> Krb5Conf {
    let host = kdc.ip().to_string();
    let kdc = KdcAddress::Socket { transport: None, host, port: kdc.port() };
    Krb5Conf::builder().default_realm(REALM).realm(REALM, [kdc]).build()
}

fn tickets_of(kdc: SocketAddrV4, password: &str, options: TicketOptions) -> Tickets {
    let alice = Principal::new(REALM, &["alice"]);
    let login = Login::with_password(alice, Secret::from(password.as_bytes())).unwrap();
    let kdcs = Kdcs::new(Arc::new(conf(kdc)));
    Tickets::new(TicketsConfig { kdcs, cache: None, login: Some(login), options })
}

fn tickets(kdc: SocketAddrV4) -> Tickets {
    tickets_of(kdc, PASSWORD, TicketOptions::default())
}

fn service() -> Principal {
    Principal::parse(SPN).unwrap()
}

/// A proxy that gives everybody time to ask before it answers.
fn slow(realm: &Realm) -> KdcProxy {
    KdcProxy::with(realm.kdc().address(), |_| Fate::Slow(Duration::from_millis(150)))
}

fn assert_asked_once(proxy: &KdcProxy) {
    // Twice by AS-REQ: without proof, and with it.
    assert_eq!((proxy.count(Kind::AsReq), proxy.count(Kind::TgsReq)), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_that_want_a_ticket_ask_the_kdc_once() {
    let realm = realm();
    let proxy = slow(&realm);
    let tickets = tickets(proxy.address());
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let tickets = tickets.clone();
            tokio::spawn(async move { tickets.get(&service()).await })
        })
        .collect();
    for task in tasks {
        let ticket = task.await.unwrap().unwrap();
        assert_eq!(ticket.ticket.client.to_string(), "alice@KDC.TEST");
        assert_eq!(ticket.ticket.service.to_string(), "echo/a.example.test@KDC.TEST");
    }
    assert_asked_once(&proxy);
    assert_eq!(tickets.get(&service()).await.unwrap().ticket.etype, ProtoEtype::Aes256CtsHmacSha1_96.wire());
    assert_asked_once(&proxy);
}

#[test]
fn a_hundred_threads_that_want_a_ticket_ask_the_kdc_once() {
    let realm = realm();
    let proxy = slow(&realm);
    let tickets = tickets(proxy.address());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| tickets.get_blocking(&service()))).collect();
        threads.into_iter().for_each(|thread| drop(thread.join().unwrap().unwrap()));
    });
    assert_asked_once(&proxy);
}

#[tokio::test]
async fn a_ticket_whose_asker_gave_up_is_asked_for_by_another() {
    let realm = realm();
    let proxy = slow(&realm);
    let tickets = tickets(proxy.address());
    let impatient = tokio::spawn({
        let tickets = tickets.clone();
        async move { tickets.get(&service()).await.map(drop) }
    });
    let patient = tokio::spawn({
        let tickets = tickets.clone();
        async move { tickets.get(&service()).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    patient.await.unwrap().unwrap();
}

#[tokio::test]
async fn all_who_wait_hear_why_there_is_no_ticket() {
    let realm = realm();
    let proxy = slow(&realm);
    let tickets = tickets_of(proxy.address(), "Wrong.123", TicketOptions::default());
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let tickets = tickets.clone();
            tokio::spawn(async move { tickets.get(&service()).await.map(drop) })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap_err().code(), code::KDC_PREAUTH_FAILED);
    }
    // A wrong password is shown to the KDC once, so that an account is not locked by it.
    assert_eq!(proxy.count(Kind::AsReq), 2);
}

fn client(tickets: Tickets, delegate: Delegate) -> Client {
    let (service, policy) = (service(), InitiatorPolicy::default());
    Client::new(ClientConfig {
        handshake_deadline: Duration::from_secs(20),
        ..ClientConfig::new(ClientCredential::Tickets(TicketClient { tickets, service, policy, delegate }))
    })
}

#[tokio::test]
async fn a_client_logs_in_when_it_connects_and_asks_no_kdc_the_next_time() {
    let realm = realm();
    let proxy = KdcProxy::before(realm.kdc().address());
    let service = Service::from_keytab(realm.keytab(&[SPN])).unwrap();
    let client = client(tickets(proxy.address()), Delegate::Never);
    for _ in 0..2 {
        let (near, far) = tokio::io::duplex(65_536);
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        let (accepted, connected) = tokio::join!(
            countersign::tokio::accept(&service, far, loopback),
            countersign::tokio::connect(&client, near)
        );
        let accepted = accepted.unwrap_or_else(|failure| panic!("{}", failure.refusal));
        let connected = connected.unwrap_or_else(|failure| panic!("{}", failure.refusal));
        assert_eq!(accepted.facts().client(), "alice@KDC.TEST");
        assert!(connected.facts().mutual());
    }
    assert_asked_once(&proxy);
}

#[tokio::test]
async fn a_ticket_is_delegated_only_to_whom_the_kdc_trusts_with_it() {
    let realm = realm();
    let options = TicketOptions { forwardable: true, ..TicketOptions::default() };
    let tickets = tickets_of(realm.kdc().address(), PASSWORD, options);
    let flags = tickets.get(&service()).await.unwrap().ticket.flags;
    assert!(!flags.contains(TicketFlags::OK_AS_DELEGATE));
    let forwarded = tickets.forwarded().await.unwrap();
    assert_eq!(forwarded.client().to_string(), "alice@KDC.TEST");
    assert_eq!(tickets.forwarded_blocking().unwrap().client(), forwarded.client());
}

#[tokio::test]
async fn a_ticket_that_may_not_be_forwarded_is_not_forwarded() {
    let realm = realm();
    let tickets = tickets(realm.kdc().address());
    tickets.log_in().await.unwrap();
    let refusal = tickets.forwarded().await.map(drop).unwrap_err();
    assert_eq!(refusal.code(), code::KDC_ERROR, "{refusal}");
}

#[tokio::test]
async fn a_client_whom_the_kdc_knows_by_another_name_logs_in_once() {
    let domain = Domain::new();
    domain.add_user("laura", PASSWORD);
    domain.add_service("echo-service", SPN);
    let proxy = KdcProxy::before(domain.kdc());
    let (host, port) = (proxy.address().ip().to_string(), proxy.address().port());
    let kdc = KdcAddress::Socket { transport: None, host, port };
    let conf = Krb5Conf::builder().default_realm("SAMBA.TEST").realm("SAMBA.TEST", [kdc]).build();
    let laura = Principal::new("SAMBA.TEST", &["LAURA"]);
    let login = Login::with_password(laura, Secret::from(PASSWORD.as_bytes())).unwrap();
    let options = TicketOptions { canonicalize: true, ..TicketOptions::default() };
    let (kdcs, cache) = (Kdcs::new(Arc::new(conf)), None);
    let tickets = Tickets::new(TicketsConfig { kdcs, cache, login: Some(login), options });
    assert_eq!(tickets.log_in().await.unwrap().client.to_string(), "laura@SAMBA.TEST");
    let logins = proxy.count(Kind::AsReq);
    let ticket = tickets.get(&service()).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(ticket.ticket.client.to_string(), "laura@SAMBA.TEST");
    let asked = proxy.count(Kind::TgsReq);
    tickets.get(&service()).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!((proxy.count(Kind::AsReq), proxy.count(Kind::TgsReq)), (logins, asked));
}
