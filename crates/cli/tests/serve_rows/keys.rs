//! Keys about a service's keys.

use super::{ALICE, OWN, Row, by_password, home, lets_in};
use crate::serve_support::{LISTENER, OBSERVED, Scene, exchange};
use countersign::framing::Framing;
use countersign::proto::crypto::Etype;
use countersign::proto::keytab::Keytab;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::InitiatorPolicy;
use countersign_testkit::mint::{self, Mint};
use std::fs;

pub(crate) const KEYS: &[Row] = &[
    ("listener", "keytab", keytab),
    ("listener", "realm", realm),
    ("listener", "master_key_file", master_key_file),
    ("listener", "relay_realms", relay_realms),
    ("listener", "accept_principals", accept_principals),
    ("listener", "permitted_enctypes", permitted_enctypes),
    ("listener", "allow_rc4", allow_rc4),
];

fn keytab() {
    let scene = Scene::new();
    scene.write("other", &scene.keytab(&[3]));
    let lines = LISTENER.replace("~/keytab", "~/other");
    let serve = scene.serve(&lines);
    exchange(&scene.client(scene.ticket(3)), serve.address()).unwrap();
    exchange(&scene.client(scene.ticket(2)), serve.address()).unwrap_err();
}

fn realm() {
    let (scene, home) = (Scene::new(), home());
    let folder = home.realm_folder();
    let serve = scene.serve(&format!(
        "[[listener]]\nlisten = \"127.0.0.1:0\"\nrealm = \"{}\"\n{OBSERVED}",
        folder.display()
    ));
    by_password(&home, serve.address(), OWN, ALICE).expect_success();
    assert_eq!(serve.record(1)["mech"], "iakerb");
}

fn master_key_file() {
    let (scene, home) = (Scene::new(), home());
    let folder = home.realm_folder();
    fs::rename(folder.join("master.key"), scene.path("elsewhere")).unwrap();
    let lines = format!("[[listener]]\nlisten = \"127.0.0.1:0\"\nrealm = \"{}\"\n", folder.display());
    scene.refused(&lines, 2, "master.key");
    let serve = scene.serve(&format!("{lines}master_key_file = \"~/elsewhere\"\n"));
    by_password(&home, serve.address(), OWN, ALICE).expect_success();
}

fn relay_realms() {
    let (scene, home) = (Scene::new(), home());
    let kdc = home.serve();
    let keytab = home.keytab(&[OWN]);
    let conf = format!(
        "[libdefaults]\ndns_lookup_kdc = false\n[realms]\nOWN.TEST = {{\nkdc = {}\n}}\n",
        kdc.address
    );
    let conf = scene.write("krb5.conf", conf.as_bytes());
    for (lines, exit) in
        [("relay_realms = [\"OWN.TEST\"]\n", 0), ("relay_realms = [\"ELSE.TEST\"]\n", 3), ("", 1)]
    {
        let lines = format!(
            "[[listener]]\nlisten = \"127.0.0.1:0\"\nkeytab = \"{}\"\n{lines}{OBSERVED}",
            keytab.display()
        );
        let serve = scene.run(scene.command(&lines).env("KRB5_CONFIG", &conf), &lines);
        by_password(&home, serve.address(), OWN, ALICE).expect_code(exit);
    }
}

fn accept_principals() {
    let scene = Scene::new();
    let other = Principal::new("EXAMPLE.TEST", &["other", "a.example.test"]);
    let of = |principal: &Principal| scene.mint.entry(principal, 2, scene.mint.ticket_etype);
    let entries = vec![of(&scene.mint.service), of(&other)];
    scene.write("keytab", &mint::keytab_bytes(&Keytab { entries }));
    for (named, taken) in
        [("HTTP/a.example.test@EXAMPLE.TEST", true), ("other/a.example.test@EXAMPLE.TEST", false)]
    {
        let serve = scene.serve(&format!("{LISTENER}accept_principals = [\"{named}\"]\n"));
        assert_eq!(lets_in(&scene, &serve), taken, "{named}");
    }
}

fn permitted_enctypes() {
    let scene = Scene::new();
    let of = |etype| scene.mint.entry(&scene.mint.service, 2, etype);
    let entries = vec![of(Etype::Aes256CtsHmacSha1_96), of(Etype::Aes128CtsHmacSha1_96)];
    scene.write("keytab", &mint::keytab_bytes(&Keytab { entries }));
    for (named, taken) in [("aes128-cts-hmac-sha1-96", false), ("aes256-cts-hmac-sha1-96", true)] {
        let serve = scene.serve(&format!("{LISTENER}permitted_enctypes = [\"{named}\"]\n"));
        assert_eq!(lets_in(&scene, &serve), taken, "{named}");
    }
}

fn allow_rc4() {
    let scene = Scene::of(Mint::of_etype(Etype::ArcfourHmac));
    let permitted = "permitted_enctypes = [\"arcfour-hmac\"]\n";
    scene.refused(&format!("{LISTENER}{permitted}"), 2, "allow_rc4");
    let serve = scene.serve(&format!("{LISTENER}{permitted}allow_rc4 = true\n{OBSERVED}"));
    let mut policy = InitiatorPolicy::default();
    policy.permitted_enctypes = vec![Etype::ArcfourHmac];
    exchange(&scene.client_as(scene.ticket(2), policy, Framing::Dword), serve.address()).unwrap();
    assert_eq!(serve.record(1)["etypes"]["message"], "arcfour-hmac");
}
