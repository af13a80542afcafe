//! The configuration files of a throwaway realm.

use crate::etype::{Etype, names};
use crate::kdc::KdcOptions;
use std::fmt::{Display, Write};
use std::net::SocketAddrV4;
use std::path::Path;

/// What a client, service or KDC of a realm is configured with, in the words of krb5.conf. The default is the libraries'
/// own, with the one KDC of the one realm.
#[derive(Clone, Default, Debug)]
pub struct Config {
    /// Etypes that may be used, best first. For Heimdal they are also those it asks the KDC for.
    pub permitted_enctypes: Vec<Etype>,
    /// Whether etypes that are considered broken (RC4 among them) may be used.
    pub allow_weak_crypto: bool,
    /// Tolerated difference of clocks, in seconds.
    pub clockskew: Option<u32>,
    /// Further lines of `[libdefaults]`, as names and values.
    pub libdefaults: Vec<(String, String)>,
    /// Where the realm's KDCs are said to be, in this order, instead of where its KDC is: each what stands behind
    /// `kdc =`, such as `127.0.0.1:88`, for Heimdal also `tcp/127.0.0.1:88`.
    pub kdcs: Vec<String>,
    /// Further lines of the realm's own section, as names and values, such as `disable_encrypted_timestamp` and `true`.
    pub realm_lines: Vec<(String, String)>,
    /// Other realms, each with the address of its KDC.
    pub other_realms: Vec<(String, SocketAddrV4)>,
    /// `[domain_realm]`: hosts, or with a dot in front all hosts below a domain, each with its realm.
    pub domain_realm: Vec<(String, String)>,
    /// `[capaths]`: from a client's realm to a service's through the realms between, of which there may be none.
    pub capaths: Vec<Capath>,
}

/// A path of trust: the realm of a client, the realm of a service, and the realms that tickets go through on the way.
#[derive(Clone, Debug)]
pub struct Capath {
    /// The client's realm.
    pub from: String,
    /// The service's realm.
    pub to: String,
    /// The realms between, in the order of the way. None is direct trust.
    pub through: Vec<String>,
}

/// The text of a krb5.conf that finds the KDC of `realm` at `kdc` and asks nobody else for anything.
pub(crate) fn krb5_conf(realm: &str, kdc: SocketAddrV4, config: &Config) -> String {
    let mut text = format!(
        "[libdefaults]\n\
         default_realm = {realm}\n\
         dns_lookup_kdc = false\n\
         dns_lookup_realm = false\n\
         dns_canonicalize_hostname = false\n\
         rdns = false\n\
         allow_weak_crypto = {weak}\n\
         allow_rc4 = {weak}\n",
        weak = config.allow_weak_crypto
    );
    if !config.permitted_enctypes.is_empty() {
        let etypes = names(&config.permitted_enctypes, "", " ");
        line(&mut text, "permitted_enctypes", &etypes);
        line(&mut text, "default_etypes", &etypes);
    }
    if let Some(seconds) = config.clockskew {
        line(&mut text, "clockskew", seconds);
    }
    config.libdefaults.iter().for_each(|(name, value)| line(&mut text, name, value));
    text + &realms(realm, kdc, config) + &domain_realm(config) + &capaths(config)
}

fn line(text: &mut String, name: &str, value: impl Display) {
    writeln!(text, "{name} = {value}").expect("a String takes all text");
}

fn realms(realm: &str, kdc: SocketAddrV4, config: &Config) -> String {
    let mut text = format!("[realms]\n{realm} = {{\n");
    if config.kdcs.is_empty() {
        line(&mut text, "kdc", kdc);
    }
    config.kdcs.iter().for_each(|kdc| line(&mut text, "kdc", kdc));
    config.realm_lines.iter().for_each(|(name, value)| line(&mut text, name, value));
    text.push_str("}\n");
    for (other, kdc) in &config.other_realms {
        writeln!(text, "{other} = {{\nkdc = {kdc}\n}}").expect("a String takes all text");
    }
    text
}

fn domain_realm(config: &Config) -> String {
    let mut text = String::from("[domain_realm]\n");
    config.domain_realm.iter().for_each(|(domain, realm)| line(&mut text, domain, realm));
    text
}

fn capaths(config: &Config) -> String {
    let mut text = String::from("[capaths]\n");
    for Capath { from, to, through } in &config.capaths {
        writeln!(text, "{from} = {{").expect("a String takes all text");
        if through.is_empty() {
            line(&mut text, to, ".");
        }
        through.iter().for_each(|between| line(&mut text, to, between));
        text.push_str("}\n");
    }
    text
}

/// The text of a kdc.conf whose database stands in `folder`, listening at `port` of the loopback.
///
/// How a client proved itself goes into its tickets as an indicator, for a service may ask for it: `spake`, or
/// `encrypted-challenge` (which there is inside FAST alone).
pub(crate) fn kdc_conf(realm: &str, folder: &Path, port: u16, options: &KdcOptions) -> String {
    let mut text = String::from("[kdcdefaults]\n");
    let listens = |listens: bool| if listens { format!("127.0.0.1:{port}") } else { "\"\"".to_owned() };
    line(&mut text, "kdc_listen", listens(options.transports.udp()));
    line(&mut text, "kdc_tcp_listen", listens(options.transports.tcp()));
    if let Some(bytes) = options.max_dgram_reply_size {
        line(&mut text, "kdc_max_dgram_reply_size", bytes);
    }
    if let Some(group) = options.spake_challenge {
        line(&mut text, "spake_preauth_kdc_challenge", group.name());
    }
    if options.refer_host_based_services {
        line(&mut text, "host_based_services", "*");
    }
    let folder = folder.display();
    text + &format!(
        "[realms]\n\
         {realm} = {{\n\
         database_name = {folder}/principal\n\
         key_stash_file = {folder}/stash\n\
         acl_file = {folder}/acl\n\
         max_life = 7d\n\
         max_renewable_life = 14d\n\
         supported_enctypes = {etypes}\n\
         default_principal_flags = +postdateable, +forwardable, +renewable\n\
         spake_preauth_indicator = spake\n\
         encrypted_challenge_indicator = encrypted-challenge\n\
         }}\n\
         [logging]\n\
         kdc = FILE:{folder}/kdc.log\n\
         admin_server = FILE:{folder}/kadmin.log\n",
        etypes = names(&Etype::DEFAULT, ":normal", " ")
    )
}
