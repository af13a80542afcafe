//! .NET's NegotiateStream, of two generations, against `serve --framing nns` and `connect --framing nns`: what it sends and takes
//! through both, and that either end understands why the other gives up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_testkit::dotnet::{DotNet, Level, Runtime, Told};
use countersign_testkit::{Env, Etype, Finished, NtlmUsers, Process, run};
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use support::{DEADLINE, FULL_SPN, SPN, Scene, Serve, connect, countersign};

const OTHER: &str = "other/a.example.test";

/// What lets a message be signed only.
const SIGN: [&str; 3] = ["--nns-protection", "sign", "--allow-unsealed"];

/// The realm of all tests, which each of them holds to its end.
fn scene() -> Arc<Scene> {
    Scene::shared(|realm| realm.add_service(OTHER, &[Etype::Aes256Sha1]))
}

/// `serve --framing nns` that writes errors as `runtime` reads them.
fn serve(runtime: Runtime, options: &[&str]) -> Serve {
    scene().serve(&[&framing(runtime)[..], options].concat())
}

fn framing(runtime: Runtime) -> [&'static str; 4] {
    let order = match runtime {
        Runtime::Core31 => "big-endian",
        Runtime::Net8 => "little-endian",
    };
    ["--framing", "nns", "--nns-error-order", order]
}

/// Bytes that no two records have alike.
fn data(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A .NET client as alice that sends `data`.
fn client(runtime: Runtime, address: SocketAddr, level: Level, options: &[&str], data: &[u8]) -> Told {
    let command = DotNet::get(runtime).client(&scene().client_env(), address, SPN, level, options);
    DotNet::exchange(command, data.to_vec())
}

/// A .NET server with the keys of [`SPN`], for one connection.
fn server(runtime: Runtime, level: Level) -> (Process, SocketAddr) {
    let scene = scene();
    DotNet::get(runtime).server(&scene.realm.service_env(&scene.keytab), level, 1)
}

fn ended(server: Process) -> Told {
    Told::of(&server.finish(DEADLINE))
}

/// `connect --framing nns` as alice.
fn connected(address: SocketAddr, options: &[&str]) -> Command {
    let mut command = connect(address, FULL_SPN, &scene().ccache_for(&[SPN]));
    command.args(["--framing", "nns"]).args(options);
    command
}

/// The same, sending one message.
fn message(address: SocketAddr, options: &[&str]) -> Finished {
    run(connected(address, options).args(["--message", "hello"]), DEADLINE)
}

/// Feeds `input` to `command` and runs it to its end.
fn fed(command: &mut Command, input: Vec<u8>) -> Finished {
    let mut process = Process::start(command);
    let mut stdin = process.stdin().unwrap();
    // A program that fails before it has read all leaves a broken pipe; what it says tells why.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = process.finish(DEADLINE);
    writer.join().unwrap();
    done
}

#[track_caller]
fn assert_sealed(told: &Told) {
    for (key, value) in [("mutual", "true"), ("encrypted", "true"), ("signed", "true")] {
        assert_eq!(told.value(key), Some(value), "{:?}", told.lines);
    }
}

#[test]
fn serve_gives_a_dotnet_client_back_what_it_sends_in_writes_of_any_size() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let serve = serve(runtime, &[]);
        let sent = data(200_000);
        for writes in ["1,100,4096", "64511,64512,64513", "65536", "200000"] {
            let options = [&format!("writes={writes}")[..]];
            // A few thousand writes of a handful of bytes say no more than a few hundred.
            let sent = if writes.starts_with("1,") { &sent[..20_000] } else { &sent };
            let told = client(runtime, serve.address, Level::EncryptAndSign, &options, sent);
            assert_sealed(&told);
            assert!(
                told.received == sent,
                "{runtime:?} {writes}: {:?}\n{}",
                told.lines,
                serve.process.stderr()
            );
        }
        let record = serve.accepted();
        assert_eq!(record["client"], "alice@CLI.TEST", "{record}");
        assert_eq!(record["framing"], "nns", "{record}");
    }
}

#[test]
fn a_dotnet_client_that_closes_after_the_last_byte_loses_nothing() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let serve = serve(runtime, &[]);
        let sent = data(100_000);
        let told = client(runtime, serve.address, Level::EncryptAndSign, &["end=dispose"], &sent);
        assert!(told.received == sent, "{runtime:?}: {:?}", told.lines);
    }
}

#[test]
fn serve_takes_eight_megabytes_from_a_dotnet_client_while_it_sends_them_back() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let serve = serve(runtime, &[]);
        let sent = data(8 << 20);
        let told = client(runtime, serve.address, Level::EncryptAndSign, &["writes=1000000"], &sent);
        assert!(told.received == sent, "{runtime:?}: {:?}\n{}", told.lines, serve.process.stderr());
    }
}

