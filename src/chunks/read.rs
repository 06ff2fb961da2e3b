//! Reading chunks back, verified.
//!
//! A chunk is read whole and verified by its hash, or, where its record begins with the table of its parts (`tree`), only the
//! parts that are wanted, each verified by its value in the table, which itself must merge into the hash. A chunk that is stored
//! as a difference is read whole, after its base: which one that is, whoever asks must know (`ChunkRef::base`). Of encrypted
//! records the tags take the place of hash and table: see `decrypt`.

use super::append::record_len;
use super::files::PackFile;
use super::format::{self, BASE_LEN, Codec, PLAIN_LEN_MAX, RECORD_HEADER_LEN, RecordHeader};
use super::tree::{self, Cover, PART_LEN};
use super::{Error, PackStore, Result, cipher, codec};
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
    pub fn read(&self, chunk: &ChunkRef, base: Option<&ChunkRef>) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.read_range(chunk, base, 0, chunk.at.plain_len as usize, &mut plain)?;
        Ok(plain)
    }

    /// Reads `len` plain bytes of a chunk from `skip` on onto the end of `into`. What comes from the disk is verified; what
    /// of the record isn't needed for that is not read. `base`: of a chunk that is stored as a difference, the other one.
    ///
    /// # Errors
    /// `Damaged` if what lies there isn't the chunk, whatever the reason. `into` is as it was after an error.
    pub fn read_range(
        &self,
        chunk: &ChunkRef,
        base: Option<&ChunkRef>,
        skip: usize,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        self.check_lengths(&chunk.at)?;
        let plain_len = chunk.at.plain_len as usize;
        if skip.checked_add(len).is_none_or(|end| end > plain_len) {
            return Err(damaged(&chunk.at, "the chunk is shorter than what shows it"));
        }
        if !self.is_in_parts(&chunk.at) {
            into.extend_from_slice(&self.whole(chunk, base)?[skip..skip + len]);
            return Ok(());
        }
        let begin = into.len();
        let pack = self.files.get(chunk.at.pack)?;
        let outcome = match (len, &pack.cipher) {
            (0, _) => Ok(()),
            (_, Some(cipher)) => self.append_opened(&pack, cipher, chunk, (skip, len), into),
            (_, None) if len == plain_len => self.append_all(&pack.file, chunk, into),
            _ => self.append_parts(&pack, chunk, &Cover::of(skip, len, plain_len), into),
        };
        if outcome.is_err() {
            into.truncate(begin);
        }
        outcome
    }

    /// Whether the record can be read in parts: it is raw, and has more than one.
    fn is_in_parts(&self, at: &ChunkLocation) -> bool {
        match self.files.keys() {
            Some(_) => cipher::is_raw(at) && at.plain_len as usize > PART_LEN,
            None => format::has_table(at),
        }
    }

    /// Lengths that no record has come from damaged metadata; nothing may be allocated by them.
    fn check_lengths(&self, at: &ChunkLocation) -> Result<()> {
        let possible = match self.files.keys() {
            Some(_) => cipher::is_possible(at),
            None => {
                at.plain_len <= PLAIN_LEN_MAX
                    && (!format::has_table(at)
                        || table_len(at) == tree::table_len(at.plain_len) as usize)
            }
        };
        if possible { Ok(()) } else { Err(damaged(at, "the chunk's length is impossible")) }
    }

    /// The plain bytes of a chunk that can only be read whole, from memory or from its pack.
    fn whole(&self, chunk: &ChunkRef, base: Option<&ChunkRef>) -> Result<Arc<Vec<u8>>> {
        if let Some(plain) = self.cache.get(chunk.id) {
            return Ok(plain);
        }
        let pack = self.files.get(chunk.at.pack)?;
        let plain = self.read_record(&pack, chunk, base)?;
        if pack.cipher.is_none() {
            verified(self.hash(&plain) == chunk.hash, chunk)?;
        }
        let plain = Arc::new(plain);
        self.cache.put(chunk.id, &plain);
        Ok(plain)
    }

    /// Appends all plain bytes of a chunk with a table. Neither header nor table is looked at: bytes with this hash are
    /// the chunk.
    fn append_all(&self, file: &File, chunk: &ChunkRef, into: &mut Vec<u8>) -> Result<()> {
        let (begin, len) = (into.len(), chunk.at.plain_len as usize);
        sys::read_around(file, &mut [], into, len, &mut [], plain_offset(&chunk.at))
            .map_err(|error| self.read_error(&chunk.at, error))?;
        verified(self.hash(&into[begin..]) == chunk.hash, chunk)
    }

    /// Appends what is wanted of the parts of `cover`, all of which are verified.
    fn append_parts(
        &self,
        pack: &PackFile,
        chunk: &ChunkRef,
        cover: &Cover,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let table = self.table(pack, chunk)?;
        let (mut head, mut tail) = (vec![0; cover.head_len], vec![0; cover.tail_len]);
        into.resize(into.len() + cover.head_wanted, 0);
        let middle_at = into.len();
        let offset = plain_offset(&chunk.at) + cover.start() as u64;
        sys::read_around(&pack.file, &mut head, into, cover.middle_len, &mut tail, offset)
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
    fn table(&self, pack: &PackFile, chunk: &ChunkRef) -> Result<Arc<Vec<u8>>> {
        if let Some(table) = self.tables.get(chunk.id) {
            return Ok(table);
        }
        let mut table = Vec::new();
        self.read_payload(pack, chunk, table_len(&chunk.at), &mut table)?;
        verify_table(&table, chunk)?;
        let table = Arc::new(table);
        self.tables.put(chunk.id, &table);
        Ok(table)
    }

    /// Reads a chunk from the disk, past all caches (ours, and the kernel's where it lets go), and verifies its whole record.
    /// That of its base only as far as it is needed.
    pub fn verify(&self, chunk: &ChunkRef, base: Option<&ChunkRef>) -> Result<()> {
        let pack = self.files.get(chunk.at.pack)?;
        sys::forget_cached(&pack.file, chunk.at.offset, record_len(chunk.at.stored_len));
        let plain = self.read_record(&pack, chunk, base)?;
        verified(self.hash(&plain) == chunk.hash, chunk)
    }

    /// The plain bytes of a chunk, from a whole record: header, table and tags are verified; not the content of a plain one.
    pub(super) fn read_record(
        &self,
        pack: &PackFile,
        chunk: &ChunkRef,
        base: Option<&ChunkRef>,
    ) -> Result<Vec<u8>> {
        let (header, head, body) = self.read_whole(pack, chunk)?;
        self.decode(&header, chunk, base, &head, body)
    }

    /// The plain bytes of the payload `head`, `body`; whether they are the chunk's is not verified.
    pub(super) fn decode(
        &self,
        header: &RecordHeader,
        chunk: &ChunkRef,
        base: Option<&ChunkRef>,
        head: &[u8],
        body: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let base_plain = match header.codec {
            Codec::Difference => self.base_of(chunk, base, head)?,
            Codec::Raw | Codec::Zstd => Vec::new(),
        };
        codec::decode(header.codec, body, &base_plain, chunk.at.plain_len)
            .map_err(|why| damaged(&chunk.at, &why))
    }

    /// The plain bytes of the chunk that a difference says it is one to.
    fn base_of(&self, chunk: &ChunkRef, base: Option<&ChunkRef>, named: &[u8]) -> Result<Vec<u8>> {
        let base = base.filter(|base| base.hash.0 == named);
        let base = base.ok_or_else(|| damaged(&chunk.at, "it is a difference to another chunk"))?;
        // Stored whole: otherwise reading could take any number of steps, or never come to an end.
        self.read(base, None).map_err(|error| match error {
            Error::Damaged { .. } => damaged(&chunk.at, &format!("its base is damaged: {error}")),
            other => other,
        })
    }

    /// Reads a whole record: its header, what comes first in the payload (the table of parts, or the name of the base; as a
    /// rule nothing) and the rest. Header, table and tags are verified, the rest is not.
    pub(super) fn read_whole(
        &self,
        pack: &PackFile,
        chunk: &ChunkRef,
    ) -> Result<(RecordHeader, Vec<u8>, Vec<u8>)> {
        self.check_lengths(&chunk.at)?;
        let (header, mut payload) = match &pack.cipher {
            Some(cipher) => self.open_whole(pack, cipher, chunk)?,
            None => {
                let mut payload = Vec::new();
                let stored_len = chunk.at.stored_len as usize;
                (self.read_payload(pack, chunk, stored_len, &mut payload)?, payload)
            }
        };
        let head_len = match header.codec {
            Codec::Raw if header.has_table => table_len(&chunk.at),
            Codec::Difference => BASE_LEN,
            Codec::Raw | Codec::Zstd => 0,
        };
        let body = payload.split_off(head_len);
        if header.has_table {
            verify_table(&payload, chunk)?;
        }
        Ok((header, payload, body))
    }

    /// Reads a plain record's header, which must be that of `chunk`, and the first `len` bytes of the payload.
    fn read_payload(
        &self,
        pack: &PackFile,
        chunk: &ChunkRef,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<RecordHeader> {
        let offset = chunk.at.offset;
        let mut head = [0; RECORD_HEADER_LEN as usize];
        sys::read_around(&pack.file, &mut head, into, len, &mut [], offset)
            .map_err(|error| self.read_error(&chunk.at, error))?;
        let header = RecordHeader::decode(&head, &pack.name, offset, false);
        let header = header.map_err(|why| damaged(&chunk.at, why))?;
        if header.location(pack.name.pack, offset) != chunk.at || header.hash != chunk.hash {
            return Err(damaged(&chunk.at, "another chunk lies here"));
        }
        Ok(header)
    }

    pub(super) fn read_error(&self, at: &ChunkLocation, error: io::Error) -> Error {
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
        if let Ok(pack) = self.files.get(pack) {
            sys::read_ahead(&pack.file, from, to - from);
        }
    }
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

pub(super) fn damaged(at: &ChunkLocation, why: &str) -> Error {
    Error::damaged(at.pack, at.offset, why)
}
