//! Reading records of encrypted packs. What opens is what was sealed there: nothing needs to be hashed again; but that it is
//! the chunk that was asked for, the record's header must say.

use super::PackStore;
use super::Result;
use super::cipher::{self, Cipher, OpenRecord, SEALED_HEADER_LEN, SEGMENT_LEN};
use super::files::PackFile;
use super::format::{RECORD_HEADER_LEN, RecordHeader};
use super::read::damaged;
use crate::crypt::{OneUse, SALT_LEN, Salt};
use crate::model::{ChunkLocation, ChunkRef};
use crate::sys;
use std::cell::RefCell;
use std::sync::Arc;

/// A thread's buffer is given back if it was needed for more than this many bytes, which no chunk of the usual sizes has.
const BUFFER_KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// What was read and is still sealed: the result has no room for the tags between its parts.
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What was found out of a record by its header, kept in memory: other parts are read without it.
struct Known {
    epoch: u32,
    salt: Salt,
}

impl PackStore {
    /// Appends `len` (1 or more) plain bytes from `skip` on of a chunk that is stored raw; only the segments that hold them are
    /// read and opened. `into` may be longer after an error.
    pub(super) fn append_opened(
        &self,
        pack: &PackFile,
        cipher: &Cipher,
        chunk: &ChunkRef,
        (skip, len): (usize, usize),
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let count = cipher::segments(chunk.at.plain_len as usize);
        let (first, end) = (skip / SEGMENT_LEN, (skip + len).div_ceil(SEGMENT_LEN));
        with_buffer(|sealed| {
            let key = self.read_segments(pack, cipher, chunk, first..end, sealed)?;
            let (mut skip, mut left) = (skip - first * SEGMENT_LEN, len);
            let opened = cipher::open_segments(&key, (first, count), sealed, |plain| {
                let wanted = left.min(plain.len() - skip);
                into.extend_from_slice(&plain[skip..skip + wanted]);
                (skip, left) = (0, left - wanted);
            });
            opened.map_err(|_| forged(&chunk.at))
        })
    }

    /// Reads these segments of a record, and what opens them.
    fn read_segments(
        &self,
        pack: &PackFile,
        cipher: &Cipher,
        chunk: &ChunkRef,
        segments: std::ops::Range<usize>,
        sealed: &mut Vec<u8>,
    ) -> Result<OneUse> {
        let at = &chunk.at;
        let is_last = segments.end == cipher::segments(at.plain_len as usize);
        let end = if is_last { sealed_len(at) } else { cipher::segment_offset(segments.end) };
        let begin = cipher::segment_offset(segments.start);
        let len = (end - begin) as usize;
        let failed = |error| self.read_error(at, error);
        let mut head = [0; SEALED_HEADER_LEN];
        if segments.start == 0 {
            sys::read_around(&pack.file, &mut head, sealed, len, &mut [], at.offset)
                .map_err(failed)?;
        } else {
            sys::read_around(&pack.file, &mut [], sealed, len, &mut [], at.offset + begin)
                .map_err(failed)?;
            if let Some(key) = self.known_key(cipher, chunk) {
                return Ok(key);
            }
            sys::read_around(&pack.file, &mut head, &mut Vec::new(), 0, &mut [], at.offset)
                .map_err(failed)?;
        }
        let opened = open_header(cipher, chunk, &head)?;
        if !is_last || segments.start > 0 {
            // There is more of it to be read.
            let known = Arc::new(Known::of(&opened, &head).encode(chunk));
            self.tables.put(chunk.id, &known);
        }
        Ok(opened.key)
    }

    fn known_key(&self, cipher: &Cipher, chunk: &ChunkRef) -> Option<OneUse> {
        let known = Known::decode(&self.tables.get(chunk.id)?, chunk)?;
        cipher.record_key(known.epoch, chunk.at.offset, &known.salt)
    }

