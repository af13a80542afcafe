use super::{Accounts, Answer};
use base64ct::{Base64, Encoding};
use countersign_proto::error::{Refusal, code};
use countersign_proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign_proto::secret::Secret;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest line of the helper that is read, in bytes.
const MAX_LINE: u64 = 4_096;
/// Most lines of one answer.
const MAX_LINES: usize = 64;
/// Most questions that wait; one more is refused at once.
const MAX_WAITING: usize = 256;
/// How long the helper may take for one answer before it is ended, so that one stuck question does not hold up the rest.
const PATIENCE: Duration = Duration::from_secs(5);
/// Length of an LM response; the helper takes no other.
const LM_RESPONSE: usize = 24;

/// The accounts of a domain, through Samba's `ntlm_auth` and the winbind daemon behind it.
///
/// One helper process answers one request after the other, on a thread of its own; it is started again if it ends or
/// takes too long. It needs the right to use winbind's privileged pipe. Names are reported as the client wrote them: that
/// the domain vouches for them is all that winbind says.
pub struct Winbind {
    questions: SyncSender<Question>,
}

struct Question {
    request: VerifyRequest,
    answer: oneshot::Sender<Verdict>,
}

impl Winbind {
    /// The domain that this machine's winbind knows, through the helper program at `ntlm_auth`.
    ///
    /// # Errors
    /// If that program cannot be started.
    pub fn new(ntlm_auth: &Path) -> Result<Self, Refusal> {
        let failed = |error: io::Error| {
            let saw = format!("helper program {} ({error})", ntlm_auth.display());
            Refusal::new(code::NTLM_ACCOUNTS_UNREADABLE, saw, "no other source of accounts")
        };
        let running = Some(Running::start(ntlm_auth).map_err(failed)?);
        let mut helper = Helper { program: ntlm_auth.to_owned(), running };
        let (questions, asked) = mpsc::sync_channel::<Question>(MAX_WAITING);
        // Ends when the last Winbind is dropped.
        let serve = move || asked.iter().for_each(|question| helper.answer(question));
        thread::Builder::new().name("winbind".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { questions })
    }
}

impl Accounts for Winbind {
    fn verify<'a>(&'a self, request: &'a VerifyRequest) -> Answer<'a> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let question = Question { request: request.clone(), answer };
            match self.questions.try_send(question) {
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
    child: Arc<Mutex<Child>>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn answer(&mut self, Question { request, answer }: Question) {
        // Whoever asked may have given up meanwhile: then nobody needs to be asked.
        if answer.is_closed() {
            return;
        }
        let verdict = self.ask(&request).unwrap_or_else(|_| {
            // The next request finds a new process.
            self.running = None;
            Verdict::Unavailable
        });
        let _ = answer.send(verdict);
    }

    fn ask(&mut self, request: &VerifyRequest) -> io::Result<Verdict> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.program)?),
        };
        let _watch = running.watch()?;
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
        Ok(Self { child: Arc::new(Mutex::new(child)), input, output: BufReader::new(output) })
    }

    /// Ends the process if what is returned is not dropped in time; its pipes then end what waits for them.
    fn watch(&self) -> io::Result<SyncSender<()>> {
        let (done, waiting): (_, Receiver<()>) = mpsc::sync_channel(1);
        let child = self.child.clone();
        let watch = move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                end(&child);
            }
        };
        thread::Builder::new().name("winbind-watch".to_owned()).spawn(watch)?;
        Ok(done)
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
        end(&self.child);
    }
}

fn end(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// A request in the words of `ntlm-server-1`. Names go in base64, which no name can break out of.
fn question(request: &VerifyRequest) -> Secret {
    let lm_response = match &request.lm_response {
        response if response.len() == LM_RESPONSE => {
            format!("LANMAN-Response: {}\n", hex::encode_upper(response))
        }
        // NTLMv2 does without, and the helper would take nothing of another length.
        _ => String::new(),
    };
    let text = format!(
        "LANMAN-Challenge: {}\n{lm_response}NT-Response: {}\nNT-Domain:: {}\nUsername:: {}\n\
         Request-User-Session-Key: Yes\n.\n",
        hex::encode_upper(request.server_challenge),
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
    // A guest has no key of its own: anybody could make this one.
    if bytes.ct_eq(&[0; 16]) {
        return Ok(Verdict::Invalid);
    }
    let identity = Identity { user: request.user.clone(), domain: request.domain.clone(), guest: false };
    Ok(Verdict::Valid { session_base_key: bytes, identity })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    /// A helper program that is a shell script.
    fn helper(script: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ntlm_auth");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        (folder, path)
    }

    fn request() -> VerifyRequest {
        VerifyRequest {
            user: "bob".to_owned(),
            domain: "CORP".to_owned(),
            workstation: String::new(),
            server_challenge: [1; 8],
            lm_response: vec![0; 3],
            nt_response: vec![2; 60],
        }
    }

    fn ask(winbind: &Winbind) -> Verdict {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(winbind.verify(&request()))
    }

    const READ: &str = "while read line && [ \"$line\" != . ]; do :; done";

    #[test]
    fn a_program_that_is_not_there_is_told_at_the_start() {
        let refusal = Winbind::new(Path::new("/nonexistent/ntlm_auth")).err().unwrap();
        assert!(refusal.saw().contains("/nonexistent/ntlm_auth"), "{refusal}");
    }

    #[test]
    fn a_helper_that_hangs_is_ended_and_the_next_question_is_answered() {
        let hung = "[ -e \"$0.again\" ] || { touch \"$0.again\"; exec sleep 1000; }";
        let yes = "printf 'Authenticated: Yes\\nUser-Session-Key: 00112233445566778899AABBCCDDEEFF\\n.\\n'";
        let (_folder, path) = helper(&format!("{hung}\n{READ}\n{yes}\nread end"));
        let winbind = Winbind::new(&path).unwrap();
        let began = Instant::now();
        assert!(matches!(ask(&winbind), Verdict::Unavailable));
        assert!(began.elapsed() >= PATIENCE);
        assert!(matches!(ask(&winbind), Verdict::Valid { .. }));
    }

    #[test]
    fn a_key_of_zeros_is_a_guests_and_refused() {
        let yes = "printf 'Authenticated: Yes\\nUser-Session-Key: 00000000000000000000000000000000\\n.\\n'";
        let (_folder, path) = helper(&format!("{READ}\n{yes}\nread end"));
        assert!(matches!(ask(&Winbind::new(&path).unwrap()), Verdict::Invalid));
    }

    #[test]
    fn an_lm_response_of_another_length_is_left_out() {
        let asked = String::from_utf8(question(&request()).expose().to_vec()).unwrap();
        assert!(!asked.contains("LANMAN-Response"), "{asked}");
        let usual = VerifyRequest { lm_response: vec![0; 24], ..request() };
        assert!(
            String::from_utf8(question(&usual).expose().to_vec()).unwrap().contains("LANMAN-Response: 0000")
        );
    }
}
