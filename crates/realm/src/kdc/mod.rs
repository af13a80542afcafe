//! The KDC: AS and TGS requests in, tickets or errors out (RFC 4120 section 3, RFC 6113, RFC 6806, RFC 9588).
//!
//! What it does not give: tickets of other realms, postdated and proxy tickets, S4U, anonymity, PKINIT, and a PAC: tickets
//! say who the client is and nothing of its groups.
//!
//! What it does not tell: whether an account exists, is disabled, has expired or is delayed, before the right password was
//! shown. Every way to be refused until then is the same message, after the same work. But an alias shows to who asks for the
//! canonical name: the salt is made of that.

mod armor;
mod as_request;
mod authorization;
mod cookie;
mod denied;
mod grant;
mod preauth;
mod reply;
mod subject;
mod tgs_request;
mod tgt;
mod ticket;

use crate::accounts::{Account, Accounts, AccountsError};
use crate::policy::RealmPolicy;
use crate::record::{KdcRecord, Outcome};
use armor::{Armored, Asked};
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::krb5::kdc_exchange::ticket_granting_service;
use countersign_proto::krb5::msg::kdc_req::{KdcReq, KdcReqKind};
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use denied::Denied;
use rand_core::CryptoRng;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest request that is looked at, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Places to queue for those who show a password; one serves many accounts.
const TURNS: usize = 64;

/// The KDC of a realm. It is shared between threads, and keeps nothing of a request.
pub struct Kdc {
    policy: RealmPolicy,
    secrets: RealmSecrets,
    /// One password of an account is tried at a time. Tried at once, a thousand guesses would all be let through by the
    /// same count of failures.
    turns: [Mutex<()>; TURNS],
}

/// What a KDC keeps to itself: the key of its cookies, and of what it makes up for names that nobody has.
///
/// KDCs that serve one realm side by side, or one that is to finish after a restart what it began before, have the same.
#[derive(Clone)]
pub struct RealmSecrets(Key);

impl RealmSecrets {
    /// Secrets that come of this random key, which is used for nothing else.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self(key)
    }

    /// Fresh ones.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Key::generate(Etype::Aes256CtsHmacSha384_192, rng))
    }

    fn key(&self) -> &Key {
        &self.0
    }
}

/// What came of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handled {
    /// AS-REP, TGS-REP or KRB-ERROR; `None` if the message was no request, to which silence is the answer.
    pub reply: Option<Vec<u8>>,
    /// For the log.
    pub record: KdcRecord,
}

impl Kdc {
    /// A KDC of this realm.
    #[must_use]
    pub fn new(policy: RealmPolicy, secrets: RealmSecrets) -> Self {
        Self { policy, secrets, turns: [const { Mutex::new(()) }; TURNS] }
    }

    /// What it grants.
    #[must_use]
    pub fn policy(&self) -> &RealmPolicy {
        &self.policy
    }

    /// Answers one message, whatever it is.
    ///
    /// The same request again is answered again. That does no harm: who only saw it cannot open the reply, and neither a
    /// failure that it repeats nor a success is counted so that it helps a guesser.
    #[must_use]
    pub fn handle(
        &self,
        request: &[u8],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        accounts: &dyn Accounts,
    ) -> Handled {
        let mut call = Call { kdc: self, policy: &self.policy, accounts, now, rng, record: KdcRecord::new() };
        let reply = call.answer(request);
        Handled { reply, record: call.record }
    }
}

/// One request on its way.
struct Call<'a> {
    kdc: &'a Kdc,
    policy: &'a RealmPolicy,
    accounts: &'a dyn Accounts,
    now: Timestamp,
    rng: &'a mut dyn CryptoRng,
    record: KdcRecord,
}

