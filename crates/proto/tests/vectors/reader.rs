//! Reads the vector files: records of `name = value` lines with an empty line between them, `#` before a remark.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

/// One record of a vector file.
pub(crate) struct Record(BTreeMap<String, String>);

/// All records of a file.
pub(crate) fn records(file: &str) -> Vec<Record> {
    let mut records = vec![BTreeMap::new()];
    for line in file.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        match line.split_once('=') {
            Some((name, value)) => {
                let record = records.last_mut().unwrap();
                record.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            None if line.is_empty() => records.push(BTreeMap::new()),
            None => panic!("neither a field nor a remark: {line}"),
        }
    }
    records.into_iter().filter(|record| !record.is_empty()).map(Record).collect()
}

impl Record {
    /// A field as it stands there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no field {name}"))
    }

    /// A field in decimal.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap()
    }

    /// A field in hexadecimal, or between quotation marks a text.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let value = self.text(name);
        if let Some(text) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return text.as_bytes().to_vec();
        }
        let (pairs, rest) = value.as_bytes().as_chunks::<2>();
        assert!(rest.is_empty(), "half a byte in {name}");
        let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        pairs.iter().map(byte).collect()
    }
}
