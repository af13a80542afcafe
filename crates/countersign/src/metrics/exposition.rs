//! How the counters are told to Prometheus: names, help texts, labels.

use super::listener::{PROTECTIONS, UNAVAILABLE};
use super::tally::Reading;
use super::{ListenerMetrics, Metrics, TunnelEnd};
use crate::ambient;
use crate::mutex::lock;
use countersign_proto::error::code;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let listeners = lock(&self.0.listeners).clone();
        let mut page = Page { encoder: &mut encoder, listeners: &listeners };
        handshakes(&mut page)?;
        replays_and_attempts(&mut page)?;
        keys(&mut page)?;
        tunnels(&mut page)?;
        page.single(
            "countersign_replay_store_fallbacks",
            "Authenticators that this instance's memory answered for alone, because the shared replay store did not",
            &self.0.replay_fallbacks,
        )?;
        page.single(
            "countersign_audit_failures",
            "Audit records that could not be written",
            &self.0.audit_failures,
        )?;
        page.single(
            "countersign_log_lines_suppressed",
            "Refusals that were counted instead of logged",
            &self.0.log_lines_suppressed,
        )
    }
}

fn handshakes(page: &mut Page<'_, '_>) -> Result<(), Error> {
    page.family(
        "countersign_handshakes",
        "Handshakes that ended, by outcome and code",
        MetricType::Counter,
        {
            |listener, family| {
                let accepted = listener.accepted_in.read().count;
                family.counter(&[("outcome", "accepted"), ("code", "")], accepted)?;
                for (code, count) in listener.refused.counted() {
                    family.counter(&[("outcome", "refused"), ("code", &code.to_string())], count)?;
                }
                Ok(())
            }
        },
    )?;
    page.family(
        "countersign_handshakes_accepted",
        "Handshakes that led to a context, by mech and by the etype that protects messages",
        MetricType::Counter,
        |listener, family| {
            for ((_, mech, etype), counter) in PROTECTIONS.iter().zip(&listener.accepted) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    let etype = etype.map_or("", |etype| etype.name());
                    family.counter(&[("mech", mech), ("etype", etype)], count)?;
                }
            }
            Ok(())
        },
    )?;
    page.family(
        "countersign_tickets_accepted",
        "Handshakes of Kerberos that led to a context, by version of the key that opened the ticket",
        MetricType::Counter,
        |listener, family| {
            for (kvno, count) in listener.by_kvno.counted() {
                let kvno = kvno.map_or_else(|| "other".to_owned(), |kvno| kvno.to_string());
                family.counter(&[("kvno", &kvno)], count)?;
            }
            Ok(())
        },
    )?;
    page.family(
        "countersign_handshakes_in_flight",
        "Handshakes that have begun and not ended",
        MetricType::Gauge,
        |listener, family| family.gauge(listener.in_flight.load(Ordering::Relaxed) as f64),
    )?;
    page.family(
        "countersign_handshake_duration_seconds",
        "Time from the connection to the end of its handshake",
        MetricType::Histogram,
        |listener, family| {
            family.histogram(&[("outcome", "accepted")], &listener.accepted_in.read())?;
            family.histogram(&[("outcome", "refused")], &listener.refused_in.read())
        },
    )?;
    page.family(
        "countersign_connections_broken",
        "Connections that ended after their handshake because a message was refused, by code",
        MetricType::Counter,
        |listener, family| {
            for (code, count) in listener.broken.counted() {
                family.counter(&[("code", &code.to_string())], count)?;
            }
            Ok(())
        },
    )
}

fn replays_and_attempts(page: &mut Page<'_, '_>) -> Result<(), Error> {
    page.family(
        "countersign_replays",
        "Authenticators that were seen before",
        MetricType::Counter,
        |listener, family| family.counter(&[], listener.refused.of(code::REPLAY)),
    )?;
    page.family(
        "countersign_replay_store_unavailable",
        "Handshakes refused because the replay store could not tell, by reason",
        MetricType::Counter,
        |listener, family| {
            for (code, reason) in UNAVAILABLE {
                family.counter(&[("reason", reason)], listener.refused.of(code))?;
            }
            Ok(())
        },
    )?;
    page.family(
        "countersign_ntlm_seen",
        "Handshakes in which a client spoke NTLM, or offered nothing else",
        MetricType::Counter,
        |listener, family| family.counter(&[], listener.ntlm_seen.load(Ordering::Relaxed)),
    )?;
    page.family(
        "countersign_refusals_delayed",
        "Refusals that waited because too many came before them",
        MetricType::Counter,
        |listener, family| family.counter(&[], listener.delayed.load(Ordering::Relaxed)),
    )?;
    page.family(
        "countersign_connections_blocked",
        "Connections that were closed at once because of failed attempts of their address",
        MetricType::Counter,
        |listener, family| family.counter(&[], listener.blocked.load(Ordering::Relaxed)),
    )
}

