//! Initiating with a service ticket (RFC 4120 section 3.2, RFC 4121 section 4.1): [`begin`] → [`Sent`] →
//! [`Established`]. Mutual authentication is always asked for, and nothing is believed before the AP-REP is verified.

mod ap_rep;
mod delegation;
mod error;
mod ticket;

pub use ap_rep::ApRepVerified;
pub use delegation::Forwarded;
pub use error::InitiateError;
pub use ticket::ServiceTicket;

use super::facts::{BindingsState, Facts};
use super::initial_sequence_number;
use super::msg::ap_req::{ApOptions, ApReq};
use super::msg::authenticator::NewAuthenticator;
use super::msg::authorization_data::{Element, ad_type, if_relevant};
use super::msg::checksum::ChecksumRef;
use super::msg::encrypted_data::EncryptedData;
use super::msg::encryption_key::EncryptionKeyRef;
use super::msg::krb_error::KrbError;
use super::per_message::{Protection, Role};
use super::pseudo_random::ContextKeys;
use super::transcript::Transcript;
use crate::crypto::{Etype, Key, KeyUsage};
use crate::der::Writer;
use crate::error::code::krb;
use crate::gss::authenticator_checksum::{self, CKSUMTYPE};
use crate::gss::framing::{self, Mech, TokenId};
use crate::gss::{BindingsHash, ChannelBindings, GssFlags};
use crate::policy::InitiatorPolicy;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// What is asked of every service.
const FLAGS: GssFlags =
    GssFlags(GssFlags::MUTUAL.0 | GssFlags::REPLAY.0 | GssFlags::SEQUENCE.0 | GssFlags::INTEG.0);

/// KERB_AP_OPTIONS with KERB_AP_OPTIONS_CBT: we do channel binding, so an acceptor that finds none must refuse.
const KERB_AP_OPTIONS_CBT: [u8; 4] = 0x4000_u32.to_le_bytes();

/// Appends the AP-REQ for `ticket` to `out`, and in it the credential `delegated`, if there is one. `clock_offset` is what is
/// known of the KDC's clock against ours, in microseconds to add.
#[must_use]
pub fn begin(
    ticket: ServiceTicket,
    delegated: Option<Forwarded>,
    policy: &InitiatorPolicy,
    clock_offset: i64,
    now: Timestamp,
    rng: &mut dyn CryptoRng,
    out: &mut Vec<u8>,
) -> Sent {
    let how = How { mech: Mech::Krb5, delegated, transcript: None };
    send(ticket, how, policy, now.shifted(clock_offset), false, rng, out)
}

/// The same for a ticket that was got through the service itself: the AP-REQ proves the `transcript` of that.
#[must_use]
pub fn begin_by_iakerb(
    ticket: ServiceTicket,
    transcript: Transcript,
    policy: &InitiatorPolicy,
    clock_offset: i64,
    now: Timestamp,
    rng: &mut dyn CryptoRng,
    out: &mut Vec<u8>,
) -> Sent {
    let how = How { mech: Mech::Iakerb, delegated: None, transcript: Some(transcript) };
    send(ticket, how, policy, now.shifted(clock_offset), false, rng, out)
}

/// What goes along with the ticket.
struct How {
    /// Under which number the tokens are framed.
    mech: Mech,
    delegated: Option<Forwarded>,
    transcript: Option<Transcript>,
}

fn send(
    ticket: ServiceTicket,
    how: How,
    policy: &InitiatorPolicy,
    ctime: Timestamp,
    retried: bool,
    rng: &mut dyn CryptoRng,
    out: &mut Vec<u8>,
) -> Sent {
    let subkey = Key::generate(ticket.session_key.etype(), rng);
    let seq = initial_sequence_number(rng);
    let offered = offered_etypes(policy, subkey.etype());
    let sent = Sent {
        ctime,
        subkey,
        seq,
        offered,
        bound: policy.channel_bindings.is_some(),
        sealed: policy.asks_to_seal(),
        retried,
        ticket,
        how,
    };
    sent.write(policy, rng, out);
    sent
}

