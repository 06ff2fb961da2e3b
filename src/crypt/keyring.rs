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

    /// The same keys and a new master key, with which everything is sealed from then on.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn with_new_epoch(&self) -> io::Result<Keyring> {
        let mut keyring = Keyring::with_identity(&self.identity)?;
        for (&epoch, master) in &self.masters {
            keyring.add(epoch, master)?;
        }
        keyring.begin_epoch()?;
        Ok(keyring)
    }

    /// Makes a new master key, with which everything is sealed from now on; answers its epoch.
    ///
    /// # Errors
    /// There is no memory for it.
    fn begin_epoch(&mut self) -> io::Result<u32> {
        let epoch = self.masters.keys().next_back().map_or(1, |last| last + 1);
        let mut master = Locked::<Key>::new()?;
        master.randomize();
        self.masters.insert(epoch, master);
        Ok(epoch)
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
        let old = Keyring::generate().unwrap();
        let new = old.with_new_epoch().unwrap();
        assert_eq!((old.current(), new.current()), (1, 2));
        assert_eq!(new.epochs().collect::<Vec<_>>(), [1, 2]);
        let bytes = |keys: &Keyring, epoch| *keys.master(epoch).unwrap().bytes();
        assert_eq!(bytes(&old, 1), bytes(&new, 1));
        assert_ne!(bytes(&new, 1), bytes(&new, 2));
        assert_eq!(old.identity().bytes(), new.identity().bytes());
        let pack = |epoch, number| *new.pack(epoch, &[3; 16], number).unwrap().bytes();
        assert_ne!(pack(1, 7), pack(2, 7));
        assert_ne!(pack(1, 7), pack(1, 8));
        assert!(old.pack(2, &[3; 16], 7).is_none());
    }
}
