//! The realm, the service and the client of the demo.

use countersign::proto::context::{Acceptor, Facts, Initiator};
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Refusal, code};
use countersign::proto::iakerb::initiator::IakerbLogin;
use countersign::proto::keytab::{Keytab, KeytabEntry};
use countersign::proto::krb5::kdc_exchange::{Acquire, Acquired, Exchange, Login, Step, TicketOptions};
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign::proto::secret::Secret;
use countersign::proto::time::Timestamp;
use countersign::realm::{RealmFolder, ServedRealm, service_config};
use countersign::tokio::{Session, accept, connect};
use countersign::{Client, ClientConfig, ClientCredential, Service, ServiceConfig};
use countersign_realm::RealmPolicy;
use countersign_realm::admin::{Changes, HexSecret, Request};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

pub(super) const REALM: &str = "DEMO.TEST";
pub(super) const USER: &str = "alice";
pub(super) const SPN: &str = "echo/service.demo.test";

/// Everything here is on one machine: what takes this long does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the service made of a client.
type Verdict = Result<Facts, Refusal>;

/// A realm in a temporary folder, and a service of it.
pub(super) struct Scene {
    realm: Arc<ServedRealm>,
    password: String,
    address: SocketAddr,
    told: UnboundedSender<Verdict>,
    verdicts: Mutex<UnboundedReceiver<Verdict>>,
    // Last: it goes when all that uses it is gone.
    folder: TempDir,
}

/// How a client and a service met.
pub(super) enum Met {
    /// Each knows who the other is.
    Context { service_knows: String, client_knows: String, reply: String },
    /// They did not come to terms.
    Refused { by_client: Refusal },
}

impl Scene {
    pub(super) async fn new() -> Result<Self, Refusal> {
        let folder = tempfile::tempdir().map_err(|error| failed("a temporary folder", &error))?;
        let place = RealmFolder::new(folder.path().join("realm"));
        place.init(&RealmPolicy::new(REALM))?;
        let realm = place.serve("shows the demo")?;
        let password = random_password();
        let secret = HexSecret(Secret::from(password.as_bytes()));
        let changes = Changes::default;
        realm.administer(&Request::AddUser {
            name: USER.to_owned(),
            password: secret,
            changes: changes(),
        })?;
        realm.administer(&Request::AddService { name: SPN.to_owned(), changes: changes() })?;
        let (told, verdicts) = unbounded_channel();
        let service = Service::new(service_config(&realm, AcceptorPolicy::default())?);
        let address = serve(service, told.clone()).await?;
        Ok(Self { realm, password, address, told, verdicts: Mutex::new(verdicts), folder })
    }

    pub(super) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The user with a password and nothing else.
    pub(super) fn by_password(&self, password: &str) -> Client {
        let login = Login::without_realm(Principal::new("", &[USER]), Secret::from(password.as_bytes()));
        let options = Arc::new(TicketOptions::default());
        let service = Principal::new("", &spn());
        client(Initiator::by_iakerb(
            service,
            IakerbLogin { login, options, allow_encrypted_timestamp: false },
            InitiatorPolicy::default(),
        ))
    }

    /// The user with a ticket, which the realm's KDC gives her here.
    pub(super) fn by_ticket(&self) -> Result<Client, Refusal> {
        let user = Principal::new(REALM, &[USER]);
        let login = Login::with_password(user, Secret::from(self.password.as_bytes()))?;
        let (service, options) = (Principal::new(REALM, &spn()), Arc::new(TicketOptions::default()));
        let (login, mut rng) = (Some(Arc::new(login)), rand::rng());
        let mut step = Acquire::begin(service, Vec::new(), None, login, options, now(), &mut rng)?;
        let Acquired { ticket, kdc_offset, .. } = loop {
            match step {
                Step::Done(acquired) => break acquired,
                Step::NeedKdc(exchange) => {
                    let reply = self.realm.handle(exchange.request().message).reply.unwrap_or_default();
                    step = exchange.reply(&reply, now(), &mut rng)?;
                }
            }
        };
        Ok(client(Initiator::with_ticket(ticket, kdc_offset, InitiatorPolicy::default())))
    }

