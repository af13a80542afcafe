//! The AS exchange (RFC 4120 section 3.1): a ticket-granting ticket for a password or key.

use super::armor::{Armor, Unwrapped, strengthened};
use super::error::KdcError;
use super::options::{Login, TicketOptions};
use super::preauth::{Answer, KeyFinder, KeyHint, Proof, Prover, kdc_proved};
use super::reply::Asked;
use super::told::{Answered, Told};
use super::{AS_REP, Exchange, KRB_ERROR, KdcRequest, Step, nonce, ticket_granting_service};
use crate::ccache::Credential;
use crate::crypto::{Etype, Key, KeyUsage};
use crate::der::{DerError, Reader, Writer};
use crate::error::code::krb;
use crate::krb5::msg::checksum::ChecksumRef;
use crate::krb5::msg::fast::KrbFastResponse;
use crate::krb5::msg::kdc_rep::{EncKdcRepPart, KdcRep};
use crate::krb5::msg::kdc_req::{KdcOptions, KdcReqKind, NewKdcReqBody, write_kdc_req};
use crate::krb5::msg::krb_error::KrbError;
use crate::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::TicketFlags;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// Most answers of KDCs in one exchange.
const MAX_ANSWERS: u8 = 16;

/// Differences of clocks up to this, in microseconds, are the way and the whole seconds of the protocol.
const SAME_TIME: u64 = 2_000_000;

/// lr-types by which a KDC tells when the password (6) and the account (7) expire (RFC 4120 section 5.4.2).
const PASSWORD_EXPIRES: i32 = 6;

/// An AS-REQ is to be answered.
pub struct AsExchange {
    login: Arc<Login>,
    options: Arc<TicketOptions>,
    /// The client in the realm that is asked.
    client: Principal,
    armor: Option<Armor>,
    known: Known,
    proof: Proof,
    sent: Sent,
    answers: u8,
}

/// What the KDC has told so far.
#[derive(Default)]
struct Known {
    key: Option<KeyHint>,
    cookie: Option<Vec<u8>>,
    /// The KDC's clock less ours, in microseconds. Nothing vouches for it, so it is used for nothing but times in requests.
    clock: i64,
    clock_told: bool,
    restarted: bool,
    /// Whether SPAKE was offered: then nothing weaker is sent any more, whatever an error says that nothing vouches for.
    spake: bool,
}

impl Known {
    /// What is still known of a KDC when the exchange begins again.
    fn anew(&self) -> Self {
        Self { restarted: self.restarted, spake: self.spake, ..Self::default() }
    }
}

/// The last request.
struct Sent {
    message: Vec<u8>,
    service: Principal,
    nonce: u32,
    kdc_options: KdcOptions,
    etypes: Vec<Etype>,
    till: Timestamp,
    rtime: Option<Timestamp>,
}

/// A ticket-granting ticket, and what came with it.
pub struct AsGranted {
    /// The ticket, with the client's and the service's names as the KDC has them.
    pub credential: Credential,
    /// The KDC's clock less ours, in microseconds, where they differ by more than two seconds.
    pub kdc_offset: Option<i64>,
    /// When the password expires, if the KDC tells.
    pub password_expires: Option<Timestamp>,
    /// Whether the KDC says, and proves that it says, that it speaks FAST.
    pub fast_available: bool,
    /// The kind of pre-authentication, by its padata-type.
    pub pa_type: Option<i32>,
}

impl AsExchange {
    /// Asks for the ticket-granting ticket of the client's realm.
    #[must_use]
    pub fn begin(
        login: Arc<Login>,
        options: Arc<TicketOptions>,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let client = login.client().clone();
        let known = Known { clock: login.armor_clock(), ..Known::default() };
        Self::in_realm(login, options, client, known, 0, now, rng)
    }

    fn in_realm(
        login: Arc<Login>,
        options: Arc<TicketOptions>,
        client: Principal,
        known: Known,
        answers: u8,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let at = now.shifted(known.clock);
        let armor = login.armor().map(|ticket| Armor::new(ticket, &client.realm, at, rng));
        let draft = Draft::new(&login, &options, &client, at, rng);
        let sent = draft.send(armor.as_ref(), None, None, rng);
        Self { login, options, client, armor, known, proof: Proof::Nothing, sent, answers }
    }

