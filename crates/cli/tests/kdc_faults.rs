//! `countersign ticket get` where something is wrong with the KDC or the way to it: it is down, slow or silent, it talks
//! nonsense, its answers are damaged, recorded, mixed, or talk the client down. None of it may end in a ticket that the
//! KDC did not give.
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

use countersign_testkit::kdc_message::{
    Kind, PA_ENC_TIMESTAMP, PA_ETYPE_INFO2, PA_FX_FAST, PA_SPAKE, PaData, etype_info2,
};
use countersign_testkit::{Config, Etype, Fate, KdcMessage, KdcOptions, KdcProxy, Realm, SpakeGroup, run};
use kdc_support::{Client, PASSWORD, SPN, by_tcp, edit, lines, nobody, realm, through};
use std::path::Path;
use std::time::{Duration, Instant};
use support::DEADLINE;

const ALICE: &str = "alice@KDC.TEST";

/// A realm, and alice's machine with something between the two.
struct Scene {
    realm: Realm,
    proxy: KdcProxy,
    client: Client,
}

impl Scene {
    fn new(options: &KdcOptions, config: Config) -> Self {
        let realm = realm(options);
        let proxy = KdcProxy::before(realm.kdc().address());
        let client = through(&realm, &proxy, config);
        Self { realm, proxy, client }
    }

    fn plain() -> Self {
        Self::new(&KdcOptions::default(), Config::default())
    }

    /// By TCP alone, where an answer that is none of the expected ends the request at once: by UDP the client listens on.
    fn by_tcp() -> Self {
        let scene = Self::plain();
        Self { client: by_tcp(&scene.realm, &scene.proxy), ..scene }
    }

    /// From here on `change` is done to every message of the KDC that is of this kind.
    fn change(&self, kind: Kind, change: impl Fn(KdcMessage) -> KdcMessage + Clone + Send + 'static) {
        edit(&self.proxy, kind, move |bytes| change(KdcMessage::of(&bytes)).encode());
    }

    fn login(&self) -> kdc_support::Login {
        self.client.login(ALICE, PASSWORD, &[])
    }

    /// Whether a request proved who alice is in this way.
    fn proved(&self, padata_type: i32) -> bool {
        self.proxy.requests().iter().any(|request| request.padata_types().contains(&padata_type))
    }
}

#[test]
fn a_kdc_that_is_down_is_told_with_its_address() {
    let realm = realm(&KdcOptions::default());
    let address = nobody().to_string();
    let client = Client::new(realm.env_as(&Config { kdcs: vec![address.clone()], ..Config::default() }));
    let said = client.login(ALICE, PASSWORD, &[]).refused(3, "CS-61");
    assert!(said.contains(&address) && said.contains("KDC.TEST"), "{said}");
}

#[test]
fn a_realm_without_a_kdc_in_the_configuration_is_told() {
    let realm = realm(&KdcOptions::default());
    let said = Client::new(realm.env()).login("alice@ELSEWHERE.TEST", PASSWORD, &[]).refused(2, "CS-6101");
    assert!(said.contains("ELSEWHERE.TEST"), "{said}");
}

#[test]
fn the_next_kdc_is_asked_where_one_is_down_or_talks_nonsense() {
    let realm = realm(&KdcOptions::default());
    let babbler = KdcProxy::with(realm.kdc().address(), |_| Fate::Answer(b"nonsense".to_vec()));
    let busy = KdcProxy::before(realm.kdc().address());
    busy.set_rule(|_| {
        Fate::Edit(Box::new(|answer| {
            let message = KdcMessage::of(&answer);
            // KDC_ERR_SVC_UNAVAILABLE
            if message.kind() == Kind::Error { message.with_error_code(29).encode() } else { answer }
        }))
    });
    for first in [nobody(), babbler.address(), busy.address()] {
        let kdcs = vec![first.to_string(), realm.kdc().address().to_string()];
        Client::new(realm.env_as(&Config { kdcs, ..Config::default() })).login(ALICE, PASSWORD, &[]).got();
    }
}

