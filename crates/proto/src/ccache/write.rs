//! Writing, byte for byte as MIT does.

use super::{
    CONFIG_NAME, CONFIG_REALM, Ccache, CcacheError, ConfigEntry, Credential, Element, FORMAT, MAX_ELEMENTS,
    TAG_KDC_OFFSET, VERSION,
};
use crate::keytab::{DoesNotFit, MAX_COMPONENTS, Sink, reserved};
use crate::krb5::msg::principal::{Principal, name_type};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Length of the one header field that is written, with its tag and length.
const OFFSET_FIELD: u16 = 12;

impl Ccache {
    /// The bytes of a FILE credential cache: the tickets in their order, and between them the settings where they were.
    ///
    /// # Errors
    /// [`CcacheError::DoesNotFit`] if an etype is no number of 16 signed bits, a time is not between 1970 and 2106, the
    /// KDC's clock is more than 68 years off, or there are more components or elements than
    /// [`MAX_COMPONENTS`] and [`MAX_ELEMENTS`].
    pub fn to_bytes(&self) -> Result<Secret, CcacheError> {
        let mut length = 0_usize;
        cache(self, &mut length)?;
        let mut file = reserved(length);
        cache(self, &mut file)?;
        Ok(file)
    }
}

/// The records of `credentials` alone.
pub(super) fn record_bytes<'a>(
    credentials: impl Iterator<Item = &'a Credential> + Clone,
) -> Result<Secret, DoesNotFit> {
    let mut length = 0_usize;
    credentials.clone().try_for_each(|one| credential(one, &mut length))?;
    let mut bytes = reserved(length);
    { credentials }.try_for_each(|one| credential(one, &mut bytes))?;
    Ok(bytes)
}

fn cache(cache: &Ccache, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    out.put(&[FORMAT, VERSION]);
    header(cache.kdc_offset, out)?;
    principal(&cache.default_principal, out)?;
    let mut settings = cache.config.iter().peekable();
    for (index, ticket) in cache.credentials.iter().enumerate() {
        while let Some(setting) = settings.next_if(|setting| setting.tickets_before <= index) {
            config(&cache.default_principal, setting, out)?;
        }
        credential(ticket, out)?;
    }
    settings.try_for_each(|setting| config(&cache.default_principal, setting, out))
}

fn header(kdc_offset: Option<i64>, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    let Some(offset) = kdc_offset else {
        out.put(&0_u16.to_be_bytes());
        return Ok(());
    };
    let too_far = |_| DoesNotFit("a time offset of the KDC");
    let seconds = i32::try_from(offset / 1_000_000).map_err(too_far)?;
    let micros = i32::try_from(offset % 1_000_000).map_err(too_far)?;
    for number in [OFFSET_FIELD, TAG_KDC_OFFSET, 8] {
        out.put(&number.to_be_bytes());
    }
    out.put(&seconds.to_be_bytes());
    out.put(&micros.to_be_bytes());
    Ok(())
}

/// A setting as the ticket that it poses as.
fn config(client: &Principal, entry: &ConfigEntry, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    let components = [CONFIG_NAME.to_vec(), entry.key.clone()].into_iter().chain(entry.principal.clone());
    let name_type = name_type::KRB_NT_PRINCIPAL;
    let server = Principal { realm: CONFIG_REALM.to_vec(), components: components.collect(), name_type };
    credential(&Credential { ticket: entry.value.clone(), ..Credential::blank(client.clone(), server) }, out)
}

impl Credential {
    /// No ticket at all, for a client and a service.
    fn blank(client: Principal, server: Principal) -> Self {
        let never = Timestamp::default();
        Self {
            client,
            server,
            key_etype: 0,
            key: Secret::default(),
            authtime: never,
            starttime: never,
            endtime: never,
            renew_till: never,
            is_skey: false,
            flags: 0,
            addresses: Vec::new(),
            authdata: Vec::new(),
            ticket: Vec::new(),
            second_ticket: Vec::new(),
        }
    }
}

fn credential(credential: &Credential, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    principal(&credential.client, out)?;
    principal(&credential.server, out)?;
    short(credential.key_etype, "an etype", out)?;
    data(credential.key.expose(), "a session key", out)?;
    for at in [credential.authtime, credential.starttime, credential.endtime, credential.renew_till] {
        time(at, out)?;
    }
    out.put(&[credential.is_skey.into()]);
    out.put(&credential.flags.to_be_bytes());
    elements(&credential.addresses, out)?;
    elements(&credential.authdata, out)?;
    data(&credential.ticket, "a ticket", out)?;
    data(&credential.second_ticket, "a second ticket", out)
}

fn principal(principal: &Principal, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    out.put(&principal.name_type.to_be_bytes());
    count(principal.components.len(), MAX_COMPONENTS, "a number of components", out)?;
    data(&principal.realm, "a realm", out)?;
    principal.components.iter().try_for_each(|component| data(component, "a name component", out))
}

fn elements(elements: &[Element], out: &mut impl Sink) -> Result<(), DoesNotFit> {
    count(elements.len(), MAX_ELEMENTS, "a number of addresses or authorization-data elements", out)?;
    for element in elements {
        short(element.element_type, "an element's type", out)?;
        data(&element.data, "an element", out)?;
    }
    Ok(())
}

fn count(count: usize, limit: usize, what: &'static str, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    let fits = u32::try_from(count).ok().filter(|_| count <= limit);
    out.put(&fits.ok_or(DoesNotFit(what))?.to_be_bytes());
    Ok(())
}

fn short(number: i32, what: &'static str, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    out.put(&i16::try_from(number).map_err(|_| DoesNotFit(what))?.to_be_bytes());
    Ok(())
}

fn data(bytes: &[u8], what: &'static str, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    out.put(&u32::try_from(bytes.len()).map_err(|_| DoesNotFit(what))?.to_be_bytes());
    out.put(bytes);
    Ok(())
}

fn time(at: Timestamp, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    out.put(&u32::try_from(at.seconds()).map_err(|_| DoesNotFit("a time"))?.to_be_bytes());
    Ok(())
}

/// A principal as settings name it: whole, with a backslash before what belongs to a part, as MIT's library writes it.
pub(super) fn principal_text(principal: &Principal) -> Vec<u8> {
    let mut text = Vec::new();
    for (index, component) in principal.components.iter().enumerate() {
        if index > 0 {
            text.push(b'/');
        }
        escape(component, &mut text);
    }
    text.push(b'@');
    escape(&principal.realm, &mut text);
    text
}

fn escape(part: &[u8], text: &mut Vec<u8>) {
    for byte in part {
        match byte {
            b'/' | b'@' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\t' => text.extend(b"\\t"),
            0x08 => text.extend(b"\\b"),
            0 => text.extend(b"\\0"),
            other => text.push(*other),
        }
    }
}
