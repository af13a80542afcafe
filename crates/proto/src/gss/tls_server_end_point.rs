//! The channel binding of TLS that survives a proxy: a hash of the server's certificate (RFC 5929 section 4).

use super::ChannelBindings;
use crate::der::{DerError, Problem, Reader, tag};
use crate::error::{Code, Explain, code};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::borrow::Cow;

/// Why a certificate has no such binding.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not an X.509 certificate in DER.
    #[error("no X.509 certificate: {0}")]
    Malformed(#[from] DerError),
    /// Its signature algorithm has no single hash (Ed25519, say), so RFC 5929 defines nothing.
    #[error("a signature algorithm without a single hash")]
    NoSingleHash,
}

impl Explain for CertificateError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => code::CHANNEL_BINDINGS_MALFORMED,
            Self::NoSingleHash => code::CERTIFICATE_HASH_UNDEFINED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        "RSA, RSA-PSS and ECDSA signatures with MD5, SHA-1 or SHA-2".into()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Bindings to the TLS server that shows `certificate` (DER, exactly as sent): `tls-server-end-point:` and the hash of
/// its signature, in which MD5 and SHA-1 become SHA-256.
///
/// # Errors
/// If it is no certificate, or one for which the binding is not defined.
pub fn from_certificate(certificate: &[u8]) -> Result<ChannelBindings, CertificateError> {
    let mut application_data = b"tls-server-end-point:".to_vec();
    match signature_hash(certificate)? {
        Hash::Sha256 => application_data.extend_from_slice(&Sha256::digest(certificate)),
        Hash::Sha384 => application_data.extend_from_slice(&Sha384::digest(certificate)),
        Hash::Sha512 => application_data.extend_from_slice(&Sha512::digest(certificate)),
    }
    Ok(ChannelBindings::from_application_data(application_data))
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }`
fn signature_hash(certificate: &[u8]) -> Result<Hash, CertificateError> {
    let mut outer = Reader::new(certificate);
    let mut fields = outer.element(tag::SEQUENCE)?;
    outer.finish()?;
    fields.element(tag::SEQUENCE)?;
    let mut algorithm = fields.element(tag::SEQUENCE)?;
    fields.element(tag::BIT_STRING)?;
    fields.finish()?;
    let oid = algorithm.element(tag::OID)?.rest();
    match oid {
        RSASSA_PSS => pss_hash(algorithm),
        _ => SIGNATURE_HASHES
            .iter()
            .find(|(known, _)| *known == oid)
            .map(|(_, hash)| *hash)
            .ok_or(CertificateError::NoSingleHash),
    }
}

/// `RSASSA-PSS-params ::= SEQUENCE { hashAlgorithm [0] DEFAULT sha1, ... }`: the parameter's hash, as everyone does.
fn pss_hash(mut algorithm: Reader<'_>) -> Result<Hash, CertificateError> {
    let Some(mut parameters) = algorithm.optional(tag::SEQUENCE)? else { return Ok(Hash::Sha256) };
    let Some(mut hash) = parameters.optional(tag::context(0))? else { return Ok(Hash::Sha256) };
    let at = hash.error(Problem::Value("a hash algorithm that is not known"));
    let oid = hash.element(tag::SEQUENCE)?.element(tag::OID)?.rest();
    PLAIN_HASHES.iter().find(|(known, _)| *known == oid).map(|(_, hash)| *hash).ok_or(at.into())
}

/// 1.2.840.113549.1.1.10
const RSASSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];

const SIGNATURE_HASHES: [(&[u8], Hash); 10] = [
    // md5, sha1, sha256, sha384, sha512 WithRSAEncryption: 1.2.840.113549.1.1.{4,5,11,12,13}
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x04], Hash::Sha256),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05], Hash::Sha256),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B], Hash::Sha256),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0C], Hash::Sha384),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0D], Hash::Sha512),
    // ecdsa-with-SHA1: 1.2.840.10045.4.1; with SHA256, SHA384, SHA512: 1.2.840.10045.4.3.{2,3,4}
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01], Hash::Sha256),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02], Hash::Sha256),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03], Hash::Sha384),
    (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04], Hash::Sha512),
    // dsa-with-sha256: 2.16.840.1.101.3.4.3.2
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x02], Hash::Sha256),
];

const PLAIN_HASHES: [(&[u8], Hash); 4] = [
    // sha1: 1.3.14.3.2.26; sha256, sha384, sha512: 2.16.840.1.101.3.4.2.{1,2,3}
    (&[0x2B, 0x0E, 0x03, 0x02, 0x1A], Hash::Sha256),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01], Hash::Sha256),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02], Hash::Sha384),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03], Hash::Sha512),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::Writer;

    fn certificate(algorithm: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out).sequence(|fields| {
            fields.sequence(|tbs| tbs.integer(1));
            fields.sequence(&algorithm);
            fields.primitive(tag::BIT_STRING, &[0, 1, 2, 3]);
        });
        out
    }

    #[test]
    fn the_hash_is_the_signatures_own_and_never_weaker_than_sha256() {
        for (oid, expected) in SIGNATURE_HASHES {
            let hash = signature_hash(&certificate(|w| w.primitive(tag::OID, oid))).unwrap();
            assert_eq!(hash, expected);
        }
        let pss = certificate(|w| {
            w.primitive(tag::OID, RSASSA_PSS);
            w.sequence(|params| {
                params.field(0, |hash| hash.sequence(|w| w.primitive(tag::OID, PLAIN_HASHES[2].0)))
            });
        });
        assert_eq!(signature_hash(&pss), Ok(Hash::Sha384));
    }

    #[test]
    fn ed25519_has_no_such_binding() {
        let ed25519 = certificate(|w| w.primitive(tag::OID, &[0x2B, 0x65, 0x70]));
        assert_eq!(from_certificate(&ed25519).err(), Some(CertificateError::NoSingleHash));
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        let good = certificate(|w| w.primitive(tag::OID, SIGNATURE_HASHES[2].0));
        for length in 0..good.len() {
            assert!(from_certificate(&good[..length]).is_err());
        }
    }

    #[test]
    fn the_data_is_the_prefix_and_the_raw_hash() {
        let der = certificate(|w| w.primitive(tag::OID, SIGNATURE_HASHES[2].0));
        let bindings = from_certificate(&der).unwrap();
        let (prefix, hash) = bindings.application_data.split_at(21);
        assert_eq!(prefix, b"tls-server-end-point:");
        assert_eq!(hash, &Sha256::digest(&der)[..]);
    }
}
