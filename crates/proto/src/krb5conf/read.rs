//! From relations to what they mean.

use super::address::{ADMIN_PORT, AddressFault, KDC_PORT, KPASSWD_PORT, KdcAddress};
use super::conf::{
    DEFAULT_UDP_PREFERENCE_LIMIT, DnsCanonicalize, Krb5Conf, LibDefaults, RealmConf, TicketDefaults,
};
use super::enctypes;
use super::error::Krb5ConfError;
use super::fields::{Fields, Notes};
use super::known;
use super::parse::is_space;
use super::profile::{Note, Profile, Relation, Section};
use super::values;
use crate::crypto::{Etype, spake::SpakeGroup};

/// Longest request that is ever sent by UDP first: MIT's bound.
const HARD_UDP_LIMIT: usize = 32_700;

/// Sections that are read below.
const SECTIONS: [&str; 4] = ["libdefaults", "realms", "domain_realm", "capaths"];

pub(super) fn conf(profile: &Profile) -> Result<Krb5Conf, Krb5ConfError> {
    let mut notes = Notes::new(profile.notes().to_vec());
    let mut conf = Krb5Conf::default();
    let empty = Section::default();
    let section = |name| profile.section(&[name]).unwrap_or(&empty);
    libdefaults(section("libdefaults"), &mut conf, &mut notes)?;
    realms(section("realms"), &mut conf, &mut notes)?;
    domain_realm(section("domain_realm"), &mut conf, &mut notes);
    capaths(section("capaths"), &mut conf, &mut notes);
    for (name, section) in profile.root().sections() {
        let is_known = SECTIONS.contains(&name) || known::SECTIONS.contains(&name);
        if let Some(place) = section.place().filter(|_| !is_known) {
            notes.list.push(Note::at(place, format!("section [{name}] is not known and has no effect")));
        }
    }
    conf.notes = notes.list;
    Ok(conf)
}

fn libdefaults(section: &Section, conf: &mut Krb5Conf, notes: &mut Notes) -> Result<(), Krb5ConfError> {
    let mut fields = Fields::of(section);
    let base = LibDefaults::default();
    let allow_rc4 =
        [fields.flag(&["allow_rc4"])?, fields.flag(&["allow_weak_crypto"])?].contains(&Some(true));
    let permitted = etypes(&mut fields, &["permitted_enctypes", "default_etypes"], allow_rc4, notes)?
        .unwrap_or_else(|| enctypes::defaults(allow_rc4));
    let tkt = etypes(&mut fields, &["default_tkt_enctypes", "default_as_etypes"], allow_rc4, notes)?;
    let tgs = etypes(&mut fields, &["default_tgs_enctypes", "default_tgs_etypes"], allow_rc4, notes)?;
    dns_uri_lookup(&mut fields, notes)?;
    conf.libdefaults = LibDefaults {
        default_realm: fields.parsed(&["default_realm"], "the name of a realm", some_text)?,
        default_tkt_enctypes: tkt.unwrap_or_else(|| permitted.clone()),
        default_tgs_enctypes: tgs.unwrap_or_else(|| permitted.clone()),
        permitted_enctypes: permitted,
        allow_rc4,
        clock_skew: fields.duration("clockskew")?.unwrap_or(base.clock_skew),
        dns_lookup_kdc: fields.flag(&["dns_lookup_kdc", "dns_fallback"])?.unwrap_or(base.dns_lookup_kdc),
        dns_lookup_realm: fields
            .flag(&["dns_lookup_realm", "dns_fallback"])?
            .unwrap_or(base.dns_lookup_realm),
        dns_canonicalize_hostname: fields
            .parsed(&["dns_canonicalize_hostname"], "true, false or fallback", dns_canonicalize)?
            .unwrap_or(base.dns_canonicalize_hostname),
        kdc_timesync: fields
            .parsed(&["kdc_timesync"], "1, 0 or another boolean", values::flag_or_number)?
            .unwrap_or(base.kdc_timesync),
        udp_preference_limit: fields
            .parsed(&["udp_preference_limit"], "a number of bytes", udp_limit)?
            .unwrap_or(base.udp_preference_limit),
        request_timeout: fields.duration("request_timeout")?.filter(|timeout| !timeout.is_zero()),
        kdc_timeout: fields.duration("kdc_timeout")?.filter(|timeout| !timeout.is_zero()),
        max_retries: fields.parsed(&["max_retries"], "a number, 1 or more", at_least_one)?,
        default_ccache_name: fields.path_name(&["default_ccache_name", "default_cc_name"]),
        default_keytab_name: fields.path_name(&["default_keytab_name"]),
        default_client_keytab_name: fields.path_name(&["default_client_keytab_name"]),
        spake_preauth_groups: spake_groups(&mut fields, notes).unwrap_or(base.spake_preauth_groups),
        realm_try_domains: fields
            .parsed(&["realm_try_domains"], "-1, 0 or a number of parent domains", |text| {
                text.parse::<i32>().ok()
            })?
            .and_then(|parents| u32::try_from(parents).ok()),
        tickets: ticket_defaults(&mut fields, &base.tickets)?,
    };
    fields.note_unknown("[libdefaults]", &known::LIBDEFAULTS, known::PKINIT_PREFIX, notes);
    for (realm, section) in section.sections() {
        let mut fields = Fields::of(section);
        let defaults = ticket_defaults(&mut fields, &conf.libdefaults.tickets)?;
        conf.ticket_defaults.insert(realm.to_owned(), defaults);
        fields.note_unknown("a realm's part of [libdefaults]", &[], known::PKINIT_PREFIX, notes);
    }
    Ok(())
}

