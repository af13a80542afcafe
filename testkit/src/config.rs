//! The configuration files of a throwaway realm.

use crate::etype::{Etype, names};
use std::fmt::Write;
use std::net::SocketAddrV4;
use std::path::Path;

/// What a client or service of a realm is configured with, in the words of krb5.conf. The default is the libraries' own.
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
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name} = {value}").expect("a String takes all text");
    };
    if !config.permitted_enctypes.is_empty() {
        let etypes = names(&config.permitted_enctypes, "", " ");
        line("permitted_enctypes", &etypes);
        line("default_etypes", &etypes);
    }
    if let Some(seconds) = config.clockskew {
        line("clockskew", &seconds);
    }
    for (name, value) in &config.libdefaults {
        line(name, value);
    }
    text + &format!("[realms]\n{realm} = {{\nkdc = {kdc}\n}}\n")
}

/// The text of a kdc.conf whose database stands in `folder`, listening at `port` of the loopback.
pub(crate) fn kdc_conf(realm: &str, folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "[kdcdefaults]\n\
         kdc_listen = 127.0.0.1:{port}\n\
         kdc_tcp_listen = 127.0.0.1:{port}\n\
         [realms]\n\
         {realm} = {{\n\
         database_name = {folder}/principal\n\
         key_stash_file = {folder}/stash\n\
         acl_file = {folder}/acl\n\
         max_life = 7d\n\
         max_renewable_life = 14d\n\
         supported_enctypes = {etypes}\n\
         default_principal_flags = +postdateable, +forwardable, +renewable\n\
         }}\n\
         [logging]\n\
         kdc = FILE:{folder}/kdc.log\n\
         admin_server = FILE:{folder}/kadmin.log\n",
        etypes = names(&Etype::DEFAULT, ":normal", " ")
    )
}
