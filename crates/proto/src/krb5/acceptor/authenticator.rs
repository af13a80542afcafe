//! Opening the authenticator, and what it alone decides.

use super::error::{AcceptError, KeyPart};
use super::ticket::permitted_etype;
use crate::crypto::{Etype, Key, KeyUsage};
use crate::der::{Reader, tag};
use crate::krb5::keys::list_in_words;
use crate::krb5::msg::authenticator::Authenticator;
use crate::krb5::msg::authorization_data::{AuthorizationData, ad_type};
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::name::MAX_BYTES;
use crate::krb5::msg::principal::{Principal, escaped};
use crate::krb5::msg::ticket::EncTicketPart;
use crate::krb5::replay::TAG_LEN;
use crate::policy::AcceptorPolicy;
use crate::secret::Secret;
use std::ops::Range;

/// Proof that the sender knows the ticket's session key, and is the client that the ticket was issued to. Only this
/// module's `Opened::parse` makes it.
pub struct AuthenticatorOpened(());

/// An authenticator's plaintext.
pub(super) struct Opened {
    buffer: Secret,
    plaintext: Range<usize>,
    /// The integrity tag of its ciphertext, by which the replay store knows it.
    pub(super) tag: [u8; TAG_LEN],
}

/// Opens the authenticator with the session key.
pub(super) fn open(
    client: &Principal,
    session_key: &Key,
    authenticator: &EncryptedData<'_>,
) -> Result<Opened, AcceptError> {
    let refused = || AcceptError::AuthenticatorIntegrity { client: client.clone() };
    if authenticator.etype != session_key.etype().wire() {
        return Err(refused());
    }
    let cipher = session_key.cipher(KeyUsage::AP_REQ_AUTHENTICATOR);
    let mut tag = [0; TAG_LEN];
    for (to, from) in tag.iter_mut().zip(cipher.integrity_tag(authenticator.cipher).ok_or_else(refused)?) {
        *to = *from;
    }
    let mut buffer = Secret::from(authenticator.cipher);
    let length = cipher.open_in_place(buffer.expose_mut()).map_err(|_| refused())?.len();
    let start = cipher.prefix_len();
    Ok(Opened { buffer, plaintext: start..start.saturating_add(length), tag })
}

impl Opened {
    /// Reads the authenticator and holds its client against the ticket's, realm and every component.
    pub(super) fn parse(
        &self,
        client: &Principal,
        ticket: &EncTicketPart<'_>,
    ) -> Result<(Authenticator<'_>, AuthenticatorOpened), AcceptError> {
        let plaintext = self.buffer.expose().get(self.plaintext.clone()).unwrap_or_default();
        let authenticator = Authenticator::parse(Reader::new(plaintext))
            .map_err(|fault| AcceptError::Authenticator { client: client.clone(), fault })?;
        if authenticator.crealm != ticket.crealm || !authenticator.cname.same_components(&ticket.cname) {
            let named = authenticator.cname.to_principal(authenticator.crealm);
            return Err(AcceptError::ClientMismatch { authenticator: named, ticket: client.clone() });
        }
        Ok((authenticator, AuthenticatorOpened(())))
    }
}

/// The initiator's subkey, if it sent one.
pub(super) fn subkey(
    client: &Principal,
    service: &Principal,
    authenticator: &Authenticator<'_>,
    policy: &AcceptorPolicy,
) -> Result<Option<Key>, AcceptError> {
    let Some(sent) = &authenticator.subkey else { return Ok(None) };
    let etype = permitted_etype(service, KeyPart::Subkey, sent.etype, policy)?;
    let length = sent.bytes.len();
    match Key::new(etype, sent.bytes) {
        Ok(key) => Ok(Some(key)),
        Err(_) => Err(AcceptError::SubkeyLength { client: client.clone(), etype, length }),
    }
}

/// KERB_AP_OPTIONS_CBT: the initiator does channel binding and would have sent one, had it a channel.
const KERB_AP_OPTIONS_CBT: u32 = 0x4000;
/// The initiator took the target's name from an untrusted source, so the name proves nothing.
const KERB_AP_OPTIONS_UNVERIFIED_TARGET_NAME: u32 = 0x8000;

/// Longest target name, in bytes: as many characters as a name has bytes at most.
const MAX_TARGET_BYTES: usize = 2 * MAX_BYTES;