    fn finder(&self) -> KeyFinder<'_> {
        KeyFinder { login: &self.login, options: &self.options, client: &self.client }
    }

    /// The KDC gave no ticket: what it says may be what to do next.
    fn told(mut self, bytes: &[u8], now: Timestamp, rng: &mut dyn CryptoRng) -> Result<Self, KdcError> {
        let answered = self.read_error(bytes)?;
        self.answers = self.answers.saturating_add(1);
        if self.answers > MAX_ANSWERS {
            return Err(KdcError::TooLong { count: self.answers, realm: self.client.realm });
        }
        match answered.told.error_code {
            krb::KDC_ERR_PREAUTH_REQUIRED if matches!(self.proof, Proof::Nothing) => {
                self.learn(&answered, now)?;
                self.prove(&answered, now, rng)
            }
            krb::KDC_ERR_MORE_PREAUTH_DATA_REQUIRED => self.go_on(&answered, now, rng),
            krb::KRB_AP_ERR_SKEW | krb::KDC_ERR_NEVER_VALID if !self.known.clock_told => {
                self.restart_in_time(answered, now, rng)
            }
            krb::KDC_ERR_PREAUTH_EXPIRED if !self.known.restarted => {
                let known = Known { restarted: true, clock: self.known.clock, ..self.known.anew() };
                Ok(Self::in_realm(self.login, self.options, self.client, known, self.answers, now, rng))
            }
            krb::KDC_ERR_PREAUTH_FAILED if matches!(self.proof, Proof::SpakeOffered { .. }) => {
                Err(self.no_common_group())
            }
            krb::KDC_ERR_WRONG_REALM | krb::KDC_ERR_C_PRINCIPAL_UNKNOWN => self.follow(answered, now, rng),
            _ => Err(self.refused(answered)),
        }
    }

    /// Reads a KRB-ERROR, out of the armor if there is any. In armor one without is nobody's word, and the end.
    fn read_error(&self, bytes: &[u8]) -> Result<Answered, KdcError> {
        let error = KrbError::parse(bytes).map_err(|fault| self.malformed("KRB-ERROR", fault))?;
        let Some(armor) = &self.armor else { return Ok(Answered::new(&error, None)) };
        let methods = MethodData::parse_bytes(error.e_data.unwrap_or_default()).unwrap_or_default();
        if methods.find(pa_type::PA_FX_FAST).is_none() {
            // Other errors end the exchange whoever says so; this one would have it go on without armor.
            return Err(match error.error_code {
                krb::KDC_ERR_PREAUTH_REQUIRED => {
                    armor.unarmored("without armor, which demands proof outside of it".to_owned())
                }
                _ => self.refused(Answered::new(&error, None)),
            });
        }
        let unwrapped = armor.unwrap(methods)?;
        let response = self.armored_response(armor, &unwrapped)?;
        let inner = response
            .padata
            .find(pa_type::PA_FX_ERROR)
            .ok_or_else(|| armor.unarmored("with an error outside of the armor alone".to_owned()))?;
        let inner = KrbError::parse(inner).map_err(|fault| self.malformed("KRB-ERROR", fault))?;
        Ok(Answered::new(&inner, Some(response.padata)))
    }

    fn refused(&self, answered: Answered) -> KdcError {
        let (client, service) = (self.client.clone(), self.sent.service.clone());
        let of_proof = !matches!(self.proof, Proof::Nothing | Proof::SpakeOffered { .. });
        let told = Told { of_proof, ..answered.told };
        KdcError::Told { told, realm: self.client.realm.clone(), client, service }
    }

    fn no_common_group(&self) -> KdcError {
        let groups: Vec<_> = self.options.spake_groups.iter().map(|group| group.name()).collect();
        let what = format!("SPAKE in none of the groups {}", groups.join(" "));
        KdcError::PreauthData { what, have: "those groups alone", realm: self.client.realm.clone() }
    }

    fn malformed(&self, message: &'static str, fault: DerError) -> KdcError {
        KdcError::Malformed { message, realm: self.client.realm.clone(), fault }
    }

    fn learn(&mut self, answered: &Answered, now: Timestamp) -> Result<(), KdcError> {
        if let Some(hint) =
            self.finder().hint(&|padata_type| answered.hint(padata_type).map(<[u8]>::to_vec))?
        {
            self.known.key = Some(hint);
        }
        self.known.cookie = answered.hint(pa_type::PA_FX_COOKIE).map(<[u8]>::to_vec);
        self.known.spake |=
            answered.hint(pa_type::PA_SPAKE).is_some() && !self.options.spake_groups.is_empty();
        if answered.stime.abs_diff(now) > self.options.clock_skew {
            self.known.clock = answered.stime.micros_since(now);
        }
        Ok(())
    }

    /// Sends the proof that the KDC's hints ask for.
    fn prove(self, answered: &Answered, now: Timestamp, rng: &mut dyn CryptoRng) -> Result<Self, KdcError> {
        let initial = match &self.known.key {
            Some(hint) => self.finder().key(hint)?,
            None => self.finder().key(&self.finder().default_hint()?)?,
        };
        self.answer(now, rng, |prover, rng| prover.begin(initial, answered, rng))
    }

    /// The KDC wants more: SPAKE's challenge is all that is known to come.
    fn go_on(
        mut self,
        answered: &Answered,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, KdcError> {
        let Proof::SpakeOffered { initial, support } = std::mem::replace(&mut self.proof, Proof::Nothing)
        else {
            let have = "nothing more to show";
            let offered = answered.types();
            return Err(KdcError::Preauth { offered, have, realm: self.client.realm });
        };
        self.known.cookie = answered.hint(pa_type::PA_FX_COOKIE).map(<[u8]>::to_vec);
        self.answer(now, rng, |prover, rng| prover.go_on_with_spake(&initial, &support, answered, rng))
    }

    fn answer(
        mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        prove: impl FnOnce(&Prover<'_>, &mut dyn CryptoRng) -> Result<Answer, KdcError>,
    ) -> Result<Self, KdcError> {
        let time = now.shifted(self.known.clock);
        let draft = Draft::new(&self.login, &self.options, &self.client, time, rng);
        let prover = Prover {
            options: &self.options,
            armor: self.armor.as_ref(),
            realm: &self.client.realm,
            spake_offered: self.known.spake,
            body: &draft.body,
            time,
        };
        let Answer { padata_type, value, proof } = prove(&prover, rng)?;
        let shown = PaData { padata_type, padata_value: &value };
        self.sent = draft.send(self.armor.as_ref(), Some(shown), self.known.cookie.as_deref(), rng);
        self.proof = proof;
        Ok(self)
    }

    /// The KDC's time is tried once.
    fn restart_in_time(
        self,
        answered: Answered,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, KdcError> {
        if u128::from(SAME_TIME) >= answered.stime.abs_diff(now).as_micros() {
            return Err(self.refused(answered));
        }
        let clock = answered.stime.micros_since(now);
        let known = Known { clock, clock_told: true, ..self.known.anew() };
        Ok(Self::in_realm(self.login, self.options, self.client, known, self.answers, now, rng))
    }

    /// The KDC says that the client is in another realm (RFC 6806 section 7). Armor is of one realm, and does not go along.
    fn follow(self, answered: Answered, now: Timestamp, rng: &mut dyn CryptoRng) -> Result<Self, KdcError> {
        let asked = self.sent.kdc_options.contains(KdcOptions::CANONICALIZE) && self.armor.is_none();
        match &answered.crealm {
            Some(realm) if asked && !realm.is_empty() && *realm != self.client.realm => {
                let client = Principal { realm: realm.clone(), ..self.client };
                let known = self.known.anew();
                Ok(Self::in_realm(self.login, self.options, client, known, self.answers, now, rng))
            }
            _ => Err(self.refused(answered)),
        }
    }

    /// The KDC gave a ticket: whether it is ours is to be shown.
    fn granted(self, bytes: &[u8], now: Timestamp) -> Result<AsGranted, KdcError> {
        let rep = KdcRep::parse(bytes).map_err(|fault| self.malformed("AS-REP", fault))?;
        let asked = self.asked();
        let etype = self.sent.etypes.iter().find(|etype| etype.wire() == rep.enc_part.etype);
        let etype = *etype.ok_or_else(|| asked.etype("reply", rep.enc_part.etype))?;
        let (reply_key, client) = self.reply_key(&rep, etype)?;
        if reply_key.etype() != etype {
            return Err(asked.etype("reply", etype.wire()));
        }
        let mut plaintext = Secret::from(rep.enc_part.cipher);
        let opened = reply_key.cipher(KeyUsage::AS_REP).open_in_place(plaintext.expose_mut());
        let opened = opened.map_err(|_| asked.integrity("AS-REP"))?;
        let part =
            EncKdcRepPart::parse(Reader::new(opened)).map_err(|fault| self.malformed("AS-REP", fault))?;
        let credential = asked.compare(&rep, &part, &client)?;
        let fast_available = self.request_arrived_whole(&part, &reply_key)?;
        let expires = part.last_req.iter().find(|last| last.lr_type.abs() == PASSWORD_EXPIRES);
        let offset = part.valid_from().micros_since(now);
        Ok(AsGranted {
            credential,
            kdc_offset: (self.options.kdc_timesync && offset.unsigned_abs() > SAME_TIME).then_some(offset),
            password_expires: expires.map(|last| last.lr_value).or(part.key_expiration),
            fast_available,
            pa_type: match self.proof {
                Proof::Nothing => None,
                Proof::Timestamp(_) => Some(pa_type::PA_ENC_TIMESTAMP),
                Proof::Challenge(_) => Some(pa_type::PA_ENCRYPTED_CHALLENGE),
                Proof::SpakeOffered { .. } | Proof::SpakeAnswered { .. } => Some(pa_type::PA_SPAKE),
            },
        })
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            realm: &self.client.realm,
            nonce: self.sent.nonce,
            options: self.sent.kdc_options,
            etypes: &self.sent.etypes,
            client: &self.client,
            any_client: self.sent.kdc_options.contains(KdcOptions::CANONICALIZE),
            service: &self.sent.service,
            till: self.sent.till,
            rtime: self.sent.rtime,
        }
    }

    /// The key that the reply is under, and who the client is.
    fn reply_key(&self, rep: &KdcRep<'_>, etype: Etype) -> Result<(Key, Principal), KdcError> {
        let Some(armor) = &self.armor else {
            let key = self.proven_key(rep.padata, Some(etype))?;
            return Ok((key, rep.cname.to_principal(rep.crealm)));
        };
        let unwrapped = armor.unwrap(rep.padata)?;
        let response = self.armored_response(armor, &unwrapped)?;
        let client = armor.finished(response.finished.as_ref(), rep.encoded_ticket)?;
        if let Proof::Challenge(long_term) = &self.proof
            && !kdc_proved(armor, long_term, response.padata)
        {
            return Err(armor.unarmored("without proof that it knows the client's key".to_owned()));
        }
        let Some(strengthen) = response.strengthen_key else {
            return Ok((self.proven_key(response.padata, Some(etype))?, client));
        };
        // The key that comes of it has the strengthen key's etype, whatever the client's has (RFC 6113 section 5.4.3).
        if strengthen.etype != etype.wire() {
            return Err(self.asked().etype("strengthen key", strengthen.etype));
        }
        let strengthen = Key::new(etype, strengthen.bytes)
            .map_err(|_| armor.unarmored("with a strengthen key of a wrong length".to_owned()))?;
        Ok((strengthened(&strengthen, &self.proven_key(response.padata, None)?), client))
    }

    /// What was in the armor, if it answers the last request: errors too, since the armor is the same for all requests of an
    /// exchange (RFC 6113 section 5.4.2).
    fn armored_response<'a>(
        &self,
        armor: &Armor,
        unwrapped: &'a Unwrapped,
    ) -> Result<KrbFastResponse<'a>, KdcError> {
        let response = armor.response(unwrapped)?;
        if response.nonce == self.sent.nonce {
            return Ok(response);
        }
        let (found, asked) = (response.nonce.to_string(), self.sent.nonce.to_string());
        Err(self.asked().modified("in its armor nonce", found, asked))
    }

    /// The key that pre-authentication leads to, before FAST adds to it: the long-term key, or SPAKE's. It is of the reply's
    /// etype, unless FAST changes that.
    fn proven_key(&self, padata: MethodData<'_>, reply_etype: Option<Etype>) -> Result<Key, KdcError> {
        match &self.proof {
            Proof::SpakeAnswered { reply_key } => Ok(reply_key.clone()),
            Proof::SpakeOffered { .. } => Err(self.asked().modified(
                "a ticket",
                "before SPAKE was done".to_owned(),
                "one after it".to_owned(),
            )),
            Proof::Timestamp(key) | Proof::Challenge(key)
                if reply_etype.is_none_or(|etype| etype == key.etype()) =>
            {
                Ok(key.clone())
            }
            _ => {
                let finder = self.finder();
                let hint = finder.hint(&|padata_type| padata.find(padata_type).map(<[u8]>::to_vec))?;
                finder.reply_key(hint.as_ref().or(self.known.key.as_ref()), reply_etype)
            }
        }
    }

    /// Checks that nobody took anything out of our request on its way, where the KDC can tell (RFC 6806 section 11), and whether
    /// it speaks FAST.
    fn request_arrived_whole(&self, part: &EncKdcRepPart<'_>, reply_key: &Key) -> Result<bool, KdcError> {
        if !part.flags.contains(TicketFlags::ENC_PA_REP) {
            return Ok(false);
        }
        let altered = |what: &str| {
            let asked = "the one that was sent".to_owned();
            self.asked().modified("a proof of the request", what.to_owned(), asked)
        };
        let value = part.encrypted_pa_data.find(pa_type::PA_REQ_ENC_PA_REP);
        let value = value.ok_or_else(|| altered("left out"))?;
        let sum =
            Reader::whole(value, ChecksumRef::parse).map_err(|fault| self.malformed("AS-REP", fault))?;
        let verified = reply_key.checksum(KeyUsage::AS_REQ).verify(&[&self.sent.message], sum.bytes);
        if sum.cksumtype != reply_key.etype().checksum_type() || verified.is_err() {
            return Err(altered("over another one"));
        }
        Ok(part.encrypted_pa_data.find(pa_type::PA_FX_FAST).is_some())
    }
}

