//! What a start does when the store was not stopped in order.
//!
//! A killed process loses nothing: the log and the packs are in the kernel. A power cut may have
//! kept a part of the log without the chunks that it names, since the kernel writes in any order
//! it likes. Chunks up to `durable_chunk` are known to be on disk; those after it are read and verified
//! here. If one is missing that something names, everything goes back to the moment before it
//! was first named: whatever was acknowledged by fsync happened earlier, because fsync makes the
//! packs durable before the log.

use super::Result;
use crate::chunks::{self, PackStore};
use crate::meta::{Meta, Tx};
use crate::model::{ChunkId, Moment, PackId};
use crate::sys::{Clock, failpoint};
use std::collections::HashMap;

/// Chunks verified per query.
const BATCH: usize = 512;

/// Puts the metadata in order and marks the store as in use.
pub(super) fn recover(meta: &Meta, packs: &PackStore, clock: &dyn Clock) -> Result<()> {
    let clean = meta.read(|view| view.is_clean())?;
    if !clean {
        log::info!(
            "the store was not stopped in order: verifying what may not have reached the disk"
        );
        let durable = meta.read(|view| view.durable_chunk())?;
        let lost = lost_chunks(meta, packs, durable)?;
        failpoint::hit("recover-before-rewind");
        meta.write(clock.now(), |tx| {
            rewind_before(tx, durable, &lost)?;
            end_orphans(tx)
        })?;
        failpoint::hit("recover-after-rewind");
    }
    forget_other_parts(meta, packs, clock)?;
    let durable = meta.last_chunk();
    packs.sync()?;
    meta.sync()?;
    meta.write(clock.now(), |tx| -> Result<()> {
        tx.set_durable_chunk(durable)?;
        tx.set_clean(false)?;
        Ok(())
    })?;
    meta.sync()?;
    Ok(())
}

/// Forgets in which parts packs were copied elsewhere that are gone, or were cut. Only at a start does a pack get a number that another one had before, or go
/// on before an end that it had: what is known of the one that was would be taken for the one that comes.
fn forget_other_parts(meta: &Meta, packs: &PackStore, clock: &dyn Clock) -> Result<()> {
    let lens: HashMap<PackId, u64> =
        packs.packs()?.into_iter().map(|pack| (pack.id, pack.len)).collect();
    let mut other: Vec<PackId> = (meta.read(|view| view.pack_parts())?.into_iter())
        .filter(|(pack, part)| {
            let len = lens.get(pack).copied().unwrap_or(0);
            part.start.checked_add(part.len).is_none_or(|end| end > len)
        })
        .map(|(pack, _)| pack)
        .collect();
    other.dedup();
    if other.is_empty() {
        return Ok(());
    }
    meta.write(clock.now(), |tx| -> Result<()> {
        other.iter().try_for_each(|pack| Ok(tx.forget_pack_parts(*pack)?))
    })
}

/// The chunks after `durable` that can't be read back as what they should be.
fn lost_chunks(meta: &Meta, packs: &PackStore, durable: ChunkId) -> Result<Vec<ChunkId>> {
    let mut lost = Vec::new();
    let mut after = durable;
    loop {
        let batch = meta.read(|view| view.chunks_after(after, BATCH))?;
        let Some(last) = batch.last() else { return Ok(lost) };
        after = last.id;
        for chunk in batch {
            let base = meta.read(|view| view.base_of(&chunk))?;
            match packs.verify(&chunk, base.as_ref()) {
                Ok(()) => {}
                Err(error) if is_loss(&error) => {
                    log::warn!("chunk {} did not reach the disk: {error}", chunk.id.0);
                    lost.push(chunk.id);
                }
                // The chunk may well be there: nothing must be undone for that.
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether the error says that the disk doesn't have the chunk, and not that we could not ask it (for
/// want of descriptors, memory or permission).
fn is_loss(error: &chunks::Error) -> bool {
    match error {
        chunks::Error::Damaged { .. } => true,
        chunks::Error::Io { source, .. } => source.raw_os_error() == Some(libc::EIO),
        _ => false,
    }
}

fn rewind_before(tx: &Tx<'_>, durable: ChunkId, lost: &[ChunkId]) -> Result<()> {
    for chunk in lost {
        tx.remove_chunk(*chunk)?;
    }
    if lost.is_empty() {
        return Ok(());
    }
    if let Some(first) = tx.first_dangling(durable)? {
        log::warn!("going back to the last whole moment: work that was not synced is undone");
        tx.rewind(Moment(first.0 - 1))?;
    }
    Ok(())
}

/// Files without a name that were open when the store was last used.
fn end_orphans(tx: &Tx<'_>) -> Result<()> {
    for ino in tx.orphans()? {
        tx.remove_orphan(ino)?;
        if tx.inode(ino)?.is_some_and(|inode| inode.attr.nlink == 0) {
            tx.end_inode(ino)?;
        }
    }
    Ok(())
}
