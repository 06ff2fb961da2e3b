//! The oracle of history: random work on a mounted drive, copies of the whole tree, and their comparison with
//! what the doors to the past show.
#![allow(clippy::unwrap_used)] // all of it is test code

pub(crate) mod life;
pub(crate) mod secrecy;
pub(crate) mod tree;
pub(crate) mod work;

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, as the daemon's clock tells them.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}
