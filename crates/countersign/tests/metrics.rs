//! What is counted is told to Prometheus, and docs/metrics.md lists it.
#![cfg(feature = "metrics")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::Refusal;
use countersign::metrics::{ListenerMetrics, Metrics, TunnelEnd};
use countersign::proto::context::{Facts, Rejected};
use countersign::proto::error::{Code, code};
use countersign::proto::policy::Waiver;
use countersign::tunnel::Observer as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

mod facts;

const TOOK: Duration = Duration::from_millis(3);

fn refuse(listener: &ListenerMetrics, code: Code, facts: Option<Facts>) {
    let refusal = Refusal::new(code, "something \"that\"\na client said", "nothing");
    listener.refused(&Box::new(Rejected { refusal, claimed_service: None, facts }), TOOK);
}

/// Everything that can be counted, counted once.
fn busy() -> (Metrics, Arc<ListenerMetrics>) {
    let metrics = Metrics::default();
    let listener = metrics.listener("echo");
    listener.accepted(&facts::kerberos(), TOOK);
    refuse(&listener, code::REPLAY, Some(facts::kerberos()));
    listener.broken(&Refusal::new(code::END_UNMARKED, "", ""));
    listener.keys_loaded(&facts::keys(), SystemTime::now().checked_sub(Duration::from_secs(3_600)));
    let tunnel = listener.tunnel_opened();
    tunnel.to_sealed(7);
    tunnel.to_plain(11);
    tunnel.ended(TunnelEnd::Idle);
    (metrics, listener)
}

