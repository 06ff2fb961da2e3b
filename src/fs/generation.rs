//! Which header an encrypted store has: one that was put back from earlier is noticed, a copy that was lost is written anew.
//!
//! The metadata knows the generation of the newest header that was seen. It is encrypted, and changes with each use.

use super::header::{self, Found};
use super::keys::{read_authentic, rewrite, unlocked};
use super::store;
use super::store_error::{StoreError, io_error, open_error};
use super::volume::Volume;
use crate::crypt::{Keyring, Secret};
use crate::meta::{self, Meta};
use crate::sys::{Clock, DirectoryLock};
use std::path::Path;
use std::sync::Arc;

/// Refuses a header that is older than one that was seen before: it may have been put back so that a key opens the store that was
/// removed. Puts a copy right that is damaged, lost or older, if it can.
pub(super) fn guard(
    path: &Path,
    found: &Found,
    keys: Option<&Keyring>,
    meta: &Meta,
    read_only: bool,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let Some(keys) = keys else { return Ok(()) };
    let known = known(path, meta)?;
    refuse_older(path, found, known)?;
    if read_only {
        return Ok(());
    }
    if found.needs_mending
        && let Err(error) = mend(path, keys)
    {
        // A full disk, say: one copy is enough.
        log::warn!(
            "a copy of the store's header is lost, old or damaged, and can't be mended: {error}"
        );
        return Ok(());
    }
    note(meta, known, found.generation(), clock).map_err(|error| open_error(path, error))
}

/// The generation of the newest header that the store has seen.
pub(super) fn known(path: &Path, meta: &Meta) -> Result<u64, StoreError> {
    meta.read(|view| view.header_generation()).map_err(|error: meta::Error| open_error(path, error))
}

/// Fails for a header that is older than the one that is known.
pub(super) fn refuse_older(path: &Path, found: &Found, known: u64) -> Result<(), StoreError> {
    let generation = found.generation();
    if generation >= known {
        return Ok(());
    }
    Err(StoreError::OldHeader { path: path.to_owned(), found: generation, known })
}

/// Makes a header that was put back from earlier the store's again, for an owner who lost the newer one; whether it was an old one. The keys
/// in it open the store from then on, also those that were removed since. The store must not be open.
///
/// # Errors
/// `Locked`; as [`unlock`](super::unlock); its master key is not the store's any more.
pub fn accept_header(store: &Path, have: &Secret, clock: &dyn Clock) -> Result<bool, StoreError> {
    let _lock = store::lock(store)?;
    let _directory = DirectoryLock::acquire(store).map_err(io_error(store))?;
    let found = header::read(store)?;
    let keys = Arc::new(unlocked(store, &found, have)?.keys);
    let (meta, _) = store::open_meta(store, &found, &Some(Arc::clone(&keys)), true)?;
    let failed = |error: meta::Error| open_error(store, error);
    let known = known(store, &meta)?;
    let is_old = found.generation() < known;
    if is_old {
        let generation = rewrite(store, found.header, &keys, |_, encryption, _| {
            encryption.generation = known;
            Ok(known + 1)
        })?;
        note(&meta, known, generation, clock).map_err(failed)?;
    }
    meta.close().map_err(failed)?;
    Ok(is_old)
}

/// Only for a header of which both copies are there: the second one is written when the first is certain to stay. Otherwise a
/// power cut could take back what is known already, and the store would not open any more.
fn note(meta: &Meta, known: u64, generation: u64, clock: &dyn Clock) -> meta::Result<()> {
    if generation <= known {
        return Ok(());
    }
    meta.write(clock.now(), |tx| tx.set_header_generation(generation))?;
    meta.sync()
}

/// Makes both copies of the header equal to the newest one that is whole.
fn mend(path: &Path, keys: &Keyring) -> Result<(), StoreError> {
    let _directory = DirectoryLock::acquire(path).map_err(io_error(path))?;
    let found = read_authentic(path, keys)?;
    let Some(master) = keys.master(keys.current()) else { return Ok(()) };
    log::warn!("a copy of the store's header was lost, old or damaged: it was written anew");
    found.rewrite(path, master)
}

impl Volume {
    /// Notes a header that was changed while the store was open. Best effort: the next start does it too.
    pub(super) fn note_header(&self) {
        let Some(keys) = &self.keys else { return };
        if let Err(error) = self.try_to_note_header(keys) {
            log::warn!("the store's header can't be looked at: {error}");
        }
    }

    fn try_to_note_header(&self, keys: &Keyring) -> Result<(), StoreError> {
        let found = read_authentic(&self.store, keys)?;
        if found.needs_mending {
            return Ok(());
        }
        let known = known(&self.store, &self.meta)?;
        note(&self.meta, known, found.generation(), &*self.clock)
            .map_err(|error| open_error(&self.store, error))
    }
}
