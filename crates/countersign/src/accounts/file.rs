use super::{Accounts, Answer};
use crate::files;
use countersign_proto::error::{Refusal, code};
use countersign_proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign_proto::ntlm::{NtHash, nt_hash};
use countersign_proto::secret::Secret;
use std::collections::BTreeMap;
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

    /// The same for every spelling of the name.
    fn folded(&self) -> Folded {
        (self.user.to_uppercase(), self.domain.to_uppercase())
    }
}

/// User and domain in upper case.
type Folded = (String, String);

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
    accounts: BTreeMap<Folded, Account>,
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
        let mut accounts = BTreeMap::new();
        for (index, line) in text.expose().split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let refused = |have| {
                let saw = format!("accounts file {} line {}", path.display(), index.saturating_add(1));
                Refusal::new(code::NTLM_ACCOUNTS_UNREADABLE, saw, have)
            };
            let account = account(line)
                .ok_or_else(|| refused("the form DOMAIN\\user:HASH, HASH being 32 hex digits"))?;
            if accounts.insert(account.name.folded(), account).is_some() {
                return Err(refused("an account of that name in an earlier line"));
            }
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
                account(line.trim_ascii()).is_some_and(|account| account.name.folded() == name.folded());
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

    /// The account of that very domain, or the one that goes by any; both are looked for whatever is found.
    fn find(&self, request: &VerifyRequest) -> Option<&Account> {
        // Windows sends a name of the form user@domain whole, and no domain.
        let (user, domain) = match request.user.rsplit_once('@') {
            Some((user, domain)) if request.domain.is_empty() => (user, domain),
            _ => (request.user.as_str(), request.domain.as_str()),
        };
        let user = user.to_uppercase();
        let exact = self.accounts.get(&(user.clone(), domain.to_uppercase()));
        let of_any_domain = self.accounts.get(&(user, String::new()));
        exact.or(of_any_domain)
    }

    fn verify_now(&self, request: &VerifyRequest) -> Verdict {
        let account = self.find(request);
        let verified = request.verify_with(account.map_or(&self.nobody, |account| &account.hash));
        match (account, verified) {
            (Some(Account { name, .. }), Some(session_base_key)) => {
                // As the file has it: the domain in the request is whatever the client wrote.
                let (user, domain) = (name.user.clone(), name.domain.clone());
                Verdict::Valid { session_base_key, identity: Identity { user, domain, guest: false } }
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
    let ours = !matches!(&written, Err(error) if error.kind() == io::ErrorKind::AlreadyExists);
    if written.is_err() && ours {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[(&str, &str)]) -> Result<AccountFile, Refusal> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts");
        for (name, password) in lines {
            AccountFile::set(&path, &AccountName::parse(name)?, password)?;
        }
        AccountFile::open(&path)
    }

    /// What a client with `password` is taken for.
    fn known(file: &AccountFile, user: &str, domain: &str, password: &str) -> Option<(String, String)> {
        use countersign_proto::ntlm::keys::NtowfV2;
        let temp = [3; 40];
        let proof = NtowfV2::new(&nt_hash(password), user, domain).nt_proof(&[1; 8], &temp);
        let request = VerifyRequest {
            user: user.to_owned(),
            domain: domain.to_owned(),
            workstation: String::new(),
            server_challenge: [1; 8],
            lm_response: Vec::new(),
            nt_response: [&proof[..], &temp[..]].concat(),
        };
        match file.verify_now(&request) {
            Verdict::Valid { identity, .. } => Some((identity.user, identity.domain)),
            _ => None,
        }
    }

    fn name(user: &str, domain: &str) -> Option<(String, String)> {
        Some((user.to_owned(), domain.to_owned()))
    }

    #[test]
    fn an_account_without_domain_is_nobody_of_the_domain_that_the_client_wrote() {
        let file = file(&[("admin", "one")]).unwrap();
        assert_eq!(known(&file, "admin", "CORP", "one"), name("admin", ""));
        assert_eq!(known(&file, "admin", "", "one"), name("admin", ""));
        assert_eq!(known(&file, "admin", "CORP", "two"), None);
    }

    #[test]
    fn the_account_of_the_domain_comes_before_the_one_of_any() {
        let file = file(&[("alice", "one"), ("CORP\\alice", "two")]).unwrap();
        assert_eq!(known(&file, "alice", "corp", "two"), name("alice", "CORP"));
        assert_eq!(known(&file, "alice", "corp", "one"), None);
        assert_eq!(known(&file, "ALICE", "OTHER", "one"), name("alice", ""));
    }

    #[test]
    fn a_name_that_has_its_domain_in_it_finds_the_account_of_that_domain() {
        let file = file(&[("CORP\\alice", "one")]).unwrap();
        assert_eq!(known(&file, "alice@corp", "", "one"), name("alice", "CORP"));
        assert_eq!(known(&file, "alice@other", "", "one"), None);
        assert_eq!(known(&file, "alice@corp", "OTHER", "one"), None);
    }

    #[test]
    fn setting_a_password_again_replaces_it() {
        let file = file(&[("CORP\\alice", "one"), ("corp\\ALICE", "two")]).unwrap();
        assert_eq!(known(&file, "alice", "CORP", "one"), None);
        assert_eq!(known(&file, "alice", "CORP", "two"), name("ALICE", "corp"));
    }
}