fn ticket_defaults(fields: &mut Fields<'_>, base: &TicketDefaults) -> Result<TicketDefaults, Krb5ConfError> {
    Ok(TicketDefaults {
        ticket_lifetime: fields.duration("ticket_lifetime")?.unwrap_or(base.ticket_lifetime),
        renew_lifetime: fields.duration("renew_lifetime")?.unwrap_or(base.renew_lifetime),
        forwardable: fields.flag(&["forwardable"])?.unwrap_or(base.forwardable),
        proxiable: fields.flag(&["proxiable"])?.unwrap_or(base.proxiable),
        canonicalize: fields.flag(&["canonicalize"])?.unwrap_or(base.canonicalize),
        noaddresses: fields.flag(&["noaddresses"])?.unwrap_or(base.noaddresses),
        preferred_preauth_types: fields
            .parsed(&["preferred_preauth_types"], "numbers, divided by commas", |text| {
                values::words(text).map(|word| word.parse().ok()).collect()
            })?
            .unwrap_or_else(|| base.preferred_preauth_types.clone()),
        verify_ap_req_nofail: fields.flag(&["verify_ap_req_nofail"])?.unwrap_or(base.verify_ap_req_nofail),
    })
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn dns_canonicalize(text: &str) -> Option<DnsCanonicalize> {
    match values::flag(text) {
        Some(true) => Some(DnsCanonicalize::Yes),
        Some(false) => Some(DnsCanonicalize::No),
        None => text.eq_ignore_ascii_case("fallback").then_some(DnsCanonicalize::Fallback),
    }
}

/// A negative limit is the default one to MIT.
fn udp_limit(text: &str) -> Option<usize> {
    let limit: i32 = text.parse().ok()?;
    Some(usize::try_from(limit).map_or(DEFAULT_UDP_PREFERENCE_LIMIT, |limit| limit.min(HARD_UDP_LIMIT)))
}

fn at_least_one(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0)
}

/// `dns_uri_lookup` asks for a kind of record that is not looked for.
fn dns_uri_lookup(fields: &mut Fields<'_>, notes: &mut Notes) -> Result<(), Krb5ConfError> {
    let key = "dns_uri_lookup";
    if let (Some(true), Some((_, relation))) = (fields.flag(&[key])?, fields.first(&[key])) {
        notes.add(relation, "dns_uri_lookup has no effect: KDCs are looked for by SRV records alone");
    }
    Ok(())
}