#[test]
fn a_slow_kdc_is_waited_for() {
    let scene = Scene::plain();
    scene.proxy.set_rule(|_| Fate::Slow(Duration::from_millis(1_500)));
    scene.login().got();
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let scene = Scene::plain();
    scene.proxy.set_rule(|asked| if asked.number % 2 == 0 { Fate::Silent } else { Fate::Pass });
    scene.login().got();
}

#[test]
fn a_silent_kdc_is_given_up() {
    let libdefaults = lines(&[("request_timeout", "3")]);
    let scene = Scene::new(&KdcOptions::default(), Config { libdefaults, ..Config::default() });
    scene.proxy.set_rule(|_| Fate::Silent);
    let began = Instant::now();
    let said = scene.login().refused(3, "CS-61");
    assert!(said.contains(&scene.proxy.address().to_string()), "{said}");
    assert!(began.elapsed() < DEADLINE / 4, "three seconds and what a busy machine adds");
}

#[test]
fn nonsense_is_no_answer() {
    let scene = Scene::by_tcp();
    for nonsense in
        [&b""[..], b"nonsense", &[0x6b, 0x80], &[0x6b, 0x02, 0x30, 0x00], &[0x7e, 0x00], &[0xff; 4_000]]
    {
        scene.proxy.set_rule(move |_| Fate::Answer(nonsense.to_vec()));
        let done = scene.login();
        assert!([1, 3].contains(&done.done.code()), "{done:?}");
        assert!(!done.ccache.exists());
    }
    scene.proxy.set_rule(|_| Fate::Close);
    scene.login().refused(3, "CS-61");
}

#[test]
fn a_request_sent_back_is_no_answer() {
    let scene = Scene::by_tcp();
    scene.proxy.set_rule(|asked| Fate::Answer(asked.message.as_ref().unwrap().encode()));
    let login = scene.login();
    assert!([1, 3].contains(&login.done.code()), "{login:?}");
    assert!(!login.ccache.exists());
}

/// What the KDC once answered to alice.
fn recorded(scene: &Scene, kind: Kind) -> KdcMessage {
    scene.client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    let answer = scene.proxy.last_answer(kind);
    scene.proxy.clear();
    answer
}

#[track_caller]
fn refused_as_another_answer(login: kdc_support::Login) {
    let said = format!("{:?}", login.done);
    assert!(
        ["CS-6010", "CS-6011", "CS-6012", "CS-6013", "CS-6015"].iter().any(|code| said.contains(code)),
        "{said}"
    );
    assert_eq!(login.done.code(), 1, "{said}");
    assert!(!login.ccache.exists());
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let scene = Scene::by_tcp();
    let old = recorded(&scene, Kind::AsRep);
    let whole = old.clone();
    scene.change(Kind::AsRep, move |_| whole.clone());
    refused_as_another_answer(scene.login());
    let sealed = old.clone();
    scene.change(Kind::AsRep, move |reply| reply.with_enc_part_of(&sealed));
    refused_as_another_answer(scene.login());
    scene.change(Kind::AsRep, |reply| reply.with_client(&["mallory"]));
    refused_as_another_answer(scene.login());
}

#[test]
fn an_answer_to_another_request_for_a_service_does_not_win_by_udp() {
    let scene = Scene::plain();
    let old = recorded(&scene, Kind::TgsRep).encode();
    let ccache = scene.realm.kinit("alice", PASSWORD, &[]);
    // The first answer is another's; the request that is sent again gets its own.
    scene.proxy.set_rule(move |asked| if asked.number == 0 { Fate::Answer(old.clone()) } else { Fate::Pass });
    run(scene.client.ticket_get(&ccache).args(["--service", SPN]), DEADLINE).expect_success();
    assert_eq!(scene.proxy.count(Kind::TgsReq), 2);
}

#[test]
fn an_answer_to_anothers_login_gives_no_ticket_of_anothers() {
    let scene = Scene::plain();
    scene.realm.add_user_with("bob", PASSWORD, &["+requires_preauth"]);
    scene.client.login("bob@KDC.TEST", PASSWORD, &[]).got();
    let old = scene.proxy.last_answer(Kind::AsRep).encode();
    scene.proxy.clear();
    scene.proxy.set_rule(move |asked| if asked.number == 0 { Fate::Answer(old.clone()) } else { Fate::Pass });
    let login = scene.login();
    if login.done.code() == 0 {
        let list = scene.client.klist(&login.ccache);
        assert!(list.contains("Default principal: alice@KDC.TEST\n"), "{list}");
    } else {
        refused_as_another_answer(login);
    }
}

