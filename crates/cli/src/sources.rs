//! Where keys, tickets and bindings come from: flags, the environment, the places that everyone uses.

use countersign::files;
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Code, Refusal, code};
use countersign::proto::gss::ChannelBindings;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::{DEFAULT_PERMITTED_ENCTYPES, TargetNames};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Path of the keytab: the flag's, else KRB5_KTNAME's, else /etc/krb5.keytab.
pub(crate) fn keytab(flag: Option<&Path>) -> Result<PathBuf, Refusal> {
    match (flag, std::env::var("KRB5_KTNAME")) {
        (Some(path), _) => Ok(path.to_owned()),
        (None, Ok(name)) => {
            file_of_type(&name, &["FILE", "WRFILE"], "keytab", "KRB5_KTNAME", code::KEYTAB_UNREADABLE)
        }
        (None, Err(_)) => Ok("/etc/krb5.keytab".into()),
    }
}

/// Path of the credential cache: the flag's, else KRB5CCNAME's, else /tmp/krb5cc_UID.
pub(crate) fn ccache(flag: Option<&Path>) -> Result<PathBuf, Refusal> {
    match (flag, std::env::var("KRB5CCNAME")) {
        (Some(path), _) => Ok(path.to_owned()),
        (None, Ok(name)) => {
            file_of_type(&name, &["FILE"], "credential cache", "KRB5CCNAME", code::CCACHE_UNREADABLE)
        }
        (None, Err(_)) => Ok(format!("/tmp/krb5cc_{}", rustix::process::getuid().as_raw()).into()),
    }
}

/// `TYPE:path`, or a path alone.
fn file_of_type(
    name: &str,
    types: &[&str],
    kind: &str,
    variable: &str,
    code: Code,
) -> Result<PathBuf, Refusal> {
    match name.split_once(':') {
        Some((prefix, path)) if types.contains(&prefix) => Ok(path.into()),
        Some((prefix, _)) if !prefix.contains('/') => {
            let saw = format!("{kind} {name} in {variable}");
            Err(Refusal::new(code, saw, format!("{kind}s of type {} only", types.join(" and "))))
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

/// Etypes by their names, or the default ones where none are named.
pub(crate) fn etypes(names: &[String]) -> Result<Vec<Etype>, Refusal> {
    if names.is_empty() {
        return Ok(DEFAULT_PERMITTED_ENCTYPES.to_vec());
    }
    names.iter().map(|name| etype(name.trim())).collect()
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

fn etype(name: &str) -> Result<Etype, Refusal> {
    let known = ETYPES.iter().find(|(known, _)| *known == name).map(|(_, etype)| *etype);
    known.ok_or_else(|| {
        let names: Vec<_> = ETYPES.iter().map(|(name, _)| *name).collect();
        usage(format!("etype {name:?} in --permitted-enctypes"), format!("the etypes {}", names.join(" ")))
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

/// The first line of a file, wiped when it is dropped.
pub(crate) fn password(path: &Path) -> Result<Zeroizing<String>, Refusal> {
    let refused = |saw: String| Refusal::new(code::PASSWORD_UNREADABLE, saw, "no other password");
    let name = path.display();
    let file = File::open(path).map_err(|error| refused(format!("password file {name} ({error})")))?;
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
    let limit = u64::try_from(MAX_PASSWORD + 2).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(&mut line);
    read.map_err(|error| refused(format!("password file {name} ({error})")))?;
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    let line = line.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() && text.len() <= MAX_PASSWORD => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(refused(format!(
            "password file {name} whose first line is no text of 1 to {MAX_PASSWORD} bytes"
        ))),
    }
}
