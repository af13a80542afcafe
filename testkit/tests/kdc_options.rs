//! MIT's KDC as tests of tickets need it: every kind of account, pre-authentication, transport and clock, shown by MIT's
//! own kinit and kvno.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_testkit::kdc_message::{Kind, PA_ENC_TIMESTAMP, PA_FX_FAST, PA_SPAKE};
use countersign_testkit::{
    Clock, Config, Env, Etype, KdcMessage, KdcOptions, KdcProxy, Realm, SpakeGroup, Transport, Transports,
};

const SPN: &str = "test/a.example.test";
const REALM: &str = "OPTIONS.TEST";
const KRBTGT: &str = "krbtgt/OPTIONS.TEST";

fn realm(options: &KdcOptions) -> Realm {
    let realm = Realm::with(REALM, options);
    realm.add_user_with("alice", "secret", &["+requires_preauth"]);
    realm
}

/// What kinit says when it fails.
#[track_caller]
fn refused(realm: &Realm, user: &str, password: &str) -> String {
    let done = realm.try_kinit(user, password, &[]).expect_err("kinit must fail");
    done.text() + &done.stderr
}

/// The environment of a client that reaches `realm` through `proxy`, with further lines of `[libdefaults]`.
fn through(realm: &Realm, proxy: &KdcProxy, libdefaults: &[(&str, &str)]) -> Env {
    let kdcs = vec![proxy.address().to_string()];
    realm.env_as(&Config { kdcs, libdefaults: owned(libdefaults), ..Config::default() })
}

fn owned(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn accounts_are_refused_for_every_reason_there_is() {
    let realm = realm(&KdcOptions::default());
    assert!(refused(&realm, "alice", "wrong").contains("Password incorrect"));
    assert!(refused(&realm, "nobody", "secret").contains("not found in Kerberos database"));
    for (user, options, reason) in [
        (
            "expired",
            &["+requires_preauth", "-expire", "yesterday"][..],
            "Client's entry in database has expired",
        ),
        ("locked", &["-allow_tix"], "Client's credentials have been revoked"),
        // kinit asks for a new password then, which its input does not hold.
        ("stale", &["-pwexpire", "yesterday"], "Password expired.  You must change it now."),
        ("fresh", &["+needchange"], "Password expired.  You must change it now."),
    ] {
        realm.add_user_with(user, "secret", options);
        let said = refused(&realm, user, "secret");
        assert!(said.contains(reason), "{user}: {said}");
    }
}

#[test]
fn an_account_is_locked_out_after_as_many_failures_as_its_policy_says() {
    let realm = realm(&KdcOptions::default());
    realm.add_policy("strict", &["-maxfailure", "2", "-lockoutduration", "0"]);
    realm.add_user_with("bob", "secret", &["+requires_preauth", "-policy", "strict"]);
    assert!(refused(&realm, "bob", "wrong").contains("Password incorrect"));
    assert!(refused(&realm, "bob", "wrong").contains("Password incorrect"));
    assert!(refused(&realm, "bob", "secret").contains("Client's credentials have been revoked"));
    realm.modify("bob", &["-unlock"]);
    realm.kinit("bob", "secret", &[]);
}

#[test]
fn limits_of_an_account_show_in_its_ticket() {
    let realm = realm(&KdcOptions::default());
    realm.add_user_with("brief", "secret", &["-maxlife", "10 minutes", "-allow_forwardable"]);
    let list = realm.klist(&realm.kinit("brief", "secret", &["-f", "-l", "1h"]));
    assert!(flags(&list).contains('I') && !flags(&list).contains('F'), "{list}");
    let list = realm.klist(&realm.kinit("alice", "secret", &["-f", "-r", "2d"]));
    assert!(flags(&list).contains('F') && flags(&list).contains('R'), "{list}");
}

#[test]
fn a_service_can_be_trusted_with_delegation() {
    let realm = realm(&KdcOptions::default());
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    realm.modify(SPN, &["+ok_as_delegate"]);
    let ccache = realm.kinit("alice", "secret", &[]);
    realm.kvno(SPN, &ccache, &[]);
    let list = realm.klist(&ccache);
    let (_, of_service) = list.split_once(SPN).unwrap();
    assert!(flags(of_service).contains('O'), "{list}");
}

fn flags(list: &str) -> &str {
    list.split_once("Flags: ").unwrap().1.split([',', '\n']).next().unwrap()
}

#[test]
fn a_user_has_keys_of_the_etypes_and_salts_that_were_asked_for() {
    let realm = realm(&KdcOptions::default());
    let proxy = KdcProxy::before(realm.kdc().address());
    let env = through(&realm, &proxy, &[]);
    for (index, salt) in ["normal", "norealm", "onlyrealm", "special"].into_iter().enumerate() {
        let etype = Etype::DEFAULT[index];
        let user = format!("user{index}");
        let keys = format!("{}:{salt}", etype.name());
        realm.add_user_with(&user, "secret", &["+requires_preauth", "-e", &keys]);
        proxy.clear();
        realm.kinit_as(&env, &user, "secret", &[]);
        let reply = KdcMessage::of(&proxy.exchanges()[1].from_kdc.clone().unwrap());
        assert_eq!((reply.kind(), reply.enc_part_etype()), (Kind::AsRep, Some(etype.number())));
    }
}

/// Takes a ticket by `libdefaults` through a proxy and returns the types of PA-DATA of the requests.
fn proved_by(realm: &Realm, libdefaults: &[(&str, &str)], options: &[&str]) -> Vec<Vec<i32>> {
    let proxy = KdcProxy::before(realm.kdc().address());
    realm.kinit_as(&through(realm, &proxy, libdefaults), "alice", "secret", options);
    proxy.requests().iter().map(KdcMessage::padata_types).collect()
}

#[test]
fn spake_is_spoken_in_every_group_and_can_be_required() {
    for group in [SpakeGroup::Edwards25519, SpakeGroup::P256, SpakeGroup::P384, SpakeGroup::P521] {
        let realm = realm(&KdcOptions { spake_groups: vec![group], ..KdcOptions::default() });
        realm.require_auth(KRBTGT, "spake");
        let requests = proved_by(&realm, &[("spake_preauth_groups", group.name())], &[]);
        assert!(requests.iter().any(|types| types.contains(&PA_SPAKE)), "{requests:?}");
        assert!(requests.iter().all(|types| !types.contains(&PA_ENC_TIMESTAMP)), "{requests:?}");
    }
}

#[test]
fn a_realm_that_requires_spake_refuses_an_encrypted_timestamp() {
    let realm = realm(&KdcOptions { spake_groups: vec![SpakeGroup::P256], ..KdcOptions::default() });
    let requests = proved_by(&realm, &[], &[]);
    assert!(requests.iter().any(|types| types.contains(&PA_ENC_TIMESTAMP)), "{requests:?}");
    realm.require_auth(KRBTGT, "spake");
    // MIT's clients know edwards25519 alone by default.
    let said = refused(&realm, "alice", "secret");
    assert!(said.contains("policy") || said.contains("indicator"), "{said}");
}

#[test]
fn an_optimistic_challenge_saves_a_round_trip() {
    let group = SpakeGroup::Edwards25519;
    let options =
        KdcOptions { spake_groups: vec![group], spake_challenge: Some(group), ..KdcOptions::default() };
    let realm = realm(&options);
    let requests = proved_by(&realm, &[], &[]);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[1].contains(&PA_SPAKE), "{requests:?}");
    let realm = self::realm(&KdcOptions { spake_challenge: None, ..options });
    assert_eq!(proved_by(&realm, &[], &[]).len(), 3);
}

