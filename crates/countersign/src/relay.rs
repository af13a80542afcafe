//! Messages of clients that reach no KDC themselves (IAKERB), carried to one.

use crate::kdc::Kdcs;
use countersign_proto::error::{Refusal, code};
use countersign_proto::iakerb::acceptor::KdcWish;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// What a KDC answered, when it comes. It must not depend on any runtime: the blocking driver waits for it too.
pub type Relayed<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, Refusal>> + Send + 'a>>;

/// A way to the KDCs of the realms that a service's policy names. What it is given was held to that policy.
pub trait Relay: Send + Sync {
    /// Brings the request to a KDC of its realm, and the answer back. It may take its time within the handshake's deadline.
    fn carry<'a>(&'a self, wish: &'a KdcWish) -> Relayed<'a>;
}

/// Most messages that are on their way to KDCs at once: strangers send them.
const MAX_AT_ONCE: usize = 64;

/// The KDCs that krb5.conf or the DNS lead to.
pub struct KdcRelay {
    kdcs: Kdcs,
    on_the_way: OnTheWay,
}

impl KdcRelay {
    /// Carries by these.
    #[must_use]
    pub fn new(kdcs: Kdcs) -> Self {
        Self { kdcs, on_the_way: OnTheWay::default() }
    }
}

impl Relay for KdcRelay {
    fn carry<'a>(&'a self, wish: &'a KdcWish) -> Relayed<'a> {
        let (kdcs, wish) = (self.kdcs.clone(), wish.clone());
        self.on_the_way
            .carry(move || kdcs.exchange_blocking(wish.realm.as_bytes(), &wish.request, &mut |_| true))
    }
}

/// The messages that are on their way, so that there are never too many.
#[derive(Clone, Default)]
pub(crate) struct OnTheWay(Arc<AtomicUsize>);

impl OnTheWay {
    /// Has a message carried by `work` in a thread of its own, because who waits may have no runtime, and must not stand still.
    pub(crate) fn carry(
        &self,
        work: impl FnOnce() -> Result<Vec<u8>, Refusal> + Send + 'static,
    ) -> Relayed<'static> {
        let Some(place) = Place::take(&self.0) else {
            return Box::pin(std::future::ready(Err(too_many())));
        };
        let (answer, answered) = oneshot::channel();
        let began = std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let _place = place;
            // Who asked may have gone.
            let _ = answer.send(work());
        });
        match began {
            Ok(_) => Box::pin(async move { answered.await.unwrap_or_else(|_| Err(too_many())) }),
            Err(_) => Box::pin(std::future::ready(Err(too_many()))),
        }
    }
}

/// A place among them, given back when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(on_the_way: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(on_the_way.clone());
        (on_the_way.fetch_add(1, Ordering::Relaxed) < MAX_AT_ONCE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn too_many() -> Refusal {
    let have = format!("{MAX_AT_ONCE} on their way at once");
    Refusal::new(code::IAKERB_RELAY_FAILED, "a client's message for a KDC", have)
}
