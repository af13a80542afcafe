//! Programs started by a test.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running program whose output is kept. When dropped it is killed, if it still runs, and reaped; nothing else is.
pub struct Process {
    name: String,
    child: Child,
    stdout: Capture,
    stderr: Capture,
}

/// What a program left behind.
pub struct Finished {
    /// The command, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error, as text.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be started, or still runs after `deadline`; then it is killed first.
#[track_caller]
pub fn run(command: &mut Command, deadline: Duration) -> Finished {
    Process::start(command).finish(deadline)
}

impl Process {
    /// Starts `command` with its output captured and a pipe as its input.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = Capture::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Capture::of(child.stderr.take().expect("stderr is piped"));
        Self { name, child, stdout, stderr }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The write end of the program's input; dropping it is the end of the input. `None` the second time.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for a line of standard output that starts with `prefix`, and returns the rest of that line.
    ///
    /// # Panics
    /// If there is none before `deadline`, or the output ends without one; the message holds all output so far.
    #[track_caller]
    pub fn wait_for_line(&self, prefix: &str, deadline: Duration) -> String {
        self.stdout.wait_for_line(prefix, deadline).unwrap_or_else(|| self.missing("stdout", prefix))
    }

    /// As [`wait_for_line`](Self::wait_for_line), on standard error.
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn wait_for_error_line(&self, prefix: &str, deadline: Duration) -> String {
        self.stderr.wait_for_line(prefix, deadline).unwrap_or_else(|| self.missing("stderr", prefix))
    }

    /// Waits for the line `listening on ADDRESS` and returns the address.
    ///
    /// # Panics
    /// If the line does not come within ten seconds or names no address.
    #[track_caller]
    pub fn listening(&self) -> SocketAddr {
        let address = self.wait_for_line("listening on ", Duration::from_secs(10));
        address.parse().unwrap_or_else(|_| panic!("{}: {address:?} is no address", self.name))
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes the program's input, waits for its end and returns what it left.
    ///
    /// # Panics
    /// If it still runs after `deadline`; then it is killed, and the message holds its output.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> Finished {
        drop(self.stdin());
        let end = Instant::now() + deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < end, "{} still runs after {deadline:?}\n{}", self.name, self.output());
            std::thread::sleep(Duration::from_millis(2));
        };
        self.stdout.join();
        self.stderr.join();
        Finished { command: self.name.clone(), status, stdout: self.stdout.bytes(), stderr: self.stderr() }
    }

    #[track_caller]
    fn missing(&self, stream: &str, prefix: &str) -> ! {
        panic!("{}: no line {prefix:?} on {stream}\n{}", self.name, self.output())
    }

    fn output(&self) -> String {
        format!("stdout: {}\nstderr: {}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the child has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output as text, for the messages of failing tests.
impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, status, stderr, .. } = self;
        write!(f, "{command} ended with {status}\nstdout: {}\nstderr: {stderr}", self.text())
    }
}

impl Finished {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The exit code, or -1 if a signal ended the program.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Returns itself if the exit code is `code`.
    ///
    /// # Panics
    /// If it is another; the message holds the output.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.code() == code, "expected exit code {code}, but {self:?}");
        self
    }

    /// Returns itself if the program was content.
    ///
    /// # Panics
    /// If it was not; the message holds the output.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }
}

/// One output stream, read by a thread of its own so that the program never waits for the test.
struct Capture {
    shared: Arc<(Mutex<Captured>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Captured>, Condvar)>::default();
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let mut captured = writer.0.lock().unwrap();
                captured.bytes.extend_from_slice(&buffer[..count]);
                captured.ended = count == 0;
                writer.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn wait_for_line(&self, prefix: &str, deadline: Duration) -> Option<String> {
        let line = |captured: &Captured| {
            let text = String::from_utf8_lossy(&captured.bytes).into_owned();
            // Without the line's end the rest of it may still be on the way.
            text.split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
        };
        let guard = self.shared.0.lock().unwrap();
        let waiting = |captured: &mut Captured| !captured.ended && line(captured).is_none();
        let (guard, _) = self.shared.1.wait_timeout_while(guard, deadline, waiting).unwrap();
        line(&guard)
    }

    fn bytes(&self) -> Vec<u8> {
        self.shared.0.lock().unwrap().bytes.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reading thread does not panic");
        }
    }
}
