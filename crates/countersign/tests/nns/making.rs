//! Makes the captures: two ends of .NET's NegotiateStream, in a realm of their own, through a relay.

use super::capture::{WRITES, data, folder, generation};
use super::recorder::Recorder;
use countersign_testkit::dotnet::{DotNet, Level, Runtime, Told};
use countersign_testkit::{Env, Etype, NtlmUsers, Realm};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const SPN: &str = "echo/a.example.test";
const OTHER: &str = "other/a.example.test";
const SHA384: &str = "sha384/a.example.test";

/// What the two ends of a capture are told.
#[derive(Clone)]
struct Wish {
    runtime: Runtime,
    name: &'static str,
    about: &'static str,
    client: Level,
    server: Level,
    spn: &'static str,
    client_env: Env,
    server_env: Env,
    /// The keys of the service that the client asks for.
    keytab: PathBuf,
    /// `login=`, for another credential than the default.
    login: Option<&'static str>,
}

impl Wish {
    /// Some exceptions name a file of the realm.
    fn without_folder(&self, lines: &[String]) -> Vec<String> {
        let folder = format!("{}/", self.keytab.parent().unwrap().display());
        lines.iter().map(|line| line.replace(&folder, "")).collect()
    }
}

/// Writes all captures.
pub(crate) fn make() {
    let realm = Realm::new("CAPTURE.TEST");
    realm.add_user("alice", "secret");
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    realm.add_service(OTHER, &[Etype::Aes256Sha1]);
    realm.add_service(SHA384, &[Etype::Aes256Sha384]);
    realm.set_session_enctypes(SHA384, &[Etype::Aes256Sha384]);
    let keytab = realm.keytab(&[SPN]);
    let users = NtlmUsers::new(&[("DOM", "alice", "secret")]);
    let plain = Wish {
        runtime: Runtime::Core31,
        name: "encrypt",
        about: "both ends demand EncryptAndSign",
        client: Level::EncryptAndSign,
        server: Level::EncryptAndSign,
        spn: SPN,
        client_env: realm.client_env(&realm.kinit("alice", "secret", &[])),
        server_env: realm.service_env(&keytab),
        keytab,
        login: None,
    };
    for runtime in Runtime::ALL {
        let plain = Wish { runtime, ..plain.clone() };
        kerberos(&realm, &plain);
        failures(&realm, &plain);
        ntlm(&realm, &plain, &users.env());
    }
}

fn kerberos(realm: &Realm, plain: &Wish) {
    capture(plain);
    let sha384 = realm.keytab(&[SHA384]);
    capture(&Wish {
        name: "encrypt-sha384",
        about: "as encrypt, with keys and a session key of etype 20",
        spn: SHA384,
        server_env: realm.service_env(&sha384),
        keytab: sha384,
        ..plain.clone()
    });
    capture(&Wish {
        name: "encrypt-for-sign",
        about: "the client demands EncryptAndSign, the server Sign",
        server: Level::Sign,
        ..plain.clone()
    });
    capture(&Wish {
        name: "sign",
        about: "both ends demand Sign, and MIT's Kerberos grants confidentiality with it",
        client: Level::Sign,
        server: Level::Sign,
        ..plain.clone()
    });
}

fn failures(realm: &Realm, plain: &Wish) {
    capture(&Wish {
        name: "other-keytab",
        about: "the server has the keys of another service alone",
        server_env: realm.service_env(&realm.keytab(&[OTHER])),
        ..plain.clone()
    });
    capture(&Wish {
        name: "no-keytab",
        about: "the server has no keys",
        server_env: realm.env(),
        ..plain.clone()
    });
    capture(&Wish {
        name: "unknown-service",
        about: "the client asks for a service that the KDC does not know",
        spn: "none/a.example.test",
        ..plain.clone()
    });
    capture(&Wish {
        name: "no-ticket",
        about: "the client has no ticket-granting ticket",
        client_env: realm.env(),
        ..plain.clone()
    });
}

/// NTLM by gss-ntlmssp; the client has no ticket, and the server would take one.
fn ntlm(realm: &Realm, plain: &Wish, users: &Env) {
    let encrypt = Wish {
        name: "ntlm-encrypt",
        about: "NTLM in SPNEGO, the account alice of DOM with the password secret; both ends demand EncryptAndSign",
        client_env: [realm.env(), users.clone()].concat(),
        server_env: [plain.server_env.clone(), users.clone()].concat(),
        login: Some(r"DOM\alice:secret"),
        ..plain.clone()
    };
    capture(&encrypt);
    capture(&Wish {
        name: "ntlm-sign",
        about: "as ntlm-encrypt, but both ends demand Sign",
        client: Level::Sign,
        server: Level::Sign,
        ..encrypt.clone()
    });
    capture(&Wish {
        name: "ntlm-sign-for-encrypt",
        about: "as ntlm-encrypt, but the client demands Sign",
        client: Level::Sign,
        ..encrypt.clone()
    });
    capture(&Wish {
        name: "ntlm-wrong-password",
        about: "as ntlm-encrypt, but the password is wrong",
        login: Some(r"DOM\alice:wrong"),
        ..encrypt.clone()
    });
    capture(&Wish {
        name: "none",
        about: "both ends demand None: NTLM without SPNEGO, then data without protection and without records",
        client: Level::None,
        server: Level::None,
        ..encrypt.clone()
    });
    capture(&Wish {
        name: "none-for-encrypt",
        about: "the client demands None, the server EncryptAndSign",
        client: Level::None,
        ..encrypt
    });
}

fn capture(wish: &Wish) {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let dotnet = DotNet::get(wish.runtime);
    let (server, address) = dotnet.server(&wish.server_env, wish.server, 1);
    let recorder = Recorder::before(address);
    let writes = WRITES.map(|size| size.to_string()).join(",");
    let login = wish.login.map(|login| format!("login={login}"));
    let options: Vec<_> = [Some(format!("writes={writes}")), login].into_iter().flatten().collect();
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let client = dotnet.client(&wish.client_env, recorder.address(), wish.spn, wish.client, &options);
    let client = DotNet::exchange(client, data());
    let server = Told::of(&server.finish(Duration::from_secs(20)));
    let capture = json!({
        "about": wish.about,
        "clock": clock,
        "spn": wish.spn,
        "keytab": hex_of(&wish.keytab),
        "client": wish.without_folder(&client.lines),
        // The first line says where it listens.
        "server": wish.without_folder(&server.lines[1..]),
        "records": recorder.records(),
    });
    let path = folder().join(generation(wish.runtime)).join(wish.name).with_extension("json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{capture:#}\n")).unwrap();
}

fn hex_of(file: &Path) -> String {
    hex::encode(std::fs::read(file).unwrap())
}
