//! Credential caches on disk and in memory, changed by us and by MIT's and Heimdal's programs at the same time.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod on_disk;

use countersign::credentials::{self, CcacheName};
use countersign::proto::ccache::{Ccache, Credential};
use countersign::proto::error::code;
use countersign::proto::krb5::msg::principal::Principal;
use countersign_testkit::mint::{Mint, ccache_bytes};
use countersign_testkit::{Etype, HeimdalRealm, Process, Realm, run};
use on_disk::{DEADLINE, Writers, mode, said, writer, writer_name, writer_path};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A ticket for `HOST`, whose length is that of a ticket with many groups in it.
fn ticket(host: &str) -> Credential {
    let mint = Mint { service: Principal::new("EXAMPLE.TEST", &["HTTP", host]), ..Mint::default() };
    let mut credential = mint.credential(&mint.ticket());
    credential.ticket.resize(9_000, 7);
    credential
}

fn cache(hosts: &[&str]) -> Ccache {
    let mut cache = Ccache::new(Mint::default().client);
    hosts.iter().for_each(|host| cache.add(ticket(host)));
    cache
}

fn hosts(cache: &Ccache) -> Vec<String> {
    let host = |credential: &Credential| String::from_utf8(credential.server.components[1].clone()).unwrap();
    cache.credentials.iter().map(host).collect()
}

fn named(path: &Path) -> CcacheName {
    CcacheName::File(path.to_owned())
}

/// The program of MIT's client tools, with the cache that it is to use.
fn mit(program: &str, ccache: &CcacheName) -> Command {
    let mut command = on_disk::mit(program);
    command.env("KRB5CCNAME", ccache.to_string());
    command
}

#[track_caller]
fn klist(ccache: &CcacheName, options: &[&str]) -> String {
    said(mit("klist", ccache).args(options))
}

#[test]
fn a_new_cache_is_its_owners_alone_and_takes_the_place_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    std::fs::write(&path, "what was there before").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let before = path.metadata().unwrap().ino();
    let made = credentials::initialize(&named(&path), &cache(&["one", "two"])).unwrap();
    assert_eq!((made, mode(&path)), (named(&path), 0o600));
    assert_ne!(path.metadata().unwrap().ino(), before, "who has the old file open reads it to its end");
    assert_eq!(std::fs::read(&path).unwrap(), ccache_bytes(&cache(&["one", "two"])));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert!(klist(&named(&path), &[]).contains("HTTP/two@EXAMPLE.TEST"));
}

#[test]
fn a_cache_that_cannot_be_made_is_told_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let missing = named(&folder.path().join("missing/tickets"));
    let refusal = credentials::initialize(&missing, &cache(&[])).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNWRITABLE);
    assert!(refusal.saw().contains("missing/tickets (No such file"), "{refusal}");
    let refusal = credentials::initialize(&named(folder.path()), &cache(&[])).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNWRITABLE);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_kinit_and_kvno_wrote_is_written_byte_for_byte_and_used_by_kvno() {
    let realm = Realm::new("FILES.TEST");
    realm.add_user("alice", "secret");
    for spn in ["HTTP/a.files.test", "HTTP/b.files.test"] {
        realm.add_service(spn, &[Etype::Aes256Sha1]);
    }
    let original = realm.kinit("alice", "secret", &["-f", "-r", "2d"]);
    realm.kvno("HTTP/a.files.test", &original, &[]);
    let copy = named(&realm.folder().join("copy"));
    let cache = credentials::read(&named(&original)).unwrap();
    credentials::initialize(&copy, &cache).unwrap();
    let CcacheName::File(path) = &copy else { panic!("it is a file") };
    assert!(std::fs::read(&original).unwrap() == std::fs::read(path).unwrap());
    let text = realm.klist(path);
    assert_eq!(
        text.replace("copy", ""),
        realm.klist(&original).replace(original.file_name().unwrap().to_str().unwrap(), "")
    );
    realm.kvno("HTTP/b.files.test", path, &[]);
    let added = credentials::read(&copy).unwrap();
    assert_eq!(added.credentials.len(), 3);

    // The other way: what we add is what kvno adds, and replaces what kvno added before.
    let ours = named(&realm.folder().join("ours"));
    credentials::initialize(&ours, &cache).unwrap();
    let mut old = added.credentials[2].clone();
    old.endtime = old.authtime;
    old.ticket.reverse();
    credentials::store(&ours, &[old]).unwrap();
    credentials::store(&ours, &added.credentials[2..]).unwrap();
    credentials::store(&ours, &added.credentials[2..]).unwrap();
    let CcacheName::File(path) = &ours else { panic!("it is a file") };
    assert_eq!(realm.klist(path).matches("HTTP/b.files.test").count(), 1);
    let kvno = added.to_bytes().unwrap();
    assert!(credentials::read(&ours).unwrap().to_bytes().unwrap().expose() == kvno.expose());
}

