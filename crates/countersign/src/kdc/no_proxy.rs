//! Builds without the feature `kkdcp` reach no KDC through a proxy, and say so.

use super::Parcel;
use super::error::Trouble;
use std::time::Instant;

/// # Errors
/// Always.
pub(super) fn post_blocking(_url: &str, _parcel: &Parcel<'_>, _until: Instant) -> Result<Vec<u8>, Trouble> {
    Err(unspoken())
}

/// # Errors
/// Always.
pub(super) async fn post(_url: &str, _parcel: &Parcel<'_>, _until: Instant) -> Result<Vec<u8>, Trouble> {
    Err(unspoken())
}

fn unspoken() -> Trouble {
    Trouble::Proxy("this program was built without the feature kkdcp, which proxies are reached by".into())
}
