//! The files under systems/: a tree for each system, as it stands below its root.

use crate::Files;
use std::path::{Path, PathBuf};

/// Each system, and the list of files that its libraries begin with.
pub(crate) const SYSTEMS: [(&str, &[&str]); 6] = [
    ("debian", &["/etc/krb5.conf"]),
    ("freeipa", &["/etc/krb5.conf"]),
    ("heimdal", &["/etc/krb5.conf"]),
    ("macos", &["/Library/Preferences/edu.mit.Kerberos", "/etc/krb5.conf"]),
    ("realmd", &["/etc/krb5.conf"]),
    ("rhel", &["/etc/krb5.conf"]),
];

/// All files of a system, by their paths below its root.
pub(crate) fn system(name: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/krb5conf/systems").join(name);
    let mut files = Files::new();
    collect(&root, &root, &mut files);
    assert!(!files.is_empty(), "{}", root.display());
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = format!("/{}", path.strip_prefix(root).unwrap().to_str().unwrap());
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}
