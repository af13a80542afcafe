//! KDCs behind an HTTPS proxy (MS-KKDCP): each request is one POST.
//!
//! What is sent is what would go to the KDC in the clear anyway, so TLS protects privacy here, not authenticity. The
//! proxy's certificate is verified all the same: against `http_anchors` of the realm, or else the system's authorities.

use super::Parcel;
use super::error::Trouble;
use super::reply::MAX_REPLY;
use countersign_proto::der::Writer;
use countersign_proto::krb5::msg::kdc_proxy::KdcProxyMessage;
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;
use ureq::config::AutoHeaderValue;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Most files of a folder of certificates that are read.
const MAX_FILES: usize = 1_024;
/// What an answer may have around the Kerberos message, in bytes.
const FRAME: usize = 1_024;

/// The answer to the request, through the proxy at `url`.
///
/// # Errors
/// If the proxy is not reached, not trusted, or gives no answer until then.
pub(super) fn post_blocking(url: &str, parcel: &Parcel<'_>, until: Instant) -> Result<Vec<u8>, Trouble> {
    exchange(url, &encoded(parcel), parcel.anchors, until)
}

/// As [`post_blocking`], in a thread of the runtime's.
///
/// # Errors
/// As [`post_blocking`].
pub(super) async fn post(url: &str, parcel: &Parcel<'_>, until: Instant) -> Result<Vec<u8>, Trouble> {
    let (url, message, anchors) = (url.to_owned(), encoded(parcel), parcel.anchors.to_vec());
    let exchange = tokio::task::spawn_blocking(move || exchange(&url, &message, &anchors, until));
    exchange.await.unwrap_or_else(|error| Err(failed(error)))
}

fn encoded(parcel: &Parcel<'_>) -> Vec<u8> {
    let (message, target_domain) = (parcel.request, Some(parcel.realm));
    let mut out = Vec::new();
    KdcProxyMessage { message, target_domain, dclocator_hint: None }.write(&mut Writer::new(&mut out));
    out
}

fn exchange(url: &str, message: &[u8], anchors: &[String], until: Instant) -> Result<Vec<u8>, Trouble> {
    let tls = TlsConfig::builder().root_certs(roots(anchors)?).build();
    let left = until.saturating_duration_since(Instant::now());
    let agent = ureq::Agent::config_builder()
        .https_only(true)
        // Another URL than the configured one is not trusted with anything.
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .accept_encoding(AutoHeaderValue::None)
        .user_agent(AutoHeaderValue::None)
        .timeout_global(Some(left))
        .tls_config(tls)
        .build()
        .new_agent();
    let mut response = agent
        .post(url)
        .content_type("application/kerberos")
        .send(message)
        .map_err(|error| trouble(&error))?;
    if response.status().as_u16() != 200 {
        return Err(Trouble::Proxy(format!("HTTP status {}", response.status())));
    }
    let limit = u64::try_from(MAX_REPLY.saturating_add(FRAME)).unwrap_or(u64::MAX);
    let body = response.body_mut().with_config().limit(limit).read_to_vec();
    let body = body.map_err(|error| trouble(&error))?;
    let answer = KdcProxyMessage::parse(&body)
        .map_err(|error| failed(format!("the answer is no KDC-PROXY-MESSAGE: {error}")))?;
    Ok(answer.message.to_vec())
}

fn trouble(error: &ureq::Error) -> Trouble {
    match error {
        ureq::Error::Timeout(_) => Trouble::Silent,
        ureq::Error::Io(error) => match Trouble::from(error) {
            Trouble::Io(text) => Trouble::Proxy(text),
            known => known,
        },
        other => failed(other),
    }
}

fn failed(cause: impl Display) -> Trouble {
    Trouble::Proxy(cause.to_string())
}

/// The authorities that may have signed the proxy's certificate.
fn roots(anchors: &[String]) -> Result<RootCerts, Trouble> {
    let mut certificates = Vec::new();
    for anchor in anchors {
        let found = place(anchor, |variable| std::env::var(variable)).and_then(|place| anchored(&place));
        let found = found.map_err(|cause| failed(format!("http_anchors {anchor}: {cause}")))?;
        certificates.extend(found);
    }
    if anchors.is_empty() {
        certificates = certificates_of(load_native_certs())
            .map_err(|cause| failed(format!("the system's certificates of authorities: {cause}")))?;
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// What an anchor says, or the environment in its place.
fn place<E: Display>(anchor: &str, variable: impl Fn(&str) -> Result<String, E>) -> Result<String, String> {
    match anchor.strip_prefix("ENV:") {
        Some(name) => variable(name).map_err(|error| error.to_string()),
        None => Ok(anchor.to_owned()),
    }
}

/// The certificates that one place leads to, at least one.
fn anchored(place: &str) -> Result<Vec<Certificate<'static>>, String> {
    let files = match place.strip_prefix("DIR:") {
        Some(folder) => files_in(Path::new(folder)).map_err(|error| error.to_string())?,
        None => return in_file(Path::new(place.strip_prefix("FILE:").unwrap_or(place))),
    };
    // Other files may lie in the folder too.
    let found: Vec<_> = files.iter().filter_map(|file| in_file(file).ok()).flatten().collect();
    if found.is_empty() { Err("no certificate in the folder".into()) } else { Ok(found) }
}

fn files_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.take(MAX_FILES);
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

fn in_file(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    certificates_of(load_certs_from_paths(Some(file), None))
}

fn certificates_of(loaded: CertificateResult) -> Result<Vec<Certificate<'static>>, String> {
    if loaded.certs.is_empty() {
        let cause = loaded.errors.first().map(ToString::to_string);
        return Err(cause.unwrap_or_else(|| "no certificate".into()));
    }
    Ok(loaded.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_may_stand_in_the_environment() {
        let environment = |name: &str| if name == "X" { Ok("DIR:/ca".to_owned()) } else { Err("not set") };
        assert_eq!(place("ENV:X", environment), Ok("DIR:/ca".into()));
        assert_eq!(place("ENV:Y", environment), Err("not set".into()));
        assert_eq!(place("FILE:/x", environment), Ok("FILE:/x".into()));
    }
}
