use super::{Accounts, Answer};
use crate::files;
use countersign_proto::error::{Refusal, code};
use countersign_proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign_proto::ntlm::{NtHash, nt_hash};
use countersign_proto::secret::Secret;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// An account's name. Letter case does not count, as on Windows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountName {
    /// Domain, or nothing for an account that goes by any.
    pub domain: String,
    /// User.
    pub user: String,
}

impl AccountName {
    /// Reads `DOMAIN\user`, `user@DOMAIN` or `user`.
    ///
    /// # Errors
    /// If a part is empty, or has a byte that a line of the file cannot hold.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (domain, user) = match (text.split_once('\\'), text.rsplit_once('@')) {
            (Some((domain, user)), _) => (Some(domain), user),
            (None, Some((user, domain))) => (Some(domain), user),
            (None, None) => (None, text),
        };
        let unfit = |part: &str| part.is_empty() || part.contains(['\\', ':', '\n', '\r', '\0', '#']);
        if unfit(user) || domain.is_some_and(unfit) {
            let have = "the forms DOMAIN\\user, user@DOMAIN and user, without : \\ # and line ends in a part";
            return Err(Refusal::new(code::USAGE, format!("account name {text:?}"), have));
        }
        Ok(Self { domain: domain.unwrap_or_default().to_owned(), user: user.to_owned() })
    }

    fn fits(&self, request: &VerifyRequest) -> bool {
        let same = |a: &str, b: &str| a.to_uppercase() == b.to_uppercase();
        same(&self.user, &request.user) && (self.domain.is_empty() || same(&self.domain, &request.domain))
    }
}

/// `DOMAIN\user`, or `user`.
impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() {
            f.write_str(&self.user)
        } else {
            write!(f, "{}\\{}", self.domain, self.user)
        }
    }
}

struct Account {
    name: AccountName,
    hash: NtHash,
}

/// Accounts in a file: a line `DOMAIN\user:HASH` each, HASH the NT hash in hex; lines that begin with `#` and empty lines
/// are passed over. Whoever reads the file can log in as any of them, so it must be its owner's alone (mode 0600).
pub struct AccountFile {
    accounts: Vec<Account>,
    /// Verified with where no account fits, so that both cases take the same time.
    nobody: NtHash,
}

impl AccountFile {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, or a line is no account.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let text = read_private(path)?;
        let mut accounts = Vec::new();
        for (index, line) in text.expose().split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            accounts.push(account(line).ok_or_else(|| {
                let saw = format!("accounts file {} line {}", path.display(), index.saturating_add(1));
                Refusal::new(
                    code::NTLM_ACCOUNTS_UNREADABLE,
                    saw,
                    "the form DOMAIN\\user:HASH, HASH being 32 hex digits",
                )
            })?);
        }
        Ok(Self { accounts, nobody: nt_hash("") })
    }

    /// Adds an account to the file, or changes its password; makes the file if there is none. The new file takes the
    /// place of the old one in one step.
    ///
    /// # Errors
    /// If the file cannot be read or written, or others may read it.
    pub fn set(path: &Path, name: &AccountName, password: &str) -> Result<(), Refusal> {
        let old = if path.exists() { read_private(path)? } else { Secret::default() };
        // Room for all of it at once: a buffer that grows leaves copies of hashes behind.
        let mut new = Secret::new(Vec::with_capacity(old.len().saturating_add(1_024)));
        for line in old.expose().split_inclusive(|byte| *byte == b'\n') {
            let replaced =
                account(line.trim_ascii()).is_some_and(|account| same_account(&account.name, name));
            if !replaced {
                new.expose_mut().extend_from_slice(line);
            }
        }
        if new.expose().last().is_some_and(|last| *last != b'\n') {
            new.expose_mut().push(b'\n');
        }
        let hash = nt_hash(password);
        let line = Secret::new(format!("{name}:{}\n", hex::encode(hash.expose())).into_bytes());
        new.expose_mut().extend_from_slice(line.expose());
        replace(path, &new)
    }

    fn verify_now(&self, request: &VerifyRequest) -> Verdict {
        let account = self.accounts.iter().find(|account| account.name.fits(request));
        let verified = request.verify_with(account.map_or(&self.nobody, |account| &account.hash));
        match (account, verified) {
            (Some(account), Some(session_base_key)) => {
                let domain = Some(&account.name.domain).filter(|domain| !domain.is_empty());
                let identity = Identity {
                    user: account.name.user.clone(),
                    domain: domain.unwrap_or(&request.domain).clone(),
                    guest: false,
                };
                Verdict::Valid { session_base_key, identity }
            }
            _ => Verdict::Invalid,
        }
    }
}

impl Accounts for AccountFile {
    fn verify<'a>(&'a self, request: &'a VerifyRequest) -> Answer<'a> {
        Box::pin(std::future::ready(self.verify_now(request)))
    }
}

fn same_account(a: &AccountName, b: &AccountName) -> bool {
    a.user.to_uppercase() == b.user.to_uppercase() && a.domain.to_uppercase() == b.domain.to_uppercase()
}

fn account(line: &[u8]) -> Option<Account> {
    let at = line.iter().position(|byte| *byte == b':')?;
    let (name, hash) = (line.get(..at)?, line.get(at.saturating_add(1)..)?);
    let name = AccountName::parse(std::str::from_utf8(name).ok()?).ok()?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(hash.trim_ascii(), &mut bytes).ok()?;
    Some(Account { name, hash: NtHash::new(bytes) })
}

fn unreadable(path: &Path, error: &io::Error) -> Refusal {
    let saw = format!("accounts file {} ({error})", path.display());
    Refusal::new(code::NTLM_ACCOUNTS_UNREADABLE, saw, "no other source of accounts")
}

fn read_private(path: &Path) -> Result<Secret, Refusal> {
    let failed = |error: io::Error| unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    refuse_open_mode(path, &metadata)?;
    files::contents(file).map_err(failed)
}

#[cfg(unix)]
fn refuse_open_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), Refusal> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let saw = format!("accounts file {} with mode {mode:04o}", path.display());
    Err(Refusal::new(code::NTLM_ACCOUNTS_EXPOSED, saw, "a need for mode 0600"))
}

#[cfg(not(unix))]
fn refuse_open_mode(_: &Path, _: &fs::Metadata) -> Result<(), Refusal> {
    Ok(())
}

/// Writes beside the file and puts the new one in its place: a reader sees the old one or the new one, whole.
fn replace(path: &Path, bytes: &Secret) -> Result<(), Refusal> {
    let failed = |error: io::Error| unreadable(path, &error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = Path::new(&beside);
    let written = write_private(beside, bytes).and_then(|()| fs::rename(beside, path));
    if written.is_err() {
        // What could not be finished must not stay; if it cannot be removed either, the first error tells more.
        let _ = fs::remove_file(beside);
    }
    written.map_err(failed)
}

fn write_private(path: &Path, bytes: &Secret) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes.expose())?;
    file.sync_all()
}
