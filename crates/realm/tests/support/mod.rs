//! A realm in memory, its KDC, and our own client in front of it.
#![allow(dead_code, reason = "each test program uses its own part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

pub(crate) mod served;
pub(crate) mod tgs;
pub(crate) mod wire;

use countersign_proto::ccache::Credential;
use countersign_proto::crypto::{Etype, Key, string_to_key};
use countersign_proto::krb5::initiator::ServiceTicket;
use countersign_proto::krb5::kdc_exchange::{
    AsExchange, AsGranted, Exchange, KdcError, Login, Renew, Step, TgsExchange, TicketOptions,
};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use countersign_realm::accounts::default_salt;
use countersign_realm::{
    Account, AccountKey, AccountKind, Accounts, AccountsError, Failures, Handled, Kdc, KdcRecord,
    RealmPolicy, RealmSecrets,
};
use countersign_testkit::TestRng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub(crate) const REALM: &str = "REALM.TEST";
pub(crate) const PASSWORD: &str = "Right.123";
pub(crate) const ALL: [Etype; 4] = [
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha384_192,
    Etype::Aes128CtsHmacSha256_128,
];
/// When the tests take place.
pub(crate) const NOW: Timestamp = Timestamp::new(1_795_000_000, 250_000);

pub(crate) fn after(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

/// Accounts in memory.
#[derive(Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    accounts: Vec<Account>,
    aliases: BTreeMap<Vec<Vec<u8>>, Principal>,
    /// Names of which a failure was to be counted, in order.
    failures: Vec<Principal>,
    /// Names whose failures were to be forgotten.
    successes: Vec<Principal>,
    broken: Option<AccountsError>,
}

impl Memory {
    pub(crate) fn add(&self, account: Account) {
        self.0.lock().unwrap().accounts.push(account);
    }

    pub(crate) fn alias(&self, alias: &str, canonical: &str) {
        let components = Principal::parse(alias).unwrap().components;
        self.0.lock().unwrap().aliases.insert(components, named(canonical));
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Account)) {
        let mut state = self.0.lock().unwrap();
        let name = named(name);
        change(state.accounts.iter_mut().find(|account| account.principal == name).unwrap());
    }

    pub(crate) fn remove(&self, name: &str) {
        let name = named(name);
        self.0.lock().unwrap().accounts.retain(|account| account.principal != name);
    }

    pub(crate) fn account(&self, name: &str) -> Account {
        self.find(&named(name)).unwrap().unwrap()
    }

    /// How many failures were counted of anybody, and how often some were forgotten.
    pub(crate) fn written(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.failures.len(), state.successes.len())
    }

    /// From now on nothing is answered.
    pub(crate) fn break_down(&self, error: Option<AccountsError>) {
        self.0.lock().unwrap().broken = error;
    }
}

impl Accounts for Memory {
    fn find(&self, name: &Principal) -> Result<Option<Account>, AccountsError> {
        let state = self.0.lock().unwrap();
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        let canonical = state.aliases.get(&name.components).filter(|_| name.realm == REALM.as_bytes());
        let wanted = canonical.unwrap_or(name);
        Ok(state.accounts.iter().find(|account| account.principal == *wanted).cloned())
    }

    fn record_failure(&self, name: &Principal, now: Timestamp) -> Result<(), AccountsError> {
        let mut state = self.0.lock().unwrap();
        state.failures.push(name.clone());
        if let Some(account) = state.accounts.iter_mut().find(|account| account.principal == *name) {
            account.failures.count += 1;
            account.failures.last = Some(now);
        }
        Ok(())
    }

    fn record_success(&self, name: &Principal) -> Result<(), AccountsError> {
        let mut state = self.0.lock().unwrap();
        state.successes.push(name.clone());
        if let Some(account) = state.accounts.iter_mut().find(|account| account.principal == *name) {
            account.failures = Failures::default();
        }
        Ok(())
    }
}

