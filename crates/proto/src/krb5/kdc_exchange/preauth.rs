//! How a client proves itself in an AS-REQ: encrypted timestamp (RFC 4120 section 5.2.7.2), encrypted challenge (RFC 6113
//! section 5.4.6) or SPAKE (RFC 9588).

use super::armor::Armor;
use super::error::KdcError;
use super::options::{Login, TicketOptions};
use super::told::Answered;
use crate::crypto::spake::{ClientShare, SpakeGroup};
use crate::crypto::{CryptoError, Etype, Key, KeyUsage};
use crate::der::{DerError, Reader, Writer};
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::etype_info2::EtypeInfo2Entry;
use crate::krb5::msg::pa_data::{MethodData, pa_type};
use crate::krb5::msg::pa_enc_ts_enc::PaEncTsEnc;
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::spake::{
    PaSpake, SF_NONE, SpakeChallenge, SpakeResponse, SpakeSecondFactor, SpakeSupport,
};
use crate::krb5::spake::{Transcript, derive_key, derive_w};
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// Which key a KDC wants, and how a password is made into it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyHint {
    etype: Etype,
    salt: Option<Vec<u8>>,
    s2kparams: Option<Vec<u8>>,
}

/// What is known of a client's long-term key at a KDC.
pub(super) struct KeyFinder<'a> {
    pub(super) login: &'a Login,
    pub(super) options: &'a TicketOptions,
    pub(super) client: &'a Principal,
}

impl KeyFinder<'_> {
    /// What a KDC's hints say of the key: of the etypes in them, the one that is preferred here. `None` if they say nothing.
    pub(super) fn hint(&self, find: &dyn Fn(i32) -> Option<Vec<u8>>) -> Result<Option<KeyHint>, KdcError> {
        let malformed =
            |fault| KdcError::Malformed { message: "ETYPE-INFO", realm: self.client.realm.clone(), fault };
        if let Some(info) = find(pa_type::PA_ETYPE_INFO2) {
            return self.best(&EtypeInfo2Entry::parse_list(&info).map_err(malformed)?).map(Some);
        }
        if let Some(info) = find(pa_type::PA_ETYPE_INFO) {
            return self.best(&EtypeInfo2Entry::parse_old_list(&info).map_err(malformed)?).map(Some);
        }
        let salted =
            |salt| self.etypes().next().map(|etype| KeyHint { etype, salt: Some(salt), s2kparams: None });
        Ok(find(pa_type::PA_PW_SALT).and_then(salted))
    }

    /// The hint that holds where a KDC gives none: the preferred etype with the default salt.
    pub(super) fn default_hint(&self) -> Result<KeyHint, KdcError> {
        let etype = self.etypes().next().ok_or_else(|| self.no_common_etype(Vec::new()))?;
        Ok(KeyHint { etype, salt: None, s2kparams: None })
    }

    fn best(&self, entries: &[EtypeInfo2Entry<'_>]) -> Result<KeyHint, KdcError> {
        let of = |etype: Etype| {
            entries.iter().find(|entry| entry.etype == etype.wire()).map(|entry| (etype, entry))
        };
        let (etype, entry) = self
            .etypes()
            .find_map(of)
            .ok_or_else(|| self.no_common_etype(entries.iter().map(|entry| entry.etype).collect()))?;
        Ok(KeyHint {
            etype,
            salt: entry.salt.map(<[u8]>::to_vec),
            s2kparams: entry.s2kparams.map(<[u8]>::to_vec),
        })
    }

    fn etypes(&self) -> impl Iterator<Item = Etype> {
        self.login.etypes(self.options).into_iter().filter(|etype| self.login.has_key(*etype))
    }

    fn no_common_etype(&self, offered: Vec<i32>) -> KdcError {
        let permitted = self.etypes().collect();
        KdcError::NoCommonEtype {
            offered,
            permitted,
            client: self.client.clone(),
            realm: self.client.realm.clone(),
        }
    }

    /// The long-term key, of the hint's etype.
    pub(super) fn key(&self, hint: &KeyHint) -> Result<Key, KdcError> {
        let demanded =
            hint.s2kparams.as_deref().and_then(|params| params.try_into().ok()).map(u32::from_be_bytes);
        if let Some(count) = demanded.filter(|count| *count > self.options.max_iterations) {
            let fault = CryptoError::IterationCount {
                etype: hint.etype,
                count,
                least: 0,
                most: self.options.max_iterations,
            };
            let (client, realm) = (self.client.clone(), self.client.realm.clone());
            return Err(KdcError::Password { fault, client, realm });
        }
        self.login.key(hint.etype, self.client, hint.salt.as_deref(), hint.s2kparams.as_deref())
    }

    /// The long-term key that a reply is under: of its etype, where that is the key's own.
    pub(super) fn reply_key(&self, hint: Option<&KeyHint>, etype: Option<Etype>) -> Result<Key, KdcError> {
        match (hint, etype) {
            (Some(hint), None) => self.key(hint),
            (Some(hint), Some(etype)) if hint.etype == etype => self.key(hint),
            (_, Some(etype)) => self.login.key(etype, self.client, None, None),
            (None, None) => self.key(&self.default_hint()?),
        }
    }
}

