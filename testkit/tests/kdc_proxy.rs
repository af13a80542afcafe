//! The program in the middle: what it does to messages must be what MIT's own kinit then meets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_testkit::kdc_message::{
    Kind, PA_ENC_TIMESTAMP, PA_ETYPE_INFO2, PA_FX_FAST, PA_SPAKE, etype_info2, flip,
};
use countersign_testkit::{
    Config, Env, Etype, Fate, Finished, KdcMessage, KdcOptions, KdcProxy, Realm, SpakeGroup, Transport,
};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SPN: &str = "test/a.example.test";

struct Scene {
    realm: Realm,
    proxy: KdcProxy,
    env: Env,
}

impl Scene {
    fn new(options: &KdcOptions) -> Self {
        let realm = Realm::with("PROXY.TEST", options);
        realm.add_user_with("alice", "secret", &["+requires_preauth"]);
        realm.add_service(SPN, &[Etype::Aes256Sha1]);
        let proxy = KdcProxy::before(realm.kdc().address());
        let kdcs = vec![proxy.address().to_string()];
        let env = realm.env_as(&Config { kdcs, ..Config::default() });
        Self { realm, proxy, env }
    }

    fn kinit(&self) -> Result<PathBuf, Finished> {
        self.realm.try_kinit_as(&self.env, "alice", "secret", &[])
    }

    #[track_caller]
    fn refused(&self) -> String {
        self.kinit().expect_err("kinit must fail").stderr
    }

    /// From here on `change` is done to every message of the KDC that it can be done to.
    fn change(&self, kind: Kind, change: impl Fn(KdcMessage) -> KdcMessage + Clone + Send + 'static) {
        self.proxy.set_rule(move |_| {
            let change = change.clone();
            Fate::Edit(Box::new(move |answer| {
                let message = KdcMessage::of(&answer);
                if message.kind() == kind { change(message).encode() } else { answer }
            }))
        });
    }
}

#[test]
fn messages_pass_as_they_are_and_are_kept() {
    let scene = Scene::new(&KdcOptions::default());
    let ccache = scene.kinit().unwrap();
    scene.realm.kvno_as(&scene.env, SPN, &ccache, &[]);
    let exchanges = scene.proxy.exchanges();
    assert_eq!(exchanges.len(), 3);
    assert_eq!((scene.proxy.count(Kind::AsReq), scene.proxy.count(Kind::TgsReq)), (2, 1));
    for exchange in &exchanges {
        assert_eq!(exchange.from_kdc, exchange.to_client);
        let (request, answer) = (&exchange.request, exchange.from_kdc.as_ref().unwrap());
        for message in [request, answer] {
            assert_eq!(&KdcMessage::of(message).encode(), message, "taken apart and put together again");
        }
    }
    let [first, second, third] = [0, 1, 2].map(|number| KdcMessage::of(&exchanges[number].request));
    let refused = KdcMessage::of(exchanges[0].from_kdc.as_ref().unwrap());
    assert_eq!(refused.error_code(), Some(25));
    assert!(refused.padata_types().contains(&PA_ETYPE_INFO2), "{refused:?}");
    assert!(!first.padata_types().contains(&PA_ENC_TIMESTAMP));
    assert!(second.padata_types().contains(&PA_ENC_TIMESTAMP));
    assert_eq!((third.service().as_str(), third.realm().as_str()), (SPN, "PROXY.TEST"));
    assert!(third.etypes().contains(&Etype::Aes256Sha1.number()));
    assert_ne!(first.options() & 0x10, 0, "MIT asks for RENEWABLE-OK, bit 27");
    assert_eq!(scene.proxy.last_answer(Kind::AsRep).kind(), Kind::AsRep);
    scene.proxy.clear();
    assert!(scene.proxy.exchanges().is_empty());
}

#[test]
fn connections_are_passed_on_as_connections() {
    let scene = Scene::new(&KdcOptions::default());
    let libdefaults = vec![("udp_preference_limit".to_owned(), "1".to_owned())];
    let kdcs = vec![scene.proxy.address().to_string()];
    let env = scene.realm.env_as(&Config { kdcs, libdefaults, ..Config::default() });
    scene.realm.kinit_as(&env, "alice", "secret", &[]);
    assert!(scene.proxy.exchanges().iter().all(|exchange| exchange.transport == Transport::Tcp));
}

