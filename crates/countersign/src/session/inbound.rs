use super::failed;
use crate::framing::data_limit;
use crate::framing::dword::FrameReader;
use countersign_proto::error::{Code, Explain, Refusal, code};
use countersign_proto::protection::Receiver;
use std::borrow::Cow;
use std::io;

/// Takes the messages of the peer out of its frames.
pub(crate) struct Inbound {
    receiver: Receiver,
    reader: FrameReader,
    max_message: usize,
    /// Whether the peer had shown that it holds the session's key when the handshake was over.
    confirmed: bool,
    /// Whether the last message was the mark of the end.
    marked: bool,
    /// The first frame that was refused, or error of reading: nothing after it is given out.
    broken: Option<Refusal>,
}

impl Inbound {
    pub(super) fn new(
        receiver: Receiver,
        mut reader: FrameReader,
        confirmed: bool,
        max_message: usize,
    ) -> Self {
        reader.set_limit(data_limit(max_message));
        Self { receiver, reader, max_message, confirmed, marked: false, broken: None }
    }

    /// Whether the last message was the mark of the end. Looks only at what has come.
    ///
    /// # Errors
    /// What broke this direction; or that a further message has come, which breaks it.
    pub(crate) fn is_over(&mut self) -> Result<bool, Refusal> {
        if !(self.marked && self.is_ready()?) {
            return Ok(self.marked);
        }
        let bytes = self.next()?.map_or(0, <[u8]>::len);
        Err(self.break_with(AfterTheEnd { bytes }.into()))
    }

    /// Whether the next frame is there in whole.
    pub(crate) fn is_ready(&mut self) -> Result<bool, Refusal> {
        if let Some(refusal) = &self.broken {
            return Err(refusal.clone());
        }
        self.reader.is_ready().map_err(|error| self.break_with(error.into()))
    }

    /// The plaintext of the next frame, if it is there in whole. It lies where the frame lay, until the next call.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Refusal> {
        if let Some(refusal) = &self.broken {
            return Err(refusal.clone());
        }
        let Self { receiver, reader, marked, broken, max_message, .. } = self;
        let opened = match reader.next_frame() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => receiver
                .unwrap_in_place(frame)
                .map_err(Refusal::from)
                .and_then(|message| bounded(message.plaintext, *max_message)),
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(message) => {
                *marked = message.is_empty();
                Ok(Some(message))
            }
            Err(refusal) => {
                *broken = Some(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// Where the next bytes of the peer go.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.reader.want()
    }

    /// Takes the first `count` bytes of [`Self::space`] as what the peer sent.
    pub(crate) fn filled(&mut self, count: usize) {
        self.reader.filled(count);
    }

    /// The connection ended.
    ///
    /// # Errors
    /// If that was inside a frame, or without the mark of the end.
    pub(crate) fn ended(&mut self) -> Result<(), Refusal> {
        match self.reader.finish() {
            Err(cut) => Err(self.break_with(cut.into())),
            Ok(()) if self.marked => Ok(()),
            Ok(()) => {
                let have = "no empty message as the mark of its end";
                Err(self.break_with(Refusal::new(code::END_UNMARKED, "the end of the connection", have)))
            }
        }
    }

    /// Ends this direction for an error of the connection.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Refusal {
        self.break_with(failed("reading", error))
    }

    /// Whether the peer has shown that it holds the session's key (DESIGN rule 10).
    pub(crate) fn peer_confirmed(&self) -> bool {
        self.confirmed || self.receiver.has_verified_any()
    }

    fn break_with(&mut self, refusal: Refusal) -> Refusal {
        self.broken = Some(refusal.clone());
        refusal
    }
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

/// Frames may be longer than the longest message by what protection adds, which is not always all of it.
fn bounded(message: &mut [u8], max_message: usize) -> Result<&[u8], Refusal> {
    if message.len() <= max_message {
        return Ok(message);
    }
    let saw = format!("a message of {} bytes", message.len());
    Err(Refusal::new(code::FRAME_TOO_LONG, saw, format!("max_message {max_message}")))
}
