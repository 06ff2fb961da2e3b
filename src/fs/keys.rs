//! The keys of an encrypted store: unlocking it, and changing what unlocks it.
//!
//! Key slots are in the header alone, so they can be changed while the store is in use. Whoever does so holds the
//! store's directory lock from reading the header to writing it.

use super::header::{self, Encryption, Found, Header};
use super::store_error::{StoreError, io_error};
use crate::crypt::{
    Key, Keyring, RecoveryKey, Secret, Slot, SlotKey, SlotKind, SlotPlace, Stretching, Typed,
    unwrap_key, wrap_key,
};
use crate::sys::{Clock, DirectoryLock, machine_memory};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a key's label, at most.
pub(super) const LABEL_LEN_MAX: usize = 100;

/// What is to unlock a store from now on.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// A passphrase or key file.
    pub secret: Arc<Secret>,
    /// Whose it is, or what for; may be empty.
    pub label: String,
    /// About how long unlocking with a passphrase is to take on this machine: that much each guess costs.
    pub unlock_time: Duration,
}

/// A key slot of a store, without its secrets.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// Its number.
    pub id: u32,
    /// What opens it.
    pub kind: SlotKind,
    /// Whose it is, or what for.
    pub label: String,
    /// When it was made: seconds since 1970.
    pub made: i64,
    /// How a passphrase is stretched.
    pub argon2id: Option<Stretching>,
}

/// An unlocked header.
pub(super) struct Unlocked {
    pub keys: Keyring,
    /// The slot that was opened, and its key.
    pub slot: (u32, SlotKey),
}

/// Whether the store is encrypted.
///
/// # Errors
/// There is no store, or its header can't be read.
pub fn is_encrypted(store: &Path) -> Result<bool, StoreError> {
    Ok(header::read(store)?.header.encryption.is_some())
}

/// The key slots of a store; needs no secret.
///
/// # Errors
/// It has none, or its header can't be read.
pub fn keys(store: &Path) -> Result<Vec<KeyInfo>, StoreError> {
    let found = header::read(store)?;
    let encryption = found.header.encryption;
    let encryption = encryption.ok_or_else(|| StoreError::NotEncrypted(store.to_owned()))?;
    Ok(encryption.slots.into_iter().map(KeyInfo::from).collect())
}

impl From<Slot> for KeyInfo {
    fn from(slot: Slot) -> KeyInfo {
        let Slot { id, kind, label, made, argon2id, .. } = slot;
        KeyInfo { id, kind, label, made, argon2id }
    }
}

/// Which key slot `secret` opens.
///
/// # Errors
/// `WrongKey` if none; `Mistyped` if it is a recovery key with a mistake.
pub fn unlock(store: &Path, secret: &Secret) -> Result<u32, StoreError> {
    Ok(unlocked(store, &header::read(store)?, secret)?.slot.0)
}

/// Adds a key slot, for which one that is there must be opened; answers its number.
///
/// # Errors
/// As [`unlock`]; the new one would be guessed quickly; the header can't be written.
pub fn add_key(
    store: &Path,
    have: &Secret,
    new: &NewKey,
    clock: &dyn Clock,
) -> Result<u32, StoreError> {
    edit(store, have, |edit| edit.add(new, clock))
}

/// Replaces the key slot that `have` opens; answers the new one's number.
///
/// # Errors
/// As [`add_key`].
pub fn change_key(
    store: &Path,
    have: &Secret,
    new: &NewKey,
    clock: &dyn Clock,
) -> Result<u32, StoreError> {
    edit(store, have, |edit| {
        let id = edit.add(new, clock)?;
        let opened = edit.opened;
        edit.encryption.slots.retain(|slot| slot.id != opened);
        Ok(id)
    })
}

