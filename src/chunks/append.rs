//! The pack that is written: created, appended to, sealed.
//!
//! After a crash at any line here the records that were whole on the disk can be walked, and nothing else looks
//! like a record. `recover` brings the pack back into shape.

use super::cipher::{Cipher, Salts};
use super::files::PackFile;
use super::format::{self, Entry, PACK_HEADER_LEN, PackName, RECORD_HEADER_LEN, RecordHeader};
use super::walk::Walk;
use super::{Error, Result};
use crate::crypt;
use crate::model::ChunkLocation;
use crate::sys::{self, failpoint};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writeback is started whenever this many bytes were appended, so that a later sync has little left.
const WRITEBACK_BYTES: u64 = 4 << 20;
/// Zeros that are written ahead of the records when syncs follow each other closely.
///
/// Measured with 4 KiB appends, each with fdatasync, ext4, median: 120 µs when each append makes the file
/// longer (a commit of the journal each time; preallocation doesn't help, it changes extents instead of the
/// size), 80 µs into zeros that were written before, which only writes data.
const ZERO_AHEAD_BYTES: u64 = 1 << 20;
/// A sync of at most this many new bytes is a small one.
const SMALL_SYNC_BYTES_MAX: u64 = 256 << 10;
/// After this many small syncs in a row zeros are written ahead.
const SMALL_SYNCS_BEFORE_ZEROS: u32 = 4;
/// Room that is reserved beyond the target for the record that crosses it and for the footer.
const RESERVE_BEYOND_TARGET_BYTES: u64 = 1 << 20;

/// The pack that takes new records.
pub(super) struct Active {
    pub name: PackName,
    pub file: Arc<File>,
    /// The keys of an encrypted pack.
    cipher: Option<Cipher>,
    salts: Salts,
    /// The record that is being sealed: kept for its room.
    sealed: Vec<u8>,
    path: PathBuf,
    /// Where the next record goes: after the last one that was written whole.
    pub position: u64,
    entries: Vec<Entry>,
    /// Up to here writeback was started.
    flushed: u64,
    /// Up to here the file holds zeros beyond `position` (or less far than it).
    zeroed: u64,
    /// `position` at the last sync.
    synced: u64,
    small_syncs: u32,
}

impl Active {
    /// Creates the pack's file with its header. A name that exists is an error: packs are never reused.
    pub(super) fn create(
        path: PathBuf,
        name: PackName,
        cipher: Option<Cipher>,
        target_bytes: u64,
    ) -> Result<Active> {
        let options = OpenOptions::new().read(true).write(true).create_new(true).clone();
        let file = options.open(&path).map_err(|error| Error::from_io(&path, error))?;
        failpoint::hit("pack-create");
        let hint = cipher.as_ref().map(Cipher::hint);
        if let Err(error) = write(&file, [&format::encode_pack_header(&name, hint.as_ref())], 0) {
            // Best effort: what stays is an empty pack, which the next start removes.
            let _ = std::fs::remove_file(&path);
            return Err(Error::from_io(&path, error));
        }
        reserve(&file, target_bytes);
        let walk = Walk { entries: Vec::new(), end: PACK_HEADER_LEN };
        Ok(Active::resume(PackFile { file: Arc::new(file), name, cipher }, path, walk))
    }

    /// Goes on where a walk over an unsealed pack ended.
    pub(super) fn resume(pack: PackFile, path: PathBuf, walk: Walk) -> Active {
        let PackFile { file, name, cipher } = pack;
        let Walk { entries, end } = walk;
        Active {
            name,
            file,
            cipher,
            salts: Salts::default(),
            sealed: Vec::new(),
            path,
            position: end,
            entries,
            flushed: end,
            zeroed: end,
            synced: end,
            small_syncs: 0,
        }
    }

    /// Appends a record with the payload `head`, `body`. After an error nothing counts as written, and the same place
    /// is used again.
    pub(super) fn append(
        &mut self,
        header: RecordHeader,
        head: &[u8],
        body: &[u8],
    ) -> Result<ChunkLocation> {
        let entry = Entry { offset: self.position, header };
        self.zero_ahead(entry.end()).map_err(|error| self.failed(error))?;
        failpoint::hit("pack-append-before");
        self.write_record(&entry, head, body).map_err(|error| self.failed(error))?;
        failpoint::hit("pack-append-after");
        self.position = entry.end();
        self.entries.push(entry);
        Ok(header.location(self.name.pack, entry.offset))
    }

    fn write_record(&mut self, entry: &Entry, head: &[u8], body: &[u8]) -> io::Result<()> {
        let Entry { offset, header } = entry;
        let Some(cipher) = &self.cipher else {
            let first = header.encode(&self.name, *offset);
            return write(&self.file, [&first, head, body], *offset);
        };
        let salt = self.salts.draw();
        cipher.seal_record(header, *offset, [head, body], &salt, &mut self.sealed);
        write(&self.file, [&self.sealed], *offset)
    }

    /// The range that is due for writeback, if enough has come together.
    pub(super) fn take_writeback(&mut self) -> Option<(u64, u64)> {
        let (from, len) = (self.flushed, self.position - self.flushed);
        (len >= WRITEBACK_BYTES).then(|| {
            self.flushed = self.position;
            (from, len)
        })
    }

