use crate::ambient;
use crate::framing::data_limit;
use crate::framing::dword::{self, HEADER_LEN};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::per_message::{Confidentiality, Sender};

/// Makes frames of the messages that this end sends.
pub(crate) struct Outbound {
    sender: Sender,
    max_message: usize,
    /// Used again for every frame.
    frame: Vec<u8>,
}

impl Outbound {
    pub(super) fn new(sender: Sender, max_message: usize) -> Self {
        Self { sender, max_message, frame: Vec::new() }
    }

    /// The frame of one sealed message, to be sent whole.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Result<&[u8], Refusal> {
        if message.len() > self.max_message {
            let saw = format!("a message of {} bytes", message.len());
            return Err(Refusal::new(
                code::MESSAGE_TOO_LONG,
                saw,
                format!("max_message {}", self.max_message),
            ));
        }
        self.frame.clear();
        self.frame.extend_from_slice(&[0; HEADER_LEN]);
        self.sender.wrap(Confidentiality::Sealed, message, &mut ambient::rng(), &mut self.frame)?;
        let length = self.frame.len().saturating_sub(HEADER_LEN);
        let header = dword::header(length, data_limit(self.max_message))?;
        if let Some(space) = self.frame.first_chunk_mut() {
            *space = header;
        }
        Ok(&self.frame)
    }
}
