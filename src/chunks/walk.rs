//! Reading what a pack holds: from its footer, or record by record.

use super::format::{
    self, Entry, PACK_HEADER_LEN, PackHeader, PackName, RECORD_HEADER_LEN, RECORD_MAGIC,
    RecordHeader, TRAILER_LEN,
};
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
pub(super) fn read_footer(
    file: &File,
    name: &PackName,
    len: u64,
) -> io::Result<Option<Vec<Entry>>> {
    let Some(trailer_at) = len.checked_sub(TRAILER_LEN) else { return Ok(None) };
    let mut trailer = [0; TRAILER_LEN as usize];
    if !read_exactly(file, &mut trailer, trailer_at)? {
        return Ok(None);
    }
    let Some(offset) = format::footer_offset(&trailer, len) else { return Ok(None) };
    let mut footer = vec![0; (trailer_at - offset) as usize];
    if !read_exactly(file, &mut footer, offset)? {
        return Ok(None);
    }
    Ok(format::decode_footer(name, &footer, &trailer))
}

/// Walks the records from `from` on, header by header, within the first `len` bytes. Ends at the first
/// that isn't one or isn't whole.
pub(super) fn walk(file: &File, name: &PackName, from: u64, len: u64) -> io::Result<Walk> {
    let mut walk = Walk { entries: Vec::new(), end: from };
    while let Some(entry) = read_entry(file, name, walk.end, len)? {
        walk.end = entry.end();
        walk.entries.push(entry);
    }
    Ok(walk)
}

/// The records of a pack of `len` bytes, whatever state it is in: by its footer, or by walking, over
/// gaps as well.
pub(super) fn entries(file: &File, name: &PackName, len: u64) -> io::Result<Vec<Entry>> {
    if let Some(entries) = read_footer(file, name, len)? {
        return Ok(entries);
    }
    let mut all = Vec::new();
    let mut from = Some(PACK_HEADER_LEN);
    while let Some(start) = from {
        let run = walk(file, name, start, len)?;
        all.extend(run.entries);
        from = find_record(file, name, run.end, len)?;
    }
    Ok(all)
}

/// The offset of the first whole record at or after `from`, where a walk ended: what lies before it was damaged.
pub(super) fn find_record(
    file: &File,
    name: &PackName,
    from: u64,
    len: u64,
) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; SEARCH_LEN];
    let mut base = from;
    while base + RECORD_HEADER_LEN <= len {
        let wanted = SEARCH_LEN.min((len - base) as usize);
        if !read_exactly(file, &mut buffer[..wanted], base)? {
            return Ok(None);
        }
        for at in magic_positions(&buffer[..wanted]) {
            if read_entry(file, name, base + at as u64, len)?.is_some() {
                return Ok(Some(base + at as u64));
            }
        }
        // The next portion overlaps, so that a magic number on the border is seen.
        base += (wanted - (RECORD_MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}

fn magic_positions(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let windows = bytes.windows(RECORD_MAGIC.len()).enumerate();
    windows.filter(|(_, window)| window == RECORD_MAGIC).map(|(at, _)| at)
}

/// The record at `offset`, if one begins there and ends within the first `len` bytes.
fn read_entry(file: &File, name: &PackName, offset: u64, len: u64) -> io::Result<Option<Entry>> {
    let mut bytes = [0; RECORD_HEADER_LEN as usize];
    if offset + RECORD_HEADER_LEN > len || !read_exactly(file, &mut bytes, offset)? {
        return Ok(None);
    }
    let header = RecordHeader::decode(&bytes, name, offset).ok();
    Ok(header.map(|header| Entry { offset, header }).filter(|entry| entry.end() <= len))
}

/// Fills `buffer` from `offset` on; false if the file ends before that.
fn read_exactly(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
