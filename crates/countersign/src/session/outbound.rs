use super::data::{Data, Style};
use super::{expired, failed, stream_error, timed_out};
use crate::ambient;
use crate::framing::dword;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::per_message::{Confidentiality, Layout, MessageError};
use countersign_proto::protection::Sender;
use countersign_proto::time::Timestamp;
use std::io;
use std::time::Duration;
use zeroize::Zeroizing;

/// Makes frames of the messages that this end sends, and knows how much of the last one was written: a frame that was
/// begun is ended before another one, whatever became of the call that began it.
pub(crate) struct Outbound {
    sender: Sender,
    data: Data,
    /// When nothing is sent any more.
    ends: Option<Timestamp>,
    /// Used again for every frame.
    frame: Vec<u8>,
    /// How much of the frame was written.
    written: usize,
    /// What a stream of bytes has written so far, where all of it is one message.
    collected: Zeroizing<Vec<u8>>,
    /// Whether the last message was the mark of the end, or the only one that there may be.
    marked: bool,
    /// The first error of writing: how much the peer has is not known, so nothing more is sent.
    broken: Option<Refusal>,
    /// What happened to the connection, if that broke it.
    broken_by: Option<io::ErrorKind>,
}

impl Outbound {
    pub(super) fn new(sender: Sender, data: Data, ends: Option<Timestamp>) -> Self {
        Self {
            sender,
            data,
            ends,
            frame: Vec::new(),
            written: 0,
            collected: Zeroizing::default(),
            marked: false,
            broken: None,
            broken_by: None,
        }
    }

    /// Longest plaintext of one message, in bytes.
    pub(crate) fn max_message(&self) -> usize {
        self.data.max_sent(&self.sender)
    }

    /// Makes the frame of one message, once nothing [remains](Self::remaining) of the one before.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let longest = self.max_message();
        if message.len() > longest {
            return Err(too_long(message.len(), longest));
        }
        if self.is_at_its_end() {
            return Err(second_message());
        }
        self.make_frame(message.len(), std::iter::once(message))?;
        self.marked = message.is_empty() || self.data.is_single();
        Ok(())
    }

    /// Whether the message that was sealed is the only one that there may be.
    pub(crate) fn is_at_its_end(&self) -> bool {
        self.data.is_single() && self.marked
    }

    /// Makes a frame of as many of the bytes of a stream as it is to have, and says how many those are.
    pub(crate) fn seal_some<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<usize, Refusal> {
        if self.data.is_single() {
            return self.collect(parts);
        }
        let offered = parts.clone().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let length = offered.min(self.data.max_record(&self.sender));
        // An empty message would be the mark of the end.
        if length > 0 {
            self.make_frame(length, parts)?;
            self.marked = false;
        }
        Ok(length)
    }

    /// Makes the frame that ends this direction, unless it was made already: the mark, or what was collected.
    pub(crate) fn seal_end(&mut self) -> Result<(), Refusal> {
        if self.marked {
            return Ok(());
        }
        let collected = std::mem::take(&mut self.collected);
        self.seal(&collected)
    }

    fn collect<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> Result<usize, Refusal> {
        if self.is_at_its_end() {
            return Err(second_message());
        }
        let (before, longest) = (self.collected.len(), self.max_message());
        for part in parts {
            let length = self.collected.len().saturating_add(part.len());
            if length > longest {
                self.collected.truncate(before);
                return Err(too_long(length, longest));
            }
            if length > self.collected.capacity() {
                // Not grown in place: that would leave a copy behind which is not wiped.
                let mut grown = Zeroizing::new(Vec::with_capacity(length.saturating_mul(2)));
                grown.extend_from_slice(&self.collected);
                self.collected = grown;
            }
            self.collected.extend_from_slice(part);
        }
        Ok(self.collected.len().saturating_sub(before))
    }

    fn make_frame<'a>(
        &mut self,
        length: usize,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Refusal> {
        self.check_time()?;
        self.frame.clear();
        self.written = 0;
        // Half a frame must not be sent with the next one.
        self.fill_frame(length, parts).inspect_err(|_| self.frame.clear())
    }

    /// Header, what the layout has before the plaintext, the plaintext, what it has behind: and then protects it in place.
    fn fill_frame<'a>(
        &mut self,
        length: usize,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Refusal> {
        let Layout { prefix, trailer } = self.data.layout(&self.sender, length);
        let header_len = self.data.header_len();
        let token_len = prefix.saturating_add(length).saturating_add(trailer);
        let header = match self.data.style {
            Style::Wrap { .. } => dword::header(token_len, self.data.send_limit)?,
            _ => u32::try_from(prefix).unwrap_or(u32::MAX).to_le_bytes(),
        };
        let frame = &mut self.frame;
        frame.reserve(header_len.saturating_add(token_len));
        frame.extend_from_slice(header.get(..header_len).unwrap_or_default());
        frame.resize(header_len.saturating_add(prefix), 0);
        let mut left = length;
        for part in parts {
            let part = part.get(..left).unwrap_or(part);
            frame.extend_from_slice(part);
            left = left.saturating_sub(part.len());
        }
        frame.resize(header_len.saturating_add(token_len), 0);
        let token = frame.get_mut(header_len..).unwrap_or_default();
        protect(&mut self.sender, self.data.style, prefix, token)?;
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

    /// When nothing is sent any more.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// Ends this direction if its time is over.
    pub(crate) fn check_time(&mut self) -> Result<(), Refusal> {
        match self.ends.filter(|ends| ambient::now() > *ends) {
            Some(ends) => Err(self.break_with(expired(ends))),
            None => Ok(()),
        }
    }

    /// Ends this direction for an error of the connection.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Refusal {
        self.broken_by = Some(error.kind());
        self.break_with(failed("writing", error))
    }

    /// Ends this direction because the peer did not take a message within `limit`.
    pub(crate) fn timed_out(&mut self, limit: Duration) -> Refusal {
        self.broken_by = Some(io::ErrorKind::TimedOut);
        self.break_with(timed_out("a message that the peer does not take", limit))
    }

    /// A refusal of this direction as the error of a stream.
    pub(crate) fn stream_error(&self, refusal: Refusal) -> io::Error {
        stream_error(refusal, self.broken_by)
    }

    fn break_with(&mut self, refusal: Refusal) -> Refusal {
        self.broken.get_or_insert(refusal).clone()
    }
}

fn second_message() -> Refusal {
    Refusal::new(code::ONE_MESSAGE_ONLY, "a second message", "a framing that has room for one message")
}

fn too_long(length: usize, longest: usize) -> Refusal {
    let saw = format!("a message of {length} bytes");
    Refusal::new(code::MESSAGE_TOO_LONG, saw, format!("max_message {longest}"))
}

/// Protects a message where it lies, `prefix` bytes behind the beginning of `token`.
fn protect(sender: &mut Sender, style: Style, prefix: usize, token: &mut [u8]) -> Result<(), MessageError> {
    const SHORT: MessageError = MessageError::Malformed("a buffer shorter than the layout");
    let rng = &mut ambient::rng();
    match style {
        Style::Wrap { confidentiality, .. } => sender.wrap_in_place(confidentiality, token, rng),
        Style::Split => sender.wrap_split_in_place(Confidentiality::Sealed, token, rng),
        Style::Mic => {
            let (space, text) = token.split_at_mut_checked(prefix).ok_or(SHORT)?;
            let mut mic = Vec::with_capacity(prefix);
            sender.mic(&[text], &mut mic)?;
            if space.len() != mic.len() {
                return Err(SHORT);
            }
            space.copy_from_slice(&mic);
            Ok(())
        }
    }
}
