//! `countersign ticket get` with MIT's KDC: ways to prove oneself, accounts, etypes, clocks and transports. What was got
//! is shown by MIT's klist and kvno.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod kdc_support;
mod support;

use countersign_testkit::kdc_message::{Kind, PA_ENC_TIMESTAMP, PA_FX_FAST, PA_SPAKE};
use countersign_testkit::{
    Clock, Config, Etype, KdcMessage, KdcOptions, KdcProxy, Realm, SpakeGroup, Transport, Transports,
};
use kdc_support::{Client, PASSWORD, SPN, flags, lines, realm, services, through};

const ALICE: &str = "alice@KDC.TEST";
const TGT: &str = "krbtgt/KDC.TEST@KDC.TEST";
const KRBTGT: &str = "krbtgt/KDC.TEST";

fn client(realm: &Realm) -> Client {
    Client::new(realm.env())
}

fn full(spn: &str) -> String {
    format!("{spn}@KDC.TEST")
}

#[test]
fn a_right_password_gets_tickets_that_mit_programs_use() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    let ccache = client.login(ALICE, PASSWORD, &[]).got();
    let list = client.klist(&ccache);
    assert!(list.contains("Default principal: alice@KDC.TEST\n"), "{list}");
    assert_eq!(services(&list), [TGT]);
    assert!(flags(&list, TGT).contains('A') && flags(&list, TGT).contains('I'), "{list}");
    client.kvno(SPN, &ccache).expect_success();
    assert_eq!(services(&client.klist(&ccache)), [TGT, &full(SPN)]);
}

#[test]
fn every_service_that_is_named_gets_its_ticket() {
    let realm = realm(&KdcOptions::default());
    realm.add_service("second/a.example.test", &[Etype::Aes256Sha384]);
    let client = client(&realm);
    let options = ["--service", SPN, "--service", "second/a.example.test@KDC.TEST"];
    let ccache = client.login(ALICE, PASSWORD, &options).got();
    let list = client.klist(&ccache);
    assert_eq!(services(&list), [TGT, &full(SPN), &full("second/a.example.test")]);
}

#[test]
fn a_user_without_a_realm_is_of_the_default_realm() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    let ccache = client.login("alice", PASSWORD, &[]).got();
    assert!(client.klist(&ccache).contains("Default principal: alice@KDC.TEST\n"));
}

#[test]
fn a_wrong_password_is_told_from_an_unknown_user() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    client.login(ALICE, "Wrong.789", &[]).refused(1, "CS-6003");
    let said = client.login("nobody@KDC.TEST", PASSWORD, &[]).refused(1, "CS-6001");
    assert!(said.contains("nobody@KDC.TEST"), "{said}");
    client.login("alice@NOWHERE.TEST", PASSWORD, &[]).refused(2, "CS-61");
}

#[test]
fn an_unknown_service_is_told_and_the_ticket_granting_ticket_kept() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    let login = client.login(ALICE, PASSWORD, &["--service", "nothing/a.example.test"]);
    let done = login.done.expect_code(1);
    assert!(done.stderr.contains("CS-6002"), "{done:?}");
    assert!(done.stderr.contains("nothing/a.example.test@KDC.TEST"), "{done:?}");
    assert_eq!(services(&client.klist(&login.ccache)), [TGT]);
}

#[test]
fn a_keytab_is_as_good_as_a_password() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    let keytab = realm.keytab(&["alice"]);
    let ccache = client.login_by_keytab(ALICE, &keytab, &["--service", SPN]).got();
    assert_eq!(services(&client.klist(&ccache)), [TGT, &full(SPN)]);

    client.login_by_keytab(ALICE, &realm.keytab(&[SPN]), &[]).refused(2, "CS-6017");
    client.login_by_keytab(ALICE, &client.folder().join("none"), &[]).refused(2, "CS-7001");
    realm.set_password("alice", "Another.456");
    client.login_by_keytab(ALICE, &keytab, &[]).refused(1, "CS-6003");
}

#[test]
fn the_kdc_says_why_an_account_gets_nothing() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    for (user, options, code) in [
        ("expired", &["+requires_preauth", "-expire", "yesterday"][..], "CS-6004"),
        ("locked", &["+requires_preauth", "-allow_tix"], "CS-6004"),
        ("stale", &["+requires_preauth", "-pwexpire", "yesterday"], "CS-6005"),
        ("fresh", &["+requires_preauth", "+needchange"], "CS-6005"),
    ] {
        realm.add_user_with(user, PASSWORD, options);
        client.login(&format!("{user}@KDC.TEST"), PASSWORD, &[]).refused(1, code);
    }
    realm.add_policy("strict", &["-maxfailure", "1", "-lockoutduration", "0"]);
    realm.add_user_with("clumsy", PASSWORD, &["+requires_preauth", "-policy", "strict"]);
    client.login("clumsy@KDC.TEST", "Wrong.789", &[]).refused(1, "CS-6003");
    client.login("clumsy@KDC.TEST", PASSWORD, &[]).refused(1, "CS-6004");
}