#[test]
fn a_dotnet_client_understands_that_the_service_has_no_key_for_its_ticket() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let keytab = scene().realm.keytab(&[OTHER]);
        let serve = Serve::start(&keytab, &framing(runtime));
        let told = client(runtime, serve.address, Level::EncryptAndSign, &[], b"never sent");
        assert!(!told.authenticated() && told.received.is_empty(), "{:?}", told.lines);
        assert!(told.excepts("Authentication failed on the remote side"), "{:?}", told.lines);
        // SEC_E_WRONG_PRINCIPAL
        assert_eq!(told.value("native error"), Some("-2146893022 (0x80090322)"), "{:?}", told.lines);
        serve.refused("CS-2001");
    }
}

#[test]
fn an_error_in_the_other_order_still_tells_a_dotnet_client_that_it_is_refused() {
    let _scene = scene();
    for (runtime, other) in [(Runtime::Core31, Runtime::Net8), (Runtime::Net8, Runtime::Core31)] {
        let serve = Serve::start(&scene().realm.keytab(&[OTHER]), &framing(other));
        let told = client(runtime, serve.address, Level::EncryptAndSign, &[], b"never sent");
        assert!(!told.authenticated(), "{:?}", told.lines);
        assert!(told.excepts("AuthenticationException"), "{:?}", told.lines);
    }
}

#[test]
fn serve_tells_that_a_dotnet_client_gave_up_before_its_first_token() {
    let _scene = scene();
    for (runtime, status) in [(Runtime::Core31, "0x80004005"), (Runtime::Net8, "0x8009030D")] {
        let serve = serve(runtime, &[]);
        let without_ticket = scene().realm.env();
        let command =
            DotNet::get(runtime).client(&without_ticket, serve.address, SPN, Level::EncryptAndSign, &[]);
        let told = DotNet::exchange(command, Vec::new());
        assert!(!told.authenticated(), "{:?}", told.lines);
        let record = serve.refused("CS-8012");
        assert!(record["reason"].as_str().unwrap().contains(status), "{record}");
    }
}

/// Accounts of NTLM for `serve` and for .NET.
struct Accounts {
    folder: tempfile::TempDir,
    users: NtlmUsers,
}

const PASSWORD: &str = "Secret.123";

impl Accounts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = support::file(folder.path(), "password", format!("{PASSWORD}\n").as_bytes());
        let mut add = countersign(&["ntlm", "add", "--user", r"DOM\alice", "--file"]);
        add.arg(folder.path().join("accounts")).arg("--password-file").arg(password);
        run(&mut add, DEADLINE).expect_success();
        Self { folder, users: NtlmUsers::new(&[("DOM", "alice", PASSWORD)]) }
    }

    fn serve(&self, runtime: Runtime, options: &[&str]) -> Serve {
        let file = self.folder.path().join("accounts").display().to_string();
        serve(runtime, &[&["--allow-ntlm", "--ntlm-accounts", &file], options].concat())
    }

    /// A .NET client that has a password and no ticket.
    fn client(&self, runtime: Runtime, address: SocketAddr, level: Level, data: &[u8]) -> Told {
        let env: Env = [scene().realm.env(), self.users.env()].concat();
        let login = format!(r"login=DOM\alice:{PASSWORD}");
        let options = [&login[..], "writes=1,100,10000"];
        DotNet::exchange(DotNet::get(runtime).client(&env, address, SPN, level, &options), data.to_vec())
    }
}

#[test]
fn serve_takes_a_dotnet_client_by_ntlm_where_that_is_allowed() {
    let _scene = scene();
    let accounts = Accounts::new();
    for runtime in Runtime::ALL {
        let serve = accounts.serve(runtime, &[]);
        let sent = data(100_000);
        let told = accounts.client(runtime, serve.address, Level::EncryptAndSign, &sent);
        assert_eq!(told.value("encrypted"), Some("true"), "{:?}", told.lines);
        assert!(told.received == sent, "{runtime:?}: {:?}", told.lines);
        assert_eq!(serve.accepted()["mech"], "ntlm");
    }
}

#[test]
fn serve_refuses_less_protection_than_it_demands_and_a_dotnet_client_knows_that_it_is_that() {
    let _scene = scene();
    let accounts = Accounts::new();
    for runtime in Runtime::ALL {
        let serve = accounts.serve(runtime, &[]);
        let told = accounts.client(runtime, serve.address, Level::Sign, b"not for everybody");
        serve.refused("CS-8013");
        assert!(!told.authenticated(), "{:?}", told.lines);
        assert!(told.excepts("A remote side security requirement was not fulfilled"), "{:?}", told.lines);
        assert_eq!(told.value("native error"), Some("1790 (0x6fe)"), "{:?}", told.lines);
    }
}

