use super::data::{Data, Style};
use super::{expired, failed, stream_error};
use crate::ambient;
use crate::framing::{Frame, FrameReader, sample};
use countersign_proto::error::{Code, Explain, Refusal, code};
use countersign_proto::krb5::per_message::MessageError;
use countersign_proto::protection::Receiver;
use countersign_proto::time::Timestamp;
use std::borrow::Cow;
use std::io;
use std::ops::Range;

/// Takes the messages of the peer out of its frames.
pub(crate) struct Inbound {
    receiver: Receiver,
    reader: FrameReader,
    data: Data,
    /// Whether the peer had shown that it holds the session's key when the handshake was over.
    confirmed: bool,
    /// When nothing is taken any more.
    ends: Option<Timestamp>,
    /// What of the last message was not consumed yet, in the reader.
    message: Range<usize>,
    /// Whether the last message was the mark of the end.
    marked: bool,
    /// Whether any message came. That the receiver verified something says less: it may have been a list of mechanisms.
    had_any: bool,
    /// Whether the connection ended as it should.
    over: bool,
    /// The first frame that was refused, or error of reading: nothing after it is given out.
    broken: Option<Refusal>,
    /// What happened to the connection, if that broke it.
    broken_by: Option<io::ErrorKind>,
}

/// What there is to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pulled {
    /// A message: [`Inbound::message`].
    Message,
    /// Nothing more, for good.
    End,
    /// Nothing yet: read into [`Inbound::space`].
    NeedBytes,
}

impl Inbound {
    pub(super) fn new(
        receiver: Receiver,
        mut reader: FrameReader,
        data: Data,
        confirmed: bool,
        ends: Option<Timestamp>,
    ) -> Self {
        reader.reframe(data.header(), data.receive_limit);
        Self {
            receiver,
            reader,
            data,
            confirmed,
            ends,
            message: 0..0,
            marked: false,
            had_any: false,
            over: false,
            broken: None,
            broken_by: None,
        }
    }

    /// Opens the next message that is not empty. An empty one is the mark of the end, where the framing has one.
    ///
    /// # Errors
    /// What broke this direction, now or before: a frame that was refused, or one that came after the mark.
    pub(crate) fn pull(&mut self) -> Result<Pulled, Refusal> {
        if self.marked && self.data.mark_ends {
            return self.after_the_mark();
        }
        loop {
            match self.pull_any()? {
                Pulled::Message if !self.message.is_empty() => return Ok(Pulled::Message),
                Pulled::Message if self.data.mark_ends => return Ok(Pulled::End),
                Pulled::Message => {}
                nothing => return Ok(nothing),
            }
        }
    }

    /// Opens the next message, empty or not.
    ///
    /// # Errors
    /// As [`Self::pull`], but that messages may follow on an empty one.
    pub(crate) fn pull_any(&mut self) -> Result<Pulled, Refusal> {
        if let Some(refusal) = &self.broken {
            return Err(refusal.clone());
        }
        if self.over {
            return Ok(Pulled::End);
        }
        self.open_next().map_err(|refusal| self.break_with(refusal))
    }

    /// Looks only at what has come.
    fn after_the_mark(&mut self) -> Result<Pulled, Refusal> {
        match self.pull_any()? {
            Pulled::Message => Err(self.break_with(AfterTheEnd { bytes: self.message.len() }.into())),
            Pulled::End | Pulled::NeedBytes => Ok(Pulled::End),
        }
    }

    fn open_next(&mut self) -> Result<Pulled, Refusal> {
        self.message = 0..0;
        if !self.reader.is_ready()? {
            return Ok(Pulled::NeedBytes);
        }
        if let Some(ends) = self.ends.filter(|ends| ambient::now() > *ends) {
            return Err(expired(ends));
        }
        let Self { receiver, reader, data, .. } = self;
        let Some(frame) = reader.next_frame()? else { return Ok(Pulled::NeedBytes) };
        self.message = open(frame, *data, receiver)?;
        self.marked = self.message.is_empty();
        self.had_any = true;
        Ok(Pulled::Message)
    }

    /// What of the last message was not consumed yet. It lies where its frame lay, until bytes are read or the next message is
    /// pulled.
    pub(crate) fn message(&self) -> &[u8] {
        self.reader.bytes(self.message.clone())
    }

    /// Takes the first `count` bytes of [`Self::message`] away.
    pub(crate) fn consume(&mut self, count: usize) {
        self.message.start = self.message.start.saturating_add(count).min(self.message.end);
    }

    /// Takes all of [`Self::message`] away: it was received as a message, and is not to be read again as bytes.
    pub(crate) fn consume_all(&mut self) {
        self.message.start = self.message.end;
    }