/// The value of each series of a page.
fn series(metrics: &Metrics) -> BTreeMap<String, f64> {
    let page = metrics.render().unwrap();
    assert!(page.ends_with("# EOF\n"), "{page}");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[track_caller]
fn assert_counted(metrics: &Metrics, expected: &[(&str, f64)]) {
    let series = series(metrics);
    for (name, value) in expected {
        assert_eq!(series.get(*name), Some(value), "{name} in {series:#?}");
    }
}

#[test]
fn what_happened_is_counted_under_its_labels() {
    let (metrics, listener) = busy();
    listener.keys_failed();
    listener.connection_blocked();
    listener.refusal_delayed();
    metrics.audit_failed();
    metrics.log_line_suppressed();
    metrics.replay_store_fell_back();
    refuse(&listener, code::REPLAY_HORIZON, None);
    assert_counted(
        &metrics,
        &[
            (r#"countersign_handshakes_total{listener="echo",outcome="accepted",code=""}"#, 1.0),
            (r#"countersign_handshakes_total{listener="echo",outcome="refused",code="CS-3005"}"#, 1.0),
            (
                r#"countersign_handshakes_accepted_total{listener="echo",mech="kerberos",etype="aes256-cts-hmac-sha1-96"}"#,
                1.0,
            ),
            (r#"countersign_tickets_accepted_total{listener="echo",kvno="3"}"#, 1.0),
            (r#"countersign_handshake_duration_seconds_count{listener="echo",outcome="refused"}"#, 2.0),
            (
                r#"countersign_handshake_duration_seconds_bucket{le="0.0025",listener="echo",outcome="accepted"}"#,
                0.0,
            ),
            (
                r#"countersign_handshake_duration_seconds_bucket{le="0.005",listener="echo",outcome="accepted"}"#,
                1.0,
            ),
            (
                r#"countersign_handshake_duration_seconds_bucket{le="+Inf",listener="echo",outcome="accepted"}"#,
                1.0,
            ),
            (r#"countersign_connections_broken_total{listener="echo",code="CS-8008"}"#, 1.0),
            (r#"countersign_replays_total{listener="echo"}"#, 1.0),
            (r#"countersign_replay_store_unavailable_total{listener="echo",reason="horizon"}"#, 1.0),
            (r#"countersign_replay_store_unavailable_total{listener="echo",reason="down"}"#, 0.0),
            ("countersign_replay_store_fallbacks_total", 1.0),
            (r#"countersign_refusals_delayed_total{listener="echo"}"#, 1.0),
            (r#"countersign_connections_blocked_total{listener="echo"}"#, 1.0),
            (r#"countersign_keytab_newest_kvno{listener="echo"}"#, 7.0),
            (r#"countersign_keytab_loads_total{listener="echo",result="loaded"}"#, 1.0),
            (r#"countersign_keytab_loads_total{listener="echo",result="failed"}"#, 1.0),
            (r#"countersign_tunnels_open{listener="echo"}"#, 0.0),
            (r#"countersign_tunnel_bytes_total{listener="echo",direction="to_client"}"#, 7.0),
            (r#"countersign_tunnel_bytes_total{listener="echo",direction="to_upstream"}"#, 11.0),
            (r#"countersign_tunnels_ended_total{listener="echo",reason="idle"}"#, 1.0),
            ("countersign_audit_failures_total", 1.0),
            ("countersign_log_lines_suppressed_total", 1.0),
        ],
    );
    let age = series(&metrics)[r#"countersign_keytab_file_age_seconds{listener="echo"}"#];
    assert!((3_600.0..3_700.0).contains(&age), "{age}");
}

#[test]
fn ntlm_is_counted_whether_it_was_let_in_refused_or_switched_off() {
    let metrics = Metrics::default();
    let listener = metrics.listener("echo");
    let by_ntlm = || Facts::Ntlm { facts: facts::ntlm(), waivers: vec![Waiver::AllowNtlm] };
    listener.accepted(&by_ntlm(), TOOK);
    refuse(&listener, code::NTLM_OFF, None);
    refuse(&listener, code::NTLM_PROOF_WRONG, None);
    refuse(&listener, code::CLIENT_NOT_ALLOWED, Some(by_ntlm()));
    refuse(&listener, code::TICKET_EXPIRED, None);
    assert_counted(
        &metrics,
        &[
            (r#"countersign_ntlm_seen_total{listener="echo"}"#, 4.0),
            (r#"countersign_handshakes_accepted_total{listener="echo",mech="ntlm",etype=""}"#, 1.0),
        ],
    );
}

#[test]
fn gauges_fall_when_a_handshake_or_a_tunnel_is_dropped() {
    let metrics = Metrics::default();
    let listener = metrics.listener("echo");
    let (handshake, tunnel) = (listener.handshake_began(), listener.tunnel_opened());
    let gauges = [
        r#"countersign_handshakes_in_flight{listener="echo"}"#,
        r#"countersign_tunnels_open{listener="echo"}"#,
    ];
    assert_counted(&metrics, &gauges.map(|name| (name, 1.0)));
    drop((handshake, tunnel));
    assert_counted(&metrics, &gauges.map(|name| (name, 0.0)));
    assert_counted(
        &metrics,
        &[(r#"countersign_tunnels_ended_total{listener="echo",reason="abandoned"}"#, 1.0)],
    );
}

#[test]
fn listeners_are_counted_apart_and_one_name_is_one_listener() {
    let metrics = Metrics::default();
    metrics.listener("a").accepted(&facts::kerberos(), TOOK);
    metrics.listener("a").accepted(&facts::kerberos(), TOOK);
    let _idle = metrics.listener("b");
    assert_counted(
        &metrics,
        &[
            (r#"countersign_handshakes_total{listener="a",outcome="accepted",code=""}"#, 2.0),
            (r#"countersign_handshakes_total{listener="b",outcome="accepted",code=""}"#, 0.0),
        ],
    );
}

#[test]
fn nothing_that_a_client_said_is_on_the_page() {
    let (metrics, _) = busy();
    let page = metrics.render().unwrap();
    for said in ["alice", "a client said", "a.example.test"] {
        assert!(!page.contains(said), "{page}");
    }
}

#[test]
fn the_number_of_series_is_bounded_whatever_is_refused() {
    let metrics = Metrics::default();
    let listener = metrics.listener("echo");
    for code in code::ALL {
        refuse(&listener, *code, None);
        listener.broken(&Refusal::new(*code, "", ""));
    }
    let bound = 2 * code::ALL.len() + 100;
    let count = series(&metrics).len();
    assert!((2 * code::ALL.len()..bound).contains(&count), "{count}");
}

/// Type and labels of each metric on the page, by its name as docs/metrics.md has it.
fn on_the_page() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = busy().0.render().unwrap();
    let mut found = BTreeMap::new();
    for (family, kind) in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
        let labels = page
            .lines()
            .filter(|line| line.starts_with(&format!("{family}_")) || line.starts_with(family))
            .filter(|line| {
                let series = line.split(['{', ' ']).next().unwrap();
                series == name
                    || ["sum", "count", "bucket"].iter().any(|part| series == format!("{name}_{part}"))
            })
            .flat_map(labels_of)
            .collect();
        found.insert(name, (kind.to_owned(), labels));
    }
    found
}

fn labels_of(line: &str) -> Vec<String> {
    let inner =
        line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inner, _)| inner);
    let names = inner.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}

#[test]
fn the_documentation_lists_every_metric_its_type_and_its_labels() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `countersign_"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect();
            let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
            let labels: BTreeSet<_> = labels.filter(|label| label != "none").collect();
            (format!("countersign_{}", cells[0].trim_end_matches('`')), (cells[1].to_owned(), labels))
        })
        .collect();
    assert_eq!(documented, on_the_page());
}

#[test]
fn every_reason_for_which_a_tunnel_ends_is_documented() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    let row = text.lines().find(|line| line.contains("countersign_tunnels_ended_total")).unwrap();
    for end in TunnelEnd::ALL {
        assert!(row.contains(&format!("`{}`", end.word())), "{end:?}");
    }
}
