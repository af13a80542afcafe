//! The initiator: its exchanges with the KDC, each message in a proxy token.

use super::IakerbError;
use super::message::ProxyMessage;
use crate::error::code::krb;
use crate::gss::framing::{Framed, FramingError, Mech, TokenId};
use crate::krb5::initiator::ServiceTicket;
use crate::krb5::kdc_exchange::{Acquire, Acquired, Exchange, Login, Step, TicketOptions};
use crate::krb5::msg::krb_error::KrbError;
use crate::krb5::msg::principal::Principal;
use crate::krb5::transcript::Transcript;
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// Most iterations that the service may have this end make, by what it says that a KDC demands: about a second of work. It is not
/// yet known who it is, and while this end computes no deadline counts.
const MAX_ITERATIONS: u32 = 1 << 20;

/// A client that is to log in through the service itself.
#[derive(Clone)]
pub struct IakerbLogin {
    /// Who logs in; without a realm it asks the service for its own.
    pub login: Login,
    /// What is asked of the KDC.
    pub options: Arc<TicketOptions>,
    /// Whether an encrypted timestamp may be sent too, if the options permit one. The service is not known while it carries the
    /// messages, and whoever carries one can guess the password from it: leave it `false`.
    pub allow_encrypted_timestamp: bool,
}

/// A message is with the service, to be carried to a KDC.
pub struct Relaying {
    login: IakerbLogin,
    service: Principal,
    transcript: Transcript,
    cookie: Option<Vec<u8>>,
    waiting: Waiting,
}

enum Waiting {
    /// For the service's realm.
    Realm,
    /// For a KDC.
    Kdc(Box<Acquire>),
}

/// What the service's token led to.
pub enum Carried {
    /// Another message was appended.
    Relaying(Relaying),
    /// There is a ticket for the service.
    Ticket(Box<Ticket>),
}

/// A service's ticket that was got through the service.
pub struct Ticket {
    /// The ticket.
    pub ticket: ServiceTicket,
    /// The KDC's clock less ours, in microseconds.
    pub clock_offset: i64,
    /// What was said on the way.
    pub transcript: Transcript,
}

impl Relaying {
    /// Appends the first proxy token.
    ///
    /// # Errors
    /// If there is nothing to log in with.
    pub fn begin(
        login: IakerbLogin,
        service: Principal,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Self, IakerbError> {
        let mut relaying =
            Self { login, service, transcript: Transcript::default(), cookie: None, waiting: Waiting::Realm };
        if relaying.login.login.client().realm.is_empty() {
            relaying.send("", &[], out)?;
            return Ok(relaying);
        }
        relaying.log_in(now, rng, out)
    }

    fn log_in(
        mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Self, IakerbError> {
        let login = Arc::new(self.login.login.clone());
        let mut options = TicketOptions::clone(&self.login.options);
        options.encrypted_timestamp &= self.login.allow_encrypted_timestamp;
        options.max_iterations = options.max_iterations.min(MAX_ITERATIONS);
        let options = Arc::new(options);
        let candidates = vec![login.client().realm.clone()];
        let step = Acquire::begin(self.service.clone(), candidates, None, Some(login), options, now, rng)?;
        let Step::NeedKdc(acquire) = step else {
            return Err(IakerbError::Unexpected("a ticket from nowhere"));
        };
        self.ask(acquire, out)?;
        Ok(self)
    }

    fn ask(&mut self, acquire: Acquire, out: &mut Vec<u8>) -> Result<(), IakerbError> {
        let request = acquire.request();
        let realm = String::from_utf8_lossy(request.realm).into_owned();
        self.send(&realm, request.message, out)?;
        self.waiting = Waiting::Kdc(Box::new(acquire));
        Ok(())
    }

    fn send(&mut self, realm: &str, message: &[u8], out: &mut Vec<u8>) -> Result<(), IakerbError> {
        let mut token = Vec::new();
        ProxyMessage { target_realm: realm, cookie: self.cookie.as_deref(), message }.write(&mut token);
        if !self.transcript.record(&token) {
            return Err(IakerbError::TooMuch);
        }
        out.append(&mut token);
        Ok(())
    }

    /// Takes the service's token. What follows for it, if anything, is appended to `out`.
    ///
    /// # Errors
    /// If the service carries nothing, its token is no proxy message, or the KDC refuses.
    pub fn token(
        mut self,
        token: &[u8],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Carried, RelayingError> {
        let Framed { mech, token_id, body } = Framed::open(token)?;
        if (mech, token_id) != (Mech::Iakerb, TokenId::IakerbProxy) {
            return Err(IakerbError::Token(token_id).into());
        }
        let ProxyMessage { target_realm, cookie, message } = ProxyMessage::parse(body)?;
        if !self.transcript.record(token) {
            return Err(IakerbError::TooMuch.into());
        }
        self.cookie = cookie.map(<[u8]>::to_vec);
        refuse_failure(target_realm, message)?;
        match std::mem::replace(&mut self.waiting, Waiting::Realm) {
            Waiting::Realm if target_realm.is_empty() => {
                Err(IakerbError::Unexpected("no realm where the service's is asked for").into())
            }
            Waiting::Realm => {
                self.login.login = self.login.login.in_realm(target_realm);
                Ok(Carried::Relaying(self.log_in(now, rng, out)?))
            }
            Waiting::Kdc(acquire) => match acquire.reply(message, now, rng).map_err(IakerbError::from)? {
                Step::NeedKdc(acquire) => {
                    self.ask(acquire, out)?;
                    Ok(Carried::Relaying(self))
                }
                Step::Done(Acquired { ticket, kdc_offset, .. }) => Ok(Carried::Ticket(Box::new(Ticket {
                    ticket,
                    clock_offset: kdc_offset,
                    transcript: self.transcript,
                }))),
            },
        }
    }
}

/// The service's own word that it cannot carry the message; every other error is a KDC's, for the exchange to judge.
fn refuse_failure(realm: &str, message: &[u8]) -> Result<(), IakerbError> {
    const FAILURES: [i32; 2] = [krb::KRB_AP_ERR_IAKERB_KDC_NOT_FOUND, krb::KRB_AP_ERR_IAKERB_KDC_NO_RESPONSE];
    match KrbError::parse(message) {
        Ok(error) if FAILURES.contains(&error.error_code) => {
            Err(IakerbError::Relay { error_code: error.error_code, realm: realm.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Why a token of the service leads to no ticket.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RelayingError {
    /// It is no token of IAKERB.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// It is, and leads nowhere.
    #[error(transparent)]
    Iakerb(#[from] IakerbError),
}
