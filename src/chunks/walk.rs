//! Reading what a pack holds: from its footer, or record by record.

use super::cipher::{self, Cipher, SEALED_HEADER_LEN};
use super::files::PackFile;
use super::format::{
    self, Entry, PACK_HEADER_LEN, PackHeader, RECORD_HEADER_LEN, RECORD_MAGIC, RecordHeader,
    TRAILER_LEN,
};
use crate::crypt::Purpose;
use crate::model::{ChunkHash, ChunkLocation};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are searched at a time for a record after a gap.
const SEARCH_LEN: usize = 1 << 20;

/// A record of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The chunk that it says it holds; reading it shows whether that is so.
    pub hash: ChunkHash,
    /// Where it lies.
    pub at: ChunkLocation,
    /// Whether it is only what another chunk doesn't have.
    pub is_difference: bool,
}

/// The records that follow each other without a gap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub entries: Vec<Entry>,
    /// The offset after the last of them.
    pub end: u64,
}

/// Reads the pack's header.
pub(super) fn read_header(file: &File) -> io::Result<PackHeader> {
    let mut bytes = [0; PACK_HEADER_LEN as usize];
    let complete = read_exactly(file, &mut bytes, 0)?;
    Ok(if complete { format::decode_pack_header(&bytes) } else { PackHeader::Invalid })
}

/// The entries of the footer, if the first `len` bytes of the pack end with an intact one.
pub(super) fn read_footer(pack: &PackFile, len: u64) -> io::Result<Option<Vec<Entry>>> {
    let message_overhead = if pack.cipher.is_some() { cipher::MESSAGE_OVERHEAD } else { 0 };
    let trailer_len = TRAILER_LEN + message_overhead;
    let Some(trailer_at) = len.checked_sub(trailer_len) else { return Ok(None) };
    let trailer = read_message(pack, Purpose::Trailer, len, trailer_at, trailer_len)?;
    let trailer = trailer.and_then(|plain| plain.try_into().ok());
    let Some(trailer): Option<[u8; TRAILER_LEN as usize]> = trailer else { return Ok(None) };
    let offset = format::footer_offset(&trailer, len - 2 * message_overhead);
    let Some(offset) = offset else { return Ok(None) };
    let footer = read_message(pack, Purpose::Footer, offset, offset, trailer_at - offset)?;
    let encrypted = pack.cipher.is_some();
    Ok(footer.and_then(|footer| format::decode_footer(&pack.name, &footer, &trailer, encrypted)))
}

/// The footer or the trailer, opened; `None` if it is none.
fn read_message(
    pack: &PackFile,
    purpose: Purpose,
    place: u64,
    offset: u64,
    len: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; len as usize];
    if !read_exactly(&pack.file, &mut bytes, offset)? {
        return Ok(None);
    }
    Ok(match &pack.cipher {
        Some(cipher) => cipher.open_message(purpose, place, &bytes),
        None => Some(bytes),
    })
}

/// Walks the records from `from` on, header by header, within the first `len` bytes. Ends at the first
/// that isn't one or isn't whole.
pub(super) fn walk(pack: &PackFile, from: u64, len: u64) -> io::Result<Walk> {
    let mut walk = Walk { entries: Vec::new(), end: from };
    while let Some(entry) = read_entry(pack, walk.end, len)? {
        walk.end = entry.end();
        walk.entries.push(entry);
    }
    Ok(walk)
}

/// The records of a pack of `len` bytes, whatever state it is in: by its footer, or by walking, over
/// gaps as well.
pub(super) fn entries(pack: &PackFile, len: u64) -> io::Result<Vec<Entry>> {
    if let Some(entries) = read_footer(pack, len)? {
        return Ok(entries);
    }
    let mut all = Vec::new();
    let mut from = Some(PACK_HEADER_LEN);
    while let Some(start) = from {
        let run = walk(pack, start, len)?;
        all.extend(run.entries);
        from = find_record(pack, run.end, len)?;
    }
    Ok(all)
}

/// The offset of the first whole record at or after `from`, where a walk ended: what lies before it was damaged.
pub(super) fn find_record(pack: &PackFile, from: u64, len: u64) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; SEARCH_LEN];
    let mut base = from;
    let head_len = if pack.cipher.is_some() { SEALED_HEADER_LEN as u64 } else { RECORD_HEADER_LEN };
    while base + head_len <= len {
        let wanted = SEARCH_LEN.min((len - base) as usize);
        if !read_exactly(&pack.file, &mut buffer[..wanted], base)? {
            return Ok(None);
        }
        let found = match &pack.cipher {
            Some(cipher) => search_sealed(pack, cipher, &buffer[..wanted], base, len)?,
            None => search(pack, &buffer[..wanted], base, len)?,
        };
        if found.is_some() {
            return Ok(found);
        }
        // The next portion overlaps, so that what begins on the border is seen.
        base += match pack.cipher {
            Some(_) => sealed_positions(wanted).len() as u64 * cipher::RECORD_ALIGN,
            None => (wanted - (RECORD_MAGIC.len() - 1)) as u64,
        };
    }
    Ok(None)
}

/// The first record that begins in `bytes`, which lie at `base`.
fn search(pack: &PackFile, bytes: &[u8], base: u64, len: u64) -> io::Result<Option<u64>> {
    for at in magic_positions(bytes) {
        if read_entry(pack, base + at as u64, len)?.is_some() {
            return Ok(Some(base + at as u64));
        }
    }
    Ok(None)
}

/// The same in an encrypted pack: there is nothing to go by but the key. `base` is a place at which a record can begin.
fn search_sealed(
    pack: &PackFile,
    cipher: &Cipher,
    bytes: &[u8],
    base: u64,
    len: u64,
) -> io::Result<Option<u64>> {
    for at in sealed_positions(bytes.len()) {
        let head = bytes[at..].first_chunk().expect("such a position leaves room for a header");
        let offset = base + at as u64;
        if cipher.open_record(head, offset).is_ok() && read_entry(pack, offset, len)?.is_some() {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// Where in so many bytes a sealed header can lie.
fn sealed_positions(len: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
    let end = (len + 1).saturating_sub(SEALED_HEADER_LEN);
    (0..end).step_by(cipher::RECORD_ALIGN as usize)
}

fn magic_positions(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let windows = bytes.windows(RECORD_MAGIC.len()).enumerate();
    windows.filter(|(_, window)| window == RECORD_MAGIC).map(|(at, _)| at)
}

/// The record at `offset`, if one begins there and ends within the first `len` bytes.
pub(super) fn read_entry(pack: &PackFile, offset: u64, len: u64) -> io::Result<Option<Entry>> {
    let header = match &pack.cipher {
        None => read_head::<{ RECORD_HEADER_LEN as usize }>(pack, offset, len)?
            .and_then(|bytes| RecordHeader::decode(&bytes, &pack.name, offset, false).ok()),
        Some(cipher) => read_head::<SEALED_HEADER_LEN>(pack, offset, len)?
            .and_then(|bytes| cipher.open_record(&bytes, offset).ok())
            .map(|opened| opened.header),
    };
    Ok(header.map(|header| Entry { offset, header }).filter(|entry| entry.end() <= len))
}

/// The first `N` bytes of a record, if they lie within the first `len` bytes of the pack.
fn read_head<const N: usize>(
    pack: &PackFile,
    offset: u64,
    len: u64,
) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    let is_there = offset + N as u64 <= len && read_exactly(&pack.file, &mut bytes, offset)?;
    Ok(is_there.then_some(bytes))
}

/// Fills `buffer` from `offset` on; false if the file ends before that.
fn read_exactly(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