    /// Where the next bytes of the peer go. What was left of a message is lost.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.reader.want()
    }

    /// Takes the outcome of reading into [`Self::space`].
    ///
    /// # Errors
    /// If the connection failed, or ended inside a frame or without the mark of the end.
    pub(crate) fn read(&mut self, outcome: io::Result<usize>) -> Result<(), Refusal> {
        match outcome {
            Ok(0) => self.ended(),
            Ok(count) => {
                self.reader.filled(count);
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn ended(&mut self) -> Result<(), Refusal> {
        self.reader.ended();
        match self.reader.is_ready() {
            // The end of the connection ended a message: that is to be opened first.
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(self.break_with(error.into())),
        }
        match self.reader.finish() {
            Err(cut) => Err(self.break_with(cut.into())),
            Ok(()) if self.marked || self.data.is_single() && self.had_any => {
                self.over = true;
                Ok(())
            }
            Ok(()) => {
                let have = "no empty message as the mark of its end";
                Err(self.break_with(Refusal::new(code::END_UNMARKED, "the end of the connection", have)))
            }
        }
    }

    /// Ends this direction for an error of the connection.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Refusal {
        self.broken_by = Some(error.kind());
        self.break_with(failed("reading", error))
    }

    /// When nothing is taken any more.
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

    /// Whether the peer has shown that it holds the session's key (DESIGN rule 10).
    pub(crate) fn peer_confirmed(&self) -> bool {
        self.confirmed || self.receiver.has_verified_any()
    }

    /// A refusal of this direction as the error of a stream.
    pub(crate) fn stream_error(&self, refusal: Refusal) -> io::Error {
        // All is kept but that nothing came in time.
        let timed_out = self.broken.is_none().then_some(io::ErrorKind::TimedOut);
        stream_error(refusal, timed_out.or(self.broken_by))
    }

    fn break_with(&mut self, refusal: Refusal) -> Refusal {
        self.message = 0..0;
        self.broken.get_or_insert(refusal).clone()
    }
}

/// Where in the reader the plaintext of a frame lies.
fn open(frame: Frame<'_>, data: Data, receiver: &mut Receiver) -> Result<Range<usize>, Refusal> {
    let Frame { body, start, .. } = frame;
    let whole = body.as_ptr().addr();
    let plaintext = match data.style {
        Style::Wrap { mics: true, .. } if begins_with_mic(body) => verified(body, receiver)?,
        Style::Wrap { .. } => receiver.unwrap_in_place(body)?.plaintext,
        Style::Split => joined(body, receiver)?,
        Style::Mic => verified(body, receiver)?,
    };
    if plaintext.len() > data.max_received() {
        // Frames may be longer than the longest message by what protection adds, which is not always all of it.
        let saw = format!("a message of {} bytes", plaintext.len());
        return Err(Refusal::new(code::FRAME_TOO_LONG, saw, format!("max_message {}", data.max_received())));
    }
    let start = start.saturating_add(plaintext.as_ptr().addr().saturating_sub(whole));
    Ok(start..start.saturating_add(plaintext.len()))
}

/// The plaintext of a sealed message of the SDK's sample. The token's length, which nothing else protects, must be what it is.
fn joined<'b>(body: &'b mut [u8], receiver: &mut Receiver) -> Result<&'b mut [u8], Refusal> {
    const DIVIDED: MessageError =
        MessageError::Malformed("a token of another length than it is said to have");
    let (token_len, message) = sample::sealed_message(body)?;
    let sealed_len = message.len().saturating_sub(token_len).saturating_sub(sample::padding(message));
    let plaintext = receiver.unwrap_in_place(message)?.plaintext;
    if plaintext.len() == sealed_len { Ok(plaintext) } else { Err(DIVIDED.into()) }
}

/// RFC 4121 section 4.2.6.1; NTLM's signatures begin otherwise, and stand before the text in wrap tokens, too.
fn begins_with_mic(body: &[u8]) -> bool {
    body.starts_with(&[0x04, 0x04])
}

/// The clear text behind a MIC token.
fn verified<'b>(body: &'b mut [u8], receiver: &mut Receiver) -> Result<&'b mut [u8], Refusal> {
    const SHORT: MessageError = MessageError::Malformed("fewer bytes than a signature has");
    let (mic, text) = body.split_at_mut_checked(receiver.mic_len()).ok_or(SHORT)?;
    receiver.verify_mic(&[text], mic)?;
    Ok(text)
}

/// The peer goes on after it said that it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message of {bytes} bytes")]
struct AfterTheEnd {
    bytes: usize,
}

impl Explain for AfterTheEnd {
    fn code(&self) -> Code {
        code::MESSAGE_OUT_OF_ORDER
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        "the mark of the end, after which there is none".into()
    }

    fn advice(&self) -> Cow<'static, str> {
        "the peer is faulty, or takes empty messages for others: call receive_any if it may".into()
    }
}
