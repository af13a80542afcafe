//! What stands in a data frame, in each of the framings.

use crate::framing::nns::{DATA_LIMIT, SENT_DATA_LIMIT};
use crate::framing::{Framing, Header, SampleData, data_limit, sample};
use countersign_proto::context::Facts;
use countersign_proto::krb5::per_message::{Confidentiality, Layout};
use countersign_proto::policy::Waiver;
use countersign_proto::protection::Sender;

/// Plaintext of one record of a stream of bytes, at most. Larger ones cost latency and memory, smaller ones calls of the
/// system.
const STREAM_RECORD: usize = 65_536;

/// How messages are laid out.
#[derive(Clone, Copy)]
pub(super) struct Data {
    pub(super) style: Style,
    /// Longest plaintext, in bytes, as configured.
    max_message: usize,
    /// Longest frame that is taken, in bytes, without its header.
    pub(super) receive_limit: usize,
    /// Longest frame that is sent.
    pub(super) send_limit: usize,
    /// Whether a peer of our own kind marks its end by an empty message, and nothing follows on one.
    pub(super) mark_ends: bool,
}

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A length, and a wrap token. `mics`: a MIC token before clear text is taken, too, as old peers send it.
    Wrap { confidentiality: Confidentiality, mics: bool },
    /// The SDK sample's sealed message, one for each direction.
    Split,
    /// The SDK sample's signed message, one for each direction.
    Mic,
}

impl Data {
    pub(super) fn new(framing: Framing, max_message: usize, facts: &Facts) -> Self {
        let limit = data_limit(max_message);
        let dword = Self {
            style: Style::Wrap { confidentiality: Confidentiality::Sealed, mics: false },
            max_message,
            receive_limit: limit,
            send_limit: limit,
            mark_ends: true,
        };
        match framing {
            Framing::Dword => dword,
            Framing::Nns(_) => Self {
                style: nns_style(facts),
                receive_limit: limit.min(DATA_LIMIT),
                send_limit: limit.min(SENT_DATA_LIMIT),
                mark_ends: false,
                ..dword
            },
            Framing::Sample(data) => {
                let limit = limit.saturating_add(sample::TOKEN_LENGTH_LEN);
                Self { style: sample_style(data), receive_limit: limit, send_limit: limit, ..dword }
            }
        }
    }

    /// What stands before a frame that comes.
    pub(super) fn header(self) -> Header {
        match self.style {
            Style::Wrap { .. } => Header::Length,
            Style::Split | Style::Mic => Header::ToEnd,
        }
    }

    /// Whether each direction has room for one message only.
    pub(super) fn is_single(self) -> bool {
        matches!(self.style, Style::Split | Style::Mic)
    }

    /// How many bytes stand before the token of a frame that is sent.
    pub(super) fn header_len(self) -> usize {
        match self.style {
            Style::Wrap { .. } => Header::Length.size(),
            Style::Split => sample::TOKEN_LENGTH_LEN,
            Style::Mic => 0,
        }
    }

    /// Bytes around a plaintext of `len` bytes in a frame that is sent, its header apart.
    pub(super) fn layout(self, sender: &Sender, len: usize) -> Layout {
        match self.style {
            Style::Wrap { confidentiality, .. } => sender.layout(confidentiality, len),
            Style::Split => sender.split_layout(Confidentiality::Sealed, len),
            Style::Mic => Layout { prefix: sender.mic_len(), trailer: 0 },
        }
    }

    /// Longest plaintext that is taken, in bytes.
    pub(super) fn max_received(self) -> usize {
        self.max_message
    }

    /// Longest plaintext that fits into a message that is sent, in bytes.
    pub(super) fn max_sent(self, sender: &Sender) -> usize {
        let Layout { prefix, trailer } = self.layout(sender, self.send_limit);
        self.max_message.min(self.send_limit.saturating_sub(prefix).saturating_sub(trailer))
    }

    /// Longest plaintext of one record of a stream of bytes.
    pub(super) fn max_record(self, sender: &Sender) -> usize {
        self.max_sent(sender).min(STREAM_RECORD)
    }
}

/// The client decides by the flags that it asks for; [`crate::Service`] refuses those that ask for too little.
fn nns_style(facts: &Facts) -> Style {
    let confidentiality = if facts.sealed() { Confidentiality::Sealed } else { Confidentiality::SignedOnly };
    Style::Wrap { confidentiality, mics: facts.waivers().contains(&Waiver::AllowUnsealed) }
}

fn sample_style(data: SampleData) -> Style {
    match data {
        SampleData::Sealed => Style::Split,
        SampleData::Signed => Style::Mic,
    }
}