    /// Reads and opens a whole record: its header and its payload.
    pub(super) fn open_whole(
        &self,
        pack: &PackFile,
        cipher: &Cipher,
        chunk: &ChunkRef,
    ) -> Result<(RecordHeader, Vec<u8>)> {
        let at = &chunk.at;
        let mut head = [0; SEALED_HEADER_LEN];
        let len = (sealed_len(at) as usize).saturating_sub(SEALED_HEADER_LEN);
        with_buffer(|sealed| {
            sys::read_around(&pack.file, &mut head, sealed, len, &mut [], at.offset)
                .map_err(|error| self.read_error(at, error))?;
            let OpenRecord { header, key, .. } = open_header(cipher, chunk, &head)?;
            let payload_len = header.padding.and_then(|padding| {
                cipher::payload_len(header.stored_len, padding).map(|len| len as usize)
            });
            let payload_len = payload_len.ok_or_else(|| forged(at))?;
            let mut payload = Vec::with_capacity(sealed.len());
            let all = (0, cipher::segments(payload_len));
            cipher::open_segments(&key, all, sealed, |plain| payload.extend_from_slice(plain))
                .map_err(|_| forged(at))?;
            payload.truncate(payload_len);
            Ok((header, payload))
        })
    }
}

impl Known {
    fn of(opened: &OpenRecord, head: &[u8; SEALED_HEADER_LEN]) -> Known {
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(&head[..SALT_LEN]);
        Known { epoch: opened.epoch, salt }
    }

    fn encode(&self, chunk: &ChunkRef) -> Vec<u8> {
        [&identity_of(chunk)[..], &self.epoch.to_le_bytes(), &self.salt].concat()
    }

    /// `None` if it is about another chunk, or another record of this one.
    fn decode(bytes: &[u8], chunk: &ChunkRef) -> Option<Known> {
        let rest = bytes.strip_prefix(&identity_of(chunk)[..])?;
        let (epoch, salt) = rest.split_first_chunk()?;
        Some(Known { epoch: u32::from_le_bytes(*epoch), salt: salt.try_into().ok()? })
    }
}

/// All by which a record is that of a chunk.
fn identity_of(chunk: &ChunkRef) -> [u8; 52] {
    let ChunkLocation { pack, offset, stored_len, plain_len } = chunk.at;
    let mut bytes = [0; 52];
    bytes[..32].copy_from_slice(&chunk.hash.0);
    bytes[32..36].copy_from_slice(&pack.0.to_le_bytes());
    bytes[36..44].copy_from_slice(&offset.to_le_bytes());
    bytes[44..48].copy_from_slice(&stored_len.to_le_bytes());
    bytes[48..].copy_from_slice(&plain_len.to_le_bytes());
    bytes
}

/// Opens the header of a record, which must be that of `chunk`.
fn open_header(
    cipher: &Cipher,
    chunk: &ChunkRef,
    head: &[u8; SEALED_HEADER_LEN],
) -> Result<OpenRecord> {
    let ChunkLocation { pack, offset, .. } = chunk.at;
    let opened = cipher.open_record(head, offset).map_err(|why| damaged(&chunk.at, why))?;
    if opened.header.location(pack, offset) != chunk.at || opened.header.hash != chunk.hash {
        return Err(damaged(&chunk.at, "another chunk lies here"));
    }
    Ok(opened)
}

/// Bytes of the record, all of which are sealed.
fn sealed_len(at: &ChunkLocation) -> u64 {
    RECORD_HEADER_LEN + u64::from(at.stored_len)
}

fn forged(at: &ChunkLocation) -> super::Error {
    damaged(at, "the content is not what was sealed there")
}

/// Gives `work` an empty buffer.
fn with_buffer<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = SEALED.take();
    buffer.clear();
    let outcome = work(&mut buffer);
    if buffer.capacity() <= BUFFER_KEPT_BYTES_MAX {
        SEALED.set(buffer);
    }
    outcome
}
