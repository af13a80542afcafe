//! Reaching KDCs over real sockets: fakes that do what KDCs and strangers may do, MIT's KDC, a DNS server, HTTPS proxies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

#[cfg(feature = "dns-srv")]
mod dns;
mod exchange;
mod fake;
#[cfg(feature = "kkdcp")]
mod proxy;
mod real;

use countersign::Refusal;
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::proto::krb5conf::{KdcAddress, Krb5Conf};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const REALM: &str = "EXAMPLE.TEST";

/// The faces of the library, which must not differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Face {
    Blocking,
    Tokio,
}

const FACES: [Face; 2] = [Face::Blocking, Face::Tokio];

impl Face {
    /// One exchange, whose answer is accepted if `accepts` says so.
    fn exchange_if(
        self,
        kdcs: &Kdcs,
        realm: &[u8],
        request: &[u8],
        accepts: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Blocking => kdcs.exchange_blocking(realm, request, accepts),
            Self::Tokio => runtime().block_on(kdcs.exchange(realm, request, accepts)),
        }
    }

    /// One exchange with [`REALM`], whose answer is accepted if it is [`fake::RIGHT`].
    fn exchange(self, kdcs: &Kdcs) -> Result<Vec<u8>, Refusal> {
        self.exchange_if(kdcs, REALM.as_bytes(), fake::REQUEST, &mut |answer| answer == fake::RIGHT)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Short enough for silent KDCs, long enough for a busy machine.
const PATIENCE: KdcPatience = KdcPatience {
    datagram: Duration::from_millis(200),
    connection: Duration::from_millis(600),
    passes: 3,
    whole: Duration::from_secs(20),
};

fn address(socket: SocketAddr) -> KdcAddress {
    KdcAddress::socket(socket.ip().to_string(), socket.port())
}

/// The KDCs of [`REALM`].
fn kdcs(addresses: impl IntoIterator<Item = KdcAddress>) -> Kdcs {
    let conf = Krb5Conf::builder().dns_lookup_kdc(false).realm(REALM, addresses).build();
    Kdcs::with_patience(Arc::new(conf), PATIENCE)
}
