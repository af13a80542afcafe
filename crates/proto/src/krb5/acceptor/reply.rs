//! What an acceptor answers: the AP-REP that proves it, or a KRB-ERROR.

use super::{
    Authentic, AuthenticatorOpened, BindingsCompared, ConversationCompared, NotReplayed, TicketOpened,
};
use crate::crypto::{Key, KeyUsage};
use crate::der::Writer;
use crate::gss::GssFlags;
use crate::gss::framing::{self, Mech, TokenId};
use crate::krb5::facts::Facts;
use crate::krb5::initial_sequence_number;
use crate::krb5::msg::ap_rep::{ApRep, EncApRepPart};
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::encryption_key::EncryptionKeyRef;
use crate::krb5::msg::krb_error::{NewKrbError, skew_recovery};
use crate::krb5::msg::principal::Principal;
use crate::krb5::per_message::{Protection, Role};
use crate::krb5::pseudo_random::ContextKeys;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// An accepted context with the proofs that it stands on.
pub struct Established {
    /// What is known.
    pub facts: Facts,
    /// How messages are protected.
    pub protection: Protection,
    /// What keys of protocols above are made of.
    pub keys: ContextKeys,
    /// One of our keys opened the ticket.
    pub ticket: TicketOpened,
    /// The client knows the session key, and is the one the ticket names.
    pub authenticator: AuthenticatorOpened,
    /// Channel bindings were compared, or policy says why not.
    pub bindings: BindingsCompared,
    /// The client saw what was carried for it to its KDC.
    pub conversation: ConversationCompared,
    /// The authenticator is no replay.
    pub fresh: NotReplayed,
}

impl Authentic {
    /// Makes the context, and for an initiator that asked for it the AP-REP, which is appended to `out`.
    #[must_use]
    pub fn establish(self, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) -> Established {
        let Self { verified, fresh } = self;
        let mut facts = verified.facts;
        facts.mutual = facts.flags.contains(GssFlags::MUTUAL);
        let (subkey, own_seq) = if facts.mutual {
            let subkey = verified.subkey_etype.map(|etype| Key::generate(etype, rng));
            let own_seq = match &subkey {
                Some(_) => initial_sequence_number(rng),
                None => far_from(verified.initiator_seq),
            };
            let answer =
                ApRepAnswer { ctime: verified.presented.ctime, subkey: subkey.as_ref(), seq_number: own_seq };
            answer.write(verified.mech, &verified.session_key, rng, out);
            (subkey, own_seq)
        } else {
            // Without an AP-REP the two directions begin at the same number (RFC 4121 section 4.2.1, as MIT does it).
            (None, verified.initiator_seq)
        };
        let acceptor_subkey = subkey.is_some();
        let keys = ContextKeys::new(verified.initiator_key, subkey);
        let key = keys.full().clone();
        facts.message_etype = key.etype();
        let protection = Protection {
            role: Role::Acceptor,
            key,
            acceptor_subkey,
            send_seq: own_seq.into(),
            receive_seq: verified.initiator_seq.into(),
        };
        let proofs = verified.proofs;
        Established {
            facts,
            protection,
            keys,
            ticket: proofs.ticket,
            authenticator: proofs.authenticator,
            bindings: proofs.bindings,
            conversation: proofs.conversation,
            fresh,
        }
    }
}

/// A first number half the range of 30 bits away: key streams of RC4 depend on key and number alone, and without a
/// subkey of ours both directions have the same key.
const fn far_from(initiator_seq: u32) -> u32 {
    const HALF: u32 = 1 << 29;
    let far = initiator_seq.wrapping_add(HALF) % (1 << 30);
    // No direction begins at 0, and from 1 it would reach the other's first number.
    if far == 0 { 1 << 30 } else { far }
}

struct ApRepAnswer<'a> {
    ctime: Timestamp,
    subkey: Option<&'a Key>,
    seq_number: u32,
}

/// More than the DER around a key and two numbers takes.
const ENC_PART_CAPACITY: usize = 128;

impl ApRepAnswer<'_> {
    fn write(&self, mech: Mech, session_key: &Key, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) {
        // Room for all of it at once: a buffer that grows leaves copies of the subkey behind.
        let mut plaintext = Secret::new(Vec::with_capacity(ENC_PART_CAPACITY));
        let part = EncApRepPart {
            ctime: self.ctime,
            subkey: self
                .subkey
                .map(|key| EncryptionKeyRef { etype: key.etype().wire(), bytes: key.expose() }),
            seq_number: Some(self.seq_number),
        };
        part.write(&mut Writer::new(plaintext.expose_mut()));
        let mut cipher = Vec::with_capacity(plaintext.len().saturating_add(64));
        session_key.cipher(KeyUsage::AP_REP).seal(rng, plaintext.expose(), &mut cipher);
        let enc_part = EncryptedData { etype: session_key.etype().wire(), kvno: None, cipher: &cipher };
        framing::wrap_as(mech, TokenId::ApRep, out, |body| ApRep { enc_part }.write(body));
    }
}

/// What of an AP-REQ its KRB-ERROR repeats.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The number of Kerberos in the token's frame.
    pub mech: Mech,
    /// The service that the client's ticket names: a claim.
    pub service: &'a Principal,
}

/// As asked by a client that frames its tokens with today's number.
impl<'a> From<&'a Principal> for Asked<'a> {
    fn from(service: &'a Principal) -> Self {
        Self { mech: Mech::Krb5, service }
    }
}

/// Appends a framed KRB-ERROR to `out`. It carries the code and the name that the client's own ticket has, and nothing
/// else, but for a skew the word that one more AP-REQ is waited for (MS-KILE 3.2.5.1).
pub fn krb_error<'a>(
    error_code: i32,
    asked: impl Into<Asked<'a>>,
    awaiting_retry: bool,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let Asked { mech, service } = asked.into();
    let e_data = awaiting_retry.then(skew_recovery);
    let error = NewKrbError { stime: now, error_code, client: None, service, e_data: e_data.as_deref() };
    framing::wrap_as(mech, TokenId::KrbError, out, |body| error.write(body));
}
