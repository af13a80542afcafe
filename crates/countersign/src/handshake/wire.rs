//! The peer's tokens out of its bytes, and ours into bytes, in any of the framings.

use super::OwnTokenTooLong;
use crate::framing::nns::{self, RecordKind};
use crate::framing::{Frame, FrameError, FrameReader, Framing, HANDSHAKE_LIMIT, Header, Nns, dword};
use countersign_proto::error::{Code, Explain, Refusal, SecurityStatus, code};
use std::borrow::Cow;

/// How the tokens of one handshake lie in the stream, and how far each end has said that it is.
pub(super) enum Wire {
    /// The framings that tell tokens and nothing else.
    Dword,
    Nns(NnsExchange),
}

pub(super) struct NnsExchange {
    settings: Nns,
    /// Whether the peer said that its context is complete.
    peer_done: bool,
    /// Whether the peer gave up: it listens to nothing any more.
    peer_gave_up: bool,
}

/// What a frame of the peer says.
pub(super) enum Incoming<'b> {
    Token(&'b [u8]),
    /// The peer is done, and has no token for us.
    Done,
}

/// What our own token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// An answer to it is awaited.
    InProgress,
    /// It is the last one of this end, whose context is complete.
    Done,
}

impl Wire {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Dword | Framing::Sample(_) => Self::Dword,
            Framing::Nns(settings) => {
                Self::Nns(NnsExchange { settings, peer_done: false, peer_gave_up: false })
            }
        }
    }

    pub(super) fn reader(&self) -> FrameReader {
        FrameReader::new(self.header(), HANDSHAKE_LIMIT)
    }

    fn header(&self) -> Header {
        match self {
            Self::Dword => Header::Length,
            Self::Nns(_) => Header::NnsRecord,
        }
    }

    /// Whether what stands before the peer's next frame can stand there, once that has come.
    pub(super) fn check(&self, header: Option<&[u8]>) -> Result<(), Refusal> {
        match (self, header) {
            (Self::Nns(_), Some(header)) => Ok(nns::record_kind(header).map(drop)?),
            _ => Ok(()),
        }
    }

    /// What the peer's frame says.
    pub(super) fn read<'b>(&mut self, frame: Frame<'b>) -> Result<Incoming<'b>, Refusal> {
        match self {
            Self::Dword => Ok(Incoming::Token(frame.body)),
            Self::Nns(exchange) => exchange.read(frame),
        }
    }

    /// Whether the peer has said that it is done, or its framing has no word for that.
    pub(super) fn peer_is_done(&self) -> bool {
        match self {
            Self::Dword => true,
            Self::Nns(exchange) => exchange.peer_done,
        }
    }

    /// Whether the peer said in so many words that it is done.
    pub(super) fn peer_is_done_already(&self) -> bool {
        matches!(self, Self::Nns(exchange) if exchange.peer_done)
    }

    /// Makes room for a header; the token is to be appended behind it.
    pub(super) fn begin(&self, output: &mut Vec<u8>) -> usize {
        let start = output.len();
        output.resize(start.saturating_add(self.header().size()), 0);
        start
    }

    /// Makes a frame of the token that was appended since [`Self::begin`]. Where there is none, nothing is sent, unless the
    /// framing has to say that this end is done.
    pub(super) fn end(&self, output: &mut Vec<u8>, start: usize, said: Said) -> Result<(), OwnTokenTooLong> {
        let length = output.len().saturating_sub(start).saturating_sub(self.header().size());
        if length == 0 && !(self.says_done() && said == Said::Done) {
            output.truncate(start);
            return Ok(());
        }
        self.frame(output, start, length, said).map_err(|_| {
            output.truncate(start);
            OwnTokenTooLong { length }
        })
    }

    /// The same where the peer is done: it would take a token for data.
    pub(super) fn end_unheard(&self, output: &mut Vec<u8>, start: usize) -> Result<(), Refusal> {
        let length = output.len().saturating_sub(start).saturating_sub(self.header().size());
        output.truncate(start);
        if length == 0 {
            return Ok(());
        }
        let saw = format!("a last token of {length} bytes to send");
        Err(Refusal::new(code::TOKEN_UNEXPECTED, saw, "a peer that said it is done"))
    }

    fn says_done(&self) -> bool {
        matches!(self, Self::Nns(_))
    }

    fn frame(&self, output: &mut [u8], start: usize, length: usize, said: Said) -> Result<(), FrameError> {
        match self {
            Self::Dword => put(output, start, dword::header(length, HANDSHAKE_LIMIT)?),
            Self::Nns(_) => {
                let kind = match said {
                    Said::InProgress => RecordKind::InProgress,
                    Said::Done => RecordKind::Done,
                };
                put(output, start, nns::record_header(kind, length)?);
            }
        }
        Ok(())
    }

    /// Ends the output after a failure: with the token that was appended since [`Self::begin`], or with what else the
    /// framing tells the peer.
    pub(super) fn refuse(&self, output: &mut Vec<u8>, start: usize, refusal: &Refusal) {
        match self {
            // Its cause counts, whether or not the peer can be told.
            Self::Dword => {
                let _ = self.end(output, start, Said::InProgress);
            }
            Self::Nns(exchange) => {
                output.truncate(start);
                exchange.give_up(output, refusal);
            }
        }
    }
}