/// Adds a key slot for a new recovery key; answers its number, and the key, which is nowhere else.
///
/// # Errors
/// As [`unlock`]; the header can't be written.
pub fn add_recovery_key(
    store: &Path,
    have: &Secret,
    label: &str,
    clock: &dyn Clock,
) -> Result<(u32, RecoveryKey), StoreError> {
    edit(store, have, |edit| {
        let key = RecoveryKey::generate();
        let mut slot = Slot::for_recovery(edit.encryption.next_key);
        slot.label = label.to_owned();
        let slot_key = slot.key_of_recovery(&key);
        Ok((edit.enter(slot, slot_key, clock)?, key))
    })
}

/// Removes a key slot. What it opened stays open to who kept a copy of the master key: see [`rotate`](super::rotate()).
///
/// # Errors
/// `LastKey` for the last one, `NoSuchKey`; as [`unlock`].
pub fn remove_key(store: &Path, have: &Secret, id: u32) -> Result<(), StoreError> {
    edit(store, have, |edit| {
        let slots = &mut edit.encryption.slots;
        if slots.iter().all(|slot| slot.id != id) {
            return Err(StoreError::NoSuchKey { path: store.to_owned(), id });
        }
        if slots.len() == 1 {
            return Err(StoreError::LastKey(store.to_owned()));
        }
        slots.retain(|slot| slot.id != id);
        Ok(())
    })
}

/// An unlocked header that is being changed.
struct Edit<'a> {
    store: &'a Path,
    id: [u8; 16],
    encryption: &'a mut Encryption,
    master: &'a Key,
    /// The slot that was opened.
    opened: u32,
}

impl Edit<'_> {
    fn add(&mut self, new: &NewKey, clock: &dyn Clock) -> Result<u32, StoreError> {
        new.secret.check_strength().map_err(StoreError::WeakKey)?;
        let stretching = Stretching::calibrated(new.unlock_time, machine_memory());
        let mut slot = Slot::for_secret(self.encryption.next_key, &new.secret, stretching);
        slot.label.clone_from(&new.label);
        let slot_key = slot.key_of(&new.secret);
        self.enter(slot, slot_key, clock)
    }

    /// Wraps the master key into a slot and enters it.
    fn enter(
        &mut self,
        mut slot: Slot,
        key: Option<SlotKey>,
        clock: &dyn Clock,
    ) -> Result<u32, StoreError> {
        let no_memory = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let key = key.ok_or_else(no_memory).map_err(io_error(self.store))?;
        if slot.label.len() > LABEL_LEN_MAX || slot.label.contains(char::is_control) {
            return Err(StoreError::BadLabel);
        }
        slot.made = clock.now().0 / 1_000_000_000;
        let place = SlotPlace { store: &self.id, epoch: self.encryption.epoch };
        slot.wrap(&key, self.master, place);
        let id = slot.id;
        self.encryption.slots.push(slot);
        self.encryption.next_key = id + 1;
        Ok(id)
    }
}

