//! `/metrics`, `/healthz` and `/readyz` over HTTP (docs/metrics.md).

use super::readiness::Readiness;
use crate::report;
use countersign::metrics::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How many connections are open at once; more are closed unheard.
const CONNECTIONS: usize = 16;

/// How long a connection may take, from its first byte to its last.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a request's line and headers may be, in bytes: the least that the HTTP library allows.
const REQUEST_LIMIT: usize = 8_192;

/// How long accepting rests after an error, such as having no descriptor left.
const REST: Duration = Duration::from_millis(100);

/// The form of `/metrics`.
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What is asked for.
#[derive(Clone)]
pub(crate) struct Observed {
    /// The counters.
    pub(crate) metrics: Metrics,
    /// Whether clients can come.
    pub(crate) readiness: Readiness,
}

/// Answers on `listener` for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, observed: Observed) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let observed = observed.clone();
                    tokio::spawn(async move {
                        answer(socket, observed).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                report::warning(&format!("cannot accept a connection for metrics: {error}"));
                sleep(REST).await;
            }
        }
    }
}

/// Answers one request.
async fn answer(socket: TcpStream, observed: Observed) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &observed);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(REQUEST_LIMIT).max_headers(64);
    // Whoever asks is gone, slow, or sent no HTTP: nothing that anybody here could mend.
    let _ = timeout(DEADLINE, http.serve_connection(TokioIo::new(socket), service)).await;
}

fn respond(method: &Method, path: &str, observed: &Observed) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET is all that there is\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => match observed.metrics.render() {
            Ok(text) => page(StatusCode::OK, OPENMETRICS, text),
            Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match observed.readiness.check() {
            Ok(()) => page(StatusCode::OK, TEXT, "ready\n"),
            Err(why) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{}\n", why.escape_debug())),
        },
        _ => page(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n"),
    }
}

fn page(status: StatusCode, form: HeaderValue, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, form);
    response
}

#[cfg(test)]
mod tests {
    use super::super::drain::Drain;
    use super::*;
    use std::future::pending;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Scene {
        address: SocketAddr,
        observed: Observed,
        drain: Drain,
    }

    async fn scene() -> Scene {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, drain) = (listener.local_addr().unwrap(), Drain::new());
        let readiness = Readiness::new(drain.clone(), Vec::new());
        let observed = Observed { metrics: Metrics::default(), readiness };
        tokio::spawn(serve(listener, observed.clone()));
        Scene { address, observed, drain }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(Duration::from_secs(30), test).await.expect("it ends") });
    }

    /// All that comes back for `sent`, until the connection ends.
    async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = exchange(address, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    #[test]
    fn metrics_are_openmetrics_text_with_its_type() {
        run(async {
            let Scene { address, observed, .. } = scene().await;
            observed.metrics.audit_failed();
            let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
            assert!(answer.contains("\ncountersign_audit_failures_total 1\n"), "{answer}");
            assert!(answer.ends_with("# EOF\n"), "{answer}");
        });
    }

    #[test]
    fn a_process_is_alive_before_it_is_ready_and_while_it_ends() {
        run(async {
            let Scene { address, observed, drain } = scene().await;
            assert_eq!(get(address, "/readyz").await, (503, "the service has not started yet\n".into()));
            assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
            observed.readiness.started();
            assert_eq!(get(address, "/readyz").await, (200, "ready\n".into()));
            observed.readiness.amiss("store", "two\nlines");
            assert_eq!(get(address, "/readyz").await, (503, "two\\nlines\n".into()));
            observed.readiness.mended("store");
            drain.end(Duration::ZERO, pending()).await;
            assert_eq!(get(address, "/readyz").await, (503, "the service was told to end\n".into()));
            assert_eq!(get(address, "/healthz").await.0, 200);
        });
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        run(async {
            let Scene { address, .. } = scene().await;
            assert_eq!(get(address, "/").await.0, 404);
            let answer =
                exchange(address, b"POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
            assert!(
                answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"),
                "{answer}"
            );
        });
    }

    #[test]
    fn a_request_that_is_too_long_or_no_http_is_refused() {
        run(async {
            let Scene { address, .. } = scene().await;
            let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(REQUEST_LIMIT * 4));
            let answer = exchange(address, long.as_bytes()).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
            let answer = exchange(address, b"\x00\x01\x02\x03\r\n\r\n").await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        });
    }

    #[test]
    fn connections_are_bounded_and_silent_ones_end() {
        run(async {
            let Scene { address, .. } = scene().await;
            let mut silent = Vec::new();
            for _ in 0..CONNECTIONS {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            assert_eq!(exchange(address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await, "");
            for mut stream in silent {
                assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed at the deadline");
            }
            assert_eq!(get(address, "/healthz").await.0, 200);
        });
    }
}
