//! Changing the master key: all slots and the metadata at once, packs in the background.

use super::Error;
use super::generation;
use super::header::{self, Encryption, Found, OldMaster};
use super::keys::{identity_context, old_context, opened, read_authentic, rewrite, ring};
use super::options::VolumeOptions;
use super::space::LOG_ROOM_BYTES;
use super::store::{self, META_FILE};
use super::store_error::{StoreError, io_error, open_error};
use super::volume::Volume;
use crate::crypt::{Keyring, Secret, SlotKey, SlotPlace, wrap_key};
use crate::sys::{self, Clock, DirectoryLock};
use std::path::Path;
use std::sync::Arc;

/// Makes a new master key, with which everything is sealed from now on, wraps it into each slot that one of `secrets` opens, and
/// encrypts the metadata anew. The slots named in `drop` go. Packs that were sealed with an earlier key are emptied by upkeep;
/// until then the header keeps that key, sealed with the new one. The store must not be open.
///
/// Interrupted at any instant, the store opens with the secrets that it is left with; what is left to do is done when
/// it is opened next, and by upkeep.
///
/// # Errors
/// `SlotsLeft` if a slot is neither opened nor named, `NoSuchKey`, `LastKey`, `WrongKey`; what opening the store may say.
pub fn rotate(
    store: &Path,
    secrets: &[Arc<Secret>],
    drop: &[u32],
    options: VolumeOptions,
    clock: Arc<dyn Clock>,
) -> Result<(), StoreError> {
    let found = header::read(store)?;
    let kept = kept_slots(store, &found, secrets, drop)?;
    let Kept { secret, keys, .. } = &kept;
    let secret = Some(Arc::clone(secret));
    let options = VolumeOptions { secret, read_only: false, ..options };
    // Puts right what the last stop left: what is sealed anew must be at rest.
    reopen(store, &options, &clock)?;
    refuse_without_room(store)?;
    change_master(store, &found, keys, &kept.slots)?;
    // Encrypts the metadata anew.
    reopen(store, &options, &clock)
}

/// The slots that stay.
struct Kept {
    slots: Vec<(u32, SlotKey)>,
    /// What opens the first of them.
    secret: Arc<Secret>,
    keys: Keyring,
}

fn kept_slots(
    store: &Path,
    found: &Found,
    secrets: &[Arc<Secret>],
    drop: &[u32],
) -> Result<Kept, StoreError> {
    let encryption = found.header.encryption.as_ref();
    let encryption = encryption.ok_or_else(|| StoreError::NotEncrypted(store.to_owned()))?;
    let is_known = |id: &&u32| encryption.slots.iter().any(|slot| slot.id == **id);
    if let Some(&id) = drop.iter().find(|id| !is_known(id)) {
        return Err(StoreError::NoSuchKey { path: store.to_owned(), id });
    }
    let id = found.header.id();
    let place = SlotPlace { store: &id, epoch: encryption.epoch };
    let (mut slots, mut left, mut first) = (Vec::new(), Vec::new(), None);
    for slot in encryption.slots.iter().filter(|slot| !drop.contains(&slot.id)) {
        match secrets.iter().find_map(|secret| Some((opened(slot, secret, place)?, secret))) {
            Some(((key, master), secret)) => {
                slots.push((slot.id, key));
                first.get_or_insert((master, secret));
            }
            None => left.push(slot.id),
        }
    }
    match (first, left.is_empty()) {
        (Some((master, secret)), true) => {
            let keys = ring(store, found, encryption, &master)?;
            Ok(Kept { slots, secret: Arc::clone(secret), keys })
        }
        (None, true) => Err(StoreError::LastKey(store.to_owned())),
        (_, false) => Err(StoreError::SlotsLeft { path: store.to_owned(), ids: left }),
    }
}

/// Fails where there is no room for the metadata a second time.
fn refuse_without_room(store: &Path) -> Result<(), StoreError> {
    let metadata = std::fs::metadata(store.join(META_FILE)).map_err(io_error(store))?;
    let space = sys::disk_space(store).map_err(io_error(store))?;
    match metadata.len() + LOG_ROOM_BYTES <= space.available {
        true => Ok(()),
        false => Err(open_error(store, Error::NoSpace)),
    }
}

