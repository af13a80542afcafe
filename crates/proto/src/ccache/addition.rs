//! Adding tickets to a cache where it lies.

use super::read::Records;
use super::write::record_bytes;
use super::{CcacheError, Credential};
use crate::secret::Secret;

/// What is to be done to the bytes of a cache file so that it holds further tickets. Only its end grows, so a program that
/// waits for its turn to append to the same file loses nothing.
pub struct Addition {
    /// How much of the file is whole, in bytes; what follows is the start of an entry that was never finished.
    pub end: usize,
    /// Entries to append there, in one write.
    pub append: Secret,
    /// Then, what to overwrite so that the tickets which were replaced count no more.
    pub removals: Vec<Removal>,
}

/// Deletes an entry in the way of MIT's library: with times that no ticket has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removal {
    /// Where to write, in bytes from the start of the file.
    pub offset: usize,
    /// What to write: authtime of ones, the starttime as it was, endtime of zeros.
    pub times: [u8; 12],
}

impl Addition {
    /// Adds `credentials` to the cache `file`, in place of those that they [replace](Credential::replaces); of two in
    /// `credentials` the later one counts. One that the file holds already, the same ticket, is not added again.
    ///
    /// # Errors
    /// If `file` is no credential cache, or a ticket does not fit the format.
    pub fn plan(file: &[u8], credentials: &[Credential]) -> Result<Self, CcacheError> {
        let Records { records, end, .. } = Records::parse(file)?.with_whole_entries()?;
        let mut removals = Vec::new();
        let mut appended = Vec::new();
        for (index, credential) in credentials.iter().enumerate() {
            let mut later = credentials.iter().skip(index.saturating_add(1));
            if later.any(|later| later.replaces(credential)) {
                continue;
            }
            let mut is_held = false;
            for record in records.iter().filter(|record| record.is_live_ticket()) {
                let known = &record.credential;
                if !credential.replaces(known) {
                    continue;
                }
                if credential.ticket == known.ticket && !is_held {
                    is_held = true;
                } else {
                    removals.push(removal(record.times, known));
                }
            }
            if !is_held {
                appended.push(credential);
            }
        }
        Ok(Self { end, append: record_bytes(appended.into_iter())?, removals })
    }
}

fn removal(offset: usize, known: &Credential) -> Removal {
    let starttime = u32::try_from(known.starttime.seconds()).unwrap_or_default().to_be_bytes();
    let mut times = [0; 12];
    let (authtime, rest) = times.split_at_mut(4);
    authtime.fill(u8::MAX);
    rest.iter_mut().zip(starttime).for_each(|(to, from)| *to = from);
    Removal { offset, times }
}