fn keys(page: &mut Page<'_, '_>) -> Result<(), Error> {
    let now = ambient::now();
    page.family(
        "countersign_keytab_age_seconds",
        "Time since the keys were put in place",
        MetricType::Gauge,
        |listener, family| listener.keys.since_loaded(now).map_or(Ok(()), |age| family.gauge(age)),
    )?;
    page.family(
        "countersign_keytab_file_age_seconds",
        "Time since the file that the keys are from was changed",
        MetricType::Gauge,
        |listener, family| listener.keys.since_modified(now).map_or(Ok(()), |age| family.gauge(age)),
    )?;
    page.family(
        "countersign_keytab_newest_kvno",
        "Highest version of the keys",
        MetricType::Gauge,
        |listener, family| listener.keys.newest().map_or(Ok(()), |kvno| family.gauge(kvno as f64)),
    )?;
    page.family(
        "countersign_keytab_loads",
        "Attempts to put new keys in place, by result",
        MetricType::Counter,
        |listener, family| {
            let keys = &listener.keys;
            family.counter(&[("result", "loaded")], keys.loads.load(Ordering::Relaxed))?;
            family.counter(&[("result", "failed")], keys.failed_loads.load(Ordering::Relaxed))
        },
    )
}

fn tunnels(page: &mut Page<'_, '_>) -> Result<(), Error> {
    page.family(
        "countersign_tunnels_open",
        "Tunnels that are open",
        MetricType::Gauge,
        |listener, family| family.gauge(listener.tunnels_open.load(Ordering::Relaxed) as f64),
    )?;
    page.family(
        "countersign_tunnel_bytes",
        "Plaintext that went through tunnels, by direction",
        MetricType::Counter,
        |listener, family| {
            let (up, down) = (&listener.to_upstream, &listener.to_client);
            family.counter(&[("direction", "to_upstream")], up.load(Ordering::Relaxed))?;
            family.counter(&[("direction", "to_client")], down.load(Ordering::Relaxed))
        },
    )?;
    page.family(
        "countersign_tunnels_ended",
        "Tunnels that ended, by reason",
        MetricType::Counter,
        |listener, family| {
            for (end, counter) in TunnelEnd::ALL.iter().zip(&listener.tunnels_ended) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    family.counter(&[("reason", end.word())], count)?;
                }
            }
            Ok(())
        },
    )
}

/// What is written: a family after the other, in each a series for each listener.
struct Page<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    listeners: &'a [Arc<ListenerMetrics>],
}

impl Page<'_, '_> {
    /// A family with the label `listener`.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl Fn(&ListenerMetrics, &mut Family<'_, '_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut encoder = self.encoder.encode_descriptor(name, help, None, kind)?;
        for listener in self.listeners {
            let mut family = Family { encoder: &mut encoder, listener: listener.name() };
            series(listener, &mut family)?;
        }
        Ok(())
    }

    /// A counter without labels.
    fn single(&mut self, name: &str, help: &str, counter: &AtomicU64) -> Result<(), Error> {
        let mut encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, _, f64>(&counter.load(Ordering::Relaxed), None)
    }
}

/// The series of one listener.
struct Family<'a, 'e> {
    encoder: &'a mut MetricEncoder<'e>,
    listener: &'a str,
}

impl Family<'_, '_> {
    fn counter(&mut self, labels: &[(&str, &str)], count: u64) -> Result<(), Error> {
        self.series(labels, |series| series.encode_counter::<NoLabelSet, _, f64>(&count, None))
    }

    fn gauge(&mut self, value: f64) -> Result<(), Error> {
        self.series(&[], |series| series.encode_gauge(&value))
    }

    fn histogram(&mut self, labels: &[(&str, &str)], reading: &Reading) -> Result<(), Error> {
        self.series(labels, |series| {
            series.encode_histogram::<NoLabelSet>(reading.sum, reading.count, &reading.buckets, None)
        })
    }

    fn series(
        &mut self,
        labels: &[(&str, &str)],
        encode: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let labels: Vec<_> =
            [("listener", self.listener)].into_iter().chain(labels.iter().copied()).collect();
        encode(&mut self.encoder.encode_family(&labels)?)
    }
}
