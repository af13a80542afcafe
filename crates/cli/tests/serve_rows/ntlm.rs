//! Keys about NTLM.

use super::{Row, accounts, winbind_helper};
use crate::realm_support::PASSWORD;
use crate::serve_support::{LISTENER, OBSERVED, Running, Scene};
use crate::support::{DEADLINE, countersign};
use countersign_testkit::run;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(crate) const NTLM: &[Row] = &[
    ("listener", "allow_ntlm", allow_ntlm),
    ("listener", "ntlm_accounts", ntlm_accounts),
    ("listener", "ntlm_winbind", ntlm_winbind),
    ("listener", "ntlm_spns", ntlm_spns),
];

/// The exit code of a client of NTLM that means the service by `spn`.
fn ntlm_exit(scene: &Scene, serve: &Running, spn: &str) -> i32 {
    let password = scene.write("password", format!("{PASSWORD}\n").as_bytes());
    let mut command =
        countersign(&["connect", &serve.address().to_string(), "--spn", spn, "--message", "hello"]);
    command.args(["--allow-ntlm", "--user", r"DOM\alice", "--password-file"]).arg(password);
    run(&mut command, DEADLINE).code()
}

const WEB: &str = "HTTP/a.example.test";

fn allow_ntlm() {
    let scene = Scene::new();
    accounts(&scene, "accounts");
    let serve =
        scene.serve(&format!("{LISTENER}allow_ntlm = true\nntlm_accounts = \"~/accounts\"\n{OBSERVED}"));
    assert_eq!(ntlm_exit(&scene, &serve, WEB), 0);
    assert_eq!(serve.record(1)["mech"], "ntlm");
    let serve = scene.serve(LISTENER);
    assert_eq!(ntlm_exit(&scene, &serve, WEB), 1);
}

fn ntlm_accounts() {
    let scene = Scene::new();
    accounts(&scene, "accounts");
    let nobody = scene.write("nobody", b"");
    fs::set_permissions(nobody, PermissionsExt::from_mode(0o600)).unwrap();
    for (file, exit) in [("accounts", 0), ("nobody", 1)] {
        let serve = scene.serve(&format!("{LISTENER}allow_ntlm = true\nntlm_accounts = \"~/{file}\"\n"));
        assert_eq!(ntlm_exit(&scene, &serve, WEB), exit, "{file}");
    }
}

fn ntlm_winbind() {
    let scene = Scene::new();
    winbind_helper(&scene);
    let serve =
        scene.serve(&format!("{LISTENER}allow_ntlm = true\nntlm_winbind = \"~/ntlm_auth\"\n{OBSERVED}"));
    assert_eq!(ntlm_exit(&scene, &serve, WEB), 1);
    serve.refused_with("CS-3106");
    let asked = fs::read_to_string(scene.path("ntlm_auth.asked")).unwrap();
    // alice in base64.
    assert!(asked.contains("Username:: YWxpY2U=\n"), "{asked}");
}

fn ntlm_spns() {
    let scene = Scene::new();
    accounts(&scene, "accounts");
    let serve = scene.serve(&format!(
        "{LISTENER}allow_ntlm = true\nntlm_accounts = \"~/accounts\"\nntlm_spns = [\"{WEB}\"]\n{OBSERVED}"
    ));
    assert_eq!(ntlm_exit(&scene, &serve, WEB), 0);
    assert_eq!(ntlm_exit(&scene, &serve, "HTTP/b.example.test"), 1);
    serve.refused_with("CS-3109");
}