/// What the client has shown of itself so far.
pub(super) enum Proof {
    /// Nothing: it is not known yet what the KDC wants.
    Nothing,
    /// A timestamp under the long-term key.
    Timestamp(Key),
    /// A timestamp under a key of the long-term key and the armor.
    Challenge(Key),
    /// The SPAKE groups that it takes.
    SpakeOffered { initial: Key, support: Vec<u8> },
    /// SPAKE's last word; the reply comes under this key.
    SpakeAnswered { reply_key: Key },
}

/// What is sent along with the next request.
pub(super) struct Answer {
    pub(super) padata_type: i32,
    pub(super) value: Vec<u8>,
    pub(super) proof: Proof,
}

/// Makes the proof that the KDC's hints ask for. `body` is the request that it goes with.
pub(super) struct Prover<'a> {
    pub(super) options: &'a TicketOptions,
    pub(super) armor: Option<&'a Armor>,
    pub(super) realm: &'a [u8],
    /// Whether SPAKE was offered, now or before.
    pub(super) spake_offered: bool,
    pub(super) body: &'a [u8],
    /// The KDC's time, as far as it is known.
    pub(super) time: Timestamp,
}

impl Prover<'_> {
    /// The first proof, of the strongest kind that the KDC offers. An armored request takes no bare timestamp, and where SPAKE
    /// is offered nothing weaker does (RFC 9588 section 11).
    pub(super) fn begin(
        &self,
        initial: Key,
        answered: &Answered,
        rng: &mut dyn CryptoRng,
    ) -> Result<Answer, KdcError> {
        let offered = |padata_type| answered.hint(padata_type);
        if let Some(challenge) = offered(pa_type::PA_SPAKE).filter(|_| !self.options.spake_groups.is_empty())
        {
            return self.begin_spake(initial, challenge, rng);
        }
        match self.armor {
            Some(armor) if offered(pa_type::PA_ENCRYPTED_CHALLENGE).is_some() => {
                Ok(self.challenge(initial, armor, rng))
            }
            None if offered(pa_type::PA_ENC_TIMESTAMP).is_some() && self.may_send_timestamp() => {
                Ok(self.timestamp(initial, rng))
            }
            _ => Err(KdcError::Preauth {
                offered: answered.types(),
                have: self.spoken(),
                realm: self.realm.to_vec(),
            }),
        }
    }

    fn may_send_timestamp(&self) -> bool {
        self.options.encrypted_timestamp && !self.spake_offered
    }

    fn spoken(&self) -> &'static str {
        match (self.armor, self.options.encrypted_timestamp) {
            (None, true) if self.spake_offered => {
                "SPAKE (151) alone: the KDC offered it, and nobody vouches that it is offered no more"
            }
            (Some(_), _) => "SPAKE (151) and, in FAST's armor, encrypted challenge (138)",
            (None, true) => "SPAKE (151) and encrypted timestamp (2), and no armor for FAST",
            (None, false) => {
                "SPAKE (151) alone: encrypted timestamp (2) is not permitted, and there is no armor for FAST"
            }
        }
    }

    fn timestamp(&self, key: Key, rng: &mut dyn CryptoRng) -> Answer {
        let value = self.encrypted_time(&key, KeyUsage::PA_ENC_TIMESTAMP, rng);
        Answer { padata_type: pa_type::PA_ENC_TIMESTAMP, value, proof: Proof::Timestamp(key) }
    }

    fn challenge(&self, key: Key, armor: &Armor, rng: &mut dyn CryptoRng) -> Answer {
        let value =
            self.encrypted_time(&armor.client_challenge_key(&key), KeyUsage::ENC_CHALLENGE_CLIENT, rng);
        Answer { padata_type: pa_type::PA_ENCRYPTED_CHALLENGE, value, proof: Proof::Challenge(key) }
    }

    fn encrypted_time(&self, key: &Key, usage: KeyUsage, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let mut plaintext = Vec::new();
        PaEncTsEnc { patimestamp: self.time }.write(&mut Writer::new(&mut plaintext));
        encrypted(key, usage, &plaintext, rng)
    }

    /// The KDC's hint is empty, or its challenge already.
    fn begin_spake(&self, initial: Key, hint: &[u8], rng: &mut dyn CryptoRng) -> Result<Answer, KdcError> {
        if !hint.is_empty() {
            let (group, challenge) = self.spake_challenge(hint)?;
            if let Some(group) = group {
                return self.answer_spake(&initial, &[], group, &challenge, hint, rng);
            }
        }
        let groups = self.options.spake_groups.iter().map(|group| group.wire()).collect();
        let mut support = Vec::new();
        PaSpake::Support(SpakeSupport { groups }).write(&mut Writer::new(&mut support));
        let proof = Proof::SpakeOffered { initial, support: support.clone() };
        Ok(Answer { padata_type: pa_type::PA_SPAKE, value: support, proof })
    }

    /// Answers the challenge that the KDC made of the groups offered in `support`.
    pub(super) fn go_on_with_spake(
        &self,
        initial: &Key,
        support: &[u8],
        answered: &Answered,
        rng: &mut dyn CryptoRng,
    ) -> Result<Answer, KdcError> {
        let hint = answered.hint(pa_type::PA_SPAKE).unwrap_or_default();
        match self.spake_challenge(hint)? {
            (Some(group), challenge) => self.answer_spake(initial, support, group, &challenge, hint, rng),
            (None, challenge) => Err(self.spake(format!("a SPAKE challenge in group {}", challenge.group))),
        }
    }

    fn answer_spake(
        &self,
        initial: &Key,
        support: &[u8],
        group: SpakeGroup,
        challenge: &SpakeChallenge<'_>,
        encoded_challenge: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Answer, KdcError> {
        let types: Vec<_> = challenge.factors.iter().map(|factor| factor.factor_type).collect();
        if !types.contains(&SF_NONE) {
            return Err(self.spake(format!("SPAKE with second factors of the types {types:?} only")));
        }
        let w = derive_w(initial, group);
        let share = ClientShare::generate(&w, rng);
        let shared = share
            .shared_secret(challenge.pubkey)
            .map_err(|fault| self.spake(format!("a SPAKE challenge that is refused: {fault}")))?;
        let mut transcript = Transcript::new(group);
        transcript.absorb(&[support, encoded_challenge]);
        transcript.absorb(&[share.public()]);
        let key = |n| derive_key(initial, &w, &shared, &transcript, self.body, n);
        let mut factor = Vec::new();
        SpakeSecondFactor { factor_type: SF_NONE, data: None }.write(&mut Writer::new(&mut factor));
        let factor_key = key(1);
        let mut cipher = Vec::new();
        factor_key.cipher(KeyUsage::SPAKE).seal(rng, &factor, &mut cipher);
        let factor = EncryptedData { etype: factor_key.etype().wire(), kvno: None, cipher: &cipher };
        let mut value = Vec::new();
        PaSpake::Response(SpakeResponse { pubkey: share.public(), factor })
            .write(&mut Writer::new(&mut value));
        Ok(Answer {
            padata_type: pa_type::PA_SPAKE,
            value,
            proof: Proof::SpakeAnswered { reply_key: key(0) },
        })
    }

    /// The KDC's challenge, and its group if that is one of ours.
    fn spake_challenge<'a>(
        &self,
        value: &'a [u8],
    ) -> Result<(Option<SpakeGroup>, SpakeChallenge<'a>), KdcError> {
        let message = PaSpake::parse(value).map_err(|fault| self.malformed("PA-SPAKE", fault))?;
        let PaSpake::Challenge(challenge) = message else {
            return Err(self.spake("a SPAKE message that is no challenge".to_owned()));
        };
        let group =
            SpakeGroup::from_wire(challenge.group).filter(|group| self.options.spake_groups.contains(group));
        Ok((group, challenge))
    }

    fn spake(&self, what: String) -> KdcError {
        let have = "SPAKE with a password or key alone, in the groups that were offered";
        KdcError::PreauthData { what, have, realm: self.realm.to_vec() }
    }

    fn malformed(&self, message: &'static str, fault: DerError) -> KdcError {
        KdcError::Malformed { message, realm: self.realm.to_vec(), fault }
    }
}