    /// Has a client connect to `address`, and say hello.
    pub(super) async fn meet(&self, address: SocketAddr, client: &Client) -> Result<Met, Refusal> {
        let socket = TcpStream::connect(address).await.map_err(|error| failed("the service", &error))?;
        let mut session = match connect(client, socket).await {
            Ok(session) => session,
            Err(failure) => {
                // What the service says of it is said for this client, not for the next one.
                let _ = self.verdict().await?;
                return Ok(Met::Refused { by_client: failure.refusal });
            }
        };
        session.send(b"hello").await?;
        let reply = session.receive().await?.map(|reply| String::from_utf8_lossy(reply).into_owned());
        let service_knows = self.verdict().await??.client();
        let client_knows = session.facts().service().unwrap_or_default();
        Ok(Met::Context { service_knows, client_knows, reply: reply.unwrap_or_default() })
    }

    /// Sends bytes that somebody recorded, and waits for what the service says of them.
    pub(super) async fn send_again(&self, bytes: &[u8]) -> Result<Refusal, Refusal> {
        let told = |error: io::Error| failed("the service", &error);
        let mut socket = TcpStream::connect(self.address).await.map_err(told)?;
        socket.write_all(bytes).await.map_err(told)?;
        // It ends the connection, or resets it because it leaves bytes unread.
        let _ = socket.read_to_end(&mut Vec::new()).await;
        match self.verdict().await? {
            Err(refusal) => Ok(refusal),
            Ok(facts) => {
                let saw = format!("recorded bytes that were accepted as {}", facts.client());
                Err(Refusal::new(code::STATE_MISUSED, saw, "no such end in the demo"))
            }
        }
    }

    /// Starts a service of the same name with keys of its own, which carries messages to the realm's KDC.
    pub(super) async fn false_service(&self) -> Result<SocketAddr, Refusal> {
        let real = service_config(&self.realm, AcceptorPolicy::default())?;
        let policy = real.acceptor.policy().clone();
        let acceptor = Acceptor::new(false_keys()?, policy);
        serve(Service::new(ServiceConfig { acceptor, ..real }), self.told.clone()).await
    }

    async fn verdict(&self) -> Result<Verdict, Refusal> {
        let mut verdicts = self.verdicts.lock().await;
        let came = timeout(PATIENCE, verdicts.recv()).await.ok().flatten();
        came.ok_or_else(|| {
            Refusal::new(code::STATE_MISUSED, "a service that says nothing", "no such end in the demo")
        })
    }
}

/// Accepts clients on a free port of the loopback and sends back what they send, until the program ends.
async fn serve(service: Service, told: UnboundedSender<Verdict>) -> Result<SocketAddr, Refusal> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|error| failed("a free port", &error))?;
    let address = listener.local_addr().map_err(|error| failed("a free port", &error))?;
    tokio::spawn(async move {
        while let Ok((socket, peer)) = listener.accept().await {
            let (service, told) = (service.clone(), told.clone());
            tokio::spawn(async move {
                let accepted = accept(&service, socket, peer.ip()).await;
                let verdict = match &accepted {
                    Ok(session) => Ok(session.facts().clone()),
                    Err(failure) => Err(failure.refusal.clone()),
                };
                // At the end nobody waits for it any more.
                let _ = told.send(verdict);
                if let Ok(session) = accepted {
                    echo(session).await;
                }
            });
        }
    });
    Ok(address)
}

async fn echo(mut session: Session<TcpStream>) {
    while let Ok(Some(message)) = session.receive().await {
        let message = message.to_vec();
        if session.send(&message).await.is_err() {
            return;
        }
    }
}

fn client(initiator: Initiator) -> Client {
    Client::new(ClientConfig {
        handshake_deadline: PATIENCE,
        ..ClientConfig::new(ClientCredential::Ready(initiator))
    })
}

/// Keys of the service's name that its realm knows nothing of.
fn false_keys() -> Result<ServiceKeys, Refusal> {
    let etype = Etype::Aes256CtsHmacSha1_96;
    let key = countersign::proto::crypto::Key::generate(etype, &mut rand::rng());
    let principal = Principal::new(REALM, &spn());
    let entry = KeytabEntry {
        principal,
        timestamp: 0,
        kvno: 1,
        etype: etype.wire(),
        key: Secret::from(key.expose()),
    };
    let malformed = |error: countersign::proto::crypto::CryptoError| {
        Refusal::new(code::KEY_MALFORMED, error.to_string(), "the length that its etype has")
    };
    ServiceKeys::from_keytab(&Keytab { entries: vec![entry] }).map_err(malformed)
}

fn spn() -> Vec<&'static str> {
    SPN.split('/').collect()
}

fn random_password() -> String {
    let key = countersign::proto::crypto::Key::generate(Etype::Aes128CtsHmacSha1_96, &mut rand::rng());
    hex::encode(key.expose())
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

pub(super) fn failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(code::CONNECTION_FAILED, format!("{what} ({error})"), "nothing else to show it with")
}