    /// Learns that a sync of what there is now begins.
    pub(super) fn note_sync(&mut self) {
        let is_small = self.position - self.synced <= SMALL_SYNC_BYTES_MAX;
        self.small_syncs = if is_small { self.small_syncs.saturating_add(1) } else { 0 };
        self.synced = self.position;
    }

    /// Writes the footer and the trailer and cuts the file off after them; returns its length. After an error the pack
    /// is as before, and can be sealed again.
    pub(super) fn seal(&mut self) -> Result<u64> {
        failpoint::hit("pack-seal-before-footer");
        let (footer, trailer) = self.encode_end();
        let trailer_at = self.position + footer.len() as u64;
        let end = trailer_at + trailer.len() as u64;
        let written = write(&self.file, [&footer], self.position).and_then(|()| {
            failpoint::hit("pack-seal-after-footer");
            write(&self.file, [&trailer], trailer_at)?;
            // Also gives reserved blocks back. Until then zeros after the trailer leave the pack unsealed.
            self.file.set_len(end)
        });
        written.map_err(|error| self.failed(error))?;
        failpoint::hit("pack-seal-after-trailer");
        Ok(end)
    }

    /// Footer and trailer, as they are written.
    fn encode_end(&self) -> (Vec<u8>, Vec<u8>) {
        let footer = format::encode_footer(&self.entries);
        let trailer = format::encode_trailer(&self.name, self.position, &footer).to_vec();
        let Some(cipher) = &self.cipher else { return (footer, trailer) };
        cipher.seal_end(self.position, &footer, &trailer, [&crypt::random(), &crypt::random()])
    }

    /// Cuts off the zeros ahead, for a tidy end.
    pub(super) fn trim(&mut self) -> Result<()> {
        self.zeroed = self.position;
        self.file.set_len(self.position).map_err(|error| Error::from_io(&self.path, error))
    }

    /// Makes sure that a record up to `end` is written over zeros, where syncs are small and frequent.
    fn zero_ahead(&mut self, end: u64) -> io::Result<()> {
        if self.small_syncs < SMALL_SYNCS_BEFORE_ZEROS || end <= self.zeroed {
            return Ok(());
        }
        let from = self.zeroed.max(self.position);
        let zeros = vec![0; (end + ZERO_AHEAD_BYTES - from) as usize];
        match write(&self.file, [&zeros], from) {
            Ok(()) => self.zeroed = from + zeros.len() as u64,
            // The record may still fit.
            Err(error) if sys::is_no_space(&error) => self.small_syncs = 0,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The error for a failed write. What a full disk let through is cut off, so that it takes no room.
    fn failed(&mut self, error: io::Error) -> Error {
        if sys::is_no_space(&error) && self.file.set_len(self.position).is_ok() {
            self.zeroed = self.position;
        }
        Error::from_io(&self.path, error)
    }
}

/// Reserves the blocks of a whole pack, so that it lies in one piece. Best effort: with less room than that,
/// records are still written as long as they fit.
fn reserve(file: &File, target_bytes: u64) {
    let _ = sys::preallocate(file, 0, target_bytes + RESERVE_BEYOND_TARGET_BYTES, true);
}

/// Every write to a pack goes through here, so that tests can let it fail.
fn write<const N: usize>(file: &File, slices: [&[u8]; N], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::before_write(file, slices[0], offset)?;
    sys::write_slices_at(file, slices, offset)
}

/// Makes a pack's content durable. Goes through here so that tests can let it fail.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::before_sync()?;
    file.sync_data()
}

/// The path's directory entries, made durable.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    sys::sync_dir(directory).map_err(|error| Error::from_io(directory, error))
}

/// The bytes that a record with a payload of `stored_len` bytes takes.
pub fn record_len(stored_len: u32) -> u64 {
    RECORD_HEADER_LEN + u64::from(stored_len)
}

/// Errors that tests put in the way of this thread's next writes and syncs.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    thread_local! {
        static WRITES: Cell<(u32, i32)> = const { Cell::new((0, 0)) };
        static SYNCS: Cell<(u32, i32)> = const { Cell::new((0, 0)) };
    }

    /// Lets this thread's next `count` writes fail half-way with `errno`.
    pub(crate) fn fail_writes(count: u32, errno: i32) {
        WRITES.set((count, errno));
    }

    /// Lets this thread's next `count` syncs fail with `errno`.
    pub(in crate::chunks) fn fail_syncs(count: u32, errno: i32) {
        SYNCS.set((count, errno));
    }

    pub(super) fn before_write(file: &File, head: &[u8], offset: u64) -> io::Result<()> {
        let due = take(&WRITES);
        if due.is_err() {
            file.write_all_at(&head[..head.len() / 2], offset)?;
        }
        due
    }

    pub(super) fn before_sync() -> io::Result<()> {
        take(&SYNCS)
    }

    fn take(faults: &'static std::thread::LocalKey<Cell<(u32, i32)>>) -> io::Result<()> {
        let (count, errno) = faults.get();
        if count == 0 {
            return Ok(());
        }
        faults.set((count - 1, errno));
        Err(io::Error::from_raw_os_error(errno))
    }
}
