//! The files in tests/vectors/nns, whose README says what is in them.

use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::time::Timestamp;
use countersign_testkit::dotnet::Runtime;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What two ends said to each other.
pub(crate) struct Capture {
    pub(crate) runtime: Runtime,
    pub(crate) name: String,
    json: Value,
}

/// An end of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Client,
    Server,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/nns")
}

/// The folder of a runtime's captures.
pub(crate) fn generation(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Core31 => "dotnet-3.1",
        Runtime::Net8 => "dotnet-8.0",
    }
}

/// What every client sent, if it came so far: no write of it is like another.
pub(crate) fn data() -> Vec<u8> {
    (0..801_u32).map(|number| (number * 31 % 251) as u8).collect()
}

/// The sizes of the writes.
pub(crate) const WRITES: [usize; 3] = [1, 100, 700];

impl Capture {
    pub(crate) fn all() -> Vec<Self> {
        Runtime::ALL.into_iter().flat_map(Self::all_of).collect()
    }

    fn all_of(runtime: Runtime) -> Vec<Self> {
        let entries = std::fs::read_dir(folder().join(generation(runtime))).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert_eq!(paths.len(), 14);
        paths.iter().map(|path| Self::read(runtime, path)).collect()
    }

    /// The captures of this name, of each runtime.
    pub(crate) fn named(name: &str) -> Vec<Self> {
        let all = Self::all().into_iter();
        let named: Vec<_> = all.filter(|capture| capture.case() == name).collect();
        assert_eq!(named.len(), Runtime::ALL.len());
        named
    }

    fn read(runtime: Runtime, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = format!("{}/{stem}", generation(runtime));
        let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { runtime, name, json }
    }

    /// Its name without its runtime.
    pub(crate) fn case(&self) -> &str {
        self.name.split_once('/').unwrap().1
    }

    fn text(&self, key: &str) -> &str {
        self.json[key].as_str().unwrap_or_else(|| panic!("{} has no {key}", self.name))
    }

    /// When the ends met, to the second.
    pub(crate) fn clock(&self) -> Timestamp {
        Timestamp::new(self.json["clock"].as_i64().unwrap(), 0)
    }

    /// The keys of the service that the client asked for.
    pub(crate) fn keytab(&self) -> Keytab {
        Keytab::parse(&hex::decode(self.text("keytab")).unwrap()).unwrap()
    }

    pub(crate) fn service_keys(&self) -> ServiceKeys {
        ServiceKeys::from_keytab(&self.keytab()).unwrap()
    }

    /// All that an end sent.
    pub(crate) fn stream(&self, end: End) -> Vec<u8> {
        let records = self.json["records"].as_array().unwrap().iter();
        let sent = records.filter(|record| record["from"] == end.name());
        sent.flat_map(|record| hex::decode(record["hex"].as_str().unwrap()).unwrap()).collect()
    }

    /// The lines that an end printed.
    pub(crate) fn told(&self, end: End) -> Vec<&str> {
        self.json[end.name()].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
    }

    /// Whether an end printed this line.
    pub(crate) fn says(&self, end: End, line: &str) -> bool {
        self.told(end).contains(&line)
    }
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}
