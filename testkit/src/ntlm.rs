//! Accounts for NTLM without a domain.

use crate::paths;
use crate::realm::Env;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of NTLM accounts, and what makes programs use it: MIT's GSS-API with gss-ntlmssp as its NTLM mechanism, and
/// pyspnego. An acceptor knows all accounts of the file; an initiator that is told no name is the first one.
#[derive(Debug)]
pub struct NtlmUsers {
    file: PathBuf,
    mechanisms: PathBuf,
    domain: String,
    _folder: TempDir,
}

impl NtlmUsers {
    /// Accounts as domain, user and password.
    ///
    /// # Panics
    /// If there is none, if gss-ntlmssp is not there, or if a text has a colon or a line's end, which the file cannot hold.
    #[must_use]
    #[track_caller]
    pub fn new(users: &[(&str, &str, &str)]) -> Self {
        let folder =
            tempfile::Builder::new().prefix("countersign-ntlm-").tempdir().expect("a temporary folder");
        let (file, mechanisms) = (folder.path().join("users"), folder.path().join("mechanisms"));
        std::fs::write(&file, users.iter().map(line).collect::<String>()).expect("the folder is writable");
        let mechanism = format!("gssntlmssp_v1 1.3.6.1.4.1.311.2.2.10 {}\n", plugin().display());
        std::fs::write(&mechanisms, mechanism).expect("the folder is writable");
        let (domain, ..) = users.first().expect("at least one account");
        Self { file, mechanisms, domain: (*domain).to_owned(), _folder: folder }
    }

    /// The file, with a line `DOMAIN:USER:PASSWORD` for each account.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The variables for an initiator or acceptor. The names that an acceptor gives itself are `PEER` in the first
    /// account's domain.
    #[must_use]
    pub fn env(&self) -> Env {
        vec![
            ("NTLM_USER_FILE".into(), self.file.clone().into()),
            ("GSS_MECH_CONFIG".into(), self.mechanisms.clone().into()),
            ("NETBIOS_COMPUTER_NAME".into(), "PEER".into()),
            ("NETBIOS_DOMAIN_NAME".into(), self.domain.clone().into()),
        ]
    }
}

#[track_caller]
fn line((domain, user, password): &(&str, &str, &str)) -> String {
    for text in [domain, user, password] {
        assert!(!text.contains([':', '\n']), "{text:?} does not fit into a file of NTLM users");
    }
    format!("{domain}:{user}:{password}\n")
}

/// gss-ntlmssp, in whichever architecture's folder it was unpacked.
#[track_caller]
fn plugin() -> PathBuf {
    let folder = paths::target_dir().join("peers/gss-ntlmssp/usr/lib");
    let libraries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    libraries
        .map(|library| library.path().join("gssntlmssp/gssntlmssp.so"))
        .find_map(|plugin| plugin.canonicalize().ok())
        .unwrap_or_else(|| panic!("no gss-ntlmssp in {}; scripts/install-peers gets it", folder.display()))
}
