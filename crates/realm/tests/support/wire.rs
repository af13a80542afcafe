//! Messages, taken apart and put together again.

use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
use countersign_proto::krb5::msg::kdc_rep::KdcRep;
use countersign_proto::krb5::msg::kdc_req::{KdcReq, NewKdcReqBody, write_kdc_req};
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData};
use countersign_proto::krb5::msg::ticket::{EncTicketPart, Ticket};
use countersign_proto::time::Timestamp;

/// An element of padata, kept.
pub(crate) type Element = (i32, Vec<u8>);

pub(crate) fn elements(padata: MethodData<'_>) -> Vec<Element> {
    padata.iter().map(|element| (element.padata_type, element.padata_value.to_vec())).collect()
}

/// The padata of a request.
pub(crate) fn padata(request: &[u8]) -> Vec<Element> {
    elements(KdcReq::parse(request).unwrap().padata)
}

/// A request with other padata.
pub(crate) fn with_padata(request: &[u8], change: impl FnOnce(&mut Vec<Element>)) -> Vec<u8> {
    let parsed = KdcReq::parse(request).unwrap();
    let mut changed = elements(parsed.padata);
    change(&mut changed);
    with_padata_and_body(request, &changed, parsed.encoded_body)
}

/// A request with other padata and another body.
pub(crate) fn with_padata_and_body(request: &[u8], padata: &[Element], encoded_body: &[u8]) -> Vec<u8> {
    let kind = KdcReq::parse(request).unwrap().kind;
    let list: Vec<_> = padata
        .iter()
        .map(|(padata_type, value)| PaData { padata_type: *padata_type, padata_value: value })
        .collect();
    let mut out = Vec::new();
    write_kdc_req(kind, &list, encoded_body, &mut Writer::new(&mut out));
    out
}

pub(crate) fn encoded(body: &NewKdcReqBody<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    body.write(&mut Writer::new(&mut out));
    out
}

/// error-code and e-data of a KRB-ERROR.
pub(crate) fn error(reply: &[u8]) -> (i32, Vec<Element>) {
    let error = KrbError::parse(reply).unwrap();
    assert_eq!(error.e_text, None);
    let e_data = error.e_data.map(|e_data| MethodData::parse_bytes(e_data).unwrap()).unwrap_or_default();
    (error.error_code, elements(e_data))
}

pub(crate) fn find(padata: &[Element], padata_type: i32) -> Option<&[u8]> {
    padata.iter().find(|element| element.0 == padata_type).map(|element| element.1.as_slice())
}

pub(crate) fn types(padata: &[Element]) -> Vec<i32> {
    padata.iter().map(|element| element.0).collect()
}

/// Types and lengths: what of hints is not random.
pub(crate) fn shape(padata: &[Element]) -> Vec<(i32, usize)> {
    padata.iter().map(|element| (element.0, element.1.len())).collect()
}

/// Etype and salt in an ETYPE-INFO2 with one entry.
pub(crate) fn etype_info2(padata: &[Element]) -> (i32, Vec<u8>) {
    let list = EtypeInfo2Entry::parse_list(find(padata, 19).unwrap()).unwrap();
    assert_eq!(list.len(), 1);
    (list[0].etype, list[0].salt.unwrap().to_vec())
}

/// The ticket of a reply or credential, opened, for `look`.
pub(crate) fn opened<T>(
    ticket: &[u8],
    key: &Key,
    look: impl FnOnce(&Ticket<'_>, &EncTicketPart<'_>) -> T,
) -> T {
    let ticket = Reader::whole(ticket, Ticket::parse).unwrap();
    assert_eq!(ticket.enc_part.etype, key.etype().wire());
    let mut plaintext = ticket.enc_part.cipher.to_vec();
    let opened = key.cipher(KeyUsage::TICKET).open_in_place(&mut plaintext).unwrap();
    look(&ticket, &EncTicketPart::parse(Reader::new(opened)).unwrap())
}

pub(crate) fn reply_padata(reply: &[u8]) -> Vec<Element> {
    elements(KdcRep::parse(reply).unwrap().padata)
}

/// An EncryptedData of `plaintext`, encoded.
pub(crate) fn encrypted(key: &Key, usage: KeyUsage, plaintext: &[u8]) -> Vec<u8> {
    let mut cipher = Vec::new();
    key.cipher(usage).seal(&mut countersign_testkit::TestRng::new(5), plaintext, &mut cipher);
    let mut out = Vec::new();
    EncryptedData { etype: key.etype().wire(), kvno: None, cipher: &cipher }
        .write(&mut Writer::new(&mut out));
    out
}

/// An encrypted timestamp.
pub(crate) fn timestamp(key: &Key, usage: KeyUsage, time: Timestamp) -> Vec<u8> {
    let mut plaintext = Vec::new();
    countersign_proto::krb5::msg::pa_enc_ts_enc::PaEncTsEnc { patimestamp: time }
        .write(&mut Writer::new(&mut plaintext));
    encrypted(key, usage, &plaintext)
}
