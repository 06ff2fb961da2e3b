//! Which packs are still encrypted with keys that were replaced.

use super::cipher::Cipher;
use super::format::PackHeader;
use super::{Error, PackStore, Result, walk};
use crate::crypt::Keyring;
use crate::model::PackId;
use std::fs::File;
use std::io;
use std::sync::Arc;

impl PackStore {
    /// The packs whose keys are derived from an older master key than the newest one, in order. Those whose header doesn't tell
    /// are among them. Where only one master key is known, no pack is looked at, and there are none.
    pub fn packs_of_old_keys(&self) -> Result<Vec<PackId>> {
        let keys = self.files.keys().filter(|keys| keys.epochs().nth(1).is_some());
        let Some(keys) = keys else { return Ok(Vec::new()) };
        let mut old = Vec::new();
        for pack in self.packs()? {
            match self.epoch_of(pack.id, keys)? {
                Epoch::Gone => {}
                Epoch::Is(epoch) if epoch == keys.current() => {}
                Epoch::Is(_) | Epoch::Unknown => old.push(pack.id),
            }
        }
        Ok(old)
    }

    fn epoch_of(&self, pack: PackId, keys: &Arc<Keyring>) -> Result<Epoch> {
        if let Some(epoch) = self.epochs.lock().get(&pack) {
            return Ok(Epoch::Is(*epoch));
        }
        let path = self.files.path(pack);
        let file = match File::open(&path) {
            // Removed meanwhile, or missing: there is nothing that a key could open.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Epoch::Gone),
            opened => opened.map_err(|error| Error::from_io(&path, error))?,
        };
        let header = walk::read_header(&file).map_err(|error| Error::from_io(&path, error))?;
        match header {
            // Believed only if it is the key's: an epoch that was written over must not end a key that is needed.
            PackHeader::Known(name, Some(hint))
                if Cipher::of_header(keys, self.files.name(pack), &header, &path).is_ok()
                    && name == self.files.name(pack) =>
            {
                self.epochs.lock().insert(pack, hint.epoch);
                Ok(Epoch::Is(hint.epoch))
            }
            _ => Ok(Epoch::Unknown),
        }
    }
}

/// Of which master key a pack's key is derived.
enum Epoch {
    Is(u32),
    Unknown,
    Gone,
}
