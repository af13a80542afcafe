//! The socket to which requests of administration come while somebody serves the realm: a line of JSON each way. Only the
//! server's own user and root are listened to.

use super::served::ServedRealm;
use super::{make_private, unwritable};
use crate::files;
use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{UnixListener, UnixStream};
use ::tokio::sync::Semaphore;
use ::tokio::task::{JoinSet, spawn_blocking};
use ::tokio::time::{sleep, timeout};
use countersign_proto::error::{Refusal, code};
use countersign_proto::secret::Secret;
use countersign_realm::admin::{MAX_REQUEST_LINE, Request, Response};
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a request may take to come, and its answer to be taken.
const TALK: Duration = Duration::from_secs(10);

/// How long an answer is waited for: others may be before us, and passwords take a while.
const ANSWER: Duration = Duration::from_secs(60);

/// Connections that are attended to at once.
const CONNECTIONS: usize = 32;

/// How long accepting rests after an error.
const REST: Duration = Duration::from_millis(50);

/// One request of administration, for the log.
#[derive(Clone, Debug)]
pub struct Administered {
    /// Who asked, as the system says: a user and a process. None for what the server does by itself.
    pub by: Option<(u32, Option<i32>)>,
    /// What was asked for, and of which account: `passwd alice`.
    pub request: String,
    /// Why it was not done, if it was not.
    pub refusal: Option<Refusal>,
}

impl Administered {
    pub(super) fn upkeep_failed(refusal: Refusal) -> Self {
        Self { by: None, request: "upkeep".to_owned(), refusal: Some(refusal) }
    }
}

/// Listens at `path`. What lies there is left from a server that was killed: whoever calls this has the realm's lock.
pub(super) fn bind(path: &Path) -> Result<net::UnixListener, Refusal> {
    let bound = match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => net::UnixListener::bind(path),
    };
    let private = bound.and_then(|listener| {
        make_private(path)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    private.map_err(|error| unwritable(path, &error))
}

/// The same socket for tokio.
pub(super) fn listening(listener: &net::UnixListener) -> Result<UnixListener, Refusal> {
    listener.try_clone().and_then(UnixListener::from_std).map_err(|error| failed("the socket", &error))
}

/// Attends to whoever comes, until it is dropped.
pub(super) async fn serve(
    listener: UnixListener,
    realm: Arc<ServedRealm>,
    note: Arc<impl Fn(Administered) + Send + Sync + 'static>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut attended = JoinSet::new();
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while attended.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (realm, note) = (Arc::clone(&realm), Arc::clone(&note));
                attended.spawn(async move {
                    let _place = place;
                    note(attend(stream, realm).await);
                });
            }
            Err(_) => sleep(REST).await,
        }
    }
}

/// One request and its answer.
async fn attend(mut stream: UnixStream, realm: Arc<ServedRealm>) -> Administered {
    let peer = stream.peer_cred().map(|peer| (peer.uid(), peer.pid()));
    let by = peer.as_ref().ok().copied();
    // Before anybody is refused: what is left unread would take the answer's place.
    let (request, answered) = match received(&mut stream).await {
        Ok(request) => match allowed(peer) {
            Ok(()) => (request.described(), done(realm, request).await),
            Err(refusal) => (request.described(), Err(refusal)),
        },
        Err(refusal) => ("?".to_owned(), Err(refusal)),
    };
    let refusal = answered.as_ref().err().cloned();
    let response = answered.unwrap_or_else(|refusal| Response::refused(&refusal));
    let sent = send(&mut stream, &response).await;
    Administered { by, request, refusal: refusal.or(sent.err()) }
}

/// Whether the one who asks may: the server's own user, or root.
fn allowed(peer: io::Result<(u32, Option<i32>)>) -> Result<(), Refusal> {
    let (uid, _) = peer.map_err(|error| failed("a connection from nobody knows whom", &error))?;
    let ours = geteuid().as_raw();
    if uid == 0 || uid == ours {
        return Ok(());
    }
    let have = format!("user {ours} and root");
    Err(Refusal::new(code::ADMINISTRATION_FAILED, format!("a request of user {uid}"), have))
}

async fn received(stream: &mut UnixStream) -> Result<Request, Refusal> {
    // Room for the longest at once: a buffer that grows leaves copies of passwords behind.
    let mut line = Secret::new(Vec::with_capacity(MAX_REQUEST_LINE));
    let reading = async {
        while line.expose().last() != Some(&b'\n') && line.len() < MAX_REQUEST_LINE {
            let room = MAX_REQUEST_LINE.saturating_sub(line.len());
            let most = u64::try_from(room).unwrap_or(u64::MAX);
            if (&mut *stream).take(most).read_buf(line.expose_mut()).await? == 0 {
                break;
            }
        }
        Ok(())
    };
    let read: io::Result<()> =
        timeout(TALK, reading).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    read.map_err(|error| failed("a request that does not come", &error))?;
    Ok(Request::from_line(line.expose())?)
}

async fn done(realm: Arc<ServedRealm>, request: Request) -> Result<Response, Refusal> {
    let done = spawn_blocking(move || realm.administer(&request)).await;
    done.unwrap_or_else(|error| {
        Err(failed("a request that was not done to its end", &io::Error::other(error)))
    })
}

async fn send(stream: &mut UnixStream, response: &Response) -> Result<(), Refusal> {
    let line = response.to_line()?;
    let sending = async {
        stream.write_all(line.expose()).await?;
        stream.shutdown().await
    };
    let sent = timeout(TALK, sending).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    sent.map_err(|error| failed("an answer that is not taken", &error))
}

/// The answer of whoever serves the realm; nothing if nobody does. It blocks.
pub(super) fn ask(path: &Path, request: &Request) -> Result<Option<Response>, Refusal> {
    let stream = match net::UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(&path.display().to_string(), &error)),
    };
    let line = request.to_line()?;
    let answer = converse(stream, &line).map_err(|error| failed(&path.display().to_string(), &error))?;
    if answer.is_empty() {
        let saw = format!("{}: the server ended before it answered", path.display());
        let have = "no knowledge whether it was done: countersign realm list shows it";
        return Err(Refusal::new(code::ADMINISTRATION_FAILED, saw, have));
    }
    Ok(Some(Response::from_line(answer.expose())?))
}

fn converse(mut stream: net::UnixStream, line: &Secret) -> io::Result<Secret> {
    stream.set_write_timeout(Some(TALK))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(line.expose())?;
    stream.shutdown(Shutdown::Write)?;
    // Keys may come: into memory that is wiped.
    files::contents(File::from(OwnedFd::from(stream)))
}

fn failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(code::ADMINISTRATION_FAILED, format!("{what} ({error})"), "no other way to the server")
}