#[test]
fn a_password_that_will_expire_soon_is_told() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    realm.add_user_with("soon", PASSWORD, &["+requires_preauth", "-pwexpire", "+3 days"]);
    let login = client.login("soon@KDC.TEST", PASSWORD, &[]);
    assert!(login.done.stderr.contains("password") && login.done.stderr.contains("expires"), "{login:?}");
    login.got();
    let login = client.login(ALICE, PASSWORD, &[]);
    assert!(!login.done.stderr.contains("expires"), "{login:?}");
}

#[test]
fn a_kdc_that_asks_for_no_proof_gives_its_ticket_at_once() {
    let realm = realm(&KdcOptions::default());
    realm.add_user("trusting", PASSWORD);
    let proxy = KdcProxy::before(realm.kdc().address());
    let client = through(&realm, &proxy, Config::default());
    client.login("trusting@KDC.TEST", PASSWORD, &[]).got();
    assert_eq!(proxy.count(Kind::AsReq), 1);
    client.login("trusting@KDC.TEST", "Wrong.789", &[]).refused(1, "CS-60");
}

#[test]
fn a_clock_that_is_off_by_an_hour_is_learnt_and_kept_in_the_cache() {
    for seconds in [3600, -3600] {
        let realm = realm(&KdcOptions { clock: Some(Clock::offset(seconds)), ..KdcOptions::default() });
        let client = client(&realm);
        let ccache = client.login(ALICE, PASSWORD, &["--service", SPN]).got();
        assert_eq!(services(&client.klist(&ccache)), [TGT, &full(SPN)]);
        // Programs on MIT's library take the difference from the cache.
        realm.add_service("later/a.example.test", &[Etype::Aes256Sha1]);
        client.kvno("later/a.example.test", &ccache).expect_success();
        run_again(&client, &ccache, &realm);
        // So does armor made of a ticket in it.
        realm.require_auth(KRBTGT, "encrypted-challenge");
        client.login(ALICE, PASSWORD, &["--armor-ccache", ccache_kept(&ccache).to_str().unwrap()]).got();
    }
}

/// A copy that a login into the same name does not replace.
fn ccache_kept(ccache: &std::path::Path) -> std::path::PathBuf {
    let kept = ccache.with_extension("kept");
    std::fs::copy(ccache, &kept).unwrap();
    kept
}

/// The program takes the difference from the cache too.
fn run_again(client: &Client, ccache: &std::path::Path, realm: &Realm) {
    realm.add_service("again/a.example.test", &[Etype::Aes256Sha1]);
    let mut command = client.ticket_get(ccache);
    command.args(["--service", "again/a.example.test"]);
    countersign_testkit::run(&mut command, support::DEADLINE).expect_success();
    assert!(services(&client.klist(ccache)).contains(&full("again/a.example.test").as_str()));
}

/// The types of PA-DATA of the requests by which alice got her ticket.
fn proved_by(realm: &Realm, config: Config, options: &[&str]) -> Vec<Vec<i32>> {
    let proxy = KdcProxy::before(realm.kdc().address());
    through(realm, &proxy, config).login(ALICE, PASSWORD, options).got();
    proxy.requests().iter().map(KdcMessage::padata_types).collect()
}

#[test]
fn an_encrypted_timestamp_is_sent_only_when_it_is_asked_for() {
    let realm = realm(&KdcOptions::default());
    let requests = proved_by(&realm, Config::default(), &[]);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(!requests[0].contains(&PA_ENC_TIMESTAMP), "{requests:?}");
    assert!(requests[1].contains(&PA_ENC_TIMESTAMP), "{requests:?}");
}

#[test]
fn spake_is_preferred_and_nothing_is_sent_that_could_be_guessed_at() {
    for group in [SpakeGroup::Edwards25519, SpakeGroup::P256] {
        for spake_challenge in [None, Some(group)] {
            let options = KdcOptions { spake_groups: vec![group], spake_challenge, ..KdcOptions::default() };
            let realm = realm(&options);
            realm.require_auth(KRBTGT, "spake");
            let config = Config {
                libdefaults: lines(&[("spake_preauth_groups", "edwards25519 P-256")]),
                ..Config::default()
            };
            let requests = proved_by(&realm, config, &[]);
            assert!(requests.iter().any(|types| types.contains(&PA_SPAKE)), "{requests:?}");
            assert!(requests.iter().all(|types| !types.contains(&PA_ENC_TIMESTAMP)), "{requests:?}");
        }
    }
}