/// Etypes that the acceptor's subkey may have, ours first (RFC 4537): the preferred ones down to the session key's.
fn offered_etypes(policy: &InitiatorPolicy, session: Etype) -> Vec<Etype> {
    let preferred = policy.permitted_enctypes.iter().copied().take_while(|etype| *etype != session);
    preferred.chain([session]).collect()
}

/// An AP-REQ is on its way.
pub struct Sent {
    ticket: ServiceTicket,
    how: How,
    ctime: Timestamp,
    subkey: Key,
    seq: u32,
    offered: Vec<Etype>,
    bound: bool,
    /// Whether confidentiality is asked for.
    sealed: bool,
    retried: bool,
}

/// What the service's token led to.
pub enum Answer {
    /// It proved itself.
    Established(Box<Established>),
    /// It says that our clock is off; another AP-REQ with its time was appended to the output.
    Retry(Sent),
}

/// A context with a service that proved itself.
pub struct Established {
    /// What is known.
    pub facts: Facts,
    /// How messages are protected.
    pub protection: Protection,
    /// What keys of protocols above are made of.
    pub keys: ContextKeys,
    /// The AP-REP was made with the session key, for our authenticator.
    pub ap_rep: ApRepVerified,
}

impl Sent {
    fn write(&self, policy: &InitiatorPolicy, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) {
        let bindings = policy.channel_bindings.as_ref().map_or(BindingsHash::NONE, ChannelBindings::hash);
        let session_key = &self.ticket.session_key;
        let delegated = self.delegated().map(|ticket| ticket.krb_cred(session_key, self.ctime, rng));
        let finished = self.how.transcript.as_ref().map(|transcript| transcript.prove(&self.subkey));
        let gss =
            authenticator_checksum::encode(bindings, self.flags(), delegated.as_deref(), finished.as_deref());
        let extensions = self.extensions();
        let authenticator = NewAuthenticator {
            client: &self.ticket.client,
            cksum: Some(ChecksumRef { cksumtype: CKSUMTYPE, bytes: &gss }),
            ctime: self.ctime,
            subkey: Some(EncryptionKeyRef { etype: self.subkey.etype().wire(), bytes: self.subkey.expose() }),
            seq_number: Some(self.seq),
            authorization_data: extensions.as_deref(),
        };
        // Room for all of it at once: a buffer that grows leaves copies of the subkey behind.
        let mut plaintext = Secret::new(Vec::with_capacity(authenticator.capacity()));
        authenticator.write(&mut Writer::new(plaintext.expose_mut()));
        let mut cipher = Vec::new();
        session_key.cipher(KeyUsage::AP_REQ_AUTHENTICATOR).seal(rng, plaintext.expose(), &mut cipher);
        let enc_part = EncryptedData { etype: session_key.etype().wire(), kvno: None, cipher: &cipher };
        framing::wrap_as(self.how.mech, TokenId::ApReq, out, |body| {
            ApReq::write(body, ApOptions::MUTUAL_REQUIRED, &self.ticket.encoded, &enc_part);
        });
    }

    /// Authorization data: the etypes we take, if another than the session key's is preferred, and that we do channel
    /// binding, if we do.
    fn extensions(&self) -> Option<Vec<u8>> {
        let mut list = Vec::new();
        let mut elements = Vec::new();
        if self.offered.len() > 1 {
            Writer::new(&mut list)
                .sequence(|list| self.offered.iter().for_each(|etype| list.integer(etype.wire().into())));
            elements.push(Element { ad_type: ad_type::AD_ETYPE_NEGOTIATION, data: &list });
        }
        if self.bound {
            elements.push(Element { ad_type: ad_type::KERB_AP_OPTIONS, data: &KERB_AP_OPTIONS_CBT });
        }
        (!elements.is_empty()).then(|| if_relevant(&elements))
    }

