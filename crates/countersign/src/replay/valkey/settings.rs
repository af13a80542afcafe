//! Where Valkey is, and who we are to it.

use super::error::ValkeyError;
use crate::files;
use countersign_proto::secret::Secret;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// How to come to a connection.
pub(super) struct Settings {
    /// Without name, password and database, which are given by commands of ours.
    pub(super) server: ConnectionInfo,
    pub(super) database: i64,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) prefix: String,
    /// The deadline of connecting, and of each exchange.
    pub(super) timeout: Duration,
}

impl Settings {
    /// Takes an address apart.
    pub(super) fn server(url: &str) -> Result<(ConnectionInfo, i64), ValkeyError> {
        let is_tls = ["rediss:", "valkeys:"].iter().any(|scheme| url.starts_with(scheme));
        if is_tls {
            return Err(ValkeyError::Url("with TLS".to_owned()));
        }
        // The parser's own words may repeat parts of the address.
        let info = url.into_connection_info().map_err(|_| ValkeyError::Url("that is none".to_owned()))?;
        let login = info.redis_settings();
        if login.password().is_some() || login.username().is_some() {
            return Err(ValkeyError::Url("with a user or a password in it".to_owned()));
        }
        let database = login.db();
        // Without these the library sends no command of its own.
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        Ok((info.set_redis_settings(silent), database))
    }

    /// The server, for people.
    pub(super) fn at(&self) -> String {
        match self.server.addr() {
            ConnectionAddr::Unix(path) => path.display().to_string(),
            other => other.to_string(),
        }
    }

    /// The command that proves who we are, if there is a password. The file is read each time, so that a password may change.
    pub(super) fn auth(&self) -> Result<Option<Secret>, ValkeyError> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let unreadable = |error| ValkeyError::Password { path: path.clone(), error };
        let contents = File::open(path).and_then(files::contents).map_err(unreadable)?;
        let line = contents.expose().split(|&byte| byte == b'\n').next().unwrap_or_default();
        let password = line.strip_suffix(b"\r").unwrap_or(line);
        let user = self.username.as_deref().map(str::as_bytes);
        let words: Vec<&[u8]> =
            [Some(b"AUTH".as_slice()), user, Some(password)].into_iter().flatten().collect();
        Ok(Some(packed(&words)))
    }
}

/// A command as it goes over the wire.
fn packed(words: &[&[u8]]) -> Secret {
    let header = |kind: char, count: usize| format!("{kind}{count}\r\n");
    let room = words.iter().fold(32_usize, |sum, word| sum.saturating_add(word.len()).saturating_add(32));
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(header('*', words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(header('$', word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    Secret::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_packed_as_the_library_packs_it() {
        let packed = packed(&[b"AUTH", b"user", b"a secret"]);
        let library = redis::cmd("AUTH").arg("user").arg("a secret").get_packed_command();
        assert!(packed.expose() == library.as_slice());
    }

    #[test]
    fn an_address_leads_to_a_port_or_a_socket_and_a_database() {
        let (info, database) = Settings::server("redis://127.0.0.1:7000/3").unwrap();
        assert_eq!((info.addr().to_string(), database), ("127.0.0.1:7000".to_owned(), 3));
        let (info, database) = Settings::server("unix:///run/valkey.sock?db=2").unwrap();
        assert_eq!((info.addr().to_string(), database), ("/run/valkey.sock".to_owned(), 2));
        assert_eq!(info.redis_settings().db(), 0);
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        for url in ["redis://:hunter2@h", "redis://u:hunter2@h", "unix:///p?pass=hunter2", "http://hunter2"] {
            let error = Settings::server(url).unwrap_err();
            assert!(matches!(error, ValkeyError::Url(_)), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        for url in ["rediss://h", "valkeys://h"] {
            assert_eq!(
                Settings::server(url).unwrap_err().to_string(),
                "address of the replay store with TLS"
            );
        }
    }
}
