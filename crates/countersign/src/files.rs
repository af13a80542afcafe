//! The files that a service or client is given: keytabs, credential caches, certificates.

use countersign_proto::ccache::Ccache;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::{ChannelBindings, tls_server_end_point};
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::secret::Secret;
#[cfg(unix)]
use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
#[cfg(unix)]
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Largest file that is read, in bytes: a keytab of about 100,000 keys.
const MAX_FILE: u64 = 16 << 20;

/// Least room of a piece of a file whose length is not known, in bytes.
const PIECE: usize = 4_096;

/// How long a program that is writing a credential cache is waited for.
#[cfg(unix)]
const LOCK_WAIT: Duration = Duration::from_secs(3);

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

/// The credential cache at `path`, as it stands while no other program writes it: it is read under a shared POSIX record
/// lock, as MIT's library does, which has the exclusive one while it changes a cache. Another program's lock is waited for,
/// 3 seconds at most.
///
/// # Errors
/// If it cannot be read, stays locked, or is no credential cache.
pub fn ccache(path: &Path) -> Result<Ccache, Refusal> {
    let kind = "credential cache";
    let bytes = File::open(path)
        .and_then(settled_contents)
        .map_err(|error| unreadable(path, kind, code::CCACHE_UNREADABLE, &error))?;
    Ccache::parse(bytes.expose()).map_err(|error| in_file(path, kind, error.into()))
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

/// The contents of a file that other programs change under a lock.
#[cfg(unix)]
fn settled_contents(file: File) -> io::Result<Secret> {
    // The lock is the whole process's, and goes with any descriptor of the file that it closes: threads take turns.
    static TURN: Mutex<()> = Mutex::new(());
    if !file.metadata()?.is_file() {
        return contents(file);
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    lock_shared(&file)?;
    contents(file)
}

#[cfg(not(unix))]
fn settled_contents(file: File) -> io::Result<Secret> {
    contents(file)
}

/// Takes the lock until the file is closed.
#[cfg(unix)]
fn lock_shared(file: &File) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match fcntl_lock(file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::AGAIN | Errno::ACCESS) if began.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let seconds = LOCK_WAIT.as_secs();
                return Err(io::Error::other(format!("locked by another program for {seconds} s")));
            }
            Err(Errno::INTR) => {}
            // Where the file system has no locks nobody else has one either.
            Ok(()) | Err(Errno::NOLCK | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn unreadable(path: &Path, kind: &str, code: Code, error: &io::Error) -> Refusal {
    Refusal::new(code, format!("{kind} {} ({error})", path.display()), "nothing to read instead")
}

/// All of a file of at most [`MAX_FILE`] bytes.
pub(crate) fn contents(file: File) -> io::Result<Secret> {
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
fn in_file(path: &Path, kind: &str, refusal: Refusal) -> Refusal {
    let saw = format!("{kind} {}: {}", path.display(), refusal.saw());
    Refusal::new(refusal.code(), saw, refusal.have().to_owned())
}
