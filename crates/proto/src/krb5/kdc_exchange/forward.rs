//! Asking for a ticket-granting ticket to be forwarded (RFC 4120 section 2.6).

use super::error::KdcError;
use super::options::TicketOptions;
use super::tgs_request::{TgsRequest, Wish};
use super::{Exchange, KdcRequest, Step};
use crate::krb5::initiator::{Forwarded, InitiateError, ServiceTicket};
use crate::krb5::msg::kdc_req::KdcOptions;
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// A ticket-granting ticket to be forwarded is asked for.
pub struct Forward {
    request: TgsRequest,
    options: Arc<TicketOptions>,
    clock: i64,
}

impl Forward {
    /// Asks for a forwarded ticket-granting ticket; `tgt` must be forwardable. `clock` is the KDC's clock less ours, in
    /// microseconds.
    #[must_use]
    pub fn begin(
        tgt: &ServiceTicket,
        options: Arc<TicketOptions>,
        clock: i64,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let kdc_options = KdcOptions::FORWARDED.with(KdcOptions::FORWARDABLE);
        let wish = Wish { service: tgt.service.clone(), kdc_options, till: tgt.endtime, rtime: None };
        Self { request: TgsRequest::new(tgt, wish, &options, now.shifted(clock), rng), options, clock }
    }
}

impl Exchange for Forward {
    type Granted = Forwarded;

    fn request(&self) -> KdcRequest<'_> {
        self.request.request()
    }

    fn is_answer(&self, reply: &[u8]) -> bool {
        self.request.is_answer(reply)
    }

    fn reply(self, reply: &[u8], now: Timestamp, _: &mut dyn CryptoRng) -> Result<Step<Self>, KdcError> {
        let credential = match self.request.reply(reply)? {
            Ok(credential) => credential,
            Err(answered) => return Err(self.request.refused(answered)),
        };
        let not_usable = |fault: InitiateError| KdcError::Unusable { fault: Box::new(fault) };
        self.options
            .usable(&credential, now.shifted(self.clock))
            .map(|ticket| Step::Done(Forwarded::new(ticket)))
            .map_err(not_usable)
    }
}
