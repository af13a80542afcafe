use super::{Accounts, Answer};
use base64ct::{Base64, Encoding};
use countersign_proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign_proto::secret::Secret;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Longest line of the helper that is read, in bytes.
const MAX_LINE: u64 = 4_096;
/// Most lines of one answer.
const MAX_LINES: usize = 64;

/// The accounts of a domain, through Samba's `ntlm_auth` and the winbind daemon behind it.
///
/// One helper process answers one request after the other, on a thread of its own; it is started when it is first
/// needed, and again if it ends. It needs the right to use winbind's privileged pipe.
pub struct Winbind {
    questions: mpsc::Sender<Question>,
}

struct Question {
    request: VerifyRequest,
    answer: oneshot::Sender<Verdict>,
}

impl Winbind {
    /// The domain that this machine's winbind knows, through the helper program at `ntlm_auth`.
    #[must_use]
    pub fn new(ntlm_auth: &Path) -> Self {
        let (questions, asked) = mpsc::channel();
        let mut helper = Helper { program: ntlm_auth.to_owned(), running: None };
        std::thread::spawn(move || {
            // Ends when the last Winbind is dropped.
            for Question { request, answer } in asked {
                // Whoever asked may have given up meanwhile.
                let _ = answer.send(helper.verify(&request));
            }
        });
        Self { questions }
    }
}

impl Accounts for Winbind {
    fn verify<'a>(&'a self, request: &'a VerifyRequest) -> Answer<'a> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let question = Question { request: request.clone(), answer };
            match self.questions.send(question) {
                Ok(()) => answered.await.unwrap_or(Verdict::Unavailable),
                Err(_) => Verdict::Unavailable,
            }
        })
    }
}

/// The helper process, if it runs.
struct Helper {
    program: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn verify(&mut self, request: &VerifyRequest) -> Verdict {
        self.ask(request).unwrap_or_else(|_| {
            // The next request finds a new process.
            self.running = None;
            Verdict::Unavailable
        })
    }

    fn ask(&mut self, request: &VerifyRequest) -> io::Result<Verdict> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.program)?),
        };
        running.input.write_all(question(request).expose())?;
        running.input.flush()?;
        let mut authenticated = None;
        let mut session_base_key = None;
        for line in running.answer()? {
            match line.split_once(": ") {
                Some(("Authenticated", word)) => authenticated = Some(word == "Yes"),
                Some(("User-Session-Key", key)) => session_base_key = Some(key.to_owned()),
                _ => {}
            }
        }
        match authenticated {
            None => Err(io::ErrorKind::InvalidData.into()),
            Some(false) => Ok(Verdict::Invalid),
            Some(true) => valid(request, session_base_key.as_deref()),
        }
    }
}

impl Running {
    fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg("--helper-protocol=ntlm-server-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// The lines of one answer, which a line with a dot ends; after a no there are two of those, so one that ends nothing
    /// is passed over.
    fn answer(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        for _ in 0..MAX_LINES {
            let mut line = String::new();
            io::Read::take(&mut self.output, MAX_LINE).read_line(&mut line)?;
            match line.strip_suffix('\n') {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(".") if lines.is_empty() => {}
                Some(".") => return Ok(lines),
                Some(whole) => lines.push(whole.to_owned()),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request in the words of `ntlm-server-1`. Names go in base64, which no name can break out of.
fn question(request: &VerifyRequest) -> Secret {
    let text = format!(
        "LANMAN-Challenge: {}\nLANMAN-Response: {}\nNT-Response: {}\nNT-Domain:: {}\nUsername:: {}\n\
         Request-User-Session-Key: Yes\n.\n",
        hex::encode_upper(request.server_challenge),
        hex::encode_upper(&request.lm_response),
        hex::encode_upper(&request.nt_response),
        Base64::encode_string(request.domain.as_bytes()),
        Base64::encode_string(request.user.as_bytes()),
    );
    Secret::new(text.into_bytes())
}

fn valid(request: &VerifyRequest, key: Option<&str>) -> io::Result<Verdict> {
    let mut bytes = Secret::new(vec![0; 16]);
    let key = key.ok_or(io::ErrorKind::InvalidData)?;
    hex::decode_to_slice(key.trim(), bytes.expose_mut()).map_err(io::Error::other)?;
    let identity = Identity { user: request.user.clone(), domain: request.domain.clone(), guest: false };
    Ok(Verdict::Valid { session_base_key: bytes, identity })
}
