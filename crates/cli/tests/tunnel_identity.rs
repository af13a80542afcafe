//! What an upstream learns of the client behind a tunnel, before anything else; and that nobody reaches it who may not come in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;
mod tunnel_support;

use countersign::proto::krb5::msg::principal::Principal;
use countersign::tunnel::PROXY_TLVS;
use countersign_testkit::mint::Mint;
use countersign_testkit::{Process, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::wire::Wire;
use support::{DEADLINE, Serve, countersign, file, wait_for};
use tunnel_support::{Scene, Tunnel, Upstream, assert_comes, assert_reset, assert_whole, both_ends, reach};

const HOUR: Duration = Duration::from_secs(3_600);
const IPV6: [&str; 2] = ["--listen", "[::1]:0"];
const PROXY: [&str; 2] = ["--upstream-identity", "proxy-v2"];
const JSON: [&str; 2] = ["--upstream-identity", "json"];

/// A header of the PROXY protocol, version 2, as its specification says to read one.
struct Header {
    source: SocketAddr,
    destination: SocketAddr,
    tlvs: BTreeMap<u8, String>,
}

impl Header {
    fn read(stream: &mut TcpStream) -> Self {
        let mut fixed = [0; 16];
        stream.read_exact(&mut fixed).unwrap();
        assert_eq!(fixed[..12], [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]);
        assert_eq!(fixed[12], 0x21, "version 2, PROXY");
        let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
        stream.read_exact(&mut rest).unwrap();
        let (hosts, ports, tlvs) = match fixed[13] {
            0x11 => (rest[..8].chunks(4).map(ipv4).collect::<Vec<_>>(), &rest[8..12], &rest[12..]),
            0x21 => (rest[..32].chunks(16).map(ipv6).collect(), &rest[32..36], &rest[36..]),
            other => panic!("family and protocol {other:#x}"),
        };
        let port = |place: usize| u16::from_be_bytes([ports[place], ports[place + 1]]);
        Self {
            source: (hosts[0], port(0)).into(),
            destination: (hosts[1], port(2)).into(),
            tlvs: read_tlvs(tlvs),
        }
    }
}

fn ipv4(bytes: &[u8]) -> IpAddr {
    Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap()).into()
}

fn ipv6(bytes: &[u8]) -> IpAddr {
    Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()).into()
}

fn read_tlvs(mut bytes: &[u8]) -> BTreeMap<u8, String> {
    let mut tlvs = BTreeMap::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        let known = tlvs.insert(*kind, String::from_utf8(value.to_vec()).unwrap());
        assert_eq!(known, None, "type {kind:#x} twice");
        bytes = rest;
    }
    assert!(bytes.is_empty(), "{bytes:02x?} is no TLV");
    tlvs
}

/// Where the client's connection comes from, as the audit record has it.
fn peer(tunnel: &Tunnel) -> String {
    tunnel.serve.accepted()["peer"].as_str().unwrap().to_owned()
}

/// An HTTP server behind the PROXY protocol, which answers with the addresses that it was told.
fn haproxy(folder: &Path) -> (Process, PathBuf) {
    let socket = folder.join("haproxy");
    let text = format!(
        "global\n    maxconn 64\n\
         defaults\n    mode http\n    timeout client 60s\n    timeout server 60s\n    timeout connect 60s\n\
         frontend tunnel\n    bind unix@{} accept-proxy\n    \
         http-request return status 200 content-type text/plain lf-string \"%[src]|%[src_port]|%[dst]|%[dst_port]\"\n",
        socket.display()
    );
    let config = file(folder, "haproxy.cfg", text.as_bytes());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("haproxy");
    command.env("PATH", format!("{path}:/usr/sbin")).args(["-db", "-f"]).arg(config);
    let process = Process::start(&mut command);
    assert!(wait_for(|| socket.exists().then_some(())).is_some(), "{}", process.stderr());
    (process, socket)
}

#[test]
fn haproxy_takes_the_proxy_header_and_reads_the_addresses_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_haproxy, socket) = haproxy(folder.path());
    for listen in [&[][..], &IPV6] {
        let flags = [&PROXY[..], listen].concat();
        let tunnel = Scene::new().tunnel(&format!("unix:{}", socket.display()), &flags, &[]);
        let mut program = tunnel.enter();
        program.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        program.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 "), "{answer}");
        let peer: SocketAddr = peer(&tunnel).parse().unwrap();
        let service = tunnel.serve.address;
        assert_eq!(service.is_ipv6(), !listen.is_empty());
        let told = format!("{}|{}|{}|{}", peer.ip(), peer.port(), service.ip(), service.port());
        assert_eq!(body.trim_end(), told);
    }
}

