//! A KDC at one address, and what is known of it so far.

use crate::kdc::error::{Attempt, Tried, Trouble};
use countersign_proto::krb5conf::{KdcAddress, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// How a KDC is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Datagram,
    Connection,
    Post,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Socket(SocketAddr),
    /// URL of a proxy.
    Proxy(String),
}

/// What one way to a KDC came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// There is no such way.
    Absent,
    Untried,
    /// Worth another try.
    Silent,
    /// Worth none.
    Over,
}

pub(super) struct Lane {
    pub(super) state: State,
    /// The last that went wrong.
    pub(super) trouble: Option<Trouble>,
    pub(super) tries: u32,
    waited: Duration,
}

pub(super) struct Target {
    /// Its number in the plan.
    pub(super) kdc: usize,
    pub(super) place: Place,
    /// The name that led to the address.
    name: String,
    pub(super) datagram: Lane,
    pub(super) connection: Lane,
    post: Lane,
}

impl Way {
    /// All ways, the better first.
    pub(super) const fn in_order(prefers_udp: bool) -> [Self; 3] {
        if prefers_udp {
            [Self::Datagram, Self::Connection, Self::Post]
        } else {
            [Self::Connection, Self::Datagram, Self::Post]
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Datagram => "udp",
            Self::Connection => "tcp",
            Self::Post => "https",
        }
    }
}

impl Lane {
    const fn absent() -> Self {
        Self { state: State::Absent, trouble: None, tries: 0, waited: Duration::ZERO }
    }

    /// Makes it a way that can be tried, if it was none.
    pub(super) fn allow(&mut self) {
        if self.state == State::Absent {
            self.state = State::Untried;
        }
    }

    /// Whether it can still lead to an answer.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Untried | State::Silent)
    }

    /// An attempt of this length ended in `trouble`. Silence after a stray answer does not hide that there was one.
    pub(super) fn fail(&mut self, trouble: Trouble, waited: Duration) {
        if trouble == Trouble::Silent {
            self.state = State::Silent;
            self.waited = self.waited.saturating_add(waited);
            self.trouble.get_or_insert(trouble);
        } else {
            self.state = State::Over;
            self.trouble = Some(trouble);
        }
    }

    fn attempt(&self, way: Way) -> Option<Attempt> {
        let known = self.state != State::Absent;
        known.then(|| Attempt {
            way: way.word(),
            trouble: self.trouble.clone(),
            tries: self.tries,
            waited: self.waited,
        })
    }
}

impl Target {
    /// A KDC at `address`, to which the name or address `name` led; no way to it is allowed yet.
    pub(super) const fn socket(kdc: usize, address: SocketAddr, name: String) -> Self {
        let place = Place::Socket(address);
        Self { kdc, place, name, datagram: Lane::absent(), connection: Lane::absent(), post: Lane::absent() }
    }

    /// A proxy.
    pub(super) fn proxy(kdc: usize, url: String) -> Self {
        let mut post = Lane::absent();
        post.allow();
        let place = Place::Proxy(url);
        Self { kdc, place, name: String::new(), datagram: Lane::absent(), connection: Lane::absent(), post }
    }

    pub(super) fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Datagram => &mut self.datagram,
            Way::Connection => &mut self.connection,
            Way::Post => &mut self.post,
        }
    }

    /// The way to ask it by in the first pass, if it has one that suits a request for which UDP is the better transport or
    /// not.
    pub(super) fn first(&self, prefers_udp: bool) -> Option<Way> {
        if prefers_udp && self.datagram.is_open() {
            Some(Way::Datagram)
        } else {
            self.connection.is_open().then_some(Way::Connection)
        }
    }

    /// No way leads to an answer.
    pub(super) fn give_up(&mut self) {
        for lane in [&mut self.datagram, &mut self.connection, &mut self.post] {
            if lane.state == State::Untried {
                *lane = Lane::absent();
            } else if lane.state == State::Silent {
                lane.state = State::Over;
            }
        }
    }

    /// What became of it.
    pub(super) fn tried(&self) -> Tried {
        let lanes =
            [(&self.datagram, Way::Datagram), (&self.connection, Way::Connection), (&self.post, Way::Post)];
        let place = match &self.place {
            Place::Proxy(url) => url.clone(),
            Place::Socket(address) if self.name == address.ip().to_string() => address.to_string(),
            Place::Socket(address) => format!("{} ({address})", self.name),
        };
        let attempts = lanes.iter().filter_map(|(lane, way)| lane.attempt(*way)).collect();
        Tried { place, attempts }
    }
}

impl Tried {
    /// A name that has no address.
    pub(super) fn name(host: String, trouble: Trouble, waited: Duration) -> Self {
        let waited = if trouble == Trouble::Silent { waited } else { Duration::ZERO };
        let attempt = Attempt { way: "its name", trouble: Some(trouble), tries: 1, waited };
        Self { place: host, attempts: vec![attempt] }
    }

    /// A KDC whose turn did not come.
    pub(super) fn not_begun(address: &KdcAddress) -> Self {
        let (place, way) = match address {
            KdcAddress::Https { url } => (url.clone(), Way::Post),
            KdcAddress::Socket { transport: Some(Transport::Tcp), host, .. } => {
                (host.clone(), Way::Connection)
            }
            KdcAddress::Socket { host, .. } => (host.clone(), Way::Datagram),
        };
        Self {
            place,
            attempts: vec![Attempt { way: way.word(), trouble: None, tries: 0, waited: Duration::ZERO }],
        }
    }
}