#[test]
fn a_challenge_in_a_group_that_is_not_ours_costs_a_round_and_no_more() {
    let [ours, theirs] = [SpakeGroup::Edwards25519, SpakeGroup::P256];
    let options = KdcOptions {
        spake_groups: vec![ours, theirs],
        spake_challenge: Some(theirs),
        ..KdcOptions::default()
    };
    let realm = realm(&options);
    realm.require_auth(KRBTGT, "spake");
    let config = Config { libdefaults: lines(&[("spake_preauth_groups", ours.name())]), ..Config::default() };
    let requests = proved_by(&realm, config, &[]);
    assert!(requests.iter().all(|types| !types.contains(&PA_ENC_TIMESTAMP)), "{requests:?}");
}

#[test]
fn a_wrong_password_is_told_where_spake_is_spoken() {
    let spake_groups = vec![SpakeGroup::Edwards25519];
    let realm = realm(&KdcOptions { spake_groups, ..KdcOptions::default() });
    client(&realm).login(ALICE, "Wrong.789", &[]).refused(1, "CS-6003");
}

#[test]
fn armor_hides_the_proof_and_an_encrypted_challenge_is_used_in_it() {
    let realm = realm(&KdcOptions::default());
    let armor = realm.kinit("alice", PASSWORD, &[]);
    // Only an encrypted challenge earns this indicator, and there is none without armor.
    realm.require_auth(KRBTGT, "encrypted-challenge");
    client(&realm).login(ALICE, PASSWORD, &[]).refused(1, "CS-6006");
    let option = ["--armor-ccache", armor.to_str().unwrap()];
    let requests = proved_by(&realm, Config::default(), &option);
    assert!(requests.iter().all(|types| types.contains(&PA_FX_FAST)), "{requests:?}");
    assert!(requests.iter().all(|types| !types.contains(&PA_ENC_TIMESTAMP)), "{requests:?}");
    let client = client(&realm);
    client.login(ALICE, "Wrong.789", &option).refused(1, "CS-6003");
    client.login("nobody@KDC.TEST", PASSWORD, &option).refused(1, "CS-6001");
}

#[test]
fn spake_is_spoken_inside_armor() {
    let spake_groups = vec![SpakeGroup::Edwards25519];
    let realm = realm(&KdcOptions { spake_groups, ..KdcOptions::default() });
    let armor = realm.kinit("alice", PASSWORD, &[]);
    realm.require_auth(KRBTGT, "spake");
    let requests = proved_by(&realm, Config::default(), &["--armor-ccache", armor.to_str().unwrap()]);
    assert!(requests.iter().all(|types| types.contains(&PA_FX_FAST)), "{requests:?}");
}

#[test]
fn keys_of_users_and_services_of_every_etype_will_do() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    for (index, salt) in ["normal", "norealm", "onlyrealm", "special"].into_iter().enumerate() {
        for (shift, etype) in Etype::DEFAULT.into_iter().enumerate() {
            let (user, spn) = (format!("u{index}{shift}"), format!("echo/{index}{shift}"));
            let keys = format!("{}:{salt}", etype.name());
            realm.add_user_with(&user, PASSWORD, &["+requires_preauth", "-e", &keys]);
            let service = Etype::DEFAULT[(index + shift) % 4];
            realm.add_service(&spn, &[service]);
            realm.set_session_enctypes(&spn, &[etype]);
            let ccache = client.login(&full(&user), PASSWORD, &["--service", &spn]).got();
            let list = client.klist(&ccache);
            let (_, of_service) = list.split_once(&full(&spn)).unwrap();
            let etypes = format!("Etype (skey, tkt): {}, {}", etype.name(), service.name());
            assert!(of_service.contains(&etypes), "{list} lacks {etypes}");
        }
    }
}

#[test]
fn keytabs_with_keys_of_every_etype_will_do() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    for etype in Etype::DEFAULT {
        let user = format!("user{}", etype.number());
        let keys = format!("{}:normal", etype.name());
        realm.add_user_with(&user, PASSWORD, &["+requires_preauth", "-e", &keys]);
        client.login_by_keytab(&full(&user), &realm.keytab(&[&user]), &[]).got();
    }
}

#[test]
fn a_user_with_an_rc4_key_alone_is_refused_unless_rc4_is_permitted() {
    let realm = realm(&KdcOptions::default());
    realm.add_user_with("old", PASSWORD, &["+requires_preauth", "-e", "arcfour-hmac:normal"]);
    let proxy = KdcProxy::before(realm.kdc().address());
    let client = through(&realm, &proxy, Config::default());
    // MIT's KDC offers no way to prove a password of which it has no key that the client permits.
    client.login("old@KDC.TEST", PASSWORD, &[]).refused(1, "CS-6014");
    assert!(proxy.requests().iter().all(|request| !request.etypes().contains(&Etype::Rc4.number())));
}

