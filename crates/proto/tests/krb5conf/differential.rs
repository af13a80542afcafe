//! The same files, hosts and durations, read by MIT's own library (release 1.20 or later).
//!
//! Left out is where we differ on purpose: text before the first section that looks like one, modules, relative includes, and
//! final marks that come to bear within one file, which MIT reads so since release 1.22.

use crate::corpus::{SYSTEMS, system};
use crate::{Files, conf};
use countersign_proto::krb5conf::{Profile, Section};
use countersign_testkit::{Finished, Peers, Process};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A folder that ends with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("krb5conf-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes files with their paths below this folder, and moves there what they include.
    fn with(files: &Files) -> Self {
        let scratch = Self::new();
        let root = scratch.0.to_str().unwrap();
        for (path, bytes) in files {
            let text = String::from_utf8(bytes.clone()).unwrap().trim_start_matches('\u{feff}').to_owned();
            let text = text.replace("include /", &format!("include {root}/"));
            let text = text.replace("includedir /", &format!("includedir {root}/"));
            let file = scratch.path(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        scratch
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn peer(mode: &str, files: &[PathBuf], config: Option<&Path>, input: &str) -> Finished {
    let mut command = Peers::profile();
    command.arg(mode).args(files);
    if let Some(config) = config {
        command.env("KRB5_CONFIG", config);
    }
    let mut process = Process::start(&mut command);
    // A peer that refuses its files does not read what is asked.
    let _ = process.stdin().unwrap().write_all(input.as_bytes());
    process.finish(Duration::from_secs(60))
}

/// The lines of a peer's answer; none if it refused the files.
fn answers(finished: Finished) -> Option<Vec<String>> {
    if finished.code() == 2 && finished.stderr.starts_with("profile_init") {
        return None;
    }
    Some(finished.expect_success().text().lines().map(str::to_owned).collect())
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn written<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    values.into_iter().map(|value| format!("v{}", hex(value))).collect::<Vec<_>>().join(",")
}

/// Every relation, as the peer's dump has it.
fn dumped(section: &Section, path: &str, relations: &mut BTreeMap<String, String>) {
    for (name, values) in section.relations().filter(|_| !path.is_empty()) {
        let values = written(values.iter().map(|relation| relation.value.as_str()));
        relations.insert(format!("{path}{}", hex(name)), values);
    }
    for (name, section) in section.sections() {
        dumped(section, &format!("{path}{}/", hex(name)), relations);
    }
}

#[test]
fn files_of_every_system_are_read_as_mit_reads_them() {
    for (name, paths) in SYSTEMS {
        let mut files = system(name);
        let scratch = Scratch::with(&files);
        let on_disk: Vec<PathBuf> = paths.iter().map(|path| scratch.path(path)).collect();
        let theirs: BTreeMap<String, String> = answers(peer("dump", &on_disk, None, ""))
            .unwrap()
            .into_iter()
            .map(|line| {
                line.split_once('=').map(|(name, values)| (name.to_owned(), values.to_owned())).unwrap()
            })
            .collect();
        let mut ours = BTreeMap::new();
        dumped(Profile::read(paths, &mut files).unwrap().root(), "", &mut ours);
        assert_eq!(ours, theirs, "{name}");
        assert!(ours.len() > 5, "{name}");
    }
}

#[test]
fn hosts_of_every_system_are_of_the_realm_that_mit_says() {
    let hosts = [
        "whoi.athena.test",
        "a.whoi.athena.test",
        "WWW.media.athena.test",
        "athena.test",
        "example.test",
        "sub.example.test",
        "a.child.ad.test",
        "ad.test",
        "client7.ipa.test",
        "files.AD.example.test.",
        "od.test",
        "a.od.test",
        "nowhere.test",
        "192.0.2.1",
        "test",
    ];
    let asked: String = hosts.iter().map(|host| hex(host) + "\n").collect();
    for (name, paths) in SYSTEMS.into_iter().filter(|(_, paths)| paths.len() == 1) {
        let mut files = system(name);
        let scratch = Scratch::with(&files);
        let conf = countersign_proto::krb5conf::Krb5Conf::read(paths, &mut files).unwrap();
        let theirs = answers(peer("realm", &[], Some(&scratch.path(paths[0])), &asked)).unwrap();
        for (host, theirs) in hosts.iter().zip(theirs) {
            assert_eq!(
                format!("v{}", hex(conf.realm_of_host(host).unwrap_or_default())),
                theirs,
                "{name}: {host}"
            );
        }
    }
}

const SECTIONS: [&str; 3] = ["s", "t", "u v"];
const NAMES: [&str; 3] = ["a", "b-2", "\u{fc}"];

/// Every path that generated files can have a relation at.
fn every_path() -> Vec<Vec<&'static str>> {
    let mut paths: Vec<Vec<&str>> = SECTIONS.iter().map(|section| vec![*section]).collect();
    let mut found = Vec::new();
    for _ in 0..3 {
        let longer = |path: &Vec<&'static str>| NAMES.map(|name| [path.clone(), vec![name]].concat());
        paths = paths.iter().flat_map(longer).collect();
        found.extend(paths.clone());
    }
    found
}

fn compare(files: &Files) {
    let scratch = Scratch::with(files);
    let listed: Vec<&str> = files.keys().map(String::as_str).filter(|path| path.starts_with("/f")).collect();
    let on_disk: Vec<PathBuf> = listed.iter().map(|path| scratch.path(path)).collect();
    let asked: String = every_path()
        .iter()
        .map(|path| path.iter().map(|name| hex(name)).collect::<Vec<_>>().join("/") + "\n")
        .collect();
    let theirs = answers(peer("ask", &on_disk, None, &asked));
    let ours = Profile::read(&listed, &mut files.clone());
    let shown =
        || format!("{:?}", files.values().map(|bytes| String::from_utf8_lossy(bytes)).collect::<Vec<_>>());
    let (Ok(ours), Some(theirs)) = (&ours, &theirs) else {
        assert_eq!(ours.is_ok(), theirs.is_some(), "{ours:?}\n{}", shown());
        return;
    };
    for (path, theirs) in every_path().iter().zip(theirs) {
        let ours = match crate::values(ours, path).as_slice() {
            [] => "-".to_owned(),
            values => written(values.iter().copied()),
        };
        assert_eq!(&ours, theirs, "{path:?}\n{}", shown());
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned)
}

fn blanks() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "", " ", "\t", "  \x0b"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "x", "y z", "\"", "\\n", "\\t", "\\\\", "#", ";", "{", "}", "=", " ", "*", "\u{fc}", "\x0c",
    ]);
    let text = prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => text.clone(), 2 => text.prop_map(|text| format!("\"{text}\"")), 1 => Just("\"\"".to_owned())]
}

