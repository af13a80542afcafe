//! Credential caches that MIT's library made (origin in vectors/ccache/README.md), and what becomes of damaged ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use countersign_proto::ccache::{Ccache, CcacheError, Element};
use countersign_proto::error::{Explain, Refusal, code};
use countersign_proto::keytab::Truncated;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use proptest::prelude::*;

const TWO: &[u8] = include_bytes!("vectors/ccache/two.ccache");
const REMOVED: &[u8] = include_bytes!("vectors/ccache/removed.ccache");

fn servers(cache: &Ccache) -> Vec<String> {
    cache.credentials.iter().map(|credential| credential.server.to_string()).collect()
}

fn settings(cache: &Ccache) -> Vec<(String, Option<String>, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    cache.config.iter().map(|e| (text(&e.key), e.principal.as_deref().map(text), text(&e.value))).collect()
}

const TGS: &str = "krbtgt/EXAMPLE.TEST@EXAMPLE.TEST";
const HTTP: &str = "HTTP/a.example.test@EXAMPLE.TEST";
const LDAP: &str = "ldap/c.example.test@EXAMPLE.TEST";

#[test]
fn tickets_and_settings_are_told_apart() {
    let cache = Ccache::parse(TWO).unwrap();
    assert_eq!(cache.default_principal, Principal::new("EXAMPLE.TEST", &["alice"]));
    assert_eq!(cache.kdc_offset, Some(0));
    assert_eq!(servers(&cache), [TGS, HTTP, LDAP]);
    let about_tgs = |key: &str, value: &str| (key.to_owned(), Some(TGS.to_owned()), value.to_owned());
    assert_eq!(settings(&cache), [about_tgs("fast_avail", "yes"), about_tgs("pa_type", "2")]);
}

#[test]
fn a_service_ticket_has_what_klist_shows() {
    let cache = Ccache::parse(TWO).unwrap();
    let http = &cache.credentials[1];
    let start = Timestamp::new(0x6b03_9eaf, 0);
    assert_eq!(http.client, cache.default_principal);
    assert_eq!((http.key_etype, http.key.len()), (18, 32));
    assert_eq!((http.authtime, http.starttime), (start, start));
    assert_eq!(http.endtime.micros_since(start), 8 * 3_600_000_000);
    assert_eq!(http.renew_till.micros_since(start), 7 * 86_400_000_000);
    assert_eq!(http.flags, 0x40a9_0000, "forwardable, renewable, pre-authent, transited-checked, enc-pa-rep");
    assert!(!http.is_skey && http.addresses.is_empty() && http.authdata.is_empty());
    assert_eq!((http.ticket[0], http.second_ticket.len()), (0x61, 0));
}

#[test]
fn deleted_tickets_and_settings_are_left_out() {
    let cache = Ccache::parse(REMOVED).unwrap();
    assert_eq!(servers(&cache), [TGS, LDAP]);
    assert_eq!(settings(&cache), settings(&Ccache::parse(TWO).unwrap()));
}

