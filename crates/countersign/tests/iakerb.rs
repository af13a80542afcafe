//! A client that reaches no KDC logs in through the service, whose realm is a folder of its own.
#![cfg(feature = "realm")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::proto::context::{Facts, Initiator};
use countersign::proto::error::{Code, code};
use countersign::proto::gss::MechChoice;
use countersign::proto::iakerb::initiator::IakerbLogin;
use countersign::proto::krb5::kdc_exchange::{Login, TicketOptions};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign::proto::secret::Secret;
use countersign::realm::{RealmFolder, ServedRealm, service_config};
use countersign::{Client, ClientConfig, ClientCredential, Service};
use countersign_realm::RealmPolicy;
use countersign_realm::admin::{Changes, HexSecret, Request};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const REALM: &str = "OWN.TEST";
const SPN: &str = "echo/a.example.test";
const PASSWORD: &str = "Secret.123";

struct Scene {
    realm: Arc<ServedRealm>,
    service: Service,
    _folder: TempDir,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let place = RealmFolder::new(folder.path().join("realm"));
    place.init(&RealmPolicy::new(REALM)).unwrap();
    let realm = place.serve("a test").unwrap();
    add_user(&realm, "alice");
    realm.administer(&Request::AddService { name: SPN.to_owned(), changes: Changes::default() }).unwrap();
    let service = Service::new(service_config(&realm, AcceptorPolicy::default()).unwrap());
    Scene { realm, service, _folder: folder }
}

fn add_user(realm: &ServedRealm, name: &str) {
    let password = HexSecret(Secret::from(PASSWORD.as_bytes()));
    let name = name.to_owned();
    realm.administer(&Request::AddUser { name, password, changes: Changes::default() }).unwrap();
}

fn client(user: &str, password: &str, service: &str, negotiate: bool) -> Client {
    let user = Principal::parse(user).unwrap();
    let password = Secret::from(password.as_bytes());
    let login = if user.realm.is_empty() {
        Login::without_realm(user, password)
    } else {
        Login::with_password(user, password).unwrap()
    };
    let options = Arc::new(TicketOptions::default());
    let mut policy = InitiatorPolicy::default();
    policy.negotiate = negotiate;
    let login = IakerbLogin { login, options, allow_encrypted_timestamp: false };
    let initiator = Initiator::by_iakerb(Principal::parse(service).unwrap(), login, policy);
    Client::new(ClientConfig {
        handshake_deadline: Duration::from_secs(20),
        ..ClientConfig::new(ClientCredential::Ready(initiator))
    })
}

/// A handshake on tokio streams and a message each way: what both know, or the codes of both refusals.
async fn meet(scene: &Scene, client: &Client) -> Result<(Facts, Facts), (Code, Code)> {
    let (near, far) = tokio::io::duplex(65_536);
    let address = Ipv4Addr::LOCALHOST.into();
    let accept = countersign::tokio::accept(&scene.service, far, address);
    let (accepted, connected) = tokio::join!(accept, countersign::tokio::connect(client, near));
    match (accepted, connected) {
        (Ok(mut accepted), Ok(mut connected)) => {
            connected.send(b"hello").await.unwrap();
            let heard = accepted.receive().await.unwrap().unwrap().to_vec();
            accepted.send(&heard).await.unwrap();
            assert_eq!(connected.receive().await.unwrap().unwrap(), b"hello");
            Ok((accepted.facts().clone(), connected.facts().clone()))
        }
        (Err(accepted), Err(connected)) => Err((accepted.refusal.code(), connected.refusal.code())),
        (Ok(_), Err(failure)) | (Err(failure), Ok(_)) => panic!("only one end refused: {}", failure.refusal),
    }
}

fn assert_mutual((accepted, connected): &(Facts, Facts)) {
    assert_eq!(accepted.client(), "alice@OWN.TEST");
    assert_eq!(connected.service().unwrap(), "echo/a.example.test@OWN.TEST");
    for facts in [accepted, connected] {
        assert!(facts.mutual());
        assert_eq!(facts.mech(), MechChoice::Iakerb);
    }
}

#[tokio::test]
async fn a_client_without_a_kdc_logs_in_through_the_service_bare_and_negotiated() {
    let scene = scene();
    for negotiate in [false, true] {
        let met = meet(&scene, &client("alice@OWN.TEST", PASSWORD, SPN, negotiate)).await;
        assert_mutual(&met.unwrap());
    }
}

#[tokio::test]
async fn a_client_that_knows_no_realm_learns_it_from_the_service() {
    let scene = scene();
    let met = meet(&scene, &client("alice", PASSWORD, SPN, false)).await;
    assert_mutual(&met.unwrap());
}

#[test]
fn threads_log_in_through_the_service_too() {
    let scene = scene();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, peer) = listener.accept().unwrap();
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| countersign::blocking::accept(&scene.service, far, peer.ip()));
        let client = client("alice@OWN.TEST", PASSWORD, SPN, false);
        let connected = countersign::blocking::connect(&client, stream);
        let connected = connected.unwrap_or_else(|failure| panic!("{}", failure.refusal));
        let accepted = accepted.join().unwrap().unwrap_or_else(|failure| panic!("{}", failure.refusal));
        assert_mutual(&(accepted.facts().clone(), connected.facts().clone()));
    });
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    let scene = scene();
    for user in ["alice@OWN.TEST", "nobody@OWN.TEST"] {
        let (_, told) = meet(&scene, &client(user, "Wrong.123", SPN, false)).await.unwrap_err();
        assert_eq!(told, code::KDC_PREAUTH_FAILED, "{user}");
    }
}

#[tokio::test]
async fn nothing_is_carried_to_another_realm() {
    let scene = scene();
    for negotiate in [false, true] {
        let refused = meet(&scene, &client("alice@OTHER.TEST", PASSWORD, SPN, negotiate)).await.unwrap_err();
        assert_eq!(refused, (code::IAKERB_REALM_REFUSED, code::IAKERB_RELAY_FAILED));
    }
}

#[tokio::test]
async fn a_service_that_the_realm_does_not_know_is_told() {
    let scene = scene();
    let (_, told) =
        meet(&scene, &client("alice@OWN.TEST", PASSWORD, "echo/nobody", false)).await.unwrap_err();
    assert_eq!(told, code::KDC_SERVICE_UNKNOWN);
}

#[tokio::test]
async fn new_keys_of_a_service_count_without_a_restart() {
    let scene = scene();
    scene.realm.administer(&Request::NewKeys { name: SPN.to_owned() }).unwrap();
    let alice = client("alice@OWN.TEST", PASSWORD, SPN, false);
    let (refused, _) = meet(&scene, &alice).await.unwrap_err();
    assert_eq!(refused, code::KVNO_ABSENT);
    scene.realm.keep_up(&scene.service).unwrap();
    assert_mutual(&meet(&scene, &alice).await.unwrap());
    scene.realm.administer(&Request::NewKeys { name: SPN.to_owned() }).unwrap();
    assert_mutual(&meet(&scene, &alice).await.unwrap());
}
