//! What faults say: the place, the key, what stands there, what may, what to do; and all of them at once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use super::load;
use countersign::proto::error::{Refusal, code};

/// The faults of `text`, as they are told.
fn told(text: &str) -> Vec<String> {
    let faults = load(text).map(|loaded| panic!("no fault in {text}: {:?}", loaded.config)).unwrap_err();
    faults.iter().map(|fault| Refusal::from_error(fault).to_string()).collect()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let told = told(text);
    assert!(told.iter().any(|line| parts.iter().all(|part| line.contains(part))), "{told:#?} lack {parts:?}");
}

const LISTENER: &str = "[[listener]]\n";

#[test]
fn all_faults_are_told_in_the_order_of_the_file() {
    let text = "drain_deadline = true\n[[listener]]\nlisten = \"nowhere\"\nclock_skw = 3\nmax_message = \"64 KB\"\n[limits]\nhandshakes = 0\n[audti]\n";
    let told = told(text);
    let places: Vec<_> = told.iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(
        places,
        [
            "serve.toml:1:1",
            "serve.toml:3:1",
            "serve.toml:4:1",
            "serve.toml:5:1",
            "serve.toml:7:1",
            "serve.toml:8:2"
        ]
    );
    assert_eq!(
        told[2],
        "CS-7222 saw serve.toml:4:1 \"clock_skw\" in [[listener]]; have clock_skew, which is nearest; do: did you mean clock_skew?"
    );
    assert_eq!(
        told[4],
        "CS-7223 saw serve.toml:7:1 handshakes = 0; have a whole number from 1 to 1000000; do: write one of the values that may \
         stand there; docs/configuration.md lists them"
    );
}

#[test]
fn a_wrong_element_of_a_list_is_told_with_its_own_place_and_the_others_are_too() {
    let text = "[[listener]]\nallow = [\"alice@A\",\n  \"al*@A\", 5]\n";
    says(text, &["serve.toml:3:3 allow = \"al*@A\"", "*@REALM"]);
    says(text, &["serve.toml:3:12 allow = 5"]);
    assert_eq!(told(text).len(), 2);
}

#[test]
fn errors_of_syntax_are_told_with_their_places_and_nothing_else_is() {
    let told = told("a = \nstate = 'x\n\n[[listener]]\nunknown = 1\n");
    assert!(told.iter().all(|line| line.starts_with("CS-7221 saw serve.toml:")), "{told:#?}");
    assert!(told[0].contains("serve.toml:1:5") && told[1].contains("serve.toml:2:"), "{told:#?}");
    says("[limits]\nhandshakes = 1\nhandshakes = 2\n", &["CS-7221", "serve.toml:3:1", "duplicate key"]);
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    says("keytab = \"x\"\n", &["CS-7222", "\"keytab\" in the top of the file", "move it to [[listener]]"]);
    says("[limits]\non_absence = \"refuse\"\n", &["move it to [replay]"]);
    says("[limits]\nqqqqqqqqqqqqqqq = 1\n", &["the keys handshakes, handshakes_per_address"]);
    says("[listeners]\n", &["\"listeners\" in the file", "did you mean listener?"]);
    says("[listener]\n", &["CS-7223", "listener = a table", "[[listener]]"]);
    says("limits = 3\n", &["CS-7223", "limits = 3", "[limits]"]);
}

#[test]
fn columns_count_characters_and_lines_end_in_either_way() {
    says("# größer\r\n[[listener]]\r\n  \"größe\" = 1\r\n", &["serve.toml:3:3"]);
    says("\u{feff}state = 5\n", &["serve.toml:1:1 state"]);
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    for (lines, parts) in [
        ("keytab = 'k'\nrealm = 'r'", ["keytab = \"k\"", "a realm, which has the service's keys"]),
        ("relay_realms = ['A']\nrealm = 'r'", ["relay_realms", "a realm, which is its own KDC"]),
        ("master_key_file = 'm'", ["master_key_file", "no realm"]),
        ("echo = true\nupstream = 'h:1'", ["echo = true", "an upstream"]),
        ("echo = false", ["echo = false", "name an upstream"]),
        ("upstream_identity = 'json'", ["upstream_identity", "no upstream"]),
        ("allow_unmarked_end = true", ["allow_unmarked_end", "no upstream"]),
        ("upstream_connect_timeout = 5", ["upstream_connect_timeout", "no upstream"]),
        ("nns_protection = 'sign'\nallow_unsealed = true", ["nns_protection", "another framing than nns"]),
        ("framing = 'nns'\nnns_protection = 'sign'", ["nns_protection", "set allow_unsealed = true"]),
        ("framing = 'sample'\nsample_data = 'signed'", ["sample_data", "set allow_unsealed = true"]),
        ("framing = 'nns'\nsample_data = 'sealed'", ["sample_data", "another framing than sample"]),
        ("allow_ntlm = true", ["allow_ntlm = true", "ntlm_accounts"]),
        ("ntlm_accounts = 'a'", ["ntlm_accounts", "allow_ntlm is not true"]),
        ("allow_ntlm = false\nntlm_spns = ['a/b']", ["ntlm_spns", "allow_ntlm is not true"]),
        (
            "allow_ntlm = true\nntlm_accounts = 'a'\nntlm_winbind = 'b'",
            ["ntlm_winbind", "room for one source"],
        ),
        ("permitted_enctypes = ['arcfour-hmac']", ["permitted_enctypes", "set allow_rc4 = true"]),
        ("permitted_enctypes = []", ["permitted_enctypes", "no etype"]),
        ("channel_bindings = 'required'", ["channel_bindings", "channel_binding_values"]),
        ("channel_bindings = 'off'\nchannel_binding_values = ['00']", ["channel_binding_values", "\"off\""]),
        ("allow = []", ["allow", "nobody who may come in"]),
        ("allow = ['EXAMPLE\\alice']", ["allow", "NTLM off"]),
        ("listen = []", ["listen", "no address"]),
        ("listen = ['127.0.0.1:2000', '127.0.0.1:2000']", ["listen = 127.0.0.1:2000", "in the same list"]),
        ("listen = ['0.0.0.0:2000', '127.0.0.1:2000']", ["listen = 127.0.0.1:2000", "0.0.0.0:2000"]),
        ("listen = ['systemd:a', 'systemd:a']", ["systemd:a", "in the same list"]),
        (
            "listen = '[::]:9'\n[metrics]\nlisten = '127.0.0.1:9'",
            ["serve.toml:4:1 listen", "[::]:9 for [[listener]]"],
        ),
        (
            "[limits]\nfailed_attempts = 20\nfailed_attempts_block = 5",
            ["failed_attempts_block = 5", "comes first"],
        ),
        ("[replay]\nstore = 'file'", ["store = \"file\"", "--state DIR"]),
        ("[replay]\nstore = 'valkey'", ["store = \"valkey\"", "no url"]),
        ("[replay]\ndurability = 'power'", ["durability", "no state folder"]),
        ("[replay]\ntimeout = 1", ["timeout", "not Valkey"]),
        ("[audit]\non_failure = 'refuse'", ["on_failure", "no audit file"]),
    ] {
        let told = told(&format!("{LISTENER}{lines}\n"));
        assert_eq!(told.len(), 1, "{lines}: {told:#?}");
        assert!(
            told[0].starts_with("CS-7224 ") && parts.iter().all(|part| told[0].contains(part)),
            "{told:#?}"
        );
    }
}