/// `NAME` in the realm.
pub(crate) fn named(name: &str) -> Principal {
    let name = Principal::parse(name).unwrap();
    let components: Vec<_> = name.components.iter().map(|part| std::str::from_utf8(part).unwrap()).collect();
    Principal::new(REALM, &components)
}

pub(crate) fn account(name: &str, kind: AccountKind, keys: Vec<AccountKey>) -> Account {
    Account {
        principal: named(name),
        kind,
        keys,
        max_life: None,
        max_renewable_life: None,
        expires: None,
        password_expires: None,
        disabled: false,
        forwardable: true,
        failures: Failures::default(),
    }
}

/// Keys of every etype, random but always the same.
pub(crate) fn random_keys(kvno: u32, seed: u64) -> Vec<AccountKey> {
    let mut rng = TestRng::new(seed);
    ALL.map(|etype| AccountKey { kvno, key: Key::generate(etype, &mut rng), salt: None }).to_vec()
}

pub(crate) fn password_keys(kvno: u32, password: &str, salt: &[u8]) -> Vec<AccountKey> {
    let key = |etype| string_to_key(etype, password.as_bytes(), salt, None).unwrap();
    ALL.map(|etype| AccountKey { kvno, key: key(etype), salt: Some(salt.to_vec()) }).to_vec()
}

/// Alice's keys, which are made once.
fn alices_keys() -> Vec<AccountKey> {
    static KEYS: OnceLock<Vec<AccountKey>> = OnceLock::new();
    KEYS.get_or_init(|| password_keys(1, PASSWORD, &default_salt(&named("alice")))).clone()
}

pub(crate) const SERVICE: &str = "HTTP/a.example.test";
pub(crate) const SECOND_SERVICE: &str = "dword/b.example.test";

/// A realm with alice, who has a password, two services, one of them with an alias, and its KDC.
pub(crate) struct TestRealm {
    pub(crate) kdc: Kdc,
    pub(crate) accounts: Memory,
    pub(crate) rng: Mutex<TestRng>,
}

impl TestRealm {
    pub(crate) fn new() -> Self {
        Self::with(RealmPolicy::new(REALM))
    }

    pub(crate) fn with(policy: RealmPolicy) -> Self {
        let accounts = Memory::default();
        let granting = format!("krbtgt/{REALM}");
        accounts.add(account(&granting, AccountKind::TicketGranting, random_keys(1, 100)));
        accounts.add(account("alice", AccountKind::User, alices_keys()));
        accounts.add(account(SERVICE, AccountKind::Service, random_keys(3, 101)));
        accounts.add(account(SECOND_SERVICE, AccountKind::Service, random_keys(1, 102)));
        accounts.alias("HTTP/alias.example.test", SERVICE);
        accounts.alias("al", "alice");
        let secrets = RealmSecrets::generate(&mut TestRng::new(7));
        Self { kdc: Kdc::new(policy, secrets), accounts, rng: Mutex::new(TestRng::new(1)) }
    }

    /// With encrypted timestamps allowed.
    pub(crate) fn lenient() -> Self {
        Self::with(RealmPolicy { allow_encrypted_timestamp: true, ..RealmPolicy::new(REALM) })
    }

    /// Other random numbers at every call, the same in every run.
    pub(crate) fn fresh_rng(&self) -> TestRng {
        TestRng::new(rand_core::Rng::next_u64(&mut *self.rng.lock().unwrap()))
    }

    pub(crate) fn handle_at(&self, request: &[u8], now: Timestamp) -> Handled {
        self.kdc.handle(request, now, &mut self.fresh_rng(), &self.accounts)
    }

    pub(crate) fn handle(&self, request: &[u8]) -> Handled {
        self.handle_at(request, NOW)
    }

    /// Brings an exchange to its end, and gives the records of all answers too.
    pub(crate) fn finish_at<E: Exchange>(
        &self,
        mut exchange: E,
        now: Timestamp,
    ) -> (Result<E::Granted, KdcError>, Vec<KdcRecord>) {
        let mut records = Vec::new();
        loop {
            let handled = self.handle_at(exchange.request().message, now);
            records.push(handled.record);
            let reply = handled.reply.expect("a request is answered");
            assert!(exchange.is_answer(&reply));
            match exchange.reply(&reply, now, &mut self.fresh_rng()) {
                Ok(Step::NeedKdc(next)) => exchange = next,
                Ok(Step::Done(granted)) => return (Ok(granted), records),
                Err(error) => return (Err(error), records),
            }
        }
    }

