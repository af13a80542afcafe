use crate::framing::data_limit;
use crate::framing::dword::FrameReader;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::per_message::Receiver;

/// Takes the messages of the peer out of its frames.
pub(crate) struct Inbound {
    receiver: Receiver,
    reader: FrameReader,
    /// The first frame that was refused: nothing after it is given out.
    broken: Option<Refusal>,
}

impl Inbound {
    pub(super) fn new(receiver: Receiver, mut reader: FrameReader, max_message: usize) -> Self {
        reader.set_limit(data_limit(max_message));
        Self { receiver, reader, broken: None }
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
        let Self { receiver, reader, broken } = self;
        let opened = match reader.next_frame() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => receiver.unwrap_in_place(frame).map_err(Refusal::from),
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(message) => Ok(Some(message.plaintext)),
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

    /// The connection ended: inside a frame, or after a whole one but without the mark of the end.
    pub(crate) fn ended(&mut self) -> Refusal {
        let refusal = match self.reader.finish() {
            Err(cut) => cut.into(),
            Ok(()) => {
                let have = "no empty message as the mark of its end";
                Refusal::new(code::END_UNMARKED, "the end of the connection", have)
            }
        };
        self.break_with(refusal)
    }

    /// Whether any message of the peer was verified (DESIGN rule 10).
    pub(crate) fn has_verified_any(&self) -> bool {
        self.receiver.has_verified_any()
    }

    fn break_with(&mut self, refusal: Refusal) -> Refusal {
        self.broken = Some(refusal.clone());
        refusal
    }
}