/// Unlocks the header, lets `change` change it, and writes it.
fn edit<T>(
    store: &Path,
    have: &Secret,
    change: impl FnOnce(&mut Edit<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let _lock = DirectoryLock::acquire(store).map_err(io_error(store))?;
    let found = header::read(store)?;
    let Unlocked { keys, slot: (opened, _) } = unlocked(store, &found, have)?;
    rewrite(store, found.header, &keys, |id, encryption, master| {
        change(&mut Edit { store, id, encryption, master, opened })
    })
}

/// Changes an encrypted store's header and writes it, as its next generation. The directory lock must be held.
pub(super) fn rewrite<T>(
    store: &Path,
    mut header: Header,
    keys: &Keyring,
    change: impl FnOnce([u8; 16], &mut Encryption, &Key) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let id = header.id();
    let not_encrypted = || StoreError::NotEncrypted(store.to_owned());
    let encryption = header.encryption.as_mut().ok_or_else(not_encrypted)?;
    let master = keys.master(keys.current()).ok_or_else(not_encrypted)?;
    let value = change(id, encryption, master)?;
    encryption.generation += 1;
    header.write_sealed(store, master)?;
    Ok(value)
}

/// The header of a new encrypted store, and its keys.
pub(super) fn encrypt(
    store: &Path,
    header: &mut Header,
    new: &NewKey,
    clock: &dyn Clock,
) -> Result<Keyring, StoreError> {
    let keys = Keyring::generate().map_err(io_error(store))?;
    let id = header.id();
    let epoch = keys.current();
    let master = keys.master(epoch).expect("a new ring has a master key");
    header.encrypt(epoch, wrap_key(master, &identity_context(&id), keys.identity()));
    let encryption = header.encryption.as_mut().expect("it was put there above");
    Edit { store, id, encryption, master, opened: 0 }.add(new, clock)?;
    Ok(keys)
}

/// Opens a slot of the header, verifies the header with its master key, and takes all keys from it.
pub(super) fn unlocked(
    store: &Path,
    found: &Found,
    secret: &Secret,
) -> Result<Unlocked, StoreError> {
    let encryption = found.header.encryption.as_ref();
    let encryption = encryption.ok_or_else(|| StoreError::NotEncrypted(store.to_owned()))?;
    let id = found.header.id();
    let place = SlotPlace { store: &id, epoch: encryption.epoch };
    for slot in &encryption.slots {
        if let Some((key, master)) = opened(slot, secret, place) {
            let keys = ring(store, found, encryption, &master)?;
            return Ok(Unlocked { keys, slot: (slot.id, key) });
        }
    }
    match secret.as_recovery_key() {
        Typed::Mistyped(group) => Err(StoreError::Mistyped { path: store.to_owned(), group }),
        Typed::Key(_) | Typed::Other => Err(StoreError::WrongKey(store.to_owned())),
    }
}

/// What `secret` comes to in a slot, and the master key that is in it; `None` if it doesn't open it. Takes its time.
pub(super) fn opened(slot: &Slot, secret: &Secret, place: SlotPlace<'_>) -> Option<(SlotKey, Key)> {
    let key = slot.key_of(secret)?;
    let master = slot.unwrap(&key, place)?;
    Some((key, master))
}

/// All keys that a master key opens, which must be that of the header.
pub(super) fn ring(
    store: &Path,
    found: &Found,
    encryption: &Encryption,
    master: &Key,
) -> Result<Keyring, StoreError> {
    let forged = || forged(store);
    if !found.is_authentic(master) {
        return Err(forged());
    }
    let id = found.header.id();
    let identity = unwrap_key(master, &identity_context(&id), &encryption.identity);
    let mut keys =
        Keyring::with_identity(&identity.ok_or_else(forged)?).map_err(io_error(store))?;
    for old in &encryption.old {
        let key = unwrap_key(master, &old_context(&id, old.epoch), &old.wrapped);
        keys.add(old.epoch, &key.ok_or_else(forged)?).map_err(io_error(store))?;
    }
    keys.add(encryption.epoch, master).map_err(io_error(store))?;
    Ok(keys)
}

/// The header of an open store as it is now, whose keys have not changed since: nobody but who has them may have written it.
pub(super) fn read_authentic(store: &Path, keys: &Keyring) -> Result<Found, StoreError> {
    let found = header::read(store)?;
    let master = keys.master(keys.current());
    let is_ours = master.is_some_and(|master| found.is_authentic(master));
    if is_ours { Ok(found) } else { Err(forged(store)) }
}

fn forged(store: &Path) -> StoreError {
    header::wrong(store, "somebody changed it who did not have the key".into())
}

/// What the wrapped identity key is bound to.
pub(super) fn identity_context(store: &[u8; 16]) -> Vec<u8> {
    [&b"identity"[..], store].concat()
}

/// What the wrapped master key of an earlier epoch is bound to.
pub(super) fn old_context(store: &[u8; 16], epoch: u32) -> Vec<u8> {
    [&b"old master"[..], store, &epoch.to_le_bytes()].concat()
}