#[test]
fn heimdal_reads_our_caches_and_adds_to_them() {
    let realm = HeimdalRealm::new("FILES.TEST", None);
    realm.add_user("alice", "secret", &Etype::DEFAULT);
    realm.add_service("HTTP/a.files.test", &[Etype::Aes256Sha1]);
    let Ok(original) = realm.kinit("alice", "secret", &[]) else { panic!("kinit failed") };
    let copy = realm.folder().join("copy");
    let cache = credentials::read(&named(&original)).unwrap();
    credentials::initialize(&named(&copy), &cache).unwrap();
    realm.kgetcred("HTTP/a.files.test@FILES.TEST", &copy, &[]).expect_success();
    let added = credentials::read(&named(&copy)).unwrap();
    assert_eq!((added.credentials.len(), added.config), (cache.credentials.len() + 1, cache.config));
    credentials::store(&named(&copy), &[ticket("ours")]).unwrap();
    let text = realm.klist(&copy);
    assert!(
        text.contains("HTTP/a.files.test@FILES.TEST") && text.contains("HTTP/ours@EXAMPLE.TEST"),
        "{text}"
    );
}

#[test]
#[ignore = "it is a process of tickets_of_many_writers_are_all_there"]
fn writer_of_tickets() {
    let (path, name) = (writer_path(), writer_name());
    for number in 0..20 {
        credentials::store(&named(&path), &[ticket(&format!("{name}-{number}"))]).unwrap();
    }
}

#[test]
fn tickets_of_many_writers_are_all_there() {
    let realm = Realm::new("FILES.TEST");
    realm.add_user("alice", "secret");
    let services: Vec<String> = (0..6).map(|number| format!("HTTP/mit{number}.files.test")).collect();
    services.iter().for_each(|spn| realm.add_service(spn, &[Etype::Aes256Sha1]));
    let path = realm.kinit("alice", "secret", &[]);
    let writers = Writers::start("writer_of_tickets", &path);
    services.iter().for_each(|spn| realm.kvno(spn, &path, &[]));
    let names = writers.finish();
    let cache = credentials::read(&named(&path)).unwrap();
    let found = hosts(&cache);
    for name in &names {
        (0..20).for_each(|number| assert!(found.contains(&format!("{name}-{number}")), "{name}-{number}"));
    }
    assert_eq!(found.len(), 1 + 8 * 20 + services.len());
    let listed = realm.klist(&path);
    services.iter().for_each(|spn| assert_eq!(listed.matches(spn.as_str()).count(), 1, "{spn}"));
}

#[test]
#[ignore = "it is the process that a_writer_that_is_killed_leaves_a_cache_that_mit_reads kills"]
fn writer_without_end() {
    let path = writer_path();
    for number in 0_u64.. {
        credentials::store(&named(&path), &[ticket(&format!("host-{}", number % 50))]).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_cache_that_mit_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    let name = named(&path);
    for round in 0..40 {
        credentials::initialize(&name, &cache(&["first"])).unwrap();
        let empty = path.metadata().unwrap().len();
        let writer = writer("writer_without_end", &path, "endless");
        while path.metadata().unwrap().len() == empty {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(round * 137));
        // Dropping it kills it.
        drop(writer);
        assert!(klist(&name, &[]).contains("HTTP/first@EXAMPLE.TEST"));
        credentials::store(&name, &[ticket("last")]).unwrap();
        let found = credentials::find(&name).unwrap();
        assert_eq!(found.left_out, 0);
        let hosts = hosts(&found.ccache);
        assert!(hosts.contains(&"first".to_owned()) && hosts.contains(&"last".to_owned()));
        assert!(klist(&name, &[]).contains("HTTP/last@EXAMPLE.TEST"));
    }
}

#[test]
fn a_ticket_that_was_not_written_whole_is_passed_over_as_mit_does_and_cut_off_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    let whole = ccache_bytes(&cache(&["one", "two"]));
    std::fs::write(&path, &whole[..whole.len() - 4_000]).unwrap();
    let found = credentials::find(&named(&path)).unwrap();
    let start = whole.len() - ccache_bytes(&cache(&["one"])).len();
    assert_eq!((hosts(&found.ccache), found.left_out), (vec!["one".to_owned()], start - 4_000));
    assert!(klist(&named(&path), &[]).contains("HTTP/one@EXAMPLE.TEST"));
    credentials::store(&named(&path), &[ticket("three")]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), ccache_bytes(&cache(&["one", "three"])));
}

