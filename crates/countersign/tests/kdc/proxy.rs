//! KDCs behind HTTPS proxies: the module kdcproxy in front of MIT's KDC, and proxies that are broken or not to be trusted.

use crate::real::{AS_REQ, error_code};
use crate::{FACES, Face, PATIENCE, REALM, real};
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::proto::error::{Code, code};
use countersign::proto::krb5conf::{KdcAddress, Krb5Conf};
use countersign_testkit::{KdcOptions, Peers, Process, Realm};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A proxy whose certificate comes from an authority of its own.
struct Proxy {
    at: SocketAddr,
    folder: TempDir,
    _process: Process,
}

impl Proxy {
    /// With a certificate for `name`, in front of the KDC of [`REALM`] at `kdc_port`.
    fn new(name: &str, kdc_port: u16) -> Self {
        Self::of(REALM, name, kdc_port)
    }

    fn of(realm: &str, name: &str, kdc_port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        std::fs::create_dir(folder.path().join("anchors")).unwrap();
        file("anchors/authority.pem", &authority.pem());
        file("anchors/README", "no certificate");
        let mut command = Peers::kdcproxy();
        command.arg(file("server.pem", &server.pem())).arg(file("key.pem", &key.serialize_pem()));
        let process = Process::start(command.arg(realm).arg(kdc_port.to_string()));
        Self { at: process.listening(), folder, _process: process }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.at.port())
    }

    fn anchors(&self) -> PathBuf {
        self.folder.path().join("anchors")
    }

    fn authority(&self) -> Vec<String> {
        vec![format!("FILE:{}", self.anchors().join("authority.pem").display())]
    }

    fn kdcs(&self, path: &str, anchors: Vec<String>) -> Kdcs {
        kdcs(self.url(path), anchors, PATIENCE_WITH_TLS)
    }
}

/// A handshake in Python takes its time on a busy machine.
const PATIENCE_WITH_TLS: KdcPatience = KdcPatience { connection: Duration::from_secs(8), ..PATIENCE };

fn kdcs(url: String, anchors: Vec<String>, patience: KdcPatience) -> Kdcs {
    let mut conf = Krb5Conf::builder().realm(REALM, [KdcAddress::Https { url }]).build();
    conf.realms.get_mut(REALM).unwrap().http_anchors = anchors;
    Kdcs::with_patience(Arc::new(conf), patience)
}

fn realm() -> Realm {
    real::realm(&KdcOptions::default())
}

/// A port that nothing has a KDC on: the request does not get that far.
const NO_KDC: u16 = 1;

#[track_caller]
fn refused(face: Face, kdcs: &Kdcs, expected: Code, told: &str) {
    let refusal = face.exchange_if(kdcs, REALM.as_bytes(), AS_REQ, &mut |_| true).unwrap_err();
    assert_eq!(refusal.code(), expected, "{refusal}");
    assert!(refusal.have().contains(told), "{refusal}");
}

#[test]
fn a_kdc_of_mit_is_reached_through_kdcproxy() {
    let realm = realm();
    let proxy = Proxy::new("localhost", realm.kdc().port());
    let folder = vec![format!("DIR:{}", proxy.anchors().display())];
    for face in FACES {
        assert_eq!(error_code(face, &proxy.kdcs("KdcProxy", proxy.authority())), 25, "{face:?}");
        assert_eq!(error_code(face, &proxy.kdcs("KdcProxy", folder.clone())), 25, "{face:?}");
    }
}

#[test]
fn a_proxy_that_knows_no_kdc_of_the_realm_is_told() {
    let proxy = Proxy::of("OTHER.TEST", "localhost", NO_KDC);
    for face in FACES {
        refused(face, &proxy.kdcs("KdcProxy", proxy.authority()), code::KKDCP_FAILED, "HTTP status 503");
    }
}

#[test]
fn a_proxy_of_another_authority_is_not_trusted() {
    let proxy = Proxy::new("localhost", NO_KDC);
    let other = Proxy::new("localhost", NO_KDC);
    for face in FACES {
        refused(face, &proxy.kdcs("KdcProxy", other.authority()), code::KKDCP_FAILED, "certificate");
        // Nor do the system's authorities know it.
        refused(face, &proxy.kdcs("KdcProxy", Vec::new()), code::KKDCP_FAILED, "certificate");
    }
}

#[test]
fn a_proxy_with_another_name_is_not_trusted() {
    let proxy = Proxy::new("other.example.test", NO_KDC);
    for face in FACES {
        let kdcs = proxy.kdcs("KdcProxy", proxy.authority());
        refused(face, &kdcs, code::KKDCP_FAILED, "certificate");
    }
}

#[test]
fn a_proxy_that_is_broken_is_told() {
    let proxy = Proxy::new("localhost", NO_KDC);
    for (path, told) in [
        ("redirect", "HTTP status 307"),
        ("missing", "HTTP status 404"),
        ("garbage", "the answer is no KDC-PROXY-MESSAGE"),
        ("length", "a length in kerb-message that is not its own"),
        ("huge", "limit"),
    ] {
        for face in FACES {
            refused(face, &proxy.kdcs(path, proxy.authority()), code::KKDCP_FAILED, told);
        }
    }
}

#[test]
fn a_proxy_that_is_silent_or_not_there_is_told() {
    let proxy = Proxy::new("localhost", NO_KDC);
    let patience = KdcPatience { passes: 1, ..PATIENCE };
    for face in FACES {
        let silent = kdcs(proxy.url("silent"), proxy.authority(), patience);
        refused(face, &silent, code::KDC_NO_ANSWER, "https: no answer in 0.6 s");
        let absent = kdcs("https://127.0.0.1:1/KdcProxy".into(), proxy.authority(), PATIENCE_WITH_TLS);
        refused(face, &absent, code::KDC_UNREACHABLE, "https: nothing listens there");
    }
}

#[test]
fn a_proxy_is_never_spoken_to_in_the_clear() {
    let proxy = Proxy::new("localhost", NO_KDC);
    for face in FACES {
        let url = proxy.url("KdcProxy").replace("https", "http");
        refused(face, &kdcs(url, proxy.authority(), PATIENCE_WITH_TLS), code::KKDCP_FAILED, "https");
    }
}

#[test]
fn anchors_that_cannot_be_read_are_told() {
    let proxy = Proxy::new("localhost", NO_KDC);
    let no_certificate = proxy.anchors().join("README");
    let display = |path: &Path| path.display().to_string();
    for anchor in [
        "FILE:/nowhere/authority.pem".to_owned(),
        "DIR:/nowhere".to_owned(),
        format!("FILE:{}", display(&no_certificate)),
        display(&no_certificate),
        format!("DIR:{}", display(Path::new(env!("CARGO_MANIFEST_DIR")))),
        "ENV:COUNTERSIGN_TEST_NOT_SET".to_owned(),
    ] {
        for face in FACES {
            let told = format!("http_anchors {anchor}: ");
            refused(face, &proxy.kdcs("KdcProxy", vec![anchor.clone()]), code::KKDCP_FAILED, &told);
        }
    }
}
