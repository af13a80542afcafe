//! The service manager: it is told how the service fares, and may have opened its sockets for it.

use crate::observe::drain::Drain;
use countersign::proto::error::{Refusal, code};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Says that the service accepts clients; `status` is shown by `systemctl status`. Without a service manager this and
/// the other calls do nothing.
pub(crate) fn ready(status: &str) -> Result<(), Refusal> {
    notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// Says that the service reads its files anew, until [`ready`] is called again.
pub(crate) fn reloading() -> Result<(), Refusal> {
    let now = NotifyState::monotonic_usec_now().map_err(|error| silent(&error))?;
    notify(&[NotifyState::Reloading, now])
}

/// Says that the service ends, and may take up to `patience` for it.
pub(crate) fn stopping(patience: Duration) -> Result<(), Refusal> {
    let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)])
}

fn notify(states: &[NotifyState<'_>]) -> Result<(), Refusal> {
    sd_notify::notify(states).map_err(|error| silent(&error))
}

fn silent(error: &io::Error) -> Refusal {
    Refusal::new(code::SERVICE_MANAGER_SILENT, format!("NOTIFY_SOCKET ({error})"), "a state to tell")
}

/// A line break would begin another assignment.
fn one_line(status: &str) -> String {
    status.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Pings the service manager's watchdog for as long as everything that must be alive is. All clones are the same.
#[derive(Clone)]
pub(crate) struct Watchdog {
    within: Duration,
    hearts: Arc<Mutex<Vec<Heart>>>,
}

/// Something that must be alive.
struct Heart {
    name: String,
    last: Instant,
    gone: bool,
}

/// The pulse of one heart. Whoever holds it must live: if it is dropped before the service ends, the pings stop.
pub(crate) struct Pulse {
    watchdog: Watchdog,
    place: usize,
}

impl Watchdog {
    /// The one that the service manager set up (WATCHDOG_USEC), if it did.
    pub(crate) fn from_environment() -> Option<Self> {
        sd_notify::watchdog_enabled().filter(|within| !within.is_zero()).map(Self::within)
    }

    fn within(within: Duration) -> Self {
        Self { within, hearts: Arc::default() }
    }

    /// A heart of this name, which beats now and has to beat again within the watchdog's time.
    pub(crate) fn heart(&self, name: &str) -> Pulse {
        let mut hearts = self.lock();
        let place = hearts.len();
        hearts.push(Heart { name: name.to_owned(), last: Instant::now(), gone: false });
        Pulse { watchdog: self.clone(), place }
    }

    /// The first heart that does not beat, if there is one.
    fn dead(&self, now: Instant) -> Option<String> {
        let hearts = self.lock();
        let dead = |heart: &&Heart| heart.gone || now.saturating_duration_since(heart.last) > self.within;
        hearts.iter().find(dead).map(|heart| heart.name.clone())
    }

    /// Pings, twice in the watchdog's time, until a heart stops, and returns its name: the service manager will end the
    /// service. Once the service drains its hearts may stop, and it pings until it is dropped.
    pub(crate) async fn keep(&self, drain: &Drain) -> Result<String, Refusal> {
        let mut ticks = interval(self.part(2));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.dead(Instant::now()) {
                Some(name) if !drain.is_draining() => return Ok(name),
                _ => notify(&[NotifyState::Watchdog])?,
            }
        }
    }

    fn part(&self, of: u32) -> Duration {
        self.within.checked_div(of).unwrap_or(self.within)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Heart>> {
        self.hearts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Waits for `future` and beats meanwhile: for a loop that waits for its next connection. It can be cancelled where
    /// `future` can.
    pub(crate) async fn during<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut beats = interval(self.watchdog.part(4));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut future => {
                    self.beat();
                    return done;
                }
                _ = beats.tick() => self.beat(),
            }
        }
    }

    fn beat(&self) {
        if let Some(heart) = self.watchdog.lock().get_mut(self.place) {
            heart.last = Instant::now();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if let Some(heart) = self.watchdog.lock().get_mut(self.place) {
            heart.gone = true;
        }
    }
}

/// The sockets that the service manager opened (LISTEN_FDS, LISTEN_FDNAMES), each for one listener.
pub(crate) struct Inherited {
    sockets: ListenFd,
    /// Names by place; one that was taken is empty.
    names: Vec<Option<String>>,
}

impl Inherited {
    /// Those of this process, if it has some. To be called once: a socket has one owner.
    pub(crate) fn from_environment() -> Self {
        let sockets = ListenFd::from_env();
        let told = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut told = told.split(':').map(str::to_owned);
        // As systemd calls those that have no name.
        let names =
            (0..sockets.len()).map(|_| Some(told.next().unwrap_or_else(|| "unknown".to_owned()))).collect();
        Self { sockets, names }
    }

    /// Takes the first socket of that name that was not taken, or the one at that place, counted from 0, if none has the
    /// name.
    ///
    /// # Errors
    /// If there is none, or it is no TCP socket that listens.
    pub(crate) fn take(&mut self, which: &str) -> Result<TcpListener, Refusal> {
        let place = self.place(which).ok_or_else(|| self.absent(which))?;
        let taken = self.sockets.take_tcp_listener(place);
        let listener = taken.and_then(usable).map_err(|error| self.refused(which, &error.to_string()))?;
        if let Some(name) = self.names.get_mut(place) {
            *name = None;
        }
        Ok(listener)
    }

    /// Names of the sockets that nobody took.
    pub(crate) fn left(&self) -> Vec<&str> {
        self.names.iter().flatten().map(String::as_str).collect()
    }

    fn place(&self, which: &str) -> Option<usize> {
        let named = self.names.iter().position(|name| name.as_deref() == Some(which));
        let counted =
            || which.parse().ok().filter(|place| self.names.get(*place).is_some_and(Option::is_some));
        named.or_else(counted)
    }

    fn absent(&self, which: &str) -> Refusal {
        self.refused(which, "which was not passed on, or is taken")
    }

    fn refused(&self, which: &str, why: &str) -> Refusal {
        let left = self.left();
        let have = match left.len() {
            0 => "no socket left that was inherited".to_owned(),
            _ => format!("the inherited sockets {}", left.join(", ")),
        };
        Refusal::new(code::SOCKET_NOT_INHERITED, format!("systemd:{which} ({why})"), have)
    }
}

/// The listener, if it listens, as tokio wants it.
fn usable(listener: Option<TcpListener>) -> io::Result<TcpListener> {
    let listener = listener.ok_or_else(|| io::Error::other("taken"))?;
    if !rustix::net::sockopt::socket_acceptconn(&listener)? {
        return Err(io::Error::other("it does not listen"));
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, socket};
    use std::future::pending;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    use std::process::{Command, Output};

    /// Set in the child in which a test runs its other half.
    const CHILD: &str = "COUNTERSIGN_TEST_HALF";

    fn is_child() -> bool {
        std::env::var_os(CHILD).is_some()
    }

    /// This test program, to run the test `name` of this module alone.
    fn again(name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("systemd::tests::{name}"), "--nocapture"]).env(CHILD, "1");
        command
    }

    fn assert_passed(output: &Output) {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
    }

    fn told(socket: &UnixDatagram) -> String {
        let mut message = [0; 1_024];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    fn manager(folder: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket
    }

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    #[test]
    fn the_manager_is_told_of_the_start_a_reload_and_the_end() {
        if is_child() {
            ready("serves 2\nMAINPID=1").unwrap();
            reloading().unwrap();
            ready("serves 2").unwrap();
            stopping(Duration::from_secs(30)).unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = manager(folder.path());
        let name = "the_manager_is_told_of_the_start_a_reload_and_the_end";
        assert_passed(&again(name).env("NOTIFY_SOCKET", folder.path().join("notify")).output().unwrap());
        assert_eq!(told(&socket), "READY=1\nSTATUS=serves 2 MAINPID=1\n");
        let reload = told(&socket);
        assert!(reload.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reload}");
        assert_eq!(told(&socket), "READY=1\nSTATUS=serves 2\n");
        assert_eq!(told(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\n");
    }

    #[test]
    fn a_manager_that_cannot_be_reached_is_an_error_with_its_code_and_none_is_none() {
        if is_child() {
            assert_eq!(ready("").unwrap_err().code(), code::SERVICE_MANAGER_SILENT);
            return;
        }
        assert!(std::env::var_os("NOTIFY_SOCKET").is_none(), "tests run outside of a service");
        assert_eq!(ready(""), Ok(()));
        let name = "a_manager_that_cannot_be_reached_is_an_error_with_its_code_and_none_is_none";
        assert_passed(&again(name).env("NOTIFY_SOCKET", "/nowhere/notify").output().unwrap());
    }

    #[test]
    fn the_watchdog_is_pinged_while_all_hearts_beat_and_no_longer() {
        if is_child() {
            block_on(async {
                let watchdog = Watchdog::from_environment().unwrap();
                let (alive, dies) = (watchdog.heart("alive"), watchdog.heart("accepts on 2000"));
                let dies = tokio::spawn(async move {
                    let _ =
                        tokio::time::timeout(Duration::from_millis(500), dies.during(pending::<()>())).await;
                });
                tokio::spawn(async move { alive.during(pending::<()>()).await });
                assert_eq!(watchdog.keep(&Drain::new()).await.unwrap(), "accepts on 2000");
                dies.await.unwrap();
            });
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = manager(folder.path());
        let name = "the_watchdog_is_pinged_while_all_hearts_beat_and_no_longer";
        let environment =
            [("WATCHDOG_USEC", "200000"), ("NOTIFY_SOCKET", folder.path().join("notify").to_str().unwrap())]
                .map(|(name, value)| (name, value.to_owned()));
        assert_passed(&again(name).envs(environment).output().unwrap());
        socket.set_nonblocking(true).unwrap();
        let mut message = [0; 64];
        let mut pings = 0;
        while let Ok(length) = socket.recv(&mut message) {
            assert_eq!(&message[..length], b"WATCHDOG=1\n");
            pings += 1;
        }
        assert!(pings >= 2, "{pings}");
    }

    #[test]
    fn a_heart_that_does_not_beat_is_dead_after_the_watchdogs_time() {
        let watchdog = Watchdog::within(Duration::from_secs(10));
        let stuck = watchdog.heart("stuck");
        let now = Instant::now();
        assert_eq!(watchdog.dead(now), None);
        assert_eq!(watchdog.dead(now + Duration::from_secs(11)).as_deref(), Some("stuck"));
        block_on(stuck.during(async {}));
        assert_eq!(watchdog.dead(Instant::now()), None);
        drop(stuck);
        assert_eq!(watchdog.dead(Instant::now()).as_deref(), Some("stuck"));
    }

    #[test]
    fn while_the_service_drains_its_hearts_may_stop() {
        block_on(async {
            let (watchdog, drain) = (Watchdog::within(Duration::from_millis(20)), Drain::new());
            drop(watchdog.heart("accepts on 2000"));
            drain.end(Duration::ZERO, pending()).await;
            let kept = tokio::time::timeout(Duration::from_millis(200), watchdog.keep(&drain)).await;
            assert!(kept.is_err(), "{kept:?}");
        });
    }

    #[test]
    fn no_watchdog_is_kept_where_none_was_set_up_or_for_another_process() {
        if is_child() {
            assert!(Watchdog::from_environment().is_none());
            return;
        }
        let name = "no_watchdog_is_kept_where_none_was_set_up_or_for_another_process";
        assert_passed(&again(name).env("WATCHDOG_USEC", "200000").env("WATCHDOG_PID", "1").output().unwrap());
        assert_passed(&again(name).env("WATCHDOG_USEC", "0").output().unwrap());
        assert_passed(&again(name).output().unwrap());
    }

    /// Runs the test `name` in a child that inherits two listeners and a socket that does not listen, as descriptors 3 to 5.
    fn assert_passes_activated(name: &str, names: &str) {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port().to_string());
        let [first, second] = listeners.map(OwnedFd::from);
        let idle = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let said = tempfile::NamedTempFile::new().unwrap();
        let again = again(name);
        let mut shell = Command::new("sh");
        // The numbers that systemd gives them, and the variable that only the child itself can know.
        let script = "exec 5<&2 4<&1 3<&0 0</dev/null 1>\"$SAID\" 2>&1; export LISTEN_PID=$$; exec \"$@\"";
        shell.args(["-c", script, "sh"]).arg(again.get_program()).args(again.get_args());
        shell.env(CHILD, "1").env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", names);
        shell.env("PORTS", ports.join(" ")).env("SAID", said.path()).stdin(first).stdout(second).stderr(idle);
        let status = shell.status().unwrap();
        assert_passed(&Output { status, stdout: std::fs::read(said.path()).unwrap(), stderr: Vec::new() });
    }

    #[test]
    fn sockets_are_inherited_by_name_or_by_place_each_once() {
        if is_child() {
            let mut inherited = Inherited::from_environment();
            let ports = std::env::var("PORTS").unwrap();
            let (first, second) = ports.split_once(' ').unwrap();
            let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
            let web = inherited.take("web").unwrap();
            assert_eq!((port(&web).as_str(), inherited.left()), (second, vec!["echo", "idle"]));
            let echo = inherited.take("0").unwrap();
            assert_eq!(port(&echo), first);
            for taken in ["web", "echo", "0", "7", "idle"] {
                let refusal = inherited.take(taken).unwrap_err();
                assert_eq!(refusal.code(), code::SOCKET_NOT_INHERITED, "{taken}");
            }
            let refusal = inherited.take("web").unwrap_err();
            assert_eq!(refusal.have(), "the inherited sockets idle");
            return;
        }
        assert_passes_activated("sockets_are_inherited_by_name_or_by_place_each_once", "echo:web:idle");
    }

    #[test]
    fn a_process_that_inherited_nothing_says_so() {
        if is_child() {
            let refusal = Inherited::from_environment().take("web").unwrap_err();
            assert_eq!(refusal.have(), "no socket left that was inherited");
            return;
        }
        let name = "a_process_that_inherited_nothing_says_so";
        assert_passed(&again(name).output().unwrap());
        // Meant for another process.
        assert_passed(&again(name).env("LISTEN_FDS", "1").env("LISTEN_PID", "1").output().unwrap());
    }
}