#[test]
fn tickets_are_stored_in_the_file_that_another_program_put_there_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    std::fs::write(&path, ccache_bytes(&cache(&["old"]))).unwrap();
    // As kinit does while we wait for its lock: a new file under the old name.
    let script = "import fcntl, os, sys, time
file = open(sys.argv[1], 'r+b')
fcntl.lockf(file, fcntl.LOCK_EX)
print('locked', flush=True)
time.sleep(0.5)
os.rename(sys.argv[2], sys.argv[1])";
    let new = folder.path().join("new");
    std::fs::write(&new, ccache_bytes(&cache(&["new"]))).unwrap();
    let other = Process::start(Command::new("python3").args(["-c", script]).args([&path, &new]));
    other.wait_for_line("locked", DEADLINE);
    credentials::store(&named(&path), &[ticket("ours")]).unwrap();
    assert_eq!(hosts(&credentials::read(&named(&path)).unwrap()), ["new", "ours"]);
    other.finish(DEADLINE).expect_success();
}

#[test]
fn a_cache_that_stays_locked_is_not_written_and_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    std::fs::write(&path, ccache_bytes(&cache(&["old"]))).unwrap();
    let script = "import fcntl, sys
file = open(sys.argv[1], 'rb')
fcntl.lockf(file, fcntl.LOCK_SH)
print('locked', flush=True)
sys.stdin.read()";
    let reader = Process::start(Command::new("python3").args(["-c", script]).arg(&path));
    reader.wait_for_line("locked", DEADLINE);
    let refusal = credentials::store(&named(&path), &[ticket("ours")]).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNWRITABLE);
    assert!(refusal.saw().contains("locked by another program for 3 s"), "{refusal}");
    assert_eq!(hosts(&credentials::read(&named(&path)).unwrap()), ["old"], "readers share it");
}

#[test]
fn a_cache_that_another_user_put_where_everyone_may_is_seen_and_not_used() {
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    let folder = shared.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("tkt");
    std::fs::write(&path, ccache_bytes(&cache(&["planted"]))).unwrap();
    let names = [named(&path), CcacheName::Dir(folder)];
    for name in &names {
        assert_eq!(hosts(&credentials::read(name).unwrap()), ["planted"], "our own");
    }
    // Only root can make a file another user's.
    if shared.path().metadata().unwrap().uid() == 0 {
        std::os::unix::fs::chown(&path, Some(4_321), None).unwrap();
        for name in &names {
            let refusal = credentials::read(name).unwrap_err();
            assert_eq!(refusal.code(), code::CCACHE_UNREADABLE);
            assert!(refusal.saw().contains("it belongs to user 4321"), "{refusal}");
            assert_eq!(credentials::find(name).unwrap().planted_by, Some(4_321));
        }
    }
}

#[test]
fn what_belongs_to_another_user_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    std::fs::write(&path, ccache_bytes(&cache(&["old"]))).unwrap();
    // Only root can make a file another user's; whoever else runs this has one of root's at hand.
    let is_root = folder.path().metadata().unwrap().uid() == 0;
    let (path, why) = if is_root {
        std::os::unix::fs::chown(&path, Some(4_321), None).unwrap();
        (path, "it belongs to user 4321")
    } else {
        (PathBuf::from("/etc/passwd"), "Permission denied")
    };
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let refusal = credentials::store(&named(path), &[ticket("ours")]).unwrap_err();
        assert_eq!(refusal.code(), code::CCACHE_UNWRITABLE);
        assert!(refusal.saw().contains(why), "{refusal}");
    }
    let refusal = credentials::destroy(&named(&path)).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNWRITABLE);
    assert!(path.exists());
    // A link to it is only replaced, as MIT's library does.
    credentials::initialize(&named(&link), &cache(&["ours"])).unwrap();
    assert!(link.symlink_metadata().unwrap().is_file());
}

