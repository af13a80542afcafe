//! Another time for one program, by libfaketime.

use std::ffi::OsString;
use std::path::PathBuf;

/// The time that a program is made to believe in: the machine's, moved by a fixed number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Seconds added to the machine's clock; negative is the past.
    pub offset_seconds: i64,
}

impl Clock {
    /// A clock moved by `seconds`.
    #[must_use]
    pub const fn offset(seconds: i64) -> Self {
        Self { offset_seconds: seconds }
    }

    /// The variables that make a dynamically linked program read this clock as wall clock. Intervals are left alone, so
    /// that timeouts work.
    ///
    /// # Panics
    /// If libfaketime is not installed.
    #[must_use]
    pub fn env(self) -> Vec<(String, OsString)> {
        vec![
            ("LD_PRELOAD".into(), libfaketime().into()),
            ("FAKETIME".into(), format!("{:+}", self.offset_seconds).into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]
    }
}

/// The library, in whichever architecture's folder it stands. The build for threaded programs serves all.
fn libfaketime() -> PathBuf {
    let name = "faketime/libfaketimeMT.so.1";
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib is readable");
    folders
        .flatten()
        .map(|folder| folder.path().join(name))
        .chain([PathBuf::from("/usr/lib").join(name)])
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("libfaketime is not installed; scripts/install-peers installs it"))
}