impl<'a> Call<'a> {
    fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let request = Some(message).filter(|message| message.len() <= MAX_REQUEST)?;
        let request = KdcReq::parse(request).ok()?;
        self.record.kind = Some(request.kind);
        self.note_names(&Asked::outside(&request, message));
        Some(match request.kind {
            KdcReqKind::As => self.answer_as(&request, message),
            KdcReqKind::Tgs => self.answer_tgs(&request, message),
        })
    }

    fn answer_as(&mut self, request: &KdcReq<'_>, message: &[u8]) -> Vec<u8> {
        let outside = Asked::outside(request, message);
        let Some(wrapped) = request.padata.find(pa_type::PA_FX_FAST) else {
            return self.serve(&outside, as_request::grant);
        };
        match Armored::open_as(self, wrapped, request.encoded_body) {
            Ok(armored) => self.serve_armored(&armored, &outside, as_request::grant),
            Err(denied) => denied.answer(self, &outside),
        }
    }

    fn answer_tgs(&mut self, request: &KdcReq<'_>, message: &[u8]) -> Vec<u8> {
        let outside = Asked::outside(request, message);
        let shown = match tgs_request::Shown::open(self, request) {
            Ok(shown) => shown,
            Err(denied) => return denied.answer(self, &outside),
        };
        let grant = |call: &mut Self, asked: &Asked<'_>| tgs_request::grant(call, asked, &shown);
        let Some(wrapped) = request.padata.find(pa_type::PA_FX_FAST) else {
            return self.serve(&outside, grant);
        };
        match Armored::open_tgs(self, wrapped, &shown) {
            Ok(armored) => self.serve_armored(&armored, &outside, grant),
            Err(denied) => denied.answer(self, &outside),
        }
    }

    /// Serves what is in the armor. What is outside counts for no more than the checksum over it.
    fn serve_armored(
        &mut self,
        armored: &Armored,
        outside: &Asked<'_>,
        grant: impl FnOnce(&mut Self, &Asked<'_>) -> Result<Vec<u8>, Denied>,
    ) -> Vec<u8> {
        self.record.armored = true;
        let unreadable = |call: &mut Self| Denied::malformed().answer(call, outside);
        let Ok(request) = armored.request() else { return unreadable(self) };
        let Ok(body) = armor::inner_body(&request) else { return unreadable(self) };
        let inside = armored.inside(&request, &body, outside.message);
        self.note_names(&inside);
        match armor::critical_options(&request) {
            Ok(()) => self.serve(&inside, grant),
            Err(denied) => denied.answer(self, &inside),
        }
    }

    fn serve(
        &mut self,
        asked: &Asked<'_>,
        grant: impl FnOnce(&mut Self, &Asked<'_>) -> Result<Vec<u8>, Denied>,
    ) -> Vec<u8> {
        match grant(self, asked) {
            Ok(reply) => {
                self.record.outcome = Outcome::Granted;
                reply
            }
            Err(denied) => denied.answer(self, asked),
        }
    }

    fn note_names(&mut self, asked: &Asked<'_>) {
        let named = |name: Option<countersign_proto::krb5::msg::name::NameRef<'_>>| {
            name.map(|name| name.to_principal(asked.body.realm))
        };
        self.record.client = named(asked.body.cname);
        self.record.service = named(asked.body.sname);
    }

    fn realm(&self) -> &'a [u8] {
        self.policy.realm.as_bytes()
    }

    /// The ticket-granting service of the realm.
    fn granting_service(&self) -> Principal {
        ticket_granting_service(self.realm(), self.realm())
    }

    fn find(&self, name: &Principal) -> Result<Option<Account>, Denied> {
        self.accounts.find(name).map_err(Denied::from)
    }

    /// The account with the realm's own keys, without which nothing works.
    fn granting_account(&self) -> Result<Account, Denied> {
        self.find(&self.granting_service())?.ok_or_else(Denied::out_of_order)
    }

    /// Waits for this name's turn to have a password tried.
    fn turn(&self, name: &Principal) -> Option<MutexGuard<'a, ()>> {
        let bytes = name.realm.iter().chain(name.components.iter().flatten());
        let mixed = bytes.fold(0_usize, |mixed, byte| mixed.wrapping_mul(31).wrapping_add((*byte).into()));
        let turn = self.kdc.turns.get(mixed % TURNS)?;
        // What a panicking thread left behind here is nothing.
        Some(turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<AccountsError> for Denied {
    fn from(error: AccountsError) -> Self {
        Self { trouble: Some(error.0), ..Self::out_of_order() }
    }
}