#[test]
fn lifetimes_and_flags_are_what_was_asked_for() {
    let realm = realm(&KdcOptions::default());
    let client = client(&realm);
    let options = ["--lifetime", "1h", "--renewable", "2d", "--forwardable"];
    let ccache = client.login(ALICE, PASSWORD, &options).got();
    let list = client.klist(&ccache);
    assert!(flags(&list, TGT).contains('F') && flags(&list, TGT).contains('R'), "{list}");
    assert!(list.contains("renew until"), "{list}");
    let life = life_in_seconds(&list);
    assert!((3_590..=3_610).contains(&life), "{life}: {list}");
    let list = client.klist(&client.login(ALICE, PASSWORD, &[]).got());
    assert!(!flags(&list, TGT).contains('R') && !flags(&list, TGT).contains('F'), "{list}");

    realm.add_user_with("brief", PASSWORD, &["+requires_preauth", "-maxlife", "10 minutes"]);
    let life = life_in_seconds(&client.klist(&client.login("brief@KDC.TEST", PASSWORD, &options).got()));
    assert!((590..=610).contains(&life), "{life}");
}

/// From the start to the end of the first ticket of klist's list.
fn life_in_seconds(list: &str) -> i64 {
    let row = list.lines().find(|line| line.ends_with(TGT)).unwrap();
    let seconds = |text: &str| {
        let (date, time) = text.split_once(' ').unwrap();
        let part =
            |text: &str, separator, index| text.split(separator).nth(index).unwrap().parse::<i64>().unwrap();
        let day = countersign::proto::time::Civil {
            year: 2000 + part(date, '/', 2),
            month: u8::try_from(part(date, '/', 0)).unwrap(),
            day: u8::try_from(part(date, '/', 1)).unwrap(),
            hour: u8::try_from(part(time, ':', 0)).unwrap(),
            minute: u8::try_from(part(time, ':', 1)).unwrap(),
            second: u8::try_from(part(time, ':', 2)).unwrap(),
        };
        day.to_unix_seconds().unwrap()
    };
    let mut columns = row.split("  ");
    let (start, end) = (columns.next().unwrap(), columns.next().unwrap());
    seconds(end) - seconds(start)
}

#[test]
fn what_krb5_conf_says_of_tickets_holds_where_no_option_says_otherwise() {
    let realm = realm(&KdcOptions::default());
    let libdefaults = lines(&[("ticket_lifetime", "2h"), ("renew_lifetime", "1d"), ("forwardable", "true")]);
    let client = Client::new(realm.env_as(&Config { libdefaults, ..Config::default() }));
    let list = client.klist(&client.login(ALICE, PASSWORD, &[]).got());
    assert!(flags(&list, TGT).contains('F') && flags(&list, TGT).contains('R'), "{list}");
    let life = life_in_seconds(&list);
    assert!((7_190..=7_210).contains(&life), "{life}: {list}");
    let list = client.klist(&client.login(ALICE, PASSWORD, &["--lifetime", "30m"]).got());
    assert!((1_790..=1_810).contains(&life_in_seconds(&list)), "{list}");
}

#[test]
fn tickets_come_by_the_transport_that_the_kdc_has() {
    for (options, libdefaults, expected) in [
        (KdcOptions { transports: Transports::Udp, ..KdcOptions::default() }, &[][..], Transport::Udp),
        (
            KdcOptions { transports: Transports::Tcp, ..KdcOptions::default() },
            &[("udp_preference_limit", "1")],
            Transport::Tcp,
        ),
    ] {
        let realm = realm(&options);
        let proxy = KdcProxy::before(realm.kdc().address());
        let config = Config { libdefaults: lines(libdefaults), ..Config::default() };
        through(&realm, &proxy, config).login(ALICE, PASSWORD, &[]).got();
        assert!(proxy.exchanges().iter().all(|exchange| exchange.transport == expected));
    }
    // Nobody told the client that there is no UDP.
    let realm = realm(&KdcOptions { transports: Transports::Tcp, ..KdcOptions::default() });
    client(&realm).login(ALICE, PASSWORD, &[]).got();
}

#[test]
fn answers_too_big_for_a_datagram_come_by_tcp() {
    let realm = realm(&KdcOptions { max_dgram_reply_size: Some(200), ..KdcOptions::default() });
    let proxy = KdcProxy::before(realm.kdc().address());
    through(&realm, &proxy, Config::default()).login(ALICE, PASSWORD, &["--service", SPN]).got();
    let transports: Vec<_> = proxy.exchanges().iter().map(|exchange| exchange.transport).collect();
    assert!(transports.contains(&Transport::Udp) && transports.contains(&Transport::Tcp), "{transports:?}");
}