#[test]
fn addresses_that_only_look_alike_go_together() {
    for listen in [
        "['127.0.0.1:0', '127.0.0.1:0']",
        "['127.0.0.1:1', '127.0.0.2:1']",
        "['127.0.0.1:1', '127.0.0.1:2', '0.0.0.0:3']",
        "['0.0.0.0:1', '[::1]:1']",
    ] {
        assert_eq!(load(&format!("{LISTENER}listen = {listen}\n")).map(|_| ()), Ok(()), "{listen}");
    }
}

#[test]
fn several_listeners_have_names_that_variables_can_tell_apart() {
    let two = |a: &str, b: &str| {
        format!("[[listener]]\n{a}\nlisten = '127.0.0.1:0'\n[[listener]]\n{b}\nlisten = '127.0.0.1:0'\n")
    };
    assert!(load(&two("name = 'a'", "name = 'b'")).is_ok());
    says(
        &two("", "name = 'b'"),
        &["CS-7224", "serve.toml:1:1 name", "2 listeners, and this one without a name"],
    );
    says(
        &two("name = 'web-1'", "name = 'WEB.1'"),
        &["CS-7224", "serve.toml:5:1 name = \"WEB.1\"", "\"web-1\" at serve.toml:1:1"],
    );
    says("[[listener]]\nname = 'a b'\n", &["CS-7223", "name = \"a b\""]);
}

#[test]
fn a_password_in_an_url_is_not_repeated() {
    for url in [
        "redis://user:hunter2@h:1",
        "redis://h:1?password=hunter2",
        "hunter2",
        "rediss://h:1/hunter2",
        "unix:hunter2",
        "unix:///s?pass=hunter2",
    ] {
        let told = told(&format!("[replay]\nstore = 'valkey'\nurl = '{url}'\n"));
        assert!(told[0].contains("serve.toml:3:1 url;") && told[0].contains("password_file"), "{told:?}");
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }
    // Nor what stands at a key that there is not.
    let told = told("[replay]\npassword = 'hunter2'\n");
    assert!(told[0].contains("did you mean password_file?") || told[0].contains("password_file"), "{told:?}");
    assert!(!told.concat().contains("hunter2"), "{told:?}");
}

#[test]
fn what_others_say_of_a_value_keeps_their_code() {
    says("[[listener]]\naccept_principals = ['a//b@C']\n", &["CS-7005", "serve.toml:2:22 accept_principals"]);
    says(
        "[[listener]]\naccept_principals = ['a/b']\n",
        &["CS-7223", "accept_principals a/b without a realm"],
    );
    says(
        "[[listener]]\npermitted_enctypes = ['des']\n",
        &["CS-7223", "etype \"des\" in serve.toml:2:23 permitted_enctypes", "aes256-sha2"],
    );
    says(
        "[[listener]]\nchannel_binding_values = ['c0ffe']\n",
        &["CS-1101", "channel_binding_values \"c0ffe\""],
    );
}

#[test]
fn long_and_odd_values_are_cut_and_escaped() {
    let long = "x".repeat(1_000);
    let told =
        told(&format!("[[listener]]\nlisten = \"{long}\"\n{long} = 1\nframing = \"a\\u001b[31m\\n\"\n"));
    assert!(told.iter().all(|line| line.len() < 1_200 && !line.contains(['\u{1b}', '\n'])), "{told:#?}");
}

#[test]
fn every_fault_is_one_of_configuration() {
    for text in [
        "x",
        "x = 1",
        "state = 1",
        "[[listener]]\necho = false",
        "[[listener]]\naccept_principals = ['a//b@C']",
    ] {
        let faults = load(text).unwrap_err();
        for fault in faults {
            let refusal = Refusal::from_error(&fault);
            assert_eq!(refusal.code().fault(), code::CONFIG_VALUE_WRONG.fault(), "{refusal}");
        }
    }
}