#[test]
fn a_service_is_found_by_all_its_components_and_its_realm() {
    let cache = Ccache::parse(TWO).unwrap();
    let found = |realm, components: &[&str]| {
        let server = Principal::new(realm, components);
        cache.find_service(&server).map(|credential| credential.server.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("EXAMPLE.TEST", &["HTTP", "a.example.test"]), [HTTP]);
    assert_eq!(found("", &["HTTP", "a.example.test"]), [HTTP]);
    assert_eq!(found("OTHER.TEST", &["HTTP", "a.example.test"]), [""; 0]);
    assert_eq!(found("EXAMPLE.TEST", &["http", "a.example.test"]), [""; 0]);
    assert_eq!(found("EXAMPLE.TEST", &["HTTP"]), [""; 0]);
}

#[test]
fn tickets_of_another_client_and_user_to_user_tickets_are_not_found() {
    let server = Principal::new("", &["HTTP", "a.example.test"]);
    let mut cache = Ccache::parse(TWO).unwrap();
    cache.credentials[1].is_skey = true;
    assert_eq!(cache.find_service(&server).count(), 0);
    cache.credentials[1].is_skey = false;
    cache.credentials[1].client = Principal::new("EXAMPLE.TEST", &["mallory"]);
    assert_eq!(cache.find_service(&server).count(), 0);
}

/// Writes caches field by field.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn cache(header: &[u8]) -> Self {
        let mut writer = Self(b"\x05\x04".to_vec());
        writer.0.extend(u16::try_from(header.len()).unwrap().to_be_bytes());
        writer.0.extend(header);
        writer.principal(b"R", &[b"c"])
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn data(mut self, data: &[u8]) -> Self {
        self = self.number(data.len().try_into().unwrap());
        self.0.extend(data);
        self
    }

    fn principal(self, realm: &[u8], components: &[&[u8]]) -> Self {
        let start = self.number(1).number(components.len().try_into().unwrap()).data(realm);
        components.iter().fold(start, |writer, component| writer.data(component))
    }

    /// A credential with the given times, one address and two authorization-data elements.
    fn credential(self, realm: &[u8], components: &[&[u8]], authtime: u32, endtime: u32) -> Self {
        let mut writer = self.principal(b"R", &[b"c"]).principal(realm, components);
        writer.0.extend([0, 17]);
        writer = writer.data(b"sixteen byte key").number(authtime).number(0).number(endtime).number(0);
        writer.0.push(0);
        writer = writer.number(0).number(1);
        writer.0.extend([0, 2]);
        writer = writer.data(&[192, 0, 2, 1]).number(2);
        writer.0.extend([0, 1]);
        writer = writer.data(b"first");
        writer.0.extend([0xff, 0xff]);
        writer.data(b"second").data(b"ticket").data(b"other ticket")
    }
}

#[test]
fn unknown_header_fields_are_skipped_and_a_negative_offset_is_read() {
    let header = b"\x00\x09\x00\x03xyz\x00\x01\x00\x08\xff\xff\xff\xfe\xff\xff\xff\xff";
    assert_eq!(Ccache::parse(&Writer::cache(header).0).unwrap().kdc_offset, Some(-2_000_001));
    assert_eq!(Ccache::parse(&Writer::cache(b"").0).unwrap().kdc_offset, None);
}

#[test]
fn a_header_field_does_not_reach_out_of_the_header() {
    let error = Ccache::parse(&Writer::cache(b"\x00\x09\x00\x04xyz").0).unwrap_err();
    let truncated = Truncated { offset: 8, what: "a header field", needed: 4, left: 3 };
    assert_eq!(error, CcacheError::Truncated(truncated));
    let error = Ccache::parse(&Writer::cache(b"\x00\x01\x00\x04\x00\x00\x00\x00").0).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("0 bytes left at offset 12"), "{text}");
}

#[test]
fn addresses_authorization_data_and_times_to_2106_are_kept() {
    let bytes = Writer::cache(b"").credential(b"R", &[b"HTTP", b"h"], 1, u32::MAX).0;
    let credential = &Ccache::parse(&bytes).unwrap().credentials[0];
    let element = |element_type, data: &[u8]| Element { element_type, data: data.to_vec() };
    assert_eq!(credential.addresses, [element(2, &[192, 0, 2, 1])]);
    assert_eq!(credential.authdata, [element(1, b"first"), element(-1, b"second")]);
    assert_eq!(
        (&credential.ticket[..], &credential.second_ticket[..]),
        (&b"ticket"[..], &b"other ticket"[..])
    );
    assert_eq!(credential.endtime.to_string(), "2106-02-07T06:28:15Z");
}

#[test]
fn a_settings_realm_with_another_shape_is_passed_over() {
    let bytes = Writer::cache(b"")
        .credential(b"X-CACHECONF:", &[b"something else", b"k"], 0, 0)
        .credential(b"X-CACHECONF:", &[b"krb5_ccache_conf_data"], 0, 0)
        .credential(b"X-CACHECONF:", &[], 0, 0)
        .credential(b"X-CACHECONF:", &[b"krb5_ccache_conf_data", b"proxy_impersonator"], 0, 0)
        .0;
    let cache = Ccache::parse(&bytes).unwrap();
    assert_eq!(settings(&cache), [("proxy_impersonator".to_owned(), None, "ticket".to_owned())]);
    assert!(cache.credentials.is_empty());
}