#[test]
fn fast_can_be_required_by_what_is_inside_it() {
    let realm = realm(&KdcOptions::default());
    let armor = realm.kinit("alice", "secret", &[]);
    realm.require_auth(KRBTGT, "encrypted-challenge");
    assert!(refused(&realm, "alice", "secret").contains("policy"));
    let requests = proved_by(&realm, &[], &["-T", armor.to_str().unwrap()]);
    assert!(requests.iter().all(|types| types.contains(&PA_FX_FAST)), "{requests:?}");
}

/// How a ticket is got from a KDC by these options, as the transports of the requests.
fn transports(options: &KdcOptions, libdefaults: &[(&str, &str)]) -> Vec<Transport> {
    let realm = realm(options);
    let proxy = KdcProxy::before(realm.kdc().address());
    realm.kinit_as(&through(&realm, &proxy, libdefaults), "alice", "secret", &[]);
    proxy.exchanges().iter().filter(|exchange| exchange.to_client.is_some()).map(|e| e.transport).collect()
}

#[test]
fn a_kdc_speaks_the_transports_that_it_is_told_to() {
    let only = |transports| KdcOptions { transports, ..KdcOptions::default() };
    assert_eq!(transports(&only(Transports::Udp), &[]), [Transport::Udp; 2]);
    assert_eq!(transports(&only(Transports::Tcp), &[("udp_preference_limit", "1")]), [Transport::Tcp; 2]);
    let realm = realm(&only(Transports::Udp));
    assert!(std::net::TcpStream::connect(realm.kdc().address()).is_err());
}

#[test]
fn a_kdc_with_small_datagrams_sends_its_clients_to_tcp() {
    let small = KdcOptions { max_dgram_reply_size: Some(200), ..KdcOptions::default() };
    assert_eq!(
        transports(&small, &[]),
        [Transport::Udp, Transport::Tcp, Transport::Tcp],
        "after KRB_ERR_RESPONSE_TOO_BIG the request goes by TCP, and so does the next one"
    );
}

#[test]
fn a_client_learns_the_time_of_a_kdc_whose_clock_is_off() {
    let realm = realm(&KdcOptions { clock: Some(Clock::offset(3600)), ..KdcOptions::default() });
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    let ccache = realm.kinit("alice", "secret", &[]);
    realm.kvno(SPN, &ccache, &[]);
}
