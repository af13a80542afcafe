//! Where the KDCs of a realm are: krb5.conf says, or else the DNS.

use super::error::KdcError;
use countersign_proto::krb5conf::{KdcAddress, Krb5Conf};

/// Longest realm that is looked up, in bytes: a name has 253 in text (RFC 1035 section 2.3.4), and `_kerberos._udp.` stands
/// before it.
const MAX_DOMAIN: usize = 238;
/// Longest label of a name.
const MAX_LABEL: usize = 63;

/// Who knows the KDCs of a realm.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Places {
    /// krb5.conf, which names these.
    Configured(Vec<KdcAddress>),
    /// The DNS, in which the realm is this domain.
    InDns(String),
}

/// Looks into the configuration.
///
/// # Errors
/// If it names no KDC and the DNS is not to be asked, or cannot be asked for such a name.
pub(super) fn places(conf: &Krb5Conf, realm: &[u8]) -> Result<Places, KdcError> {
    let unknown = |why| KdcError::Unknown { realm: realm.to_vec(), why };
    if let Some(kdcs) = text(realm).map(|realm| conf.kdcs(realm)).filter(|kdcs| !kdcs.is_empty()) {
        return Ok(Places::Configured(kdcs.to_vec()));
    }
    if !conf.libdefaults.dns_lookup_kdc {
        return Err(unknown("dns_lookup_kdc switched off"));
    }
    text(realm)
        .filter(|realm| is_domain(realm))
        .map(|realm| Places::InDns(realm.to_owned()))
        .ok_or(unknown("no domain in the DNS that could have such a name"))
}

/// Where certificates of authorities are that may vouch for the proxies of a realm; none if the system's do.
#[cfg(feature = "kkdcp")]
pub(super) fn anchors<'a>(conf: &'a Krb5Conf, realm: &[u8]) -> &'a [String] {
    text(realm).and_then(|realm| conf.realms.get(realm)).map_or(&[], |realm| &realm.http_anchors)
}

fn text(realm: &[u8]) -> Option<&str> {
    std::str::from_utf8(realm).ok()
}

/// Whether a realm has the form of a domain (RFC 4120 section 6.1, domain style), so that no other name than its own is
/// asked for.
fn is_domain(realm: &str) -> bool {
    let is_label = |label: &str| {
        let fits = (1..=MAX_LABEL).contains(&label.len());
        fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    realm.len() <= MAX_DOMAIN && realm.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_kdcs_come_before_the_dns() {
        let kdc = KdcAddress::socket("kdc.example.test", 88);
        let conf = Krb5Conf::builder().realm("EXAMPLE.TEST", [kdc.clone()]).build();
        assert_eq!(places(&conf, b"EXAMPLE.TEST").unwrap(), Places::Configured(vec![kdc]));
        assert_eq!(places(&conf, b"OTHER.TEST").unwrap(), Places::InDns("OTHER.TEST".into()));
        // Letter case counts in a realm.
        assert_eq!(places(&conf, b"example.test").unwrap(), Places::InDns("example.test".into()));
    }

    #[test]
    fn the_dns_is_not_asked_where_krb5_conf_says_so() {
        let conf = Krb5Conf::builder().dns_lookup_kdc(false).build();
        assert!(matches!(places(&conf, b"EXAMPLE.TEST"), Err(KdcError::Unknown { .. })));
    }

    #[test]
    fn realms_that_are_no_domains_are_not_asked_for() {
        let conf = Krb5Conf::default();
        let long = ["a"; 119].join(".");
        let too_long = ["a"; 120].join(".");
        assert!(matches!(places(&conf, long.as_bytes()), Ok(Places::InDns(_))));
        let label = "a".repeat(64);
        let strange: [&[u8]; 12] = [
            b"",
            b".",
            b"A..B",
            b"A.",
            b".A",
            b"A B",
            b"A/B",
            b"A\\.B",
            b"\xff\xfe",
            "\u{c4}.TEST".as_bytes(),
            label.as_bytes(),
            too_long.as_bytes(),
        ];
        for realm in strange {
            assert!(places(&conf, realm).is_err(), "{}", realm.escape_ascii());
        }
    }
}