#[test]
fn an_exchanged_ticket_is_good_for_nothing() {
    let scene = Scene::by_tcp();
    let old = recorded(&scene, Kind::AsRep);
    scene.change(Kind::AsRep, move |reply| reply.with_ticket_of(&old));
    // Nothing that the client can read protects the ticket; the KDC notices when it is used.
    let done = scene.client.login(ALICE, PASSWORD, &["--service", SPN]).done.expect_code(1);
    assert!(done.stderr.contains("CS-60"), "{done:?}");
}

#[test]
fn an_exchanged_ticket_is_noticed_under_armor() {
    let scene = Scene::by_tcp();
    let old = recorded(&scene, Kind::AsRep);
    let armor = scene.realm.kinit("alice", PASSWORD, &[]);
    scene.change(Kind::AsRep, move |reply| reply.with_ticket_of(&old));
    let option = ["--armor-ccache", armor.to_str().unwrap()];
    refused_as_another_answer(scene.client.login(ALICE, PASSWORD, &option));
}

#[test]
fn a_ticket_for_another_service_is_refused() {
    let scene = Scene::by_tcp();
    scene.realm.add_service("other/a.example.test", &[Etype::Aes256Sha1]);
    let ccache = scene.client.login(ALICE, PASSWORD, &["--service", "other/a.example.test"]).got();
    let other = scene.proxy.last_answer(Kind::TgsRep);
    let whole = other.clone();
    scene.change(Kind::TgsRep, move |_| whole.clone());
    refused_service(&scene, &ccache);
    let ticket = other.clone();
    scene.change(Kind::TgsRep, move |reply| reply.with_ticket_of(&ticket));
    refused_service(&scene, &ccache);
    scene.change(Kind::TgsRep, move |reply| reply.with_enc_part_of(&other));
    refused_service(&scene, &ccache);
    scene.change(Kind::TgsRep, |reply| reply.with_client(&["mallory"]));
    refused_service(&scene, &ccache);
}

/// Asserts that no ticket for [`SPN`] comes into the cache.
#[track_caller]
fn refused_service(scene: &Scene, ccache: &Path) {
    let done = run(scene.client.ticket_get(ccache).args(["--service", SPN]), DEADLINE);
    assert!([1, 3].contains(&done.code()), "{done:?}");
    assert!(done.stderr.contains("CS-60") || done.stderr.contains("CS-6104"), "{done:?}");
    assert!(!scene.client.klist(ccache).contains(SPN));
}

/// The METHOD-DATA of a first error that offers an encrypted timestamp by this etype, salt and count.
fn offer(etype: i32, salt: Option<&str>, count: Option<&[u8]>) -> Vec<PaData> {
    vec![(PA_ENC_TIMESTAMP, Vec::new()), (PA_ETYPE_INFO2, etype_info2(etype, salt, count))]
}

#[test]
fn a_client_is_not_talked_down_to_a_weak_etype() {
    let scene = Scene::plain();
    scene.change(Kind::Error, |error| error.with_padata(&offer(Etype::Rc4.number(), None, None)));
    scene.login().refused(1, "CS-60");
    assert!(!scene.proved(PA_ENC_TIMESTAMP), "a timestamp under a weak key was sent");
}

#[test]
fn a_count_of_iterations_that_would_take_hours_is_refused() {
    let scene = Scene::plain();
    for count in [[0xff; 4], [0, 0, 0, 0]] {
        scene.change(Kind::Error, move |error| {
            error.with_padata(&offer(Etype::Aes256Sha1.number(), Some("KDC.TESTalice"), Some(&count)))
        });
        let began = Instant::now();
        let done = scene.login().done;
        assert_ne!(done.code(), 0);
        assert!(done.stderr.contains("CS-6021"), "{done:?}");
        assert!(began.elapsed() < DEADLINE / 2);
    }
    assert!(!scene.proved(PA_ENC_TIMESTAMP));
}

