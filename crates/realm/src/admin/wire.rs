//! Requests and answers as lines of JSON.

use super::{AdminError, Request, Response};
use countersign_proto::secret::Secret;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io::{self, Write};

/// Longest line of a request, with its end, in bytes.
pub const MAX_REQUEST_LINE: usize = 64 << 10;

/// Longest line of an answer, with its end, in bytes.
pub const MAX_RESPONSE_LINE: usize = 4 << 20;

/// Secret bytes that stand in JSON as hexadecimal: so they are read from where the line lies, and no buffer is made for
/// what an escaped text means.
#[derive(Clone, Default)]
pub struct HexSecret(pub Secret);

impl Serialize for HexSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.expose();
        let mut digits = Secret::new(vec![0; bytes.len().saturating_mul(2)]);
        hex::encode_to_slice(bytes, digits.expose_mut()).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(std::str::from_utf8(digits.expose()).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for HexSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits)
    }
}

struct Digits;

impl Visitor<'_> for Digits {
    type Value = HexSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hexadecimal digits")
    }

    fn visit_str<E: Error>(self, digits: &str) -> Result<HexSecret, E> {
        let mut bytes = Secret::new(vec![0; digits.len() / 2]);
        // The error would show a digit.
        hex::decode_to_slice(digits, bytes.expose_mut()).map_err(|_| E::custom("no hexadecimal digits"))?;
        Ok(HexSecret(bytes))
    }
}

impl Request {
    /// The request as a line, its end with it. It may hold a password.
    ///
    /// # Errors
    /// [`AdminError::Line`] if it is longer than [`MAX_REQUEST_LINE`].
    pub fn to_line(&self) -> Result<Secret, AdminError> {
        to_line(self, MAX_REQUEST_LINE)
    }

    /// Reads a line, with its end or without.
    ///
    /// # Errors
    /// [`AdminError::Line`] if it is no request.
    pub fn from_line(line: &[u8]) -> Result<Self, AdminError> {
        from_line(line)
    }
}

impl Response {
    /// The answer as a line, its end with it. It may hold keys.
    ///
    /// # Errors
    /// [`AdminError::Line`] if it is longer than [`MAX_RESPONSE_LINE`].
    pub fn to_line(&self) -> Result<Secret, AdminError> {
        to_line(self, MAX_RESPONSE_LINE)
    }

    /// Reads a line, with its end or without.
    ///
    /// # Errors
    /// [`AdminError::Line`] if it is no answer.
    pub fn from_line(line: &[u8]) -> Result<Self, AdminError> {
        from_line(line)
    }
}

fn to_line(value: &impl Serialize, most: usize) -> Result<Secret, AdminError> {
    let mut length = Length(1);
    serde_json::to_writer(&mut length, value).map_err(line)?;
    if length.0 > most {
        return Err(AdminError::Line(format!("{} bytes, where {most} are the most", length.0)));
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Secret::new(Vec::with_capacity(length.0));
    serde_json::to_writer(text.expose_mut(), value).map_err(line)?;
    text.expose_mut().push(b'\n');
    Ok(text)
}

fn from_line<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, AdminError> {
    serde_json::from_slice(text).map_err(line)
}

/// Only where, and of what kind: the error's own text could show what stands there.
fn line(error: serde_json::Error) -> AdminError {
    AdminError::Line(format!("{:?} at column {}", error.classify(), error.column()))
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::admin::{Changes, PolicyChanges, Set};

    fn round_trip(request: &Request) -> Request {
        let line = request.to_line().unwrap();
        assert_eq!(line.expose().iter().filter(|byte| **byte == b'\n').count(), 1);
        let same = Request::from_line(line.expose()).unwrap();
        assert!(same.to_line().unwrap().ct_eq(line.expose()));
        same
    }

    #[test]
    fn a_password_of_any_bytes_goes_through_a_line() {
        let password = b"line\nend \"quoted\" \xFF\0".to_vec();
        let secret = HexSecret(Secret::new(password.clone()));
        let changes =
            Changes { expires: Set::To(7), max_life: Set::Clear, unlock: true, ..Changes::default() };
        let sent = Request::AddUser { name: "zoë".to_owned(), password: secret, changes: changes.clone() };
        let Request::AddUser { name, password: same, changes: same_changes } = round_trip(&sent) else {
            panic!("another request");
        };
        assert_eq!((name.as_str(), same_changes), ("zoë", changes));
        assert!(same.0.ct_eq(&password));
        let text = sent.to_line().unwrap();
        assert!(!text.expose().windows(6).any(|window| window == b"quoted"));
    }

    #[test]
    fn every_request_goes_through_a_line() {
        let name = || "HTTP/a.test".to_owned();
        let changes = PolicyChanges { max_life: Some(60), ..PolicyChanges::default() };
        for request in [
            Request::AddService { name: name(), changes: Changes::default() },
            Request::SetPassword { name: name(), password: HexSecret::default() },
            Request::NewKeys { name: name() },
            Request::Change { name: name(), changes: Changes::default() },
            Request::Remove { name: name() },
            Request::List { after: None },
            Request::List { after: Some(name()) },
            Request::Export { name: name() },
            Request::Policy { changes },
        ] {
            round_trip(&request);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_without_showing_it() {
        let lines: [&[u8]; 7] = [
            b"",
            b"{}",
            b"\"shutdown\"",
            b"{\"remove\":{}}",
            b"{\"remove\":{\"name\":\"a\",\"more\":1}}",
            b"{\"set-password\":{\"name\":\"a\",\"password\":\"hunter2hunter2x\"}}",
            b"{\"remove\":{\"name\":\"a\"}}{\"remove\":{\"name\":\"b\"}}",
        ];
        for line in lines {
            let error = Request::from_line(line).err().unwrap();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_request_that_is_too_long_is_not_sent() {
        assert!(Request::Remove { name: "x".repeat(MAX_REQUEST_LINE) }.to_line().is_err());
    }
}
