use std::fs::File;
use std::io;
#[cfg(unix)]
use {
    rustix::{
        fs::{FlockOperation, fcntl_lock},
        io::Errno,
    },
    std::{
        sync::{Mutex, MutexGuard, PoisonError},
        time::{Duration, Instant},
    },
};

/// How long a program that is writing a file is waited for.
#[cfg(unix)]
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// The lock is the whole process's, and goes with any descriptor of the file that it closes: threads take turns.
#[cfg(unix)]
static TURN: Mutex<()> = Mutex::new(());

/// An open file under a POSIX record lock, which MIT's and Heimdal's libraries take too when they read or change a credential
/// cache or keytab. It is held until this is dropped.
pub(crate) struct Lock {
    file: File,
    // After the file, so that no other thread has its turn before the file is closed.
    #[cfg(unix)]
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Lock {
    /// Keeps writers away. `file` is open for reading.
    ///
    /// # Errors
    /// If another program writes it for 3 seconds.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        #[cfg(unix)]
        return Self::take(file, FlockOperation::NonBlockingLockShared);
        #[cfg(not(unix))]
        return Ok(Self::none(file));
    }

    /// Keeps readers and writers away. `file` is open for writing.
    ///
    /// # Errors
    /// If another program reads or writes it for 3 seconds.
    #[cfg(unix)]
    pub(crate) fn exclusive(file: File) -> io::Result<Self> {
        Self::take(file, FlockOperation::NonBlockingLockExclusive)
    }

    /// The file without a lock, for what nobody locks.
    pub(crate) fn none(file: File) -> Self {
        Self {
            file,
            #[cfg(unix)]
            _turn: None,
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    #[cfg(unix)]
    fn take(file: File, operation: FlockOperation) -> io::Result<Self> {
        // Should the lock not be had, the file is closed before the turn ends.
        let held = Self { file, _turn: Some(TURN.lock().unwrap_or_else(PoisonError::into_inner)) };
        let began = Instant::now();
        loop {
            match fcntl_lock(&held.file, operation) {
                Err(Errno::AGAIN | Errno::ACCESS) if began.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    let seconds = LOCK_WAIT.as_secs();
                    return Err(io::Error::other(format!("locked by another program for {seconds} s")));
                }
                Err(Errno::INTR) => {}
                // Where the file system has no locks nobody else has one either.
                Ok(()) | Err(Errno::NOLCK | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    return Ok(held);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