fn etypes(
    fields: &mut Fields<'_>,
    keys: &[&'static str],
    allow_rc4: bool,
    notes: &mut Notes,
) -> Result<Option<Vec<Etype>>, Krb5ConfError> {
    let Some((key, relation)) = fields.first(keys) else { return Ok(None) };
    let list = enctypes::list(&relation.value, allow_rc4);
    if !list.unknown.is_empty() {
        notes.add(
            relation,
            format!("{key} names etypes that are not implemented: {}", list.unknown.join(" ")),
        );
    }
    if !list.forbidden.is_empty() {
        let named = list.forbidden.join(" ");
        notes.add(
            relation,
            format!("{key} names {named}, which is weak: it is left out without allow_rc4 = true"),
        );
    }
    if list.etypes.is_empty() {
        let wants = "an etype that is implemented (aes, aes256-cts, aes128-cts, aes256-sha2, aes128-sha2, DEFAULT; rc4 with allow_rc4)";
        return Err(Krb5ConfError::value(&relation.place, key, &relation.value, wants));
    }
    Ok(Some(list.etypes))
}

fn spake_groups(fields: &mut Fields<'_>, notes: &mut Notes) -> Option<Vec<SpakeGroup>> {
    let (key, relation) = fields.first(&["spake_preauth_groups"])?;
    let mut groups = Vec::new();
    let mut unknown = Vec::new();
    for word in values::words(&relation.value) {
        match SpakeGroup::from_name(word) {
            Some(group) if !groups.contains(&group) => groups.push(group),
            Some(_) => {}
            None => unknown.push(word),
        }
    }
    if !unknown.is_empty() {
        notes.add(relation, format!("{key} names groups that are not implemented: {}", unknown.join(" ")));
    }
    Some(groups)
}

fn realms(section: &Section, conf: &mut Krb5Conf, notes: &mut Notes) -> Result<(), Krb5ConfError> {
    note_values(section, "[realms]", notes);
    for (name, section) in section.sections() {
        let mut fields = Fields::of(section);
        let primary = match fields.all("primary_kdc") {
            [] => ("master_kdc", fields.all("master_kdc")),
            primary => ("primary_kdc", primary),
        };
        fields.all("master_kdc");
        let realm = RealmConf {
            kdcs: addresses("kdc", fields.all("kdc"), KDC_PORT, notes)?,
            primary_kdcs: addresses(primary.0, primary.1, KDC_PORT, notes)?,
            admin_servers: addresses("admin_server", fields.all("admin_server"), ADMIN_PORT, notes)?,
            kpasswd_servers: addresses("kpasswd_server", fields.all("kpasswd_server"), KPASSWD_PORT, notes)?,
            http_anchors: fields.all("http_anchors").iter().map(|anchor| anchor.value.clone()).collect(),
            disable_encrypted_timestamp: fields.flag(&["disable_encrypted_timestamp"])?.unwrap_or(false),
        };
        fields.note_unknown("[realms]", &known::REALMS, known::PKINIT_PREFIX, notes);
        conf.realms.insert(name.to_owned(), realm);
    }
    Ok(())
}

fn addresses(
    key: &str,
    relations: &[Relation],
    port: u16,
    notes: &mut Notes,
) -> Result<Vec<KdcAddress>, Krb5ConfError> {
    let mut addresses = Vec::with_capacity(relations.len());
    for relation in relations {
        match KdcAddress::with_default_port(first_word(relation, key, notes), port) {
            Ok(address) => addresses.push(address),
            Err(AddressFault::Transport) => {
                notes.add(
                    relation,
                    format!("{key} = {} has no effect: only UDP, TCP and HTTPS are spoken", relation.value),
                );
            }
            Err(AddressFault::Host | AddressFault::Port) => {
                let wants = "host, host:port, [v6 address]:port or https://host[:port]/path";
                return Err(Krb5ConfError::value(&relation.place, key, &relation.value, wants));
            }
        }
    }
    Ok(addresses)
}

/// Keys that have one value of one word: the rest is as good as a comment, in MIT's library too.
fn first_word<'a>(relation: &'a Relation, key: &str, notes: &mut Notes) -> &'a str {
    let value = relation.value.trim_matches(is_space);
    let (word, rest) = value.split_once(is_space).unwrap_or((value, ""));
    if !rest.trim_start_matches(is_space).starts_with(['#', ';']) && !rest.is_empty() {
        notes.add(
            relation,
            format!("{key} = {word}: what follows has no effect; write a line for each value"),
        );
    }
    word
}

fn domain_realm(section: &Section, conf: &mut Krb5Conf, notes: &mut Notes) {
    // To MIT a domain in capitals is never met: one in small letters counts before it.
    let in_small = |domain: &str| !domain.bytes().any(|byte| byte.is_ascii_uppercase());
    let (small, capital): (Vec<_>, Vec<_>) = section.relations().partition(|(domain, _)| in_small(domain));
    for (domain, relations) in small.into_iter().chain(capital) {
        let Some(relation) = relations.first() else { continue };
        if relation.value == "dns_locate" {
            notes.add(
                relation,
                format!("{domain} = dns_locate: realms are not looked for in DNS, the KDC is left to know"),
            );
            conf.domain_realm.add(domain, "");
        } else {
            conf.domain_realm.add(domain, first_word(relation, domain, notes));
        }
    }
    note_subsections(section, "[domain_realm]", notes);
}

fn capaths(section: &Section, conf: &mut Krb5Conf, notes: &mut Notes) {
    note_values(section, "[capaths]", notes);
    for (client, section) in section.sections() {
        for (server, relations) in section.relations() {
            let realms: Vec<&str> =
                relations.iter().map(|relation| first_word(relation, server, notes)).collect();
            let between: &[&str] =
                if realms.first().is_some_and(|first| first.starts_with('.')) { &[] } else { &realms };
            if let (true, Some(relation)) = (realms.len() > 1 && realms.contains(&"."), relations.first()) {
                notes.add(
                    relation,
                    format!(
                        "{server} = . beside other values: a dot alone says that there is nothing between"
                    ),
                );
            }
            let between: Vec<&str> = between.iter().copied().filter(|realm| *realm != ".").collect();
            conf.capaths.set(client, server, &between);
        }
        note_subsections(section, "[capaths]", notes);
    }
}

/// Where only subsections mean something.
fn note_values(section: &Section, context: &str, notes: &mut Notes) {
    for (name, relations) in section.relations() {
        if let Some(relation) = relations.first() {
            notes.add(
                relation,
                format!("{name} in {context} has a value where a subsection is looked for: no effect"),
            );
        }
    }
}

/// Where only values mean something.
fn note_subsections(section: &Section, context: &str, notes: &mut Notes) {
    for (name, inner) in section.sections() {
        if let Some(place) = inner.place() {
            let text = format!("{name} in {context} is a subsection where a value is looked for: no effect");
            notes.list.push(Note::at(place, text));
        }
    }
}