/// Opens the store and closes it in order.
fn reopen(store: &Path, options: &VolumeOptions, clock: &Arc<dyn Clock>) -> Result<(), StoreError> {
    let volume = Volume::open_store(store, options.clone(), Arc::clone(clock))?;
    volume.close().map_err(|error| open_error(store, error))
}

/// Begins an epoch: publishes a header in which the slots that are kept hold a new master key.
fn change_master(
    store: &Path,
    before: &Found,
    keys: &Keyring,
    slots: &[(u32, SlotKey)],
) -> Result<(), StoreError> {
    let _lock = store::lock(store)?;
    let _directory = DirectoryLock::acquire(store).map_err(io_error(store))?;
    let found = header::read(store)?;
    if found.generation() != before.generation() {
        let why = "its keys were changed meanwhile; try again".into();
        return Err(StoreError::Header { path: store.join(header::HEADER_FILE), why });
    }
    let keys = keys.with_new_epoch().map_err(io_error(store))?;
    rewrite(store, found.header, &keys, |id, encryption, _| {
        rewrap(&id, encryption, &keys, slots);
        Ok(())
    })
}

fn rewrap(id: &[u8; 16], encryption: &mut Encryption, keys: &Keyring, slots: &[(u32, SlotKey)]) {
    let epoch = keys.current();
    let master = keys.master(epoch).expect("the ring has the key of its current epoch");
    let place = SlotPlace { store: id, epoch };
    encryption.slots.retain_mut(|slot| {
        let key = slots.iter().find(|(id, _)| *id == slot.id);
        key.map(|(_, key)| slot.wrap(key, master, place)).is_some()
    });
    encryption.identity = wrap_key(master, &identity_context(id), keys.identity());
    encryption.epoch = epoch;
    let earlier = keys.epochs().filter(|&old| old != epoch);
    let wrap_old = |epoch| {
        let old = keys.master(epoch).expect("the ring names it");
        OldMaster { epoch, wrapped: wrap_key(master, &old_context(id, epoch), old) }
    };
    encryption.old = earlier.map(wrap_old).collect();
}

impl Volume {
    /// Takes the master keys of earlier epochs out of the header once nothing is sealed with them any more. Best effort: the next
    /// upkeep does it too.
    pub(super) fn forget_old_keys(&self) {
        let Some(keys) = self.keys.as_ref().filter(|keys| keys.epochs().count() > 1) else {
            return;
        };
        let outcome = match self.old_keys_in_use() {
            Ok(true) => return,
            Ok(false) => self.try_to_forget(keys),
            Err(error) => Err(open_error(&self.store, error)),
        };
        if let Err(error) = outcome {
            log::warn!("earlier master keys stay in the header: {error}");
        }
    }

    fn try_to_forget(&self, keys: &Keyring) -> Result<(), StoreError> {
        // A pack that a power cut brings back could be opened by nobody.
        self.ingest.packs().sync().map_err(|error| open_error(&self.store, error))?;
        let known = generation::known(&self.store, &self.meta)?;
        forget_old_keys(&self.store, keys, known)
    }
}

/// What is written is authentic: so what is read must be, and not older than the newest that was seen.
fn forget_old_keys(store: &Path, keys: &Keyring, known: u64) -> Result<(), StoreError> {
    let _directory = DirectoryLock::acquire(store).map_err(io_error(store))?;
    let found = read_authentic(store, keys)?;
    generation::refuse_older(store, &found, known)?;
    let old = found.header.encryption.as_ref().map(|encryption| &encryption.old);
    if old.is_none_or(Vec::is_empty) {
        return Ok(());
    }
    log::info!("nothing is sealed with an earlier master key any more: forgetting it");
    rewrite(store, found.header, keys, |_, encryption, _| {
        encryption.old.clear();
        Ok(())
    })
}
