//! SRV records: which KDCs they name, in which order (RFC 2782).

use super::delivery::MAX_KDCS;
use countersign_proto::krb5conf::{KdcAddress, Transport};
use rand_core::Rng;

/// An SRV record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// A host's name without the dot of the root; empty if the service is decidedly not there.
    pub(super) target: String,
}

/// The KDCs that the records for UDP and for TCP name, those for UDP first. A host and port in both is asked by either.
pub(super) fn kdcs(udp: Vec<Srv>, tcp: Vec<Srv>, rng: &mut impl Rng) -> Vec<KdcAddress> {
    let (udp, tcp) = (ordered(udp, rng), ordered(tcp, rng));
    let has = |list: &[Srv], record: &Srv| {
        list.iter()
            .any(|other| other.port == record.port && other.target.eq_ignore_ascii_case(&record.target))
    };
    let by_udp = udp.iter().map(|record| {
        let transport = (!has(&tcp, record)).then_some(Transport::Udp);
        KdcAddress::Socket { transport, host: record.target.clone(), port: record.port }
    });
    let by_tcp = tcp.iter().filter(|record| !has(&udp, record)).map(|record| KdcAddress::Socket {
        transport: Some(Transport::Tcp),
        host: record.target.clone(),
        port: record.port,
    });
    by_udp.chain(by_tcp).take(MAX_KDCS).collect()
}

/// The records by priority; among equal ones each comes first as often as its weight says.
fn ordered(mut records: Vec<Srv>, rng: &mut impl Rng) -> Vec<Srv> {
    records.retain(|record| !record.target.is_empty() && record.port != 0);
    // Those without a weight stand first, so that they have a small chance.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let equals = records.iter().take_while(|record| record.priority == priority);
        let total = equals.map(|record| u64::from(record.weight)).fold(0, u64::saturating_add);
        let chosen = rng.next_u64().checked_rem(total.saturating_add(1)).unwrap_or(0);
        let mut running = 0_u64;
        let at = records.iter().position(|record| {
            running = running.saturating_add(record.weight.into());
            running >= chosen
        });
        ordered.push(records.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_testkit::TestRng;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 88, target: target.into() }
    }

    fn hosts(kdcs: &[KdcAddress]) -> Vec<&str> {
        kdcs.iter()
            .map(|kdc| match kdc {
                KdcAddress::Socket { host, .. } => host.as_str(),
                KdcAddress::Https { url } => url,
            })
            .collect()
    }

    #[test]
    fn lower_priorities_come_first() {
        let records = vec![srv(20, 9, "c"), srv(0, 0, "a"), srv(10, 1, "b"), srv(65_535, 65_535, "d")];
        for seed in 0..50 {
            let found = kdcs(records.clone(), Vec::new(), &mut TestRng::new(seed));
            assert_eq!(hosts(&found), ["a", "b", "c", "d"]);
        }
    }

    #[test]
    fn among_equal_priorities_the_weight_says_how_often_each_is_first() {
        let records = vec![srv(0, 75, "heavy"), srv(0, 25, "light"), srv(0, 0, "none")];
        let mut rng = TestRng::new(7);
        let mut first = [0_u32; 3];
        for _ in 0..2_000 {
            let found = kdcs(records.clone(), Vec::new(), &mut rng);
            assert_eq!(found.len(), 3);
            first[["heavy", "light", "none"].iter().position(|name| *name == hosts(&found)[0]).unwrap()] += 1;
        }
        let [heavy, light, none] = first;
        assert!((1_350..1_600).contains(&heavy), "{first:?}");
        assert!((400..600).contains(&light), "{first:?}");
        assert!((1..60).contains(&none), "{first:?}");
    }

    #[test]
    fn a_host_in_both_lists_is_asked_by_either_transport() {
        let udp = vec![srv(0, 0, "both"), srv(1, 0, "udp")];
        let tcp = vec![srv(0, 0, "tcp"), srv(1, 0, "BOTH")];
        let found = kdcs(udp, tcp, &mut TestRng::new(1));
        let transports: Vec<_> = found
            .iter()
            .map(|kdc| match kdc {
                KdcAddress::Socket { transport, .. } => *transport,
                KdcAddress::Https { .. } => panic!("no SRV record names a proxy"),
            })
            .collect();
        assert_eq!(hosts(&found), ["both", "udp", "tcp"]);
        assert_eq!(transports, [None, Some(Transport::Udp), Some(Transport::Tcp)]);
    }

    #[test]
    fn the_root_as_target_names_no_kdc() {
        assert_eq!(kdcs(vec![srv(0, 0, "")], Vec::new(), &mut TestRng::new(1)), []);
    }

    #[test]
    fn no_more_kdcs_are_taken_than_are_asked() {
        let many: Vec<_> = (0..200).map(|number| srv(number, 0, &format!("h{number}"))).collect();
        assert_eq!(kdcs(many.clone(), many, &mut TestRng::new(1)).len(), MAX_KDCS);
    }
}