    pub(crate) fn begin(&self, login: Login, options: TicketOptions, now: Timestamp) -> AsExchange {
        AsExchange::begin(Arc::new(login), Arc::new(options), now, &mut self.fresh_rng())
    }

    pub(crate) fn login_at(
        &self,
        login: Login,
        options: TicketOptions,
        now: Timestamp,
    ) -> (Result<AsGranted, KdcError>, KdcRecord) {
        let exchange = self.begin(login, options, now);
        let (granted, mut records) = self.finish_at(exchange, now);
        (granted, records.pop().unwrap())
    }

    pub(crate) fn login(
        &self,
        login: Login,
        options: TicketOptions,
    ) -> (Result<AsGranted, KdcError>, KdcRecord) {
        self.login_at(login, options, NOW)
    }

    /// Alice's ticket-granting ticket.
    pub(crate) fn tgt(&self, options: TicketOptions) -> Credential {
        self.login(password("alice", PASSWORD), options)
            .0
            .map_err(|error| error.to_string())
            .unwrap()
            .credential
    }

    /// A ticket-granting ticket that makes armor, of somebody else.
    pub(crate) fn armor(&self) -> ServiceTicket {
        let options = TicketOptions::default();
        let keys = self.accounts.account(SECOND_SERVICE).keys;
        let login =
            Login::with_keytab(named(SECOND_SERVICE), &keytab(SECOND_SERVICE, &keys), &options).unwrap();
        usable(&self.login(login, options).0.map_err(|error| error.to_string()).unwrap().credential)
    }

    /// A service's ticket.
    pub(crate) fn service_at(
        &self,
        tgt: &Credential,
        service: &str,
        options: TicketOptions,
        now: Timestamp,
    ) -> (Result<Credential, KdcError>, KdcRecord) {
        let mut rng = self.fresh_rng();
        let tgts = vec![options.usable(tgt, now).unwrap()];
        let exchange =
            TgsExchange::begin(named(service), Vec::new(), tgts, Arc::new(options), 0, now, &mut rng)
                .unwrap();
        let (granted, mut records) = self.finish_at(exchange, now);
        (granted.map(|granted| granted.credential), records.pop().unwrap())
    }

    pub(crate) fn service(
        &self,
        tgt: &Credential,
        service: &str,
    ) -> (Result<Credential, KdcError>, KdcRecord) {
        self.service_at(tgt, service, TicketOptions::default(), NOW)
    }

    pub(crate) fn renew_at(
        &self,
        tgt: &Credential,
        now: Timestamp,
    ) -> (Result<Credential, KdcError>, KdcRecord) {
        let options = TicketOptions::default();
        let mut rng = self.fresh_rng();
        let exchange = Renew::begin(&options.usable(tgt, now).unwrap(), &options, 0, now, &mut rng);
        let (granted, mut records) = self.finish_at(exchange, now);
        (granted, records.pop().unwrap())
    }
}

pub(crate) fn password(name: &str, password: &str) -> Login {
    Login::with_password(named(name), Secret::from(password.as_bytes())).unwrap()
}

pub(crate) fn usable(credential: &Credential) -> ServiceTicket {
    TicketOptions::default().usable(credential, NOW).unwrap()
}

pub(crate) fn keytab(name: &str, keys: &[AccountKey]) -> countersign_proto::keytab::Keytab {
    let entry = |key: &AccountKey| countersign_proto::keytab::KeytabEntry {
        principal: named(name),
        kvno: key.kvno,
        etype: key.key.etype().wire(),
        key: Secret::from(key.key.expose()),
        timestamp: 1_795_000_000,
    };
    countersign_proto::keytab::Keytab { entries: keys.iter().map(entry).collect() }
}