impl Exchange for AsExchange {
    type Granted = AsGranted;

    fn request(&self) -> KdcRequest<'_> {
        KdcRequest { realm: &self.client.realm, message: &self.sent.message }
    }

    fn is_answer(&self, reply: &[u8]) -> bool {
        matches!(reply.first(), Some(&(AS_REP | KRB_ERROR)))
    }

    fn reply(self, reply: &[u8], now: Timestamp, rng: &mut dyn CryptoRng) -> Result<Step<Self>, KdcError> {
        match reply.first() {
            Some(&KRB_ERROR) => self.told(reply, now, rng).map(Step::NeedKdc),
            _ => self.granted(reply, now).map(Step::Done),
        }
    }
}

/// A request whose body stands, and whose padata does not yet.
struct Draft {
    body: Vec<u8>,
    sent: Sent,
}

impl Draft {
    fn new(
        login: &Login,
        options: &TicketOptions,
        client: &Principal,
        at: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let sent = Sent {
            message: Vec::new(),
            service: ticket_granting_service(&client.realm, &client.realm),
            nonce: nonce(rng),
            kdc_options: options.for_first_ticket(login),
            etypes: login.etypes(options),
            till: at.saturating_add(options.lifetime),
            rtime: options.renewable.map(|renewable| at.saturating_add(renewable)),
        };
        let mut body = Vec::new();
        let new = NewKdcReqBody {
            kdc_options: sent.kdc_options,
            cname: Some(client),
            realm: &client.realm,
            sname: Some(&sent.service),
            till: sent.till,
            rtime: sent.rtime,
            nonce: sent.nonce,
            etypes: &sent.etypes,
            additional_tickets: &[],
        };
        new.write(&mut Writer::new(&mut body));
        Self { body, sent }
    }

    fn send(
        mut self,
        armor: Option<&Armor>,
        shown: Option<PaData<'_>>,
        cookie: Option<&[u8]>,
        rng: &mut dyn CryptoRng,
    ) -> Sent {
        let cookie = cookie.map(|value| PaData { padata_type: pa_type::PA_FX_COOKIE, padata_value: value });
        let wish = PaData { padata_type: pa_type::PA_REQ_ENC_PA_REP, padata_value: &[] };
        let padata: Vec<_> = cookie.into_iter().chain(shown).chain([wish]).collect();
        let mut out = Writer::new(&mut self.sent.message);
        match armor {
            None => write_kdc_req(KdcReqKind::As, &padata, &self.body, &mut out),
            Some(armor) => {
                let value = armor.wrap(&padata, &self.body, rng);
                let wrapped = PaData { padata_type: pa_type::PA_FX_FAST, padata_value: &value };
                write_kdc_req(KdcReqKind::As, &[wrapped], &self.body, &mut out);
            }
        }
        self.sent
    }
}
