//! What scrubbing asks of packs: to read from the disk and not from memory, and whether what lies between the chunks is whole.

use super::format::{Codec, Entry, PACK_HEADER_LEN, PackHeader, RECORD_HEADER_LEN};
use super::read::verified;
use super::walk::{self, Record};
use super::{Error, PackStore, Result};
use crate::model::{ChunkRef, PackId};
use crate::sys;
use std::fmt;

/// The kernel keeps or drops whole pages.
const PAGE_BYTES: u64 = 4096;

/// A part of a pack that is damaged, and that no chunk needs in order to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The first bytes, which say whose pack it is and with which key it is sealed.
    Header,
    /// The list of its records: whoever needs that walks over them instead.
    Footer,
    /// The header of a record that holds no chunk any more.
    Record {
        /// Offset in bytes of the record.
        offset: u64,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Header => f.write_str("its header is damaged"),
            Flaw::Footer => f.write_str("its footer is damaged"),
            Flaw::Record { offset } => {
                write!(f, "a record at byte {offset} that holds no chunk is damaged")
            }
        }
    }
}

impl PackStore {
    /// Lets the kernel drop what it holds of the bytes `from..to` of a pack, so that reading them asks the disk. Best effort:
    /// what is not written back yet stays.
    pub fn forget(&self, pack: PackId, from: u64, to: u64) {
        let from = from - from % PAGE_BYTES;
        if let Ok(pack) = self.files.get(pack) {
            sys::forget_cached(&pack.file, from, to.next_multiple_of(PAGE_BYTES) - from);
        }
    }

    /// Reads a chunk's whole record past our caches, and verifies it; past the kernel's only after
    /// [`forget`](PackStore::forget). That of its base only as far as it is needed.
    ///
    /// # Errors
    /// As [`read_range`](PackStore::read_range).
    pub fn verify_record(&self, chunk: &ChunkRef, base: Option<&ChunkRef>) -> Result<()> {
        let pack = self.files.get(chunk.at.pack)?;
        let plain = self.read_record(&pack, chunk, base)?;
        verified(self.hash(&plain) == chunk.hash, chunk)
    }

    /// Whether these are the chunk's plain bytes.
    pub fn is_content(&self, plain: &[u8], chunk: &ChunkRef) -> bool {
        self.hash(plain) == chunk.hash
    }

    /// What is damaged of a pack beside its chunks, read from the disk. `is_verified` tells which records need not be looked
    /// at. Of the pack that is being written only the header is looked at.
    ///
    /// # Errors
    /// `Damaged` where the pack is missing; those of the disk.
    pub fn flaws(&self, pack: PackId, is_verified: &dyn Fn(&Record) -> bool) -> Result<Vec<Flaw>> {
        let (len, is_written) = {
            let state = self.state.lock();
            let len = state.packs.get(&pack).map(|pack| pack.len);
            (len, state.is_active(pack))
        };
        let len = len.ok_or_else(|| Error::damaged(pack, 0, "the pack file is missing"))?;
        let failed = |error| Error::from_io(&self.files.path(pack), error);
        let file = self.files.get(pack)?;
        let mut flaws = Vec::new();
        self.forget(pack, 0, PACK_HEADER_LEN);
        match walk::read_header(&file.file).map_err(failed)? {
            PackHeader::Known(name, hint)
                if name == file.name && hint.is_some() == file.cipher.is_some() => {}
            _ => flaws.push(Flaw::Header),
        }
        if is_written {
            return Ok(flaws);
        }
        let entries = walk::entries(&file, len).map_err(failed)?;
        self.forget(pack, entries.last().map_or(PACK_HEADER_LEN, Entry::end), len);
        if walk::read_footer(&file, len).map_err(failed)?.is_none() {
            flaws.push(Flaw::Footer);
        }
        for entry in entries {
            let at = entry.header.location(pack, entry.offset);
            let is_difference = entry.header.codec == Codec::Difference;
            if is_verified(&Record { hash: entry.header.hash, at, is_difference }) {
                continue;
            }
            self.forget(pack, entry.offset, entry.offset + RECORD_HEADER_LEN);
            if walk::read_entry(&file, entry.offset, len).map_err(failed)? != Some(entry) {
                flaws.push(Flaw::Record { offset: entry.offset });
            }
        }
        Ok(flaws)
    }
}