#[test]
fn a_ticket_that_began_and_never_ends_is_deleted_by_mit_or_heimdal() {
    let bytes = Writer::cache(b"")
        .credential(b"R", &[b"kept"], 0, 0)
        .credential(b"R", &[b"kept too"], u32::MAX, 5)
        .credential(b"R", &[b"deleted by Heimdal"], 5, 0)
        .credential(b"R", &[b"deleted by MIT"], u32::MAX, 0)
        .0;
    assert_eq!(servers(&Ccache::parse(&bytes).unwrap()), ["kept@R", "kept too@R"]);
}

#[test]
fn other_versions_and_other_files_are_refused_by_name() {
    for version in 1..=3 {
        let error = Ccache::parse(&[5, version, 0, 0]).unwrap_err();
        assert_eq!((error.code(), error), (code::CCACHE_MALFORMED, CcacheError::OldVersion { version }));
    }
    assert_eq!(Ccache::parse(b"{}").unwrap_err(), CcacheError::NotACcache { found: *b"{}" });
    assert_eq!(Ccache::parse(&[5, 5]).unwrap_err(), CcacheError::NotACcache { found: [5, 5] });
}

#[test]
fn an_announced_length_or_count_is_not_believed() {
    let components = Writer(b"\x05\x04\x00\x00".to_vec()).number(1).number(33).0;
    let too_many = CcacheError::TooMany { offset: 8, what: "name components", count: 33, limit: 32 };
    assert_eq!(Ccache::parse(&components).unwrap_err(), too_many);
    let realm = Writer(b"\x05\x04\x00\x00".to_vec()).number(1).number(1).number(u32::MAX).0;
    let truncated = Truncated { offset: 16, what: "a realm", needed: u32::MAX.into(), left: 0 };
    assert_eq!(Ccache::parse(&realm).unwrap_err(), CcacheError::Truncated(truncated));
}

#[test]
fn an_error_names_the_byte_and_what_should_be_there() {
    let error = Ccache::parse(&TWO[..TWO.len() - 2]).unwrap_err();
    let text = Refusal::from_error(&error).to_string();
    let place = format!("2 bytes left at offset {}", TWO.len() - 4);
    assert!(text.contains(&place) && text.contains("4 bytes expected there, of a second ticket"), "{text}");
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_list() {
    for file in [TWO, REMOVED] {
        let whole = Ccache::parse(file).unwrap();
        let mut shorter = 0;
        for length in 0..file.len() {
            if let Ok(cache) = Ccache::parse(&file[..length]) {
                shorter += 1;
                assert!(servers(&whole).starts_with(&servers(&cache)), "{length}");
                assert!(whole.config.starts_with(&cache.config), "{length}");
            }
        }
        // One for each place between two records: any other cut is an error.
        assert_eq!(shorter, if file == TWO { 5 } else { 6 });
    }
}

#[test]
fn debug_output_shows_no_session_key() {
    let bytes = Writer::cache(b"").credential(b"R", &[b"s"], 1, 2).0;
    let text = format!("{:?}", Ccache::parse(&bytes).unwrap());
    assert!(text.contains("s@R"), "{text}");
    assert!(!text.contains("sixteen") && !text.contains("115, 105, 120"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn altered_bytes_never_panic(
        file in prop::sample::select(vec![TWO, REMOVED]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = file.to_vec();
        for (index, byte) in changes {
            *index.get_mut(&mut bytes) = byte;
        }
        if let Ok(cache) = Ccache::parse(&bytes) {
            let held: usize = cache.credentials.iter().map(|credential| credential.ticket.len()).sum();
            prop_assert!(held < bytes.len());
        }
    }
}