/// An EncryptedData, encoded.
fn encrypted(key: &Key, usage: KeyUsage, plaintext: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
    let mut cipher = Vec::new();
    key.cipher(usage).seal(rng, plaintext, &mut cipher);
    let mut value = Vec::new();
    let data = EncryptedData { etype: key.etype().wire(), kvno: None, cipher: &cipher };
    data.write(&mut Writer::new(&mut value));
    value
}

/// Whether the KDC's answer to an encrypted challenge shows that it knows the long-term key (RFC 6113 section 5.4.6).
///
/// Heimdal's KDC (7.8) answers under the client's challenge key instead of the KDC's. Only who knows the long-term key can, and
/// the usage keeps the client's own message from being sent back, so that is taken too.
pub(super) fn kdc_proved(armor: &Armor, long_term: &Key, padata: MethodData<'_>) -> bool {
    let Some(value) = padata.find(pa_type::PA_ENCRYPTED_CHALLENGE) else { return false };
    let Ok(data) = Reader::whole(value, EncryptedData::parse) else { return false };
    let opens = |key: Key| {
        let mut plaintext = data.cipher.to_vec();
        let cipher = key.cipher(KeyUsage::ENC_CHALLENGE_KDC);
        data.etype == key.etype().wire() && cipher.open_in_place(&mut plaintext).is_ok()
    };
    opens(armor.kdc_challenge_key(long_term)) || opens(armor.client_challenge_key(long_term))
}