    /// What is given to the service, if it fits where it belongs.
    fn delegated(&self) -> Option<&Forwarded> {
        self.how.delegated.as_ref().filter(|forwarded| forwarded.fits())
    }

    fn flags(&self) -> GssFlags {
        let conf = if self.sealed { GssFlags::CONF } else { GssFlags::default() };
        let deleg = if self.delegated().is_some() { GssFlags::DELEG } else { GssFlags::default() };
        FLAGS.union(conf).union(deleg)
    }

    /// The service that must prove itself.
    #[must_use]
    pub fn ticket(&self) -> &ServiceTicket {
        &self.ticket
    }

    /// Takes the service's token. A retry after a skew is appended to `out`.
    ///
    /// # Errors
    /// If it is no answer, a KRB-ERROR, or an AP-REP that does not prove the service.
    pub fn answer(
        self,
        token: &[u8],
        policy: &InitiatorPolicy,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Answer, InitiateError> {
        match framing::open(token)? {
            (TokenId::ApRep, body) => {
                self.proved(body, policy).map(|context| Answer::Established(Box::new(context)))
            }
            (TokenId::KrbError, body) => self.told_error(body, policy, now, rng, out).map(Answer::Retry),
            (other, _) => Err(InitiateError::UnexpectedToken(other)),
        }
    }

    /// A KRB-ERROR ends the handshake, but for one skew: the service's time is tried once, and only if it lies in the
    /// ticket's life, since nothing protects it. It is never kept.
    fn told_error(
        self,
        body: &[u8],
        policy: &InitiatorPolicy,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Self, InitiateError> {
        let error = KrbError::parse(body)
            .map_err(|fault| InitiateError::Malformed { message: "KRB-ERROR", fault })?;
        if error.error_code != krb::KRB_AP_ERR_SKEW {
            let service = self.ticket.service;
            return Err(InitiateError::KrbError { service, error_code: error.error_code });
        }
        let theirs = error.stime;
        let in_life = self.ticket.starttime <= theirs && theirs < self.ticket.endtime;
        // By IAKERB the clock is the KDC's that the service led to, so another try would say the same.
        let tried = self.retried || self.how.mech == Mech::Iakerb;
        if tried || !in_life {
            let until = self.ticket.endtime;
            return Err(InitiateError::Skew { theirs, ours: now, retried: self.retried, until });
        }
        Ok(send(self.ticket, self.how, policy, theirs, true, rng, out))
    }

    fn proved(self, body: &[u8], policy: &InitiatorPolicy) -> Result<Established, InitiateError> {
        let (reply, ap_rep) = ap_rep::verify(body, &self, policy)?;
        let acceptor_subkey = reply.subkey.is_some();
        let flags = self.flags();
        let keys = ContextKeys::new(self.subkey, reply.subkey);
        let key = keys.full().clone();
        let ticket = self.ticket;
        let facts = Facts {
            client: ticket.client,
            service: ticket.service.clone(),
            claimed_service: ticket.service,
            ticket_etype: ticket.etype,
            kvno: ticket.kvno,
            session_etype: ticket.session_key.etype(),
            message_etype: key.etype(),
            flags,
            ticket_flags: ticket.flags,
            mutual: true,
            by_iakerb: self.how.mech == Mech::Iakerb,
            bindings: if self.bound { BindingsState::Sent } else { BindingsState::NotCompared },
            authtime: ticket.authtime,
            starttime: ticket.starttime,
            endtime: ticket.endtime,
            waivers: Vec::new(),
        };
        let protection = Protection {
            role: Role::Initiator,
            key,
            acceptor_subkey,
            send_seq: self.seq.into(),
            receive_seq: reply.seq_number.into(),
        };
        Ok(Established { facts, protection, keys, ap_rep })
    }
}