/// A line, or several that belong together; most are right.
fn lines() -> impl Strategy<Value = String> {
    let section = (blanks(), prop::sample::select(SECTIONS.to_vec()), blanks())
        .prop_map(|(before, name, after)| format!("{before}[{name}]{after}\n"));
    let relation = (blanks(), name(), blanks(), blanks(), value(), blanks())
        .prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}={c}{value}{d}\n"))
        .boxed();
    let subsection =
        (blanks(), name(), any::<bool>(), prop::collection::vec(relation.clone(), 0..4), blanks(), 0..8_u8)
            .prop_map(|(a, name, next_line, relations, b, broken)| {
                let brace = if next_line { "\n{" } else { "{" };
                let end = if broken == 0 { "" } else { "}\n" };
                format!("{a}{name} = {brace}{b}\n{}{end}", relations.concat())
            });
    let wrong = prop::sample::select(vec![
        "}\n",
        "x\n",
        "= y\n",
        "a b = c\n",
        "[s\n",
        "[s] x\n",
        "a =\n",
        "a = {\n",
        "[s]*\n",
    ]);
    prop_oneof![
        6 => relation,
        4 => subsection,
        3 => section,
        1 => prop::sample::select(vec!["\n", "# x\n", " ; = y\n", "\r\n"]).prop_map(str::to_owned),
        1 => wrong.prop_map(|line| line.replace("]*", "]")),
        1 => Just("include /i/a\n".to_owned()),
        1 => Just("includedir /i\n".to_owned()),
    ]
}

