//! Requests in datagrams.

use super::{Desk, Served, Transport, error};
use ::tokio::net::UdpSocket;
use ::tokio::task::JoinSet;
use ::tokio::time::sleep;
use countersign_proto::error::code::krb;
use std::sync::Arc;
use std::time::Duration;

/// Longest datagram there is.
const DATAGRAM: usize = 65_535;

/// Longest reply that goes in a datagram, as with MIT's KDC: a longer one would be cut into many pieces, of which one gets
/// lost, and would let a forged sender's address be flooded with more than was sent here.
pub(super) const MAX_REPLY: usize = 4_096;

/// How long receiving rests after an error.
const REST: Duration = Duration::from_millis(50);

/// Answers every datagram, until it is dropped.
pub(super) async fn serve<N: Fn(&Served) + Send + Sync + 'static>(socket: UdpSocket, desk: Desk<N>) {
    let socket = Arc::new(socket);
    let mut answering = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        while answering.try_join_next().is_some() {}
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(came) => came,
            // What an earlier answer met on its way; nothing that concerns the next request.
            Err(_) => {
                sleep(REST).await;
                continue;
            }
        };
        let request = buffer.get(..length).unwrap_or_default().to_vec();
        let (desk, socket) = (desk.clone(), Arc::clone(&socket));
        answering.spawn(async move {
            if let Some(reply) = desk.answer(request, peer, Transport::Udp).await {
                // That it cannot be sent is for the client to notice: it asks again.
                let _ = socket.send_to(&fitting(reply, desk.realm.store().realm()), peer).await;
            }
        });
    }
}

/// The reply, or KRB_ERR_RESPONSE_TOO_BIG if it is too long for a datagram: the client comes again by TCP then.
fn fitting(reply: Vec<u8>, realm: &str) -> Vec<u8> {
    if reply.len() <= MAX_REPLY { reply } else { error(krb::KRB_ERR_RESPONSE_TOO_BIG, realm) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use countersign_proto::krb5::msg::krb_error::KrbError;

    #[test]
    fn a_reply_too_long_for_a_datagram_leads_to_tcp() {
        assert_eq!(fitting(vec![7; MAX_REPLY], "R.TEST"), vec![7; MAX_REPLY]);
        let error = fitting(vec![7; MAX_REPLY + 1], "R.TEST");
        let error = KrbError::parse(&error).unwrap();
        assert_eq!((error.error_code, error.realm), (52, &b"R.TEST"[..]));
    }
}
