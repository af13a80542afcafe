//! The files that a service or client is given: keytabs, credential caches, certificates.

mod lock;
pub(crate) mod place;

pub(crate) use lock::Lock;

use countersign_proto::ccache::Ccache;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::{ChannelBindings, tls_server_end_point};
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::secret::Secret;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read, in bytes: a keytab of about 100,000 keys.
const MAX_FILE: u64 = 16 << 20;

/// Least room of a piece of a file whose length is not known, in bytes.
const PIECE: usize = 4_096;

/// The keytab at `path`, as it stands while no other program writes it; another program's lock is waited for as by
/// [`ccache`].
///
/// # Errors
/// If it cannot be read, stays locked, or is no keytab.
pub fn keytab(path: &Path) -> Result<Keytab, Refusal> {
    let settled = File::open(path).and_then(settled_contents);
    let (bytes, _) = settled.map_err(|error| unreadable(path, "keytab", code::KEYTAB_UNREADABLE, &error))?;
    Keytab::parse(bytes.expose()).map_err(|error| in_file(path, "keytab", error.into()))
}

/// The keys in the keytab at `path`.
///
/// # Errors
/// As those of [`keytab`], or if it holds no key that can be used.
pub fn service_keys(path: &Path) -> Result<ServiceKeys, Refusal> {
    let keytab = keytab(path)?;
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

/// The credential cache at `path`, as it stands while no other program writes it: it is read under a shared POSIX record
/// lock, as MIT's library does, which has the exclusive one while it changes a cache. Another program's lock is waited for,
/// 3 seconds at most. Of a file whose last entry is cut short the whole ones before it count, as for MIT's library.
///
/// On Unix a file of another user, except root, below a folder where everyone may make files (/tmp) is refused: whoever put
/// it there knows its session keys, and could pose as every service that it has tickets for.
///
/// # Errors
/// If it cannot be read, stays locked, is such a file, or is no credential cache.
pub fn ccache(path: &Path) -> Result<Ccache, Refusal> {
    let (ccache, _, metadata) = ccache_and_state(path)?;
    #[cfg(unix)]
    place::must_not_be_planted(path, &metadata)
        .map_err(|error| unreadable(path, "credential cache", code::CCACHE_UNREADABLE, &error))?;
    #[cfg(not(unix))]
    let _ = metadata;
    Ok(ccache)
}

/// [`ccache`] with how many bytes at the end were left out, and what the file system says of the file.
pub(crate) fn ccache_and_state(path: &Path) -> Result<(Ccache, usize, Metadata), Refusal> {
    let kind = "credential cache";
    let settled = File::open(path).and_then(settled_contents);
    let (bytes, metadata) =
        settled.map_err(|error| unreadable(path, kind, code::CCACHE_UNREADABLE, &error))?;
    let parsed = Ccache::parse_whole_entries(bytes.expose());
    let (ccache, left_out) = parsed.map_err(|error| in_file(path, kind, error.into()))?;
    Ok((ccache, left_out, metadata))
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
    File::open(path).and_then(contents).map_err(|error| unreadable(path, kind, code, &error))
}

/// The contents of a file that other programs change under a lock, and what the file system says of it.
fn settled_contents(file: File) -> io::Result<(Secret, Metadata)> {
    let metadata = file.metadata()?;
    let held = if metadata.is_file() { Lock::shared(file)? } else { Lock::none(file) };
    Ok((contents_of(held.file())?, metadata))
}

fn unreadable(path: &Path, kind: &str, code: Code, error: &io::Error) -> Refusal {
    Refusal::new(code, format!("{kind} {} ({error})", path.display()), "nothing to read instead")
}

/// All of a file of at most [`MAX_FILE`] bytes.
pub(crate) fn contents(file: File) -> io::Result<Secret> {
    contents_of(&file)
}

/// The same, with the file left open.
pub(crate) fn contents_of(file: &File) -> io::Result<Secret> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.len() > MAX_FILE {
        return Err(too_large());
    }
    wiped_pieces(file, usize::try_from(metadata.len()).unwrap_or(0))
}

fn too_large() -> io::Error {
    io::Error::other(format!("more than the {MAX_FILE} bytes that there is room for"))
}

/// All of a file, of which `expected` bytes are. A pipe has no length, and a file can grow: a buffer that grew with it
/// would leave copies of keys behind, so what does not fit goes into another piece, and each piece is wiped.
fn wiped_pieces(mut file: impl Read, expected: usize) -> io::Result<Secret> {
    let mut pieces = Vec::new();
    let mut total = 0_usize;
    // One byte more than is expected, so that the end is seen without another piece.
    let mut room = expected.saturating_add(1);
    loop {
        let piece = filled(&mut file, room)?;
        let is_last = piece.len() < room;
        total = total.saturating_add(piece.len());
        pieces.push(piece);
        if total as u64 > MAX_FILE {
            return Err(too_large());
        }
        if is_last {
            return Ok(joined(pieces, total));
        }
        room = total.max(PIECE);
    }
}

fn joined(mut pieces: Vec<Secret>, total: usize) -> Secret {
    if pieces.len() > 1 {
        let mut whole = Secret::new(Vec::with_capacity(total));
        pieces.iter().for_each(|piece| whole.expose_mut().extend_from_slice(piece.expose()));
        return whole;
    }
    pieces.pop().unwrap_or_default()
}

/// The next `room` bytes, or as many as there are.
fn filled(file: &mut impl Read, room: usize) -> io::Result<Secret> {
    let mut piece = Secret::new(vec![0; room]);
    let mut count = 0_usize;
    while let Some(space) = piece.expose_mut().get_mut(count..).filter(|space| !space.is_empty()) {
        match file.read(space) {
            Ok(0) => break,
            Ok(more) => count = count.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.expose_mut().truncate(count);
    Ok(piece)
}

/// The same refusal, with the file in it.
pub(crate) fn in_file(path: &Path, kind: &str, refusal: Refusal) -> Refusal {
    let saw = format!("{kind} {}: {}", path.display(), refusal.saw());
    Refusal::new(refusal.code(), saw, refusal.have().to_owned())
}
