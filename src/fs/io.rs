//! Reading and writing.

use super::history::is_view;
use super::node::{Node, OpenFile};
use super::overlay::{Piece, Shown, Source};
use super::seal::deferred;
use super::types::{Allocate, Handle, Seek};
use super::volume::Volume;
use super::{Error, Result};
use crate::model::{ChunkRef, Extent, FileKind, Ino};
use std::sync::Arc;

/// The largest offset that a byte can have, plus one: the kernel's limit as well.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// Extents that `seek` looks at in one query.
const SEEK_BATCH: usize = 1024;
/// Bytes to read ahead in the packs of what follows a read.
const READ_AHEAD_BYTES: u64 = 4 << 20;
/// A read of so much is part of reading from front to back: the kernel asks in such portions then.
const LONG_READ_BYTES: usize = 128 << 10;

/// A part of a read that is no hole.
pub(super) struct Part {
    /// Where its bytes go, from the read's offset on.
    at: usize,
    len: usize,
    from: From,
}

/// Where a part's bytes come from.
enum From {
    Memory(Piece),
    Chunk { chunk: ChunkRef, skip: usize },
}

impl Part {
    fn of_piece(piece: Piece, offset: u64) -> Option<Part> {
        let (at, len) = ((piece.start - offset) as usize, piece.len as usize);
        let from = match &piece.source {
            Source::Memory { .. } => From::Memory(piece),
            Source::Chunk { chunk, skip } => From::Chunk { chunk: *chunk, skip: *skip as usize },
            Source::Hole => return None,
        };
        Some(Part { at, len, from })
    }

    pub(super) fn of_extent(extent: &Extent, chunk: ChunkRef, offset: u64) -> Option<Part> {
        Some(Part {
            at: (extent.start - offset) as usize,
            len: extent.len as usize,
            from: From::Chunk { chunk, skip: extent.content.skip as usize },
        })
    }
}