fn put<const N: usize>(output: &mut [u8], start: usize, header: [u8; N]) {
    if let Some(space) = output.get_mut(start..).and_then(|frame| frame.first_chunk_mut()) {
        *space = header;
    }
}

impl NnsExchange {
    fn read<'b>(&mut self, frame: Frame<'b>) -> Result<Incoming<'b>, Refusal> {
        let limit = HANDSHAKE_LIMIT;
        match nns::record_kind(frame.header)? {
            RecordKind::Error => {
                self.peer_gave_up = true;
                Err(PeerGaveUp { status: nns::decode_error(frame.body) }.into())
            }
            RecordKind::InProgress if self.peer_done => Err(GoesOn.into()),
            RecordKind::InProgress if frame.body.is_empty() => Err(FrameError::Empty { limit }.into()),
            RecordKind::InProgress => Ok(Incoming::Token(frame.body)),
            RecordKind::Done => {
                self.peer_done = true;
                Ok(if frame.body.is_empty() { Incoming::Done } else { Incoming::Token(frame.body) })
            }
        }
    }

    fn give_up(&self, output: &mut Vec<u8>, refusal: &Refusal) {
        if self.peer_gave_up {
            return;
        }
        let payload = nns::encode_error(SecurityStatus::of(refusal.code()), self.settings.error_order);
        if let Ok(header) = nns::record_header(RecordKind::Error, payload.len()) {
            output.extend_from_slice(&header);
            output.extend_from_slice(&payload);
        }
    }
}

/// The peer ended the handshake with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an error of the peer: {}", described(*status))]
struct PeerGaveUp {
    /// `None` if it cannot be read.
    status: Option<SecurityStatus>,
}

fn described(status: Option<SecurityStatus>) -> String {
    match status.map(|status| (status, status.meaning())) {
        Some((status, Some(meaning))) => format!("{status}: {}", meaning.trim_end_matches('.')),
        Some((status, None)) => status.to_string(),
        None => "one that says nothing".to_owned(),
    }
}

impl Explain for PeerGaveUp {
    fn code(&self) -> Code {
        code::NNS_ERROR_RECEIVED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        "a handshake that is not done".into()
    }
}

/// The peer said that it is done, and sends a token that wants an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a token of a peer that said it is done")]
struct GoesOn;

impl Explain for GoesOn {
    fn code(&self) -> Code {
        code::TOKEN_UNEXPECTED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        "nothing to wait for but the end of the handshake".into()
    }
}

/// A failure that is made where the peer says that it is done and this end is not.
pub(super) fn done_too_early() -> Refusal {
    let have = "a context that lacks a token of the peer";
    Refusal::new(code::TOKEN_UNEXPECTED, "a peer that says it is done", have)
}

/// A failure that is made where the peer says that it wants an answer, and this end needs nothing more.
pub(super) fn not_done() -> Refusal {
    let have = "a complete context, and the peer's word that its own is to wait for";
    Refusal::new(code::TOKEN_UNEXPECTED, "a token that wants an answer", have)
}

/// A failure that is made where the peer closes the connection before it said that it is done.
pub(super) fn never_done() -> Refusal {
    let have = "a peer that did not say that its context is complete";
    Refusal::new(code::CONNECTION_CUT, "the end of the connection", have)
}
