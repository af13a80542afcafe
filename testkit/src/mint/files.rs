use countersign_proto::ccache::{Ccache, Credential, Element};
use countersign_proto::keytab::{Keytab, KeytabEntry};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;

/// The bytes of a keytab file, format 0x502, with the kvno in both of its places.
#[must_use]
pub fn keytab_bytes(keytab: &Keytab) -> Vec<u8> {
    let mut out = vec![5, 2];
    for entry in &keytab.entries {
        let record = keytab_record(entry);
        out.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
        out.extend(record);
    }
    out
}

fn keytab_record(entry: &KeytabEntry) -> Vec<u8> {
    let mut record = u16::try_from(entry.principal.components.len()).unwrap().to_be_bytes().to_vec();
    let parts = std::iter::once(&entry.principal.realm).chain(&entry.principal.components);
    parts.for_each(|part| short(&mut record, part));
    record.extend(entry.principal.name_type.to_be_bytes());
    record.extend(entry.timestamp.to_be_bytes());
    record.push(entry.kvno.to_be_bytes()[3]);
    record.extend(i16::try_from(entry.etype).unwrap().to_be_bytes());
    short(&mut record, entry.key.expose());
    record.extend(entry.kvno.to_be_bytes());
    record
}

fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The bytes of a FILE credential cache, version 4. Settings are left out.
#[must_use]
pub fn ccache_bytes(ccache: &Ccache) -> Vec<u8> {
    let mut out = vec![5, 4];
    match ccache.kdc_offset {
        None => out.extend([0, 0]),
        Some(offset) => {
            out.extend([0, 12, 0, 1, 0, 8]);
            out.extend(i32::try_from(offset / 1_000_000).unwrap().to_be_bytes());
            out.extend(i32::try_from(offset % 1_000_000).unwrap().to_be_bytes());
        }
    }
    principal(&mut out, &ccache.default_principal);
    for entry in &ccache.credentials {
        credential(&mut out, entry);
    }
    out
}

fn credential(out: &mut Vec<u8>, credential: &Credential) {
    principal(out, &credential.client);
    principal(out, &credential.server);
    out.extend(i16::try_from(credential.key_etype).unwrap().to_be_bytes());
    long(out, credential.key.expose());
    for at in [credential.authtime, credential.starttime, credential.endtime, credential.renew_till] {
        time(out, at);
    }
    out.push(credential.is_skey.into());
    out.extend(credential.flags.to_be_bytes());
    elements(out, &credential.addresses);
    elements(out, &credential.authdata);
    long(out, &credential.ticket);
    long(out, &credential.second_ticket);
}

fn principal(out: &mut Vec<u8>, principal: &Principal) {
    out.extend(principal.name_type.to_be_bytes());
    out.extend(u32::try_from(principal.components.len()).unwrap().to_be_bytes());
    long(out, &principal.realm);
    principal.components.iter().for_each(|component| long(out, component));
}

fn elements(out: &mut Vec<u8>, elements: &[Element]) {
    out.extend(u32::try_from(elements.len()).unwrap().to_be_bytes());
    for element in elements {
        out.extend(i16::try_from(element.element_type).unwrap().to_be_bytes());
        long(out, &element.data);
    }
}

fn time(out: &mut Vec<u8>, at: Timestamp) {
    out.extend(u32::try_from(at.seconds()).unwrap().to_be_bytes());
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}
