//! Keys about who may come in, and what must be proved.

use super::{Row, lets_in, now, with};
use crate::serve_support::Running;
use crate::support::wire::Wire;
use countersign::proto::gss::{BindingsHash, GssFlags};
use countersign::proto::krb5::msg::ap_req::ApOptions;
use countersign::proto::krb5::msg::principal::Principal;
use countersign_testkit::mint::{self, ApReq};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const POLICY: &[Row] = &[
    ("listener", "allow", allow),
    ("listener", "clock_skew", clock_skew),
    ("listener", "accept_raw_kerberos", accept_raw_kerberos),
    ("listener", "channel_bindings", channel_bindings),
    ("listener", "channel_binding_values", channel_binding_values),
    ("listener", "allow_no_mutual", allow_no_mutual),
    ("listener", "ignore_transited", ignore_transited),
];

/// Whether an AP-REQ is accepted, by the record of it.
fn accepts(serve: &Running, request: &ApReq) -> bool {
    let before = serve.records().len();
    let mut wire = Wire::connect(serve.address());
    wire.send(&request.token());
    serve.record(before + 1)["outcome"] == "accepted"
}

fn allow() {
    for (clients, taken) in
        [("alice@EXAMPLE.TEST", true), ("*@EXAMPLE.TEST", true), ("bob@EXAMPLE.TEST", false)]
    {
        let (scene, serve) = with(&format!("allow = [\"{clients}\"]"));
        assert_eq!(lets_in(&scene, &serve), taken, "{clients}");
        if !taken {
            serve.refused_with("CS-3017");
        }
    }
}

fn clock_skew() {
    for (skew, taken) in [("60", false), ("\"5m\"", true)] {
        let (scene, serve) = with(&format!("clock_skew = {skew}"));
        let mut request = scene.mint.ap_req();
        request.authenticator.ctime = now().saturating_sub(Duration::from_secs(100));
        request.ticket.authtime = now().saturating_sub(Duration::from_secs(200));
        request.ticket.starttime = Some(request.ticket.authtime);
        assert_eq!(accepts(&serve, &request), taken, "{skew}");
        if !taken {
            serve.refused_with("CS-3004");
        }
    }
}

fn accept_raw_kerberos() {
    for (accepted, exit) in [(true, 0), (false, 1)] {
        let (scene, serve) = with(&format!("accept_raw_kerberos = {accepted}"));
        scene.connect(serve.address(), &[]).expect_code(exit);
        scene.connect(serve.address(), &["--negotiate"]).expect_success();
    }
}

fn channel_bindings() {
    let exits = |mode: &str| {
        let (scene, serve) = with(&format!(
            "channel_bindings = \"{mode}\"\n{}",
            match mode {
                "off" => "",
                _ => "channel_binding_values = [\"c0ffee\"]",
            }
        ));
        [&[][..], &["--channel-bindings", "c0ffee"], &["--channel-bindings", "dead"]]
            .map(|flags| scene.connect(serve.address(), flags).code())
    };
    assert_eq!(exits("off"), [0, 0, 0]);
    assert_eq!(exits("when-offered"), [0, 0, 1]);
    assert_eq!(exits("required"), [1, 0, 1]);
}

fn channel_binding_values() {
    let certificate = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificate.pem");
    let of_certificate = format!("cert:{}", certificate.display());
    let values = format!("[\"c0ffee\", \"{of_certificate}\"]");
    let (scene, serve) = with(&format!("channel_bindings = \"required\"\nchannel_binding_values = {values}"));
    for (value, exit) in [("c0ffee", 0), (of_certificate.as_str(), 0), ("dead", 1)] {
        scene.connect(serve.address(), &["--channel-bindings", value]).expect_code(exit);
    }
}

fn allow_no_mutual() {
    for allowed in [true, false] {
        let (scene, serve) = with(&format!("allow_no_mutual = {allowed}"));
        let mut request = scene.mint.ap_req();
        let flags = GssFlags(mint::FLAGS.0 & !GssFlags::MUTUAL.0);
        request.authenticator.checksum = Some(mint::gss_checksum(BindingsHash::NONE, flags));
        request.ap_options = ApOptions(0);
        assert_eq!(accepts(&serve, &request), allowed);
        if !allowed {
            serve.refused_with("CS-3010");
        }
    }
}

fn ignore_transited() {
    for ignored in [true, false] {
        let (scene, serve) = with(&format!("ignore_transited = {ignored}"));
        let mut request = scene.mint.ap_req();
        let stranger = Principal::new("ELSEWHERE.TEST", &["alice"]);
        request.ticket.client = stranger.clone();
        request.ticket.transited = b"BETWEEN.TEST".to_vec();
        request.authenticator.client = stranger;
        assert_eq!(accepts(&serve, &request), ignored);
        if !ignored {
            serve.refused_with("CS-2011");
        }
    }
}
