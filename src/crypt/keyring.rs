//! The keys of an open store.

use super::key::{Key, Purpose};
use crate::sys::Locked;
use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// The keys of an open store: a master key for each epoch that anything is still sealed with, and the key of the chunks'
/// identities, which never changes. An epoch begins when the master key is changed.
pub struct Keyring {
    identity: Locked<Key>,
    masters: BTreeMap<u32, Locked<Key>>,
}

impl Keyring {
    /// New keys, of epoch 1.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn generate() -> io::Result<Keyring> {
        let mut keyring = Keyring { identity: Locked::new()?, masters: BTreeMap::new() };
        keyring.identity.randomize();
        keyring.begin_epoch()?;
        Ok(keyring)
    }

    /// A ring with this identity key and no master key yet.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn with_identity(identity: &Key) -> io::Result<Keyring> {
        let mut keyring = Keyring { identity: Locked::new()?, masters: BTreeMap::new() };
        keyring.identity.set(identity.bytes());
        Ok(keyring)
    }

    /// Adds the master key of an epoch.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn add(&mut self, epoch: u32, master: &Key) -> io::Result<()> {
        let mut kept = Locked::<Key>::new()?;
        kept.set(master.bytes());
        self.masters.insert(epoch, kept);
        Ok(())
    }

    /// Makes a new master key, with which everything is sealed from now on; answers its epoch.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn begin_epoch(&mut self) -> io::Result<u32> {
        let epoch = self.masters.keys().next_back().map_or(1, |last| last + 1);
        let mut master = Locked::<Key>::new()?;
        master.randomize();
        self.masters.insert(epoch, master);
        Ok(epoch)
    }

    /// Forgets all master keys but the newest.
    pub fn forget_old(&mut self) {
        let current = self.current();
        self.masters.retain(|&epoch, _| epoch == current);
    }

    /// The epoch whose key new things are sealed with.
    pub fn current(&self) -> u32 {
        self.masters.keys().next_back().copied().unwrap_or(0)
    }

    /// All epochs whose keys are known, rising; the last is [`current`](Keyring::current).
    pub fn epochs(&self) -> impl Iterator<Item = u32> + '_ {
        self.masters.keys().copied()
    }

    /// The key of the chunks' identities.
    pub fn identity(&self) -> &Key {
        &self.identity
    }

    /// The master key of an epoch.
    pub fn master(&self, epoch: u32) -> Option<&Key> {
        self.masters.get(&epoch).map(|master| &**master)
    }

    /// The key of a pack; `None` if the key of its epoch is not known.
    pub fn pack(&self, epoch: u32, store: &[u8; 16], pack: u32) -> Option<Key> {
        let master = self.master(epoch)?;
        Some(master.derive(Purpose::Pack, &[store, &pack.to_le_bytes()]))
    }

    /// The key of the metadata in an epoch; `None` if that one's key is not known.
    pub fn metadata(&self, epoch: u32, store: &[u8; 16]) -> Option<Key> {
        Some(self.master(epoch)?.derive(Purpose::Metadata, &[store]))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("epochs", &self.masters.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_begins_with_a_key_of_its_own() {
        let mut keyring = Keyring::generate().unwrap();
        let first = *keyring.master(1).unwrap().bytes();
        let identity = *keyring.identity().bytes();
        assert_eq!(keyring.begin_epoch().unwrap(), 2);
        assert_eq!((keyring.current(), keyring.epochs().collect::<Vec<_>>()), (2, vec![1, 2]));
        assert_ne!(keyring.master(2).unwrap().bytes(), &first);
        assert_eq!(keyring.identity().bytes(), &identity);
        let old = keyring.pack(1, &[3; 16], 7).unwrap();
        assert_ne!(old.bytes(), keyring.pack(2, &[3; 16], 7).unwrap().bytes());
        assert_ne!(old.bytes(), keyring.pack(1, &[3; 16], 8).unwrap().bytes());
        keyring.forget_old();
        assert_eq!(keyring.epochs().collect::<Vec<_>>(), [2]);
        assert!(keyring.pack(1, &[3; 16], 7).is_none());
    }
}