#[test]
fn a_destroyed_cache_is_gone_and_its_bytes_are_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickets");
    std::fs::write(&path, ccache_bytes(&cache(&["one"]))).unwrap();
    let open = std::fs::File::open(&path).unwrap();
    credentials::destroy(&named(&path)).unwrap();
    assert!(!path.exists());
    let left = std::io::read_to_string(open).unwrap();
    assert!(left.len() > 9_000 && left.bytes().all(|byte| byte == 0));
    let refusal = credentials::destroy(&named(&path)).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNREADABLE);
}

#[test]
fn what_is_no_cache_a_link_or_a_second_name_is_not_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let [text, link, name, other] = ["text", "link", "name", "other"].map(|name| folder.path().join(name));
    std::fs::write(&text, "a letter").unwrap();
    let refusal = credentials::destroy(&named(&text)).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_MALFORMED);
    let whole = ccache_bytes(&cache(&["one"]));
    std::fs::write(&name, &whole).unwrap();
    symlink(&name, &link).unwrap();
    let refusal = credentials::destroy(&named(&link)).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNWRITABLE);
    std::fs::hard_link(&name, &other).unwrap();
    credentials::destroy(&named(&name)).unwrap();
    assert_eq!(
        (std::fs::read(&text).unwrap(), std::fs::read(&other).unwrap()),
        (b"a letter".to_vec(), whole)
    );
    assert!(!name.exists());
    // What is damaged behind the first bytes, or cut off before them, can be destroyed.
    for damaged in [&b"\x05\x04\xff\xff"[..], b"\x05\x03", b"\x05", b""] {
        std::fs::write(&name, damaged).unwrap();
        credentials::destroy(&named(&name)).unwrap();
        assert!(!name.exists());
    }
}

#[test]
fn a_folder_of_caches_is_shared_with_kinit_and_kswitch() {
    let realm = Realm::new("FILES.TEST");
    ["alice", "bob"].iter().for_each(|user| realm.add_user(user, "secret"));
    let folder = realm.folder().join("collection");
    let name = CcacheName::Dir(folder.clone());
    let of = |user: &str| {
        let path = realm.kinit(user, "secret", &[]);
        credentials::read(&named(&path)).unwrap()
    };
    let (alice, bob) = (of("alice"), of("bob"));

    let refusal = credentials::read(&name).unwrap_err();
    assert_eq!(refusal.code(), code::CCACHE_UNREADABLE);
    let first = credentials::initialize(&name, &alice).unwrap();
    assert_eq!(first, CcacheName::DirMember(folder.join("tkt")));
    assert_eq!(
        (mode(&folder), mode(&folder.join("tkt")), mode(&folder.join("primary"))),
        (0o700, 0o600, 0o600)
    );
    let second = credentials::initialize(&name, &bob).unwrap();
    assert_ne!(first, second);
    assert_eq!(credentials::initialize(&name, &alice).unwrap(), first, "the member of the same principal");
    let principal = || credentials::read(&name).unwrap().default_principal.to_string();
    assert_eq!(principal(), "alice@FILES.TEST");
    assert!(klist(&name, &[]).contains("Default principal: alice@FILES.TEST"));
    let all = klist(&name, &["-l"]);
    assert!(all.contains(&first.to_string()) && all.contains(&second.to_string()), "{all}");

    credentials::set_primary(&second).unwrap();
    assert!(klist(&name, &[]).contains("Default principal: bob@FILES.TEST"));
    run(mit("kswitch", &name).args(["-c", &first.to_string()]), DEADLINE).expect_success();
    assert_eq!(principal(), "alice@FILES.TEST");
    run(mit("kswitch", &name).args(["-c", &second.to_string()]), DEADLINE).expect_success();
    assert_eq!(principal(), "bob@FILES.TEST");

    let members = credentials::list(&name).unwrap();
    let listed: Vec<_> = members.iter().map(|member| (&member.name, member.is_primary)).collect();
    assert_eq!(listed, [(&second, true), (&first, false)]);
    credentials::store(&name, &[ticket("ours")]).unwrap();
    assert_eq!(credentials::read(&second).unwrap().credentials.len(), 2);
    credentials::destroy(&name).unwrap();
    assert_eq!(credentials::list(&name).unwrap().len(), 1);
    // The primary one is empty now, and is where a new principal goes.
    let mut carol = alice;
    carol.default_principal = Principal::new("FILES.TEST", &["carol"]);
    assert_eq!(credentials::initialize(&name, &carol).unwrap(), second);
}

