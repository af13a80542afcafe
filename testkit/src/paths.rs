//! Where things are on the machine and in the tree.

use std::path::{Path, PathBuf};

/// Cargo's target folder: everything the harness builds stands in it. A relative CARGO_TARGET_DIR is one below the
/// workspace, where cargo and scripts/install-peers are started.
pub(crate) fn target_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    workspace.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The folder of the peers' sources.
pub(crate) fn peer_sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// The path of an installed program. System folders are looked into even if PATH, as an ordinary user's, leaves them out.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; scripts/install-peers installs it"))
}
