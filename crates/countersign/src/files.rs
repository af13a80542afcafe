//! The files that a service or client is given: keytabs, credential caches, certificates.

use countersign_proto::ccache::Ccache;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::{ChannelBindings, tls_server_end_point};
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::secret::Secret;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read, in bytes: a keytab of about 100,000 keys.
const MAX_FILE: u64 = 16 << 20;

/// The keys in the keytab at `path`.
///
/// # Errors
/// If it cannot be read, is no keytab, or holds no key that can be used.
pub fn service_keys(path: &Path) -> Result<ServiceKeys, Refusal> {
    let bytes = read(path, "keytab", code::KEYTAB_UNREADABLE)?;
    let keytab = Keytab::parse(bytes.expose()).map_err(|error| in_file(path, "keytab", error.into()))?;
    let keys = ServiceKeys::from_keytab(&keytab).map_err(|error| {
        let refusal = Refusal::new(code::KEY_MALFORMED, error.to_string(), "the length that its etype has");
        in_file(path, "keytab", refusal)
    })?;
    if keys.is_empty() {
        let saw = format!("keytab {} with {} keys", path.display(), keytab.entries.len());
        return Err(Refusal::new(
            code::KEYTAB_WITHOUT_KEYS,
            saw,
            "no key of an etype that is implemented (17 to 20, 23)",
        ));
    }
    Ok(keys)
}

/// The credential cache at `path`.
///
/// # Errors
/// If it cannot be read or is no credential cache.
pub fn ccache(path: &Path) -> Result<Ccache, Refusal> {
    let bytes = read(path, "credential cache", code::CCACHE_UNREADABLE)?;
    Ccache::parse(bytes.expose()).map_err(|error| in_file(path, "credential cache", error.into()))
}

/// Bindings to the TLS server whose certificate, in PEM or DER, is at `path`; of a chain the first is taken.
///
/// # Errors
/// If it cannot be read, is no certificate, or one for which the binding is not defined.
pub fn certificate_bindings(path: &Path) -> Result<ChannelBindings, Refusal> {
    let bytes = read(path, "certificate", code::CHANNEL_BINDINGS_MALFORMED)?;
    let der = match pem_rfc7468::decode_vec(first_pem_block(bytes.expose())) {
        Ok(("CERTIFICATE", der)) => der,
        _ => bytes.expose().to_vec(),
    };
    tls_server_end_point::from_certificate(&der).map_err(|error| in_file(path, "certificate", error.into()))
}

/// The decoder takes one block and nothing after it; files have chains, and text before each certificate.
fn first_pem_block(bytes: &[u8]) -> &[u8] {
    let (begin, end) = (b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----");
    let find = |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle);
    match (find(begin), find(end)) {
        (Some(from), Some(to)) => bytes.get(from..to.saturating_add(end.len())).unwrap_or(bytes),
        _ => bytes,
    }
}

fn read(path: &Path, kind: &str, code: Code) -> Result<Secret, Refusal> {
    let unreadable = |error: io::Error| {
        Refusal::new(code, format!("{kind} {} ({error})", path.display()), "nothing to read instead")
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() || metadata.len() > MAX_FILE {
        let saw = format!("{kind} {} of {} bytes", path.display(), metadata.len());
        return Err(Refusal::new(code, saw, format!("room for a file of at most {MAX_FILE} bytes")));
    }
    // Room for all of it at once: a buffer that grows leaves copies of keys behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Secret::new(Vec::with_capacity(room));
    file.by_ref().take(MAX_FILE).read_to_end(bytes.expose_mut()).map_err(unreadable)?;
    Ok(bytes)
}

/// The same refusal, with the file in it.
fn in_file(path: &Path, kind: &str, refusal: Refusal) -> Refusal {
    let saw = format!("{kind} {}: {}", path.display(), refusal.saw());
    Refusal::new(refusal.code(), saw, refusal.have().to_owned())
}
