//! The places that may have what is damaged in a store.

use crate::config::Config;
use crate::fs::{Spare, Volume};

/// The places outside of the store that scrubbing and repairs ask for chunks, in this order: the one place that knows all of them. Backup locations
/// come here.
pub(super) fn spares(_volume: &Volume, _config: &Config) -> Vec<Box<dyn Spare>> {
    Vec::new()
}

/// As the store takes them.
pub(super) fn lent(spares: &[Box<dyn Spare>]) -> Vec<&dyn Spare> {
    spares.iter().map(|spare| &**spare).collect()
}
