/// How a tunnel ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelEnd {
    /// Both ends were done.
    Done,
    /// Nothing went either way for the idle timeout.
    Idle,
    /// The client's connection failed, or ended without the mark of the end.
    Client,
    /// A message of the client was refused.
    Message,
    /// The upstream could not be reached.
    Unreachable,
    /// The upstream's connection failed.
    Upstream,
    /// The client's ticket ended.
    Expired,
    /// The client's record could not be written.
    NotRecorded,
    /// The service was told to end.
    Drained,
    /// Its task ended without saying how.
    Abandoned,
}

impl TunnelEnd {
    /// Every end there is.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Idle,
        Self::Client,
        Self::Message,
        Self::Unreachable,
        Self::Upstream,
        Self::Expired,
        Self::NotRecorded,
        Self::Drained,
        Self::Abandoned,
    ];

    /// In a word, as metrics and logs have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Idle => "idle",
            Self::Client => "client",
            Self::Message => "message",
            Self::Unreachable => "unreachable",
            Self::Upstream => "upstream",
            Self::Expired => "expired",
            Self::NotRecorded => "not-recorded",
            Self::Drained => "drained",
            Self::Abandoned => "abandoned",
        }
    }
}
