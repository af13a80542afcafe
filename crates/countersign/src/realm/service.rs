//! A service whose keys and whose KDC are a realm in a folder: no keytab, no krb5.conf, no open KDC port.

use super::ServedRealm;
use crate::relay::{OnTheWay, Relay, Relayed};
use crate::service::ServiceConfig;
use countersign_proto::context::Acceptor;
use countersign_proto::error::{Refusal, code};
use countersign_proto::iakerb::acceptor::KdcWish;
use countersign_proto::keytab::{Keytab, KeytabEntry};
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::policy::{AcceptorPolicy, IakerbPolicy};
use countersign_proto::secret::Secret;
use countersign_realm::AccountKind;
use countersign_realm::store::Record;
use std::sync::{Arc, Weak};

/// How many accounts are read at once.
const PAGE: usize = 256;

impl ServedRealm {
    /// The keys of all services of the realm, as they stand.
    ///
    /// # Errors
    /// If an account cannot be read.
    pub fn service_keys(&self) -> Result<ServiceKeys, Refusal> {
        let mut keytab = Keytab::default();
        let mut after = None;
        loop {
            let page = self.store().list(after.as_ref(), PAGE)?;
            for (_, record) in &page {
                keytab.entries.extend(entries(record));
            }
            match page.into_iter().last() {
                Some((name, _)) => after = Some(name),
                None => break,
            }
        }
        let malformed = |error: &dyn std::error::Error| {
            Refusal::new(code::KEY_MALFORMED, error.to_string(), "the length that its etype has")
        };
        ServiceKeys::from_keytab(&keytab).map_err(|error| malformed(&error))
    }
}

/// The keys of an account, if it is a service's.
fn entries(record: &Record) -> impl Iterator<Item = KeytabEntry> {
    let account = &record.account;
    let timestamp = u32::try_from(record.keys_made.seconds()).unwrap_or_default();
    let keys = account.keys.iter().filter(|_| account.kind == AccountKind::Service && !account.disabled);
    keys.map(move |held| KeytabEntry {
        principal: account.principal.clone(),
        timestamp,
        kvno: held.kvno,
        etype: held.key.etype().wire(),
        key: Secret::from(held.key.expose()),
    })
}

/// A service of `realm`: its keys are the realm's, and clients that reach no KDC log in through it, for as long as `realm`
/// is open. [`ServedRealm::keep_up`] has the service made of this follow changes of accounts.
///
/// # Errors
/// If an account cannot be read.
pub fn service_config(realm: &Arc<ServedRealm>, policy: AcceptorPolicy) -> Result<ServiceConfig, Refusal> {
    let realms = vec![realm.policy().realm];
    let mut policy = policy;
    policy.iakerb = Some(IakerbPolicy { realms });
    let acceptor = Acceptor::new(realm.service_keys()?, policy);
    let relay: Box<dyn Relay> =
        Box::new(RealmRelay { realm: Arc::downgrade(realm), on_the_way: OnTheWay::default() });
    Ok(ServiceConfig { relay: Some(relay), ..ServiceConfig::new(acceptor) })
}

/// The realm's own KDC, in this process.
struct RealmRelay {
    /// Not held open: the realm ends with who serves it.
    realm: Weak<ServedRealm>,
    on_the_way: OnTheWay,
}

impl Relay for RealmRelay {
    fn carry<'a>(&'a self, wish: &'a KdcWish) -> Relayed<'a> {
        let (realm, request) = (self.realm.clone(), wish.request.clone());
        self.on_the_way.carry(move || {
            let saw = "a message that the realm's KDC does not answer";
            let unanswered = |have: &'static str| Refusal::new(code::IAKERB_RELAY_FAILED, saw, have);
            let realm = realm.upgrade().ok_or_else(|| unanswered("a realm that is not served any more"))?;
            realm.handle(&request).reply.ok_or_else(|| unanswered("answers to requests for tickets"))
        })
    }
}