/// A file begins with a section, or with text that is none.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let begin = prop::sample::select(vec!["[s]\n", "[t]\n", "x = y\n}\n[s]\n", "# x\n\n[u v]\n"]);
    (begin, prop::collection::vec(lines(), 0..10), any::<bool>()).prop_map(
        |(begin, lines, carriage_returns)| {
            let text = format!("{begin}{}", lines.concat());
            let text = if carriage_returns { text.replace('\n', "\r\n") } else { text };
            text.replace("\r\r", "\r").into_bytes()
        },
    )
}

/// A file that is included, and includes nothing.
fn included() -> impl Strategy<Value = Vec<u8>> {
    file().prop_map(|bytes| String::from_utf8(bytes).unwrap().replace("include", "# ").into_bytes())
}

/// A file in which every section and subsection is there once, so that its final marks bear on other files alone.
fn final_file() -> impl Strategy<Value = Vec<u8>> {
    let mark = || prop::sample::select(vec!["", "", "*"]);
    let relations = || prop::collection::vec((name(), "[a-z]{1,3}"), 0..3);
    let subsection = (mark(), mark(), relations());
    let section =
        (any::<bool>(), mark(), relations(), prop::collection::vec((any::<bool>(), subsection), NAMES.len()));
    prop::collection::vec(section, SECTIONS.len()).prop_map(|sections| {
        let mut text = String::new();
        let relate = |text: &mut String, relations: Vec<(String, String)>| {
            relations.into_iter().for_each(|(name, value)| writeln!(text, "{name} = {value}").unwrap());
        };
        for (section, (present, mark, relations, subsections)) in SECTIONS.iter().zip(sections) {
            if !present {
                continue;
            }
            writeln!(text, "[{section}]{mark}").unwrap();
            relate(&mut text, relations);
            for (name, (present, (mark, end_mark, relations))) in NAMES.iter().zip(subsections) {
                if present {
                    writeln!(text, "{name}{mark} = {{").unwrap();
                    relate(&mut text, relations);
                    writeln!(text, "}}{end_mark}").unwrap();
                }
            }
        }
        text.into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn generated_files_are_read_as_mit_reads_them(
        main in prop::collection::vec(file(), 1..4),
        first in included(),
        second in included(),
    ) {
        let mut files: Files = main.into_iter().enumerate().map(|(number, bytes)| (format!("/f{number}"), bytes)).collect();
        files.extend([("/i/a".to_owned(), first), ("/i/b.conf".to_owned(), second), ("/i/c~".to_owned(), b"[".to_vec())]);
        compare(&files);
    }

    #[test]
    fn final_marks_keep_later_files_out_as_with_mit(main in prop::collection::vec(final_file(), 2..4)) {
        compare(&main.into_iter().enumerate().map(|(number, bytes)| (format!("/f{number}"), bytes)).collect());
    }
}

#[test]
fn durations_last_as_long_as_with_mit() {
    let mut texts = Vec::new();
    for fields in 0..16_u32 {
        for space in ["", " "] {
            let units = ["d", "h", "m", "s"].into_iter().zip([12_u32, 7, 130, 0]);
            let chosen = units.enumerate().filter(|(bit, _)| fields >> bit & 1 == 1);
            texts.push(
                chosen.map(|(_, (unit, number))| format!("{number}{unit}")).collect::<Vec<_>>().join(space),
            );
        }
    }
    texts.extend(
        [
            "0",
            "36000",
            "2147483647",
            "2147483648",
            "7:30",
            "7:3",
            "123:45:59",
            "7:300",
            "1-2:3:4",
            "1-02:03:04",
            "10-1:2",
            "10h30",
            "10 20",
            "1:2:3:4",
            "24855d",
            "24856d",
            "596523h14m7s",
            "596523h14m8s",
            "::",
            "1:",
            "d",
        ]
        .map(str::to_owned),
    );
    texts.retain(|text| !text.is_empty());
    let asked: String = texts.iter().map(|text| hex(text) + "\n").collect();
    let theirs = answers(peer("delta", &[], None, &asked)).unwrap();
    assert_eq!(texts.len(), theirs.len());
    for (text, theirs) in texts.iter().zip(theirs) {
        let ours = conf(&format!("[libdefaults]\nticket_lifetime = {text}\n"))
            .map_or("-".to_owned(), |conf| {
                format!("v{}", conf.libdefaults.tickets.ticket_lifetime.as_secs())
            });
        assert_eq!(ours, theirs, "{text}");
    }
}