/// What the authorization data in the authenticator says that matters to an acceptor.
#[derive(Default)]
pub(super) struct Extensions {
    /// Etypes that the initiator takes for the acceptor's subkey (RFC 4537), in its order; unknown ones left out.
    pub(super) etypes: Vec<Etype>,
    /// The initiator says that it does channel binding.
    pub(super) asserts_channel_binding: bool,
    /// The SPN, with realm, that the initiator means to reach, unless it says itself that it is not sure.
    pub(super) target: Option<String>,
}

/// Reads etype list, AP options and target name; an element that comes twice, is too long or breaks its layout is refused.
pub(super) fn extensions(
    client: &Principal,
    data: Option<&AuthorizationData<'_>>,
) -> Result<Extensions, AcceptError> {
    let mut elements = Vec::new();
    if let Some(data) = data {
        data.visit_relevant(&mut |element| elements.push(element));
    }
    let find = |wanted: i32| -> Result<Option<&[u8]>, AcceptError> {
        let mut of_type = elements.iter().filter(|element| element.ad_type == wanted);
        match (of_type.next(), of_type.next()) {
            (_, Some(_)) => Err(malformed(client, wanted)),
            (found, None) => Ok(found.map(|element| element.data)),
        }
    };
    let mut extensions = Extensions::default();
    if let Some(list) = find(ad_type::AD_ETYPE_NEGOTIATION)? {
        extensions.etypes =
            etype_list(list).ok_or_else(|| malformed(client, ad_type::AD_ETYPE_NEGOTIATION))?;
    }
    let mut unverified_target = false;
    if let Some(options) = find(ad_type::KERB_AP_OPTIONS)? {
        let options: [u8; 4] = options.try_into().map_err(|_| malformed(client, ad_type::KERB_AP_OPTIONS))?;
        let options = u32::from_le_bytes(options);
        extensions.asserts_channel_binding = options & KERB_AP_OPTIONS_CBT != 0;
        unverified_target = options & KERB_AP_OPTIONS_UNVERIFIED_TARGET_NAME != 0;
    }
    if let Some(name) = find(ad_type::KERB_CLIENT_TARGET)? {
        let short = Some(name).filter(|name| name.len() <= MAX_TARGET_BYTES);
        let name = short.and_then(utf16).ok_or_else(|| malformed(client, ad_type::KERB_CLIENT_TARGET))?;
        extensions.target = Some(name).filter(|_| !unverified_target);
    }
    Ok(extensions)
}

fn malformed(client: &Principal, ad_type: i32) -> AcceptError {
    AcceptError::AuthorizationDataMalformed { client: client.clone(), ad_type }
}

/// `EtypeList ::= SEQUENCE OF Int32` (RFC 4537 section 4)
fn etype_list(bytes: &[u8]) -> Option<Vec<Etype>> {
    let mut outer = Reader::new(bytes);
    let mut list = outer.element(tag::SEQUENCE).ok()?;
    outer.finish().ok()?;
    let mut etypes = Vec::new();
    while !list.is_empty() {
        etypes.extend(Etype::from_wire(list.int32().ok()?));
    }
    Some(etypes)
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit))).collect::<Result<_, _>>().ok()
}

/// Holds the name that the initiator means to reach against those of `accept_principals`, if that names any: aliases that
/// only the KDC knows are common, and the key has proved that the ticket is for us.
pub(super) fn check_target(
    client: &Principal,
    target: Option<&str>,
    accept_principals: &[Principal],
) -> Result<(), AcceptError> {
    let Some(target) = target.filter(|_| !accept_principals.is_empty()) else { return Ok(()) };
    if accept_principals.iter().any(|principal| is_spelt(principal, target)) {
        return Ok(());
    }
    Err(AcceptError::TargetName {
        client: client.clone(),
        target: escaped(target.as_bytes()),
        accepted: list_in_words(
            "only ",
            accept_principals.iter().map(Principal::to_string),
            " in accept_principals",
        ),
    })
}

/// Whether `text`, an SPN with or without realm, is a client's way to write `principal`. Letter case does not count, in
/// the realm either, and a backslash is a character like others.
fn is_spelt(principal: &Principal, text: &str) -> bool {
    let (name, realm) = text.rsplit_once('@').map_or((text, None), |(name, realm)| (name, Some(realm)));
    let same = |(a, b): (&[u8], &Vec<u8>)| a.eq_ignore_ascii_case(b);
    let parts = || name.as_bytes().split(|byte| *byte == b'/');
    realm.is_none_or(|realm| realm.as_bytes().eq_ignore_ascii_case(&principal.realm))
        && parts().count() == principal.components.len()
        && parts().zip(&principal.components).all(same)
}
