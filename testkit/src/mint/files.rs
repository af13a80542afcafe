use countersign_proto::ccache::Ccache;
use countersign_proto::keytab::Keytab;

/// The bytes of a keytab file, format 0x502, with the kvno in both of its places.
///
/// # Panics
/// If an entry does not fit the format.
#[must_use]
#[track_caller]
pub fn keytab_bytes(keytab: &Keytab) -> Vec<u8> {
    keytab.to_bytes().unwrap().expose().to_vec()
}

/// The bytes of a FILE credential cache, version 4.
///
/// # Panics
/// If a ticket does not fit the format.
#[must_use]
#[track_caller]
pub fn ccache_bytes(ccache: &Ccache) -> Vec<u8> {
    ccache.to_bytes().unwrap().expose().to_vec()
}
