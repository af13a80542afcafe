//! Where keys, tickets and bindings come from: flags, the environment, the places that everyone uses.

use countersign::credentials::CcacheName;
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Refusal, code};
use countersign::proto::gss::ChannelBindings;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::TargetNames;
use countersign::proto::secret::Secret;
use countersign::{files, krb5conf};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Path of the keytab: the flag's, else KRB5_KTNAME's, else /etc/krb5.keytab.
pub(crate) fn keytab(flag: Option<&Path>) -> Result<PathBuf, Refusal> {
    match (flag, std::env::var("KRB5_KTNAME")) {
        (Some(path), _) => Ok(path.to_owned()),
        (None, Ok(name)) => keytab_file(&name),
        (None, Err(_)) => Ok("/etc/krb5.keytab".into()),
    }
}

/// The credential cache: the flag's, else KRB5CCNAME's, else that of krb5.conf, else /tmp/krb5cc_UID.
pub(crate) fn ccache(flag: Option<&str>) -> Result<CcacheName, Refusal> {
    if let Some(text) = flag {
        return Ok(CcacheName::parse(text)?);
    }
    match CcacheName::from_environment()? {
        Some(name) => Ok(name),
        // Only now is krb5.conf read: where it is damaged, a cache can still be named.
        None => CcacheName::default_name(&krb5conf::load()?),
    }
}

/// `FILE:path`, `WRFILE:path`, or a path alone.
fn keytab_file(name: &str) -> Result<PathBuf, Refusal> {
    match name.split_once(':') {
        Some(("FILE" | "WRFILE", path)) => Ok(path.into()),
        Some((prefix, _)) if !prefix.contains('/') => {
            let saw = format!("keytab {name} in KRB5_KTNAME");
            Err(Refusal::new(code::KEYTAB_UNREADABLE, saw, "keytabs of type FILE and WRFILE only"))
        }
        _ => Ok(name.into()),
    }
}

/// Channel bindings as --channel-bindings gives them.
pub(crate) fn channel_bindings(flag: Option<&str>) -> Result<Option<ChannelBindings>, Refusal> {
    let Some(text) = flag else { return Ok(None) };
    if let Some(path) = text.strip_prefix("cert:") {
        return files::certificate_bindings(Path::new(path)).map(Some);
    }
    let refused =
        |saw: String| Refusal::new(code::CHANNEL_BINDINGS_MALFORMED, saw, "two hex digits for each byte");
    let bytes =
        hex::decode(text).map_err(|error| refused(format!("--channel-bindings {text:?} ({error})")))?;
    if bytes.is_empty() {
        return Err(refused("--channel-bindings without a byte".to_owned()));
    }
    Ok(Some(ChannelBindings::from_application_data(bytes)))
}

/// The etypes that `flag` names.
pub(crate) fn etypes_named(names: &[String], flag: &str) -> Result<Vec<Etype>, Refusal> {
    names.iter().map(|name| etype(name.trim(), flag)).collect()
}

const ETYPES: [(&str, Etype); 10] = [
    ("aes256-cts-hmac-sha1-96", Etype::Aes256CtsHmacSha1_96),
    ("aes256-cts", Etype::Aes256CtsHmacSha1_96),
    ("aes128-cts-hmac-sha1-96", Etype::Aes128CtsHmacSha1_96),
    ("aes128-cts", Etype::Aes128CtsHmacSha1_96),
    ("aes256-cts-hmac-sha384-192", Etype::Aes256CtsHmacSha384_192),
    ("aes256-sha2", Etype::Aes256CtsHmacSha384_192),
    ("aes128-cts-hmac-sha256-128", Etype::Aes128CtsHmacSha256_128),
    ("aes128-sha2", Etype::Aes128CtsHmacSha256_128),
    ("arcfour-hmac", Etype::ArcfourHmac),
    ("rc4-hmac", Etype::ArcfourHmac),
];

