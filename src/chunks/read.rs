//! Reading chunks back, verified.
//!
//! A chunk is read whole and verified by its hash, or, where its record begins with the table of its parts (`tree`), only the
//! parts that are wanted, each verified by its value in the table, which itself must merge into the hash.

use super::append::record_len;
use super::format::{self, PLAIN_LEN_MAX, PackName, RECORD_HEADER_LEN, RecordHeader};
use super::tree::{self, Cover, PART_LEN};
use super::{Error, PackStore, Result, codec, hash};
use crate::model::{ChunkLocation, ChunkRef, PackId};
use crate::sys;
use std::fs::File;
use std::io;
use std::sync::Arc;

impl PackStore {
    /// Reads a chunk.
    ///
    /// # Errors
    /// As [`read_range`](PackStore::read_range).
    pub fn read(&self, chunk: &ChunkRef) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.read_range(chunk, 0, chunk.at.plain_len as usize, &mut plain)?;
        Ok(plain)
    }

    /// Reads `len` plain bytes of a chunk from `skip` on onto the end of `into`. What comes from the disk is verified; what
    /// of the record isn't needed for that is not read.
    ///
    /// # Errors
    /// `Damaged` if what lies there isn't the chunk, whatever the reason. `into` is as it was after an error.
    pub fn read_range(
        &self,
        chunk: &ChunkRef,
        skip: usize,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        check_lengths(&chunk.at)?;
        let plain_len = chunk.at.plain_len as usize;
        if skip.checked_add(len).is_none_or(|end| end > plain_len) {
            return Err(damaged(&chunk.at, "the chunk is shorter than what shows it"));
        }
        if !format::has_table(&chunk.at) {
            into.extend_from_slice(&self.whole(chunk)?[skip..skip + len]);
            return Ok(());
        }
        let begin = into.len();
        let file = self.files.get(chunk.at.pack)?;
        let outcome = match len {
            0 => Ok(()),
            _ if len == plain_len => self.append_all(&file, chunk, into),
            _ => self.append_parts(&file, chunk, &Cover::of(skip, len, plain_len), into),
        };
        if outcome.is_err() {
            into.truncate(begin);
        }
        outcome
    }

    /// The plain bytes of a chunk without a table, from memory or from its pack.
    fn whole(&self, chunk: &ChunkRef) -> Result<Arc<Vec<u8>>> {
        if let Some(plain) = self.cache.get(chunk.id) {
            return Ok(plain);
        }
        let file = self.files.get(chunk.at.pack)?;
        let plain = Arc::new(self.read_record(&file, chunk)?);
        self.cache.put(chunk.id, &plain);
        Ok(plain)
    }

    /// Appends all plain bytes of a chunk with a table. Neither header nor table is looked at: bytes with this hash are
    /// the chunk.
    fn append_all(&self, file: &File, chunk: &ChunkRef, into: &mut Vec<u8>) -> Result<()> {
        let (begin, len) = (into.len(), chunk.at.plain_len as usize);
        sys::read_around(file, &mut [], into, len, &mut [], plain_offset(&chunk.at))
            .map_err(|error| self.read_error(&chunk.at, error))?;
        verified(hash(&into[begin..]) == chunk.hash, chunk)
    }

    /// Appends what is wanted of the parts of `cover`, all of which are verified.
    fn append_parts(
        &self,
        file: &File,
        chunk: &ChunkRef,
        cover: &Cover,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let table = self.table(file, chunk)?;
        let (mut head, mut tail) = (vec![0; cover.head_len], vec![0; cover.tail_len]);
        into.resize(into.len() + cover.head_wanted, 0);
        let middle_at = into.len();
        let offset = plain_offset(&chunk.at) + cover.start() as u64;
        sys::read_around(file, &mut head, into, cover.middle_len, &mut tail, offset)
            .map_err(|error| self.read_error(&chunk.at, error))?;
        let parts = head.chunks(PART_LEN).chain(into[middle_at..].chunks(PART_LEN));
        let mut parts = (cover.first..).zip(parts.chain(tail.chunks(PART_LEN)));
        verified(parts.all(|(index, part)| tree::is_part(&table, index, part)), chunk)?;
        if cover.head_wanted > 0 {
            let wanted = &head[cover.head_skip..][..cover.head_wanted];
            into[middle_at - cover.head_wanted..middle_at].copy_from_slice(wanted);
        }
        into.extend_from_slice(&tail[..cover.tail_wanted]);
        Ok(())
    }

    /// The table of a chunk that has one, verified, from memory or from its record.
    fn table(&self, file: &File, chunk: &ChunkRef) -> Result<Arc<Vec<u8>>> {
        if let Some(table) = self.tables.get(chunk.id) {
            return Ok(table);
        }
        let mut table = Vec::new();
        self.read_payload(file, chunk, table_len(&chunk.at), &mut table)?;
        verify_table(&table, chunk)?;
        let table = Arc::new(table);
        self.tables.put(chunk.id, &table);
        Ok(table)
    }

    /// Reads a chunk from the disk, past all caches (ours, and the kernel's where it lets go), and verifies its whole record.
    pub fn verify(&self, chunk: &ChunkRef) -> Result<()> {
        let file = self.files.get(chunk.at.pack)?;
        sys::forget_cached(&file, chunk.at.offset, record_len(chunk.at.stored_len));
        self.read_record(&file, chunk).map(drop)
    }

    /// The plain bytes of a chunk, from a whole record: header, table and content are verified.
    fn read_record(&self, file: &File, chunk: &ChunkRef) -> Result<Vec<u8>> {
        let (header, _, body) = self.read_whole(file, chunk)?;
        let plain = codec::decode(header.codec, body, chunk.at.plain_len)
            .map_err(|why| damaged(&chunk.at, &why))?;
        verified(hash(&plain) == chunk.hash, chunk)?;
        Ok(plain)
    }

    /// Reads a whole record: its header, its table of parts (empty where it has none) and its body. Header and table are
    /// verified, the body is not.
    pub(super) fn read_whole(
        &self,
        file: &File,
        chunk: &ChunkRef,
    ) -> Result<(RecordHeader, Vec<u8>, Vec<u8>)> {
        check_lengths(&chunk.at)?;
        let mut payload = Vec::new();
        let stored_len = chunk.at.stored_len as usize;
        let header = self.read_payload(file, chunk, stored_len, &mut payload)?;
        if !header.has_table {
            return Ok((header, Vec::new(), payload));
        }
        let body = payload.split_off(table_len(&chunk.at));
        verify_table(&payload, chunk)?;
        Ok((header, payload, body))
    }

    /// Reads a record's header, which must be that of `chunk`, and the first `len` bytes of the payload.
    fn read_payload(
        &self,
        file: &File,
        chunk: &ChunkRef,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<RecordHeader> {
        let ChunkLocation { pack, offset, .. } = chunk.at;
        let mut head = [0; RECORD_HEADER_LEN as usize];
        sys::read_around(file, &mut head, into, len, &mut [], offset)
            .map_err(|error| self.read_error(&chunk.at, error))?;
        let name = PackName { store: self.store_id, pack };
        let header = RecordHeader::decode(&head, &name, offset);
        let header = header.map_err(|why| damaged(&chunk.at, why))?;
        if header.location(pack, offset) != chunk.at || header.hash != chunk.hash {
            return Err(damaged(&chunk.at, "another chunk lies here"));
        }
        Ok(header)
    }

    fn read_error(&self, at: &ChunkLocation, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(at, "the pack ends before the record does"),
            _ => Error::from_io(&self.files.path(at.pack), error),
        }
    }

    /// Lets the kernel begin to read these chunks. Best effort; neighbours are asked for together.
    pub fn prefetch(&self, chunks: &[ChunkRef]) {
        let mut chunks = chunks.iter().map(|chunk| chunk.at).peekable();
        while let Some(first) = chunks.next() {
            let mut end = first.offset + record_len(first.stored_len);
            while let Some(next) =
                chunks.next_if(|next| next.pack == first.pack && next.offset == end)
            {
                end += record_len(next.stored_len);
            }
            self.read_ahead(first.pack, first.offset, end);
        }
    }

    fn read_ahead(&self, pack: PackId, from: u64, to: u64) {
        if let Ok(file) = self.files.get(pack) {
            sys::read_ahead(&file, from, to - from);
        }
    }
}