#[test]
fn serve_that_is_content_with_signatures_takes_a_dotnet_client_that_only_signs() {
    let _scene = scene();
    let accounts = Accounts::new();
    // The older runtime's client has gss-ntlmssp seal what it only agreed to sign.
    let runtime = Runtime::Net8;
    let serve = accounts.serve(runtime, &SIGN);
    let sent = data(50_000);
    let told = accounts.client(runtime, serve.address, Level::Sign, &sent);
    assert_eq!((told.value("encrypted"), told.value("signed")), (Some("false"), Some("true")));
    assert!(told.received == sent, "{:?}", told.lines);
}

#[test]
fn serve_never_takes_a_dotnet_client_that_asks_for_no_protection() {
    let _scene = scene();
    let accounts = Accounts::new();
    for runtime in Runtime::ALL {
        for options in [&[][..], &SIGN] {
            let serve = accounts.serve(runtime, options);
            let told = accounts.client(runtime, serve.address, Level::None, b"for everybody");
            // NTLM that offers no signatures is refused as such, before levels are compared.
            let record = serve.refused("CS-3102");
            assert!(record["reason"].as_str().unwrap().contains("does not offer SIGN"), "{record}");
            assert!(!told.authenticated(), "{:?}", told.lines);
            assert_eq!(told.value("native error"), Some("-2146893044 (0x8009030c)"), "{:?}", told.lines);
        }
    }
}

#[test]
fn connect_has_a_message_back_from_a_dotnet_server() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        for level in [Level::EncryptAndSign, Level::Sign] {
            let (server, address) = server(runtime, level);
            let done = message(address, &[]).expect_success();
            assert_eq!(done.text(), "hello\n");
            let told = ended(server);
            assert_sealed(&told);
            assert_eq!((told.value("remote"), told.value("received")), (Some("alice@CLI.TEST"), Some("5")));
        }
    }
}

#[test]
fn connect_sends_a_dotnet_server_eight_megabytes_and_has_them_back() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let (server, address) = server(runtime, Level::EncryptAndSign);
        let sent = data(8 << 20);
        let done = fed(&mut connected(address, &["--allow-unmarked-end"]), sent.clone()).expect_success();
        assert!(done.stdout == sent, "{runtime:?}: {} bytes\n{}", done.stdout.len(), done.stderr);
        assert_eq!(ended(server).value("received"), Some("8388608"));
    }
}

#[test]
fn connect_takes_the_end_of_a_dotnet_server_for_an_end_only_if_told_to() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let (_server, address) = server(runtime, Level::EncryptAndSign);
        let done = fed(&mut connected(address, &[]), b"hello".to_vec()).expect_code(1);
        assert_eq!(done.text(), "hello");
        assert!(done.stderr.contains("CS-8008 saw the end of the connection"), "{}", done.stderr);
    }
}

#[test]
fn connect_that_only_signs_is_read_by_a_dotnet_server_that_demands_no_more() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let (server, address) = server(runtime, Level::Sign);
        let done = message(address, &SIGN).expect_success();
        assert_eq!(done.text(), "hello\n");
        let told = ended(server);
        assert_eq!((told.value("encrypted"), told.value("signed")), (Some("false"), Some("true")));
        assert_eq!(told.value("received"), Some("5"), "{:?}", told.lines);
    }
}

#[test]
fn connect_that_only_signs_is_told_that_a_dotnet_server_demands_more() {
    let _scene = scene();
    for runtime in Runtime::ALL {
        let (server, address) = server(runtime, Level::EncryptAndSign);
        let done = message(address, &SIGN).expect_code(1);
        assert!(done.stderr.contains("CS-8012") && done.stderr.contains("0x000006FE"), "{}", done.stderr);
        assert!(ended(server).excepts("A security requirement was not fulfilled"));
    }
}

#[test]
fn connect_tells_why_a_dotnet_server_without_the_key_refuses() {
    let _scene = scene();
    for (runtime, status) in [(Runtime::Core31, "0x80004005"), (Runtime::Net8, "0x80090304")] {
        let env = scene().realm.service_env(&scene().realm.keytab(&[OTHER]));
        let (server, address) = DotNet::get(runtime).server(&env, Level::EncryptAndSign, 1);
        let done = message(address, &[]).expect_code(1);
        assert!(done.stderr.contains("CS-8012") && done.stderr.contains(status), "{}", done.stderr);
        assert!(!ended(server).authenticated());
    }
}

#[test]
fn connect_tells_that_a_dotnet_server_without_any_key_just_closed() {
    let _scene = scene();
    let (server, address) = DotNet::get(Runtime::Net8).server(&scene().realm.env(), Level::EncryptAndSign, 1);
    let done = message(address, &[]).expect_code(1);
    assert!(done.stderr.contains("CS-4005 saw the end of the connection"), "{}", done.stderr);
    assert!(ended(server).excepts("GssApiException"));
}
