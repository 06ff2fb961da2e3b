//! Who must hear of changes that did not come through them.

use super::volume::Volume;
use crate::model::Ino;
use std::sync::Arc;

/// Somebody who remembers what a drive showed, and believes it: the kernel, where the store is mounted. Whoever changes a
/// mounted store by its [`Volume`] tells what changed, afterwards and with no lock held.
pub trait Told: Send + Sync {
    /// What this name in this directory holds is not what it was.
    fn name_changed(&self, dir: Ino, name: &[u8]);
    /// The attributes are not what they were.
    fn attributes_changed(&self, ino: Ino);
}

impl Volume {
    /// From now on changes are told to `told`. Only the first one is.
    pub fn tell_of_changes(&self, told: Arc<dyn Told>) {
        if self.told.set(told).is_err() {
            log::warn!("a store is mounted twice in one process");
        }
    }

    /// Who is to be told.
    pub fn told(&self) -> Option<&dyn Told> {
        self.told.get().map(|told| &**told)
    }
}
