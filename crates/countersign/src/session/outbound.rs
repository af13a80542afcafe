use super::{failed, timed_out};
use crate::ambient;
use crate::framing::data_limit;
use crate::framing::dword::{self, HEADER_LEN};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::protection::Sender;
use std::io;
use std::time::Duration;

/// Makes frames of the messages that this end sends, and knows how much of the last one was written: a frame that was
/// begun is ended before another one, whatever became of the call that began it.
pub(crate) struct Outbound {
    sender: Sender,
    max_message: usize,
    /// Used again for every frame.
    frame: Vec<u8>,
    /// How much of the frame was written.
    written: usize,
    /// Whether the last message was the mark of the end.
    marked: bool,
    /// The first error of writing: how much the peer has is not known, so nothing more is sent.
    broken: Option<Refusal>,
}

impl Outbound {
    pub(super) fn new(sender: Sender, max_message: usize) -> Self {
        Self { sender, max_message, frame: Vec::new(), written: 0, marked: false, broken: None }
    }

    /// Makes the frame of one sealed message, once nothing [remains](Self::remaining) of the one before.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Result<(), Refusal> {
        if message.len() > self.max_message {
            let saw = format!("a message of {} bytes", message.len());
            return Err(Refusal::new(
                code::MESSAGE_TOO_LONG,
                saw,
                format!("max_message {}", self.max_message),
            ));
        }
        self.frame.clear();
        self.written = 0;
        // Half a frame must not be sent with the next one.
        self.fill_frame(message).inspect_err(|_| self.frame.clear())?;
        self.marked = message.is_empty();
        Ok(())
    }

    /// The same for the mark of the end, unless it was the last message anyway.
    pub(crate) fn seal_mark(&mut self) -> Result<(), Refusal> {
        if self.marked { Ok(()) } else { self.seal(&[]) }
    }

    fn fill_frame(&mut self, message: &[u8]) -> Result<(), Refusal> {
        self.frame.extend_from_slice(&[0; HEADER_LEN]);
        self.sender.wrap(Confidentiality::Sealed, message, &mut ambient::rng(), &mut self.frame)?;
        let length = self.frame.len().saturating_sub(HEADER_LEN);
        let header = dword::header(length, data_limit(self.max_message))?;
        if let Some(space) = self.frame.first_chunk_mut() {
            *space = header;
        }
        Ok(())
    }

    /// What is still to be written of the last frame.
    pub(crate) fn remaining(&self) -> Result<&[u8], Refusal> {
        match &self.broken {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(self.frame.get(self.written..).unwrap_or_default()),
        }
    }

    /// Takes the outcome of writing [what remains](Self::remaining).
    pub(crate) fn wrote(&mut self, outcome: io::Result<usize>) -> Result<(), Refusal> {
        match outcome {
            Ok(0) => Err(self.failed(&io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                self.written = self.written.saturating_add(count);
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Ends this direction for an error of the connection.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Refusal {
        self.break_with(failed("writing", error))
    }

    /// Ends this direction because the peer did not take a message within `limit`.
    pub(crate) fn timed_out(&mut self, limit: Duration) -> Refusal {
        self.break_with(timed_out("a message that the peer does not take", limit))
    }

    fn break_with(&mut self, refusal: Refusal) -> Refusal {
        self.broken.get_or_insert(refusal).clone()
    }
}