#[test]
fn a_file_primary_does_not_lead_out_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let name = CcacheName::Dir(folder.path().to_owned());
    for text in
        ["../tkt", "tkt/../../x\n", "tkt\\x\n", "other\n", "", "\n", &format!("tkt{}\n", "x".repeat(60))]
    {
        std::fs::write(folder.path().join("primary"), text).unwrap();
        let refusal = credentials::read(&name).unwrap_err();
        assert_eq!(refusal.code(), code::CCACHE_MALFORMED, "{text:?}");
        assert!(refusal.saw().contains("primary"), "{refusal}");
    }
}

#[test]
fn a_cache_in_memory_is_known_by_its_name_until_it_is_destroyed() {
    let name = CcacheName::Memory("a test".to_owned());
    assert_eq!(credentials::store(&name, &[]).unwrap_err().code(), code::CCACHE_UNREADABLE);
    credentials::initialize(&name, &cache(&["one"])).unwrap();
    credentials::store(&name, &[ticket("two"), ticket("one")]).unwrap();
    assert_eq!(hosts(&credentials::read(&name).unwrap()), ["one", "two"]);
    assert_eq!(credentials::list(&name).unwrap().len(), 1);
    assert!(credentials::read(&CcacheName::Memory("another".to_owned())).is_err());
    credentials::destroy(&name).unwrap();
    assert!(credentials::list(&name).unwrap().is_empty());
    assert_eq!(credentials::destroy(&name).unwrap_err().code(), code::CCACHE_UNREADABLE);
}

#[test]
fn names_are_read_and_shown_as_mit_writes_them() {
    for (text, name, shown) in [
        ("FILE:/tmp/x", CcacheName::File("/tmp/x".into()), "FILE:/tmp/x"),
        ("/tmp/x", CcacheName::File("/tmp/x".into()), "FILE:/tmp/x"),
        ("x", CcacheName::File("x".into()), "FILE:x"),
        ("/tmp/a:b", CcacheName::File("/tmp/a:b".into()), "FILE:/tmp/a:b"),
        ("FILE:a:b", CcacheName::File("a:b".into()), "FILE:a:b"),
        ("DIR:/tmp/x", CcacheName::Dir("/tmp/x".into()), "DIR:/tmp/x"),
        ("DIR::/tmp/x/tktA", CcacheName::DirMember("/tmp/x/tktA".into()), "DIR::/tmp/x/tktA"),
        ("MEMORY:x:y", CcacheName::Memory("x:y".into()), "MEMORY:x:y"),
    ] {
        let parsed = CcacheName::parse(text).unwrap();
        assert_eq!((parsed.to_string().as_str(), &parsed), (shown, &name));
    }
}

#[test]
fn names_of_other_types_are_refused_with_what_to_do() {
    for (text, told) in [
        ("KCM:0", "KRB5CCNAME=FILE:"),
        ("KEYRING:persistent:0", "keyring"),
        ("API:x", "macOS and Windows only"),
        ("MSLSA:", "behind the type"),
        ("file:/tmp/x", "FILE, DIR and MEMORY"),
        ("", "behind the type"),
        ("FILE:", "behind the type"),
        ("DIR::/tmp/x/other", "tktNAME"),
        ("DIR::tkt", "tktNAME"),
    ] {
        let refusal = countersign::Refusal::from(CcacheName::parse(text).unwrap_err());
        assert_eq!(refusal.code(), code::CCACHE_TYPE_UNSUPPORTED);
        assert!(refusal.to_string().contains(told), "{refusal} lacks {told}");
    }
}