#[test]
fn a_count_of_iterations_that_is_too_small_is_refused() {
    let scene = Scene::plain();
    scene.change(Kind::Error, |error| {
        let count = [0, 0, 0, 1];
        error.with_padata(&offer(Etype::Aes256Sha1.number(), Some("KDC.TESTalice"), Some(&count)))
    });
    let done = scene.login().done;
    assert!(done.stderr.contains("CS-6021"), "{done:?}");
    assert!(!scene.proved(PA_ENC_TIMESTAMP), "a timestamp under a key that is quickly guessed was sent");
}

#[test]
fn another_salt_makes_another_key_and_no_ticket() {
    let scene = Scene::plain();
    scene.change(Kind::Error, |error| {
        error.with_padata(&offer(Etype::Aes256Sha1.number(), Some("pepper"), None))
    });
    scene.login().refused(1, "CS-60");
}

#[test]
fn an_offer_without_anything_that_is_spoken_is_told() {
    let scene = Scene::plain();
    // PA-PK-AS-REQ
    scene.change(Kind::Error, |error| error.with_padata(&[(16, Vec::new())]));
    scene.login().refused(1, "CS-6014");
}

fn with_spake(realm_lines: &[(&str, &str)]) -> Scene {
    let spake_groups = vec![SpakeGroup::Edwards25519];
    let config = Config { realm_lines: lines(realm_lines), ..Config::default() };
    Scene::new(&KdcOptions { spake_groups, ..KdcOptions::default() }, config)
}

#[test]
fn spake_stripped_from_the_offer_ends_the_login_where_timestamps_are_off() {
    let scene = with_spake(&[("disable_encrypted_timestamp", "true")]);
    scene.login().got();
    scene.change(Kind::Error, |error| error.without_padata(PA_SPAKE));
    scene.login().refused(1, "CS-6014");
    assert!(!scene.proved(PA_ENC_TIMESTAMP));
}

#[test]
fn armor_is_not_given_up_for_an_answer_without_it() {
    let scene = Scene::by_tcp();
    let old = recorded(&scene, Kind::AsRep);
    let armor = scene.realm.kinit("alice", PASSWORD, &[]);
    let option = ["--armor-ccache", armor.to_str().unwrap()];
    scene.change(Kind::Error, |error| error.without_padata(PA_FX_FAST));
    scene.client.login(ALICE, PASSWORD, &option).refused(1, "CS-60");
    scene.change(Kind::AsRep, |reply| reply.without_padata(PA_FX_FAST));
    scene.client.login(ALICE, PASSWORD, &option).refused(1, "CS-6015");
    let bytes = old.encode();
    scene.proxy.set_rule(move |_| Fate::Answer(bytes.clone()));
    scene.client.login(ALICE, PASSWORD, &option).refused(1, "CS-6015");
    assert!(!scene.proved(PA_ENC_TIMESTAMP));
}

#[test]
fn a_false_time_in_the_errors_gives_no_ticket() {
    let scene = Scene::plain();
    scene.change(Kind::Error, |error| {
        let time = error.time().unwrap();
        error.with_time(time + 86_400)
    });
    let login = scene.login();
    assert_eq!(login.done.code(), 1, "{login:?}");
    assert!(!login.ccache.exists());
}

#[test]
fn a_kdc_that_asks_for_more_without_end_is_left() {
    let scene = Scene::plain();
    let first = {
        scene.login().got();
        scene.proxy.exchanges()[0].from_kdc.clone().unwrap()
    };
    scene.proxy.clear();
    for code in [25, 91, 24] {
        let answer = KdcMessage::of(&first).with_error_code(code).encode();
        scene.proxy.set_rule(move |_| Fate::Answer(answer.clone()));
        scene.login().refused(1, "CS-60");
    }
    assert!(scene.proxy.exchanges().len() < 40, "{} requests", scene.proxy.exchanges().len());
}

#[test]
fn errors_with_forged_reasons_are_told_and_give_no_ticket() {
    let scene = Scene::plain();
    for (code, told) in [(6, "CS-6001"), (18, "CS-6004"), (12, "CS-6006"), (14, "CS-6007"), (60, "CS-6009")] {
        scene.change(Kind::Error, move |error| error.with_error_code(code));
        scene.login().refused(1, told);
    }
}