#[test]
fn the_proxy_header_tells_who_the_client_is_before_what_it_says() {
    for listen in [&[][..], &IPV6] {
        let upstream = Upstream::new();
        let flags = [&PROXY[..], listen].concat();
        let tunnel = Scene::new().tunnel(&upstream.address(), &flags, &[]);
        let mut program = tunnel.enter();
        program.write_all(b"first").unwrap();
        let mut service = upstream.accept();
        let header = Header::read(&mut service);
        assert_comes(&mut service, b"first");
        assert_eq!(header.source.to_string(), peer(&tunnel));
        assert_eq!(header.destination, tunnel.serve.address);
        let told: Vec<_> = header.tlvs.iter().map(|(kind, value)| (*kind, value.as_str())).collect();
        assert_eq!(
            told,
            [
                (0xE0, "alice@EXAMPLE.TEST"),
                (0xE1, "HTTP/a.example.test@EXAMPLE.TEST"),
                (0xE2, "kerberos"),
                (0xE3, "aes256-cts-hmac-sha1-96"),
                (0xE4, "mutual"),
            ]
        );
        drop(program);
        assert_whole(&mut service, b"");
    }
}

#[test]
fn the_line_of_json_tells_the_same() {
    let upstream = Upstream::new();
    let tunnel = Scene::new().tunnel(&upstream.address(), &JSON, &[]);
    let mut program = tunnel.enter();
    program.write_all(b"first").unwrap();
    let (line, rest) = json_and_rest(&program, upstream.accept());
    assert_eq!(rest, b"first");
    let told = serde_json::json!({
        "client": "alice@EXAMPLE.TEST",
        "service": "HTTP/a.example.test@EXAMPLE.TEST",
        "mech": "kerberos",
        "protection": "aes256-cts-hmac-sha1-96",
        "mutual": true,
        "peer": peer(&tunnel),
        "local": tunnel.serve.address.to_string(),
    });
    assert_eq!(line, told);
}

/// The line, and all that `program` said.
fn json_and_rest(program: &TcpStream, service: TcpStream) -> (Value, Vec<u8>) {
    program.shutdown(Shutdown::Write).unwrap();
    let mut service = BufReader::new(service);
    let mut line = String::new();
    service.read_line(&mut line).unwrap();
    let mut rest = Vec::new();
    service.read_to_end(&mut rest).unwrap();
    (serde_json::from_str(&line).unwrap(), rest)
}

#[test]
fn names_with_odd_characters_arrive_as_they_are_written_elsewhere() {
    for components in [
        &["a\"b\\c", "é 名/x@y"][..],
        &["{\"client\":\"root\"}\n\r\0\t"],
        &["\u{202e}ecila", "…x"],
        &[" ", "'"],
    ] {
        let client = Principal::new("EXAMPLE.TEST", components);
        let written = client.to_string();
        let mint = Mint { client, ..Mint::default() };
        let upstream = Upstream::new();
        let tunnel = Scene::of(mint.clone(), HOUR).tunnel(&upstream.address(), &PROXY, &[]);
        let (_program, mut service) = both_ends(&tunnel, &upstream);
        assert_eq!(Header::read(&mut service).tlvs[&0xE0], written);
        let tunnel = Scene::of(mint, HOUR).tunnel(&upstream.address(), &JSON, &[]);
        let (program, service) = both_ends(&tunnel, &upstream);
        assert_eq!(json_and_rest(&program, service).0["client"], *written);
        assert_eq!(tunnel.serve.accepted()["client"], *written);
    }
}

#[test]
fn a_client_whose_name_cannot_be_told_whole_does_not_reach_an_upstream_that_is_told_names() {
    let client = Principal::new("EXAMPLE.TEST", &[&"a".repeat(300)]);
    let mint = Mint { client, ..Mint::default() };
    let upstream = Upstream::new();
    for identity in [PROXY, JSON] {
        let tunnel = Scene::of(mint.clone(), HOUR).tunnel(&upstream.address(), &identity, &[]);
        assert_reset(&mut tunnel.enter(), b"");
        tunnel.serve.wait_for_stderr("too long to be told whole");
        upstream.assert_alone();
    }
    let tunnel = Scene::of(mint, HOUR).tunnel(&upstream.address(), &[], &[]);
    let (mut program, mut service) = both_ends(&tunnel, &upstream);
    program.write_all(b"nobody asked").unwrap();
    assert_comes(&mut service, b"nobody asked");
}

#[test]
fn a_client_by_ntlm_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let password = file(folder.path(), "password", b"Secret.123\n").display().to_string();
    let accounts = folder.path().join("accounts").display().to_string();
    let user = [r"--user", r"DOM\alice", "--password-file", &password];
    run(countersign(&["ntlm", "add", "--file", &accounts]).args(user), DEADLINE).expect_success();
    let scene = Scene::new();
    let upstream = Upstream::new();
    for identity in [PROXY, JSON] {
        let allowed = ["--allow-ntlm", "--ntlm-accounts", &accounts, "--allow", r"DOM\alice"];
        let serve = scene.serve(&upstream.address(), &[&identity[..], &allowed].concat());
        let mut connect =
            countersign(&["connect", &serve.address.to_string(), "--spn", "HTTP/a.example.test"]);
        connect.args(["--ccache", "/nonexistent", "--allow-ntlm", "--listen", "127.0.0.1:0"]).args(user);
        let connect = Process::start(&mut connect);
        let program = reach(connect.listening());
        let mut service = upstream.accept();
        if identity == JSON {
            let (line, _) = json_and_rest(&program, service);
            let told = [&line["client"], &line["mech"], &line["protection"]];
            assert_eq!(told, [r"DOM\alice", "ntlm", "ntlm"]);
            assert_eq!((line.get("service"), &line["mutual"]), (None, &Value::Bool(false)));
        } else {
            let header = Header::read(&mut service);
            let told: Vec<_> = header.tlvs.iter().map(|(kind, value)| (*kind, value.as_str())).collect();
            assert_eq!(told, [(0xE0, r"DOM\alice"), (0xE2, "ntlm"), (0xE3, "ntlm"), (0xE4, "not-mutual")]);
        }
        serve.wait_for_stderr("DOM\\alice by ntlm, NOT mutually authenticated");
    }
}