impl Volume {
    /// Reads up to `len` bytes at `offset` onto the end of `into`; fewer only at the end of the file.
    pub fn read(&self, handle: Handle, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<()> {
        let _places = self.ingest.hold_places();
        if is_view(Ino(handle.0)) {
            return self.read_view(Ino(handle.0), offset, len, into);
        }
        let file = self.handles.get(handle)?;
        if !file.how.read {
            return Err(Error::BadHandle);
        }
        self.note_read(&file.node);
        if len >= LONG_READ_BYTES {
            self.read_ahead(&file.node, offset, len);
        }
        self.read_node(&file.node, offset, len, into)
    }

    /// Reads from a node, whoever asks. The caller holds `Ingest::hold_places`.
    pub(super) fn read_node(
        &self,
        node: &Node,
        offset: u64,
        len: usize,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let (total, parts) = self.resolve(node, offset, len)?;
        self.append_parts(node.ino, total, parts, into)
    }

    /// Appends `total` bytes of a file: the parts, which are in order, and zeros between them. Where that
    /// fails nothing is appended.
    pub(super) fn append_parts(
        &self,
        ino: Ino,
        total: usize,
        parts: Vec<Part>,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let begin = into.len();
        into.reserve(total);
        for part in parts {
            // What no part covers is a hole.
            into.resize(begin + part.at, 0);
            self.append_part(ino, &part, into).inspect_err(|_| into.truncate(begin))?;
        }
        into.resize(begin + total, 0);
        Ok(())
    }

    /// Finds out what a range shows: how many bytes, and the parts of them that are no holes, in order.
    fn resolve(&self, node: &Node, offset: u64, len: usize) -> Result<(usize, Vec<Part>)> {
        let state = node.lock();
        let end = state.size().min(offset.saturating_add(len as u64));
        let mut parts = Vec::new();
        if offset >= end {
            return Ok((0, parts));
        }
        for shown in state.overlay.resolve(offset, end) {
            match shown {
                Shown::Piece(piece) => parts.extend(Part::of_piece(piece, offset)),
                // The query runs under the node's lock, so that no commit comes in between.
                Shown::Base { start, len } => {
                    let found = self
                        .meta
                        .read(|view| view.extents_and_chunks(node.ino, start, start + len))?;
                    parts.extend(found.into_iter().filter_map(|(extent, chunk)| {
                        Part::of_extent(&extent.clip(start, start + len)?, chunk, offset)
                    }));
                }
            }
        }
        Ok(((end - offset) as usize, parts))
    }

    fn append_part(&self, ino: Ino, part: &Part, into: &mut Vec<u8>) -> Result<()> {
        match &part.from {
            From::Memory(piece) => into.extend_from_slice(piece.bytes().unwrap_or_default()),
            From::Chunk { chunk, skip } => {
                if skip + part.len > chunk.at.plain_len as usize {
                    let why = format!("an extent of inode {ino} is longer than its chunk");
                    return Err(Error::Meta(crate::meta::Error::Damaged(why)));
                }
                let read = self.ingest.read_range(&self.meta, chunk, (*skip, part.len), into);
                read.inspect_err(|error| {
                    self.ingest.note_damage(chunk.id);
                    let file = self.describe(ino);
                    log::error!("{file} can't be read at a damaged place: {error}");
                })?;
            }
        }
        Ok(())
    }

    /// Writes all of `data` or fails. Where an append goes is for the caller to know, as the kernel does: what it writes
    /// back of a mapping through an `O_APPEND` handle goes where it lies.
    pub fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<()> {
        let file = self.writable_file(handle)?;
        let node = &file.node;
        let len = data.len() as u64;
        if len == 0 {
            return Ok(());
        }
        self.space.reserve(len)?;
        self.wait_for_room(node);
        let mut state = node.lock_for_writing();
        if let Some(errno) = state.deferred_error.take() {
            return Err(deferred(errno));
        }
        state.author = file.how.by;
        let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(Error::TooLarge)?;
        let before = state.overlay.memory_bytes();
        state.overlay.write(offset, data);
        self.space.dirty_changed(before, state.overlay.memory_bytes());
        state.inode.attr.size = state.size().max(end);
        self.stamp(&mut state);
        self.seal_in_background(node, &mut state, offset);
        Ok(())
    }

    /// Holds a writer back while more is in memory than may be.
    fn wait_for_room(&self, node: &Node) {
        if self.space.dirty_bytes() < self.options.dirty_bytes_max {
            return;
        }
        // The worker that seals this file is waited for; cutting it here as well would put
        // cuts where the contents have none.
        drop(node.lock_unsealing());
        if self.space.dirty_bytes() < self.options.dirty_bytes_max {
            return;
        }
        for other in self.nodes.all() {
            if let Err(error) = self.seal_all(&other) {
                other.lock().deferred_error.get_or_insert(error.errno());
            }
        }
    }

    /// Preallocates, punches or zeroes a range.
    pub fn fallocate(&self, handle: Handle, offset: u64, len: u64, how: Allocate) -> Result<()> {
        let file = self.writable_file(handle)?;
        let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(Error::TooLarge)?;
        if len == 0 {
            return Err(Error::Invalid);
        }
        let mut state = file.node.lock();
        state.author = file.how.by;
        let before = state.overlay.memory_bytes();
        let keep_size = match how {
            Allocate::Reserve { keep_size } => {
                let missing = len.saturating_sub(state.inode.attr.allocated);
                self.space.check_room(missing)?;
                keep_size
            }
            Allocate::PunchHole => {
                state.overlay.punch(offset, end);
                true
            }
            Allocate::ZeroRange { keep_size } => {
                state.overlay.punch(offset, end);
                keep_size
            }
        };
        self.space.dirty_changed(before, state.overlay.memory_bytes());
        if !keep_size && end > state.size() {
            state.inode.attr.size = end;
        }
        self.stamp(&mut state);
        Ok(())
    }

    /// The next data or hole at or after `offset`.
    pub fn seek(&self, handle: Handle, offset: u64, what: Seek) -> Result<u64> {
        if is_view(Ino(handle.0)) {
            return self.seek_view(Ino(handle.0), offset, what);
        }
        let file = self.handles.get(handle)?;
        let state = file.node.lock();
        let size = state.size();
        if offset >= size {
            return Err(Error::NoSuchRange);
        }
        let mut at = offset;
        for shown in state.overlay.resolve(offset, size) {
            let (start, end, is_data) = match shown {
                Shown::Piece(piece) => {
                    (piece.start, piece.end(), !matches!(piece.source, Source::Hole))
                }
                Shown::Base { start, len } => {
                    if let Some(found) = self.seek_base(&file.node, start, start + len, what)? {
                        return Ok(found);
                    }
                    at = start + len;
                    continue;
                }
            };
            if is_data == (what == Seek::Data) {
                return Ok(start.max(at));
            }
            at = end;
        }
        match what {
            Seek::Data => Err(Error::NoSuchRange),
            Seek::Hole => Ok(size),
        }
    }

    /// The first data or hole in a range that shows committed extents.
    fn seek_base(&self, node: &Node, from: u64, to: u64, what: Seek) -> Result<Option<u64>> {
        let mut at = from;
        while at < to {
            let extents = self.meta.read(|view| view.extents_limited(node.ino, at, SEEK_BATCH))?;
            for extent in &extents {
                if extent.start >= to {
                    break;
                }
                match what {
                    Seek::Data => return Ok(Some(extent.start.max(at))),
                    Seek::Hole if extent.start > at => return Ok(Some(at)),
                    Seek::Hole => at = extent.end(),
                }
            }
            if extents.len() < SEEK_BATCH || extents.last().is_some_and(|last| last.end() >= to) {
                break;
            }
        }
        Ok((what == Seek::Hole && at < to).then_some(at))
    }

    /// Shares the range's chunks; answers how many bytes were copied: fewer than `len` only at the
    /// source's end.
    pub fn copy_range(
        &self,
        from: Handle,
        from_offset: u64,
        to: Handle,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        let target = self.writable_file(to)?;
        if !is_view(Ino(from.0)) {
            self.seal_all(&self.handles.get(from)?.node)?;
        }
        let _places = self.ingest.hold_places();
        let (source, pieces) = if is_view(Ino(from.0)) {
            (None, self.pieces_of_view(Ino(from.0), from_offset, len)?)
        } else {
            let source = self.handles.get(from)?;
            if !source.how.read || source.node.kind != FileKind::File {
                return Err(Error::BadHandle);
            }
            let pieces = self.shared_pieces(&source.node, from_offset, len)?;
            (Some(source), pieces)
        };
        let copied = pieces.last().map_or(0, |last| last.end() - from_offset);
        if copied == 0 {
            return Ok(0);
        }
        let end = to_offset.checked_add(copied).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(Error::TooLarge)?;
        let overlap = from_offset < end && to_offset < from_offset + copied;
        let is_same = source.is_some_and(|source| Arc::ptr_eq(&source.node, &target.node));
        if is_same && overlap {
            return Err(Error::Invalid);
        }
        let mut state = target.node.lock();
        state.author = target.how.by;
        let before = state.overlay.memory_bytes();
        for piece in pieces {
            if let Source::Chunk { chunk, .. } = &piece.source {
                self.ingest.note_use(chunk);
            }
            let start = piece.start - from_offset + to_offset;
            state.overlay.lay(Piece { start, ..piece });
        }
        self.space.dirty_changed(before, state.overlay.memory_bytes());
        state.inode.attr.size = state.size().max(end);
        self.stamp(&mut state);
        Ok(copied)
    }

    /// What a range shows, as pieces without gaps: chunks, holes, and what somebody writes right now.
    fn shared_pieces(&self, node: &Node, offset: u64, len: u64) -> Result<Vec<Piece>> {
        let state = node.lock();
        let end = state.size().min(offset.saturating_add(len));
        let mut pieces = Vec::new();
        for shown in state.overlay.resolve(offset, end.max(offset)) {
            match shown {
                Shown::Piece(piece) => pieces.push(piece),
                Shown::Base { start, len } => {
                    let to = start + len;
                    let extents =
                        self.meta.read(|view| view.extents_and_chunks(node.ino, start, to))?;
                    let mut at = start;
                    for (extent, chunk) in extents {
                        let Some(part) = extent.clip(start, to) else { continue };
                        push_hole(&mut pieces, at, part.start);
                        let source = Source::Chunk { chunk, skip: part.content.skip };
                        pieces.push(Piece { start: part.start, len: part.len, source });
                        at = part.end();
                    }
                    push_hole(&mut pieces, at, to);
                }
            }
        }
        Ok(pieces)
    }

    /// Asks the kernel to read what a long read needs, all at once, and what is likely to follow.
    fn read_ahead(&self, node: &Node, offset: u64, len: usize) {
        let to = offset.saturating_add(len as u64).saturating_add(READ_AHEAD_BYTES);
        let found = self.meta.read(|view| view.extents_and_chunks(node.ino, offset, to));
        // Only a hint: the read itself will tell what is wrong.
        let chunks: Vec<ChunkRef> =
            found.unwrap_or_default().into_iter().map(|(_, chunk)| chunk).collect();
        self.ingest.packs().prefetch(&chunks);
    }

    pub(super) fn writable_file(&self, handle: Handle) -> Result<Arc<OpenFile>> {
        let file = self.handles.get(handle)?;
        if !file.how.write {
            return Err(Error::BadHandle);
        }
        self.check_writable()?;
        Ok(file)
    }
}

fn push_hole(pieces: &mut Vec<Piece>, from: u64, to: u64) {
    if from < to {
        pieces.push(Piece { start: from, len: to - from, source: Source::Hole });
    }
}