#[test]
fn a_kdc_can_be_silent_slow_or_talk_nonsense() {
    let scene = Scene::new(&KdcOptions::default());
    scene.proxy.set_rule(|asked| if asked.number == 0 { Fate::Silent } else { Fate::Pass });
    scene.kinit().unwrap();
    assert!(scene.proxy.exchanges()[0].to_client.is_none());

    scene.proxy.set_rule(|_| Fate::Slow(Duration::from_millis(300)));
    let began = Instant::now();
    scene.kinit().unwrap();
    assert!(began.elapsed() > Duration::from_millis(500));

    scene.proxy.set_rule(|_| Fate::Answer(b"nonsense".to_vec()));
    assert!(!scene.refused().is_empty());
    scene.proxy.set_rule(|asked| if asked.transport == Transport::Udp { Fate::Pass } else { Fate::Close });
    scene.kinit().unwrap();
}

#[test]
fn damaged_replies_give_kinit_no_ticket() {
    let scene = Scene::new(&KdcOptions::default());
    for cut in [1, 40] {
        scene.proxy.set_rule(move |_| {
            Fate::Edit(Box::new(move |mut answer| {
                let is_reply = KdcMessage::of(&answer).kind() == Kind::AsRep;
                answer.truncate(answer.len() - if is_reply { cut } else { 0 });
                answer
            }))
        });
        scene.refused();
    }
    scene.proxy.set_rule(|_| {
        Fate::Edit(Box::new(|answer| {
            let last = answer.len() - 1;
            if KdcMessage::of(&answer).kind() == Kind::AsRep { flip(answer, last, 1) } else { answer }
        }))
    });
    assert!(scene.refused().contains("incorrect"), "a changed ciphertext looks like a wrong password");
}

#[test]
fn recorded_replies_and_parts_of_them_are_refused_by_kinit() {
    let scene = Scene::new(&KdcOptions::default());
    scene.kinit().unwrap();
    let recorded = scene.proxy.last_answer(Kind::AsRep);
    let whole = recorded.clone();
    scene.change(Kind::AsRep, move |_| whole.clone());
    assert!(scene.refused().contains("KDC reply did not match expectations"));
    let enc_part = recorded.clone();
    scene.change(Kind::AsRep, move |reply| reply.with_enc_part_of(&enc_part));
    assert!(scene.refused().contains("KDC reply did not match expectations"));
    scene.change(Kind::AsRep, |reply| reply.with_client(&["mallory"]));
    assert!(scene.refused().contains("KDC reply did not match expectations"));
    // Nothing that a client can read protects the ticket: it is the service that notices.
    scene.change(Kind::AsRep, move |reply| reply.with_ticket_of(&recorded));
    let ccache = scene.kinit().unwrap();
    assert_ne!(scene.realm.try_kvno_as(&scene.env, SPN, &ccache, &[]).code(), 0);
}

#[test]
fn what_the_first_error_says_can_be_changed() {
    let spake_groups = vec![SpakeGroup::Edwards25519];
    let scene = Scene::new(&KdcOptions { spake_groups, ..KdcOptions::default() });
    let proved = |padata_type| {
        scene.proxy.requests().iter().any(|request| request.padata_types().contains(&padata_type))
    };
    scene.kinit().unwrap();
    assert!(proved(PA_SPAKE) && !proved(PA_ENC_TIMESTAMP));

    scene.proxy.clear();
    scene.change(Kind::Error, |error| error.without_padata(PA_SPAKE).without_padata(PA_FX_FAST));
    scene.kinit().unwrap();
    assert!(!proved(PA_SPAKE) && proved(PA_ENC_TIMESTAMP), "MIT lets itself be talked down");

    // Another salt makes another key, and so does another count of iterations.
    for (salt, count) in [(Some("pepper"), None), (None, Some(&[0, 0, 16, 1][..]))] {
        let info = etype_info2(18, salt.or(Some("PROXY.TESTalice")), count);
        scene.change(Kind::Error, move |error| {
            error.with_padata(&[(PA_ENC_TIMESTAMP, vec![]), (PA_ETYPE_INFO2, info.clone())])
        });
        assert!(scene.refused().contains("Password incorrect"));
    }

    scene.change(Kind::Error, |error| error.with_error_code(18));
    assert!(scene.refused().contains("revoked"));
}

#[test]
fn the_time_that_the_first_error_tells_can_be_changed() {
    let scene = Scene::new(&KdcOptions::default());
    scene.change(Kind::Error, |error| {
        let time = error.time().unwrap();
        let changed = error.with_time(time + 86_400);
        assert_eq!(changed.time(), Some(time + 86_400));
        changed
    });
    assert!(scene.refused().contains("Clock skew too great"), "MIT believes an error without proof");
}
