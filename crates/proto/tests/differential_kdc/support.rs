//! Values of ours and of theirs, from one to the other.

use countersign_proto::der::Writer;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::name::NameRef;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use countersign_testkit::mint::NOW;
use rasn::types::{BitString, GeneralString, GeneralizedTime, OctetString};
use rasn_kerberos as oracle;

pub(crate) const KEY: EncryptionKeyRef<'_> = EncryptionKeyRef { etype: 17, bytes: &[7; 16] };
pub(crate) const SEALED: EncryptedData<'_> = EncryptedData { etype: 18, kvno: Some(3), cipher: &[9; 200] };
pub(crate) const PADATA: [PaData<'_>; 3] = [
    PaData { padata_type: 2, padata_value: b"proof" },
    PaData { padata_type: -17, padata_value: b"" },
    PaData { padata_type: 149, padata_value: &[0; 130] },
];

pub(crate) fn text(bytes: &[u8]) -> GeneralString {
    GeneralString::from_bytes(bytes).unwrap()
}

pub(crate) fn octets(bytes: &[u8]) -> OctetString {
    OctetString::from(bytes.to_vec())
}

pub(crate) fn bits(word: u32) -> BitString {
    BitString::from_slice(&word.to_be_bytes())
}

pub(crate) fn time(at: Timestamp) -> oracle::KerberosTime {
    oracle::KerberosTime(at.to_string().parse::<GeneralizedTime>().unwrap())
}

pub(crate) fn name(principal: &Principal) -> oracle::PrincipalName {
    let string = principal.components.iter().map(|component| text(component)).collect();
    oracle::PrincipalName { r#type: principal.name_type, string }
}

pub(crate) fn their_key() -> oracle::EncryptionKey {
    oracle::EncryptionKey { r#type: KEY.etype, value: octets(KEY.bytes) }
}

pub(crate) fn their_sealed() -> oracle::EncryptedData {
    oracle::EncryptedData { etype: SEALED.etype, kvno: SEALED.kvno, cipher: octets(SEALED.cipher) }
}

pub(crate) fn their_padata(padata: &[PaData<'_>]) -> Option<Vec<oracle::PaData>> {
    let theirs = |element: &PaData<'_>| oracle::PaData {
        r#type: element.padata_type,
        value: octets(element.padata_value),
    };
    (!padata.is_empty()).then(|| padata.iter().map(theirs).collect())
}

pub(crate) fn their_addresses() -> oracle::HostAddresses {
    vec![oracle::HostAddress { addr_type: 2, address: octets(&[192, 0, 2, 1]) }]
}

pub(crate) fn encoded<T: rasn::Encode>(value: &T) -> Vec<u8> {
    rasn::der::encode(value).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn decoded<T: rasn::Decode>(bytes: &[u8]) -> T {
    rasn::der::decode(bytes).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

pub(crate) fn later(hours: i64) -> Timestamp {
    Timestamp::new(NOW.seconds() + hours * 3_600, 0)
}

pub(crate) fn krbtgt() -> Principal {
    Principal::new("R.TEST", &["krbtgt", "R.TEST"])
}

pub(crate) fn same_padata(ours: MethodData<'_>, expected: &[PaData<'_>]) {
    let pair = |element: PaData<'_>| (element.padata_type, element.padata_value.to_vec());
    assert!(ours.iter().map(pair).eq(expected.iter().copied().map(pair)));
}

pub(crate) fn principal(realm: &[u8], name: Option<NameRef<'_>>) -> Option<Principal> {
    name.map(|name| name.to_principal(realm))
}