#[test]
fn a_client_that_logged_in_through_the_service_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (realm, password) = (path("realm"), path("password"));
    file(folder.path(), "password", b"Secret.123\n");
    let realm = ["--realm", &realm];
    for words in [
        &["init", "EXAMPLE.TEST"][..],
        &["add-user", "alice", "--password-file", &password],
        &["add-service", "HTTP/a.example.test"],
    ] {
        run(countersign(&["realm"]).args(words).args(realm), DEADLINE).expect_success();
    }
    let upstream = Upstream::new();
    let mut command = countersign(&["serve", "--upstream", &upstream.address()]);
    let serve = Serve::start_command(command.args(realm).args(PROXY));
    let mut command = countersign(&["connect", &serve.address.to_string(), "--listen", "127.0.0.1:0"]);
    command.args(["--spn", "HTTP/a.example.test@EXAMPLE.TEST", "--iakerb", "--user", "alice@EXAMPLE.TEST"]);
    let connect = Process::start(command.args(["--password-file", &password]));
    let _program = reach(connect.listening());
    let header = Header::read(&mut upstream.accept());
    assert_eq!(header.tlvs[&0xE0], "alice@EXAMPLE.TEST");
    assert_eq!((&*header.tlvs[&0xE2], &*header.tlvs[&0xE4]), ("iakerb", "mutual"));
}

#[test]
fn without_a_preface_the_first_byte_is_the_clients() {
    let upstream = Upstream::new();
    let tunnel = Tunnel::to(upstream.address());
    let (program, mut service) = both_ends(&tunnel, &upstream);
    drop(program);
    assert_whole(&mut service, b"");
}

const NOTE: &str = "and no allow: only clients of the service's own realm may come in";

#[test]
fn without_allow_only_the_services_own_realm_comes_in_which_is_said_once() {
    let upstream = Upstream::new();
    let tunnel = Tunnel::to(upstream.address());
    for _ in 0..2 {
        let (mut program, mut service) = both_ends(&tunnel, &upstream);
        program.write_all(b"own").unwrap();
        assert_comes(&mut service, b"own");
    }
    let said = tunnel.serve.process.stderr();
    assert_eq!(said.matches(NOTE).count(), 1, "{said}");
    let client = Principal::new("OTHER.TEST", &["alice"]);
    let other = Scene::of(Mint { client, ..Mint::default() }, HOUR);
    let (connect, entrance) = other.entrance(tunnel.serve.address, &[]);
    assert_reset(&mut reach(entrance), b"");
    upstream.assert_alone();
    tunnel.serve.wait_for_stderr("refused: CS-3017 saw alice@OTHER.TEST; have no allow");
    assert!(wait_for(|| connect.stderr().contains("has no tunnel: ").then_some(())).is_some());
}

#[test]
fn nobody_who_may_not_come_in_reaches_the_upstream() {
    let upstream = Upstream::new();
    let allow = ["--allow", "bob@EXAMPLE.TEST"];
    let tunnel = Scene::new().tunnel(&upstream.address(), &allow, &[]);
    let mut program = tunnel.enter();
    program.write_all(b"let me in").unwrap();
    assert_reset(&mut program, b"");
    tunnel.serve.wait_for_stderr("refused: CS-3017 saw alice@EXAMPLE.TEST; have others in allow");
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], b"\x04\0\0\0abcd", b""] {
        let mut wire = Wire::connect(tunnel.serve.address);
        wire.send_bytes(garbage);
        wire.into_inner().shutdown(Shutdown::Write).unwrap();
    }
    tunnel.serve.wait_for_records(5);
    upstream.assert_alone();
    let said = tunnel.serve.process.stderr();
    assert!(!said.contains(NOTE) && !said.contains("accepted"), "{said}");
}

#[test]
fn the_documentation_lists_every_tlv_of_the_identity() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tunnel.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `0x")).collect();
    let documented: Vec<_> = rows
        .iter()
        .map(|row| {
            let (kind, what) = row.trim_end_matches(" |").split_once("` | ").unwrap();
            (u8::from_str_radix(kind, 16).unwrap(), what)
        })
        .collect();
    assert_eq!(documented, PROXY_TLVS);
}