/// Lengths that no record has come from damaged metadata; nothing may be allocated by them.
fn check_lengths(at: &ChunkLocation) -> Result<()> {
    let possible = at.plain_len <= PLAIN_LEN_MAX
        && (!format::has_table(at) || table_len(at) == tree::table_len(at.plain_len) as usize);
    if possible { Ok(()) } else { Err(damaged(at, "the chunk's length is impossible")) }
}

/// Bytes of the table in a record that has one.
fn table_len(at: &ChunkLocation) -> usize {
    (at.stored_len - at.plain_len) as usize
}

/// Where the plain bytes of a record with a table lie in the pack.
fn plain_offset(at: &ChunkLocation) -> u64 {
    at.offset + RECORD_HEADER_LEN + table_len(at) as u64
}

fn verify_table(table: &[u8], chunk: &ChunkRef) -> Result<()> {
    if tree::is_table_of(table, &chunk.hash) {
        Ok(())
    } else {
        Err(damaged(&chunk.at, "the table of its parts is not what its hash says"))
    }
}

pub(super) fn verified(is_right: bool, chunk: &ChunkRef) -> Result<()> {
    if is_right { Ok(()) } else { Err(damaged(&chunk.at, "the content is not what its hash says")) }
}

fn damaged(at: &ChunkLocation, why: &str) -> Error {
    Error::damaged(at.pack, at.offset, why)
}