/// The etype of that name, which `flag` gives.
pub(crate) fn etype(name: &str, flag: &str) -> Result<Etype, Refusal> {
    let known = ETYPES.iter().find(|(known, _)| *known == name).map(|(_, etype)| *etype);
    known.ok_or_else(|| {
        let names: Vec<_> = ETYPES.iter().map(|(name, _)| *name).collect();
        usage(format!("etype {name:?} in {flag}"), format!("the etypes {}", names.join(" ")))
    })
}

/// A principal that a flag names, with its realm.
pub(crate) fn principal_with_realm(text: &str, flag: &str) -> Result<Principal, Refusal> {
    let principal = Principal::parse(text)?;
    if principal.realm.is_empty() {
        return Err(usage(format!("{flag} {text} without a realm"), "the form CLASS/HOST@REALM"));
    }
    Ok(principal)
}

/// What this machine calls itself towards clients of NTLM.
pub(crate) fn target_names() -> TargetNames {
    let uname = rustix::system::uname();
    let dns_computer = uname.nodename().to_string_lossy().into_owned();
    let label = dns_computer.split('.').next().unwrap_or_default();
    let netbios_computer: String = label.chars().take(NETBIOS_NAME).collect::<String>().to_uppercase();
    TargetNames {
        netbios_domain: netbios_computer.clone(),
        netbios_computer,
        dns_computer,
        ..TargetNames::default()
    }
}

/// Longest NetBIOS name.
const NETBIOS_NAME: usize = 15;

/// A wrong value on the command line.
pub(crate) fn usage(saw: String, have: impl Into<String>) -> Refusal {
    Refusal::new(code::USAGE, saw, have.into())
}

/// Longest password that is read, in bytes.
const MAX_PASSWORD: usize = 1_024;

/// The first line of a file with a password, wiped when it is dropped.
pub(crate) fn password(path: &Path) -> Result<Zeroizing<String>, Refusal> {
    secret_line(path, "password")
}

/// A password that somebody types, and nobody sees.
pub(crate) fn password_from_terminal(prompt: &str) -> Result<Zeroizing<String>, Refusal> {
    let refused = |saw: String| {
        Refusal::new(code::PASSWORD_UNREADABLE, saw, "no other password: --password-file names one")
    };
    match rpassword::prompt_password(prompt).map(Zeroizing::new) {
        Ok(password) if (1..=MAX_PASSWORD).contains(&password.len()) => Ok(password),
        Ok(_) => Err(refused(format!("a password that is not of 1 to {MAX_PASSWORD} bytes"))),
        Err(error) => Err(refused(format!("no terminal to ask for a password ({error})"))),
    }
}

/// The first line of a file with a key in hexadecimal.
pub(crate) fn key(path: &Path) -> Result<Secret, Refusal> {
    let text = secret_line(path, "key")?;
    let mut key = Secret::new(vec![0; text.len() / 2]);
    hex::decode_to_slice(text.trim().as_bytes(), key.expose_mut()).map_err(|_| {
        let saw = format!("key file {} whose first line is no key in hexadecimal", path.display());
        Refusal::new(code::PASSWORD_UNREADABLE, saw, "the form of two hex digits for each byte")
    })?;
    Ok(key)
}

fn secret_line(path: &Path, kind: &str) -> Result<Zeroizing<String>, Refusal> {
    let refused = |saw: String| Refusal::new(code::PASSWORD_UNREADABLE, saw, format!("no other {kind}"));
    let name = format!("{kind} file {}", path.display());
    let file = File::open(path).map_err(|error| refused(format!("{name} ({error})")))?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
    let limit = u64::try_from(MAX_PASSWORD + 2).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(&mut line);
    read.map_err(|error| refused(format!("{name} ({error})")))?;
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    let line = line.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() && text.len() <= MAX_PASSWORD => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(refused(format!("{name} whose first line is no text of 1 to {MAX_PASSWORD} bytes"))),
    }
}
