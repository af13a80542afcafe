//! Whatever stands in a file is read or refused, without a panic and in time.

use crate::corpus::{SYSTEMS, system};
use crate::{Files, PATH};
use countersign_proto::error::Explain;
use countersign_proto::krb5conf::{KdcAddress, Krb5Conf, MAX_TOTAL_BYTES, PathTokens, expand_tokens};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn read(paths: &[&str], mut files: Files) {
    match Krb5Conf::read(paths, &mut files) {
        Ok(conf) => {
            let _ = (conf.realm_of_host("a.b.example.test"), conf.ticket_defaults("EXAMPLE.TEST"));
        }
        Err(error) => {
            assert!(!error.saw().is_empty() && !error.have().is_empty() && !error.advice().is_empty())
        }
    }
}

/// Pieces that mean something, put together without sense.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "\n",
        "\r\n",
        " ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        "*",
        "=",
        "\"",
        "\\",
        "#",
        ";",
        "[libdefaults]\n",
        "[realms]\n",
        "[capaths]\n",
        "[domain_realm]\n",
        "R = {\n",
        "kdc = ",
        "include /x\n",
        "includedir /d\n",
        "module ",
        "clockskew = ",
        "permitted_enctypes = ",
        "-aes",
        "DEFAULT",
        "10h",
        "1d2h",
        "7:30",
        "tcp/",
        "[::1]:88",
        "https://",
        ".",
        "\u{fc}",
        "\0",
    ]);
    let any_byte = any::<u8>().prop_map(|byte| vec![byte]);
    let text = prop_oneof![8 => piece.prop_map(|piece| piece.as_bytes().to_vec()), 1 => any_byte];
    prop::collection::vec(text, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&[PATH], [(PATH.to_owned(), bytes)].into());
    }

    #[test]
    fn random_pieces_do_no_harm(main in pieces(), first in pieces(), second in pieces()) {
        let files = [(PATH.to_owned(), main), ("/x".to_owned(), first), ("/d/a".to_owned(), second)];
        read(&[PATH, "/x"], files.into());
    }

    #[test]
    fn mutations_of_real_files_do_no_harm(
        which in 0..SYSTEMS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), pieces(), 0..12_usize), 1..6),
    ) {
        let (name, paths) = SYSTEMS[which];
        let mut files = system(name);
        let names: Vec<String> = files.keys().cloned().collect();
        for (file, at, piece, removed) in edits {
            let bytes = files.get_mut(file.get(&names)).unwrap();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..(at + removed).min(bytes.len()), piece);
        }
        read(paths, files);
    }

    #[test]
    fn random_texts_are_no_harm_as_addresses_and_paths(text in ".{0,80}") {
        if let Ok(address) = KdcAddress::parse(&text) {
            prop_assert_eq!(KdcAddress::parse(&address.to_string()), Ok(address));
        }
        let _ = expand_tokens(&text, &PathTokens::default());
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn a_file_of_full_length_is_read_in_time() {
    let fill = |line: &str| line.repeat((MAX_TOTAL_BYTES - 64) / line.len()).into_bytes();
    let numbered = |prefix: &str| {
        let lines: String = (0..70_000).map(|number| format!("{number}x=1\n")).collect();
        format!("{prefix}{lines}").into_bytes()
    };
    let began = Instant::now();
    for bytes in [
        [b"[libdefaults]\n".to_vec(), fill("a=b\n")].concat(),
        [b"[libdefaults]\n".to_vec(), fill("a*=b\n")].concat(),
        fill("[s]\n"),
        [b"[realms]\n".to_vec(), fill("a={\n}\n")].concat(),
        [b"[realms]\nR={\n".to_vec(), fill("kdc=h\n")].concat(),
        [b"[libdefaults]\npermitted_enctypes=".to_vec(), fill("aes ")].concat(),
        [b"[libdefaults]\nspake_preauth_groups=".to_vec(), fill("x ")].concat(),
        [b"[libdefaults]\nticket_lifetime=".to_vec(), fill("1s ")].concat(),
        numbered("[libdefaults]\n"),
        numbered("[domain_realm]\n"),
        numbered("[capaths]\nA={\n"),
    ] {
        assert!(bytes.len() <= MAX_TOTAL_BYTES);
        read(&[PATH], [(PATH.to_owned(), bytes)].into());
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
