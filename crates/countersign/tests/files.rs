//! Files of keys and tickets that another program is writing, or that come out of a pipe, and what reading them leaves in
//! memory.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::files;
use countersign::proto::error::code;
use countersign_testkit::Process;
use countersign_testkit::mint::{Mint, ccache_bytes, keytab_bytes};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

fn a_ccache() -> Vec<u8> {
    let mint = Mint::default();
    ccache_bytes(&mint.ccache(&[mint.ticket()]))
}

/// What another process does as MIT's library does when it writes a cache: half of it under the lock, and at the end of
/// the input the whole.
const WRITER: &str = "import fcntl, sys
file = open(sys.argv[1], 'r+b')
whole = file.read()
fcntl.lockf(file, fcntl.LOCK_EX)
file.truncate(30)
print('half written', flush=True)
sys.stdin.read()
file.seek(0)
file.write(whole)";

/// A cache of which another process has written half, and that process.
fn half_written(folder: &Path) -> (PathBuf, Process) {
    let path = folder.join("ccache");
    std::fs::write(&path, a_ccache()).unwrap();
    let writer = Process::start(Command::new("python3").args(["-c", WRITER]).arg(&path));
    writer.wait_for_line("half written", DEADLINE);
    (path, writer)
}

#[test]
fn a_ccache_that_another_program_is_writing_is_read_when_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut writer) = half_written(folder.path());
    let input = writer.stdin();
    let ending = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        drop(input);
    });
    let ccache = files::ccache(&path).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(ccache.credentials.len(), 1);
    ending.join().unwrap();
    writer.finish(DEADLINE).expect_success();
}

#[test]
fn a_ccache_that_stays_locked_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _writer) = half_written(folder.path());
    let began = Instant::now();
    let refusal = files::ccache(&path).expect_err("it is locked");
    assert_eq!(refusal.code(), code::CCACHE_UNREADABLE);
    assert!(refusal.saw().contains("locked by another program for 3 s"), "{refusal}");
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_ccache_that_another_program_reads_is_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ccache");
    std::fs::write(&path, a_ccache()).unwrap();
    let file = File::open(&path).unwrap();
    // This process's own lock; what is tested is that the one asked for is shared, which a file open for reading permits.
    fcntl_lock(&file, FlockOperation::LockShared).unwrap();
    assert!(files::ccache(&path).is_ok());
}

/// A pipe into which a program writes, as a path; the program ends with it.
struct Pipe {
    reader: std::io::PipeReader,
    child: Child,
}

impl Pipe {
    fn of(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let child = command.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
        command.stdout(Stdio::null());
        Self { reader, child }
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.reader.as_raw_fd()).into()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn keys_and_tickets_are_read_out_of_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let mut mint = Mint::default();
    let mut keytab = mint.keytab();
    for kvno in 3..2_000 {
        mint.kvno = kvno;
        keytab.entries.extend(mint.keytab().entries);
    }
    let contents = [keytab_bytes(&keytab), a_ccache()];
    assert!(contents[0].len() > 100_000);
    let paths = ["keytab", "ccache"].map(|name| folder.path().join(name));
    for (path, contents) in paths.iter().zip(contents) {
        std::fs::write(path, contents).unwrap();
    }
    let pipe = Pipe::of(Command::new("cat").arg(&paths[0]));
    assert!(files::service_keys(&pipe.path()).is_ok());
    let pipe = Pipe::of(Command::new("cat").arg(&paths[1]));
    assert_eq!(files::ccache(&pipe.path()).unwrap().credentials.len(), 1);
}

#[test]
fn a_pipe_that_never_ends_is_given_up_at_the_limit() {
    let pipe = Pipe::of(&mut Command::new("yes"));
    let refusal = files::service_keys(&pipe.path()).err().expect("it has no end");
    assert_eq!(refusal.code(), code::KEYTAB_UNREADABLE);
    assert!(refusal.saw().contains("16777216 bytes"), "{refusal}");
}

/// Two lines of what is read, each byte turned round, so that the test itself holds no copy.
fn needle(first: u32) -> Vec<u8> {
    let digits = |number: u32| (0..6).rev().map(move |place| b'0' + (number / 10_u32.pow(place) % 10) as u8);
    let lines = digits(first).chain([b'\n']).chain(digits(first + 1)).chain([b'\n']);
    lines.map(|byte| byte ^ 0x80).collect()
}

/// How often the needle's two lines stand in this process's memory.
fn copies_in_memory(needle: &[u8]) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = File::open("/proc/self/mem").unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        memory.seek(SeekFrom::Start(from)).unwrap();
        let mut region = Vec::with_capacity((to - from) as usize);
        // Some regions cannot be read.
        let _ = Read::by_ref(&mut memory).take(to - from).read_to_end(&mut region);
        // Turned round before anything is searched for: this is a copy of its own, of which nothing must be left.
        region.iter_mut().for_each(|byte| *byte ^= 0x80);
        count += region.windows(needle.len()).filter(|window| *window == needle).count();
    }
    count
}

const NUMBERS: [&str; 2] = ["100000", "118000"];
const LOOKED_FOR: [u32; 6] = [100_010, 100_100, 101_000, 104_000, 109_000, 117_000];

/// Holes in this thread's heap with something behind each, so that a buffer which grows must move from one to the next.
fn holes() -> Vec<Vec<u8>> {
    let sizes = (5..18).flat_map(|power| [1_usize << power; 4]);
    let (holes, between): (Vec<_>, Vec<_>) =
        sizes.map(|size| (Vec::<u8>::with_capacity(size + 16), vec![0; 100])).unzip();
    drop(holes);
    between
}

#[test]
fn nothing_is_left_in_memory_of_what_came_out_of_a_pipe() {
    let _between = holes();
    for _ in 0..4 {
        let pipe = Pipe::of(Command::new("seq").args(NUMBERS));
        assert!(files::service_keys(&pipe.path()).is_err(), "numbers are no keytab");
    }
    for first in LOOKED_FOR {
        assert_eq!(copies_in_memory(&needle(first)), 0, "of {first}");
    }
    let mut pipe = Pipe::of(Command::new("seq").args(NUMBERS));
    let mut held = String::new();
    pipe.reader.read_to_string(&mut held).unwrap();
    assert_ne!(copies_in_memory(&needle(LOOKED_FOR[0])), 0, "what is there is found");
}
