//! What an open file shows that is not committed yet, as pieces laid over its committed extents.
//!
//! Pure: no I/O and no locks. A piece is bytes in memory, (part of) a chunk, or a hole. Bytes become
//! chunks when they are sealed; the whole overlay is emptied when it is committed.

use crate::model::{ChunkRef, Content, Extent, push_extent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes that follow each other are gathered in buffers of this size.
const BUFFER_BYTES: usize = 4 << 20;
/// A first buffer is no larger than this: most files are small.
const SMALL_BUFFER_BYTES: usize = 64 << 10;
/// What shows less than one part in so many of a buffer gets one of its own.
const SLIM_PART: usize = 8;

/// What a range shows.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Bytes in memory, from `skip` on in the buffer.
    Memory { buffer: Arc<Vec<u8>>, skip: usize },
    /// Bytes of a chunk, from `skip` on.
    Chunk { chunk: ChunkRef, skip: u32 },
    /// Zeros that take no space.
    Hole,
}

impl Source {
    /// The source from `by` bytes further on.
    fn advance(&self, by: u64) -> Source {
        match self {
            Source::Memory { buffer, skip } => {
                Source::Memory { buffer: Arc::clone(buffer), skip: skip + by as usize }
            }
            Source::Chunk { chunk, skip } => {
                Source::Chunk { chunk: *chunk, skip: skip + by as u32 }
            }
            Source::Hole => Source::Hole,
        }
    }

    fn is_same(&self, other: &Source) -> bool {
        match (self, other) {
            (Source::Memory { buffer, skip }, Source::Memory { buffer: b, skip: s }) => {
                Arc::ptr_eq(buffer, b) && skip == s
            }
            (Source::Chunk { chunk, skip }, Source::Chunk { chunk: c, skip: s }) => {
                chunk.id == c.id && skip == s
            }
            (Source::Hole, Source::Hole) => true,
            _ => false,
        }
    }
}

/// A range of the file and what it shows.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) source: Source,
}

impl Piece {
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The bytes, where they are in memory.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Memory { buffer, skip } => Some(&buffer[*skip..*skip + self.len as usize]),
            Source::Chunk { .. } | Source::Hole => None,
        }
    }

    /// The part within `[from, to)`; the caller knows that they overlap.
    pub(super) fn clip(&self, from: u64, to: u64) -> Piece {
        let start = self.start.max(from);
        let end = self.end().min(to);
        Piece { start, len: end - start, source: self.source.advance(start - self.start) }
    }

    /// The same bytes, in a buffer of their own where they are a small part of a large one.
    fn slim(self) -> Piece {
        match (self.bytes(), &self.source) {
            (Some(bytes), Source::Memory { buffer, .. })
                if bytes.len() * SLIM_PART < buffer.capacity() =>
            {
                let buffer = Arc::new(bytes.to_vec());
                Piece { source: Source::Memory { buffer, skip: 0 }, ..self }
            }
            _ => self,
        }
    }

    /// The extent that this piece becomes; holes and unsealed bytes become none.
    pub(super) fn extent(&self) -> Option<Extent> {
        match &self.source {
            Source::Chunk { chunk, skip } => Some(Extent {
                start: self.start,
                len: self.len,
                content: Content { chunk: chunk.id, skip: *skip },
            }),
            Source::Memory { .. } | Source::Hole => None,
        }
    }
}

/// A part of a resolved range.
#[derive(Debug)]
pub(super) enum Shown {
    /// The overlay says what is there.
    Piece(Piece),
    /// The committed extents show through.
    Base { start: u64, len: u64 },
}

impl Shown {
    /// Whether this isn't in memory.
    pub(super) fn is_at_rest(&self) -> bool {
        !matches!(self, Shown::Piece(Piece { source: Source::Memory { .. }, .. }))
    }

    /// Whether both show the same range of the same thing; for two bases, if nothing was committed in between.
    fn is_same(&self, other: &Shown) -> bool {
        match (self, other) {
            (Shown::Base { start, len }, Shown::Base { start: at, len: long }) => {
                start == at && len == long
            }
            (Shown::Piece(one), Shown::Piece(two)) => {
                one.start == two.start && one.len == two.len && one.source.is_same(&two.source)
            }
            _ => false,
        }
    }
}

/// Whether a range shows the same as before: see [`Shown::is_same`].
pub(super) fn same_shown(before: &[Shown], now: &[Shown]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(one, two)| one.is_same(two))
}

/// A range that a commit replaces, and the extents that it puts there.
#[derive(Debug, PartialEq)]
pub(super) struct Replacement {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) extents: Vec<Extent>,
}

/// The pieces over a file's committed extents.
#[derive(Debug)]
pub(super) struct Overlay {
    pieces: BTreeMap<u64, Piece>,
    /// Committed extents show only below this offset: the file was cut here.
    base_end: u64,
    memory_bytes: u64,
}

impl Default for Overlay {
    fn default() -> Self {
        Overlay { pieces: BTreeMap::new(), base_end: u64::MAX, memory_bytes: 0 }
    }
}

impl Overlay {
    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.base_end == u64::MAX
    }

    /// Bytes that are in memory only.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Bytes in pieces that are no holes.
    pub(super) fn data_bytes(&self) -> u64 {
        let data = self.pieces.values().filter(|piece| !matches!(piece.source, Source::Hole));
        data.map(|piece| piece.len).sum()
    }

    /// How many pieces there are.
    pub(super) fn piece_count(&self) -> usize {
        self.pieces.len()
    }

    /// Committed extents show only below this offset.
    pub(super) fn base_end(&self) -> u64 {
        self.base_end
    }

    /// Lays `data` over the range from `start` on.
    pub(super) fn write(&mut self, start: u64, data: &[u8]) {
        let end = start + data.len() as u64;
        self.carve(start, end);
        self.memory_bytes += data.len() as u64;
        if self.append(start, data) {
            return;
        }
        let follows = self.piece_ending_at(start).is_some();
        let room = if follows { BUFFER_BYTES } else { SMALL_BUFFER_BYTES };
        let mut buffer = Vec::with_capacity(data.len().max(room.min(data.len() * 4)));
        buffer.extend_from_slice(data);
        let source = Source::Memory { buffer: Arc::new(buffer), skip: 0 };
        self.insert(Piece { start, len: data.len() as u64, source });
    }

    /// Appends to the buffer of the piece that ends at `start`, if nobody else reads that buffer.
    fn append(&mut self, start: u64, data: &[u8]) -> bool {
        let Some(piece) = self.piece_ending_at(start) else { return false };
        let Source::Memory { buffer, skip } = &mut piece.source else { return false };
        if *skip + piece.len as usize != buffer.len() || buffer.len() + data.len() > BUFFER_BYTES {
            return false;
        }
        let Some(buffer) = Arc::get_mut(buffer) else { return false };
        if buffer.capacity() < buffer.len() + data.len() {
            let wanted = (buffer.capacity() * 4).clamp(buffer.len() + data.len(), BUFFER_BYTES);
            buffer.reserve_exact(wanted - buffer.len());
        }
        buffer.extend_from_slice(data);
        piece.len += data.len() as u64;
        true
    }

    fn piece_ending_at(&mut self, end: u64) -> Option<&mut Piece> {
        let (_, piece) = self.pieces.range_mut(..end).next_back()?;
        (piece.end() == end).then_some(piece)
    }

    /// Makes `[from, to)` a hole.
    pub(super) fn punch(&mut self, from: u64, to: u64) {
        self.carve(from, to);
        let to = to.min(self.base_end);
        if from < to {
            self.insert(Piece { start: from, len: to - from, source: Source::Hole });
        }
    }

    /// Cuts the file at `size`: nothing from there on shows any more.
    pub(super) fn truncate(&mut self, size: u64) {
        self.carve(size, u64::MAX);
        self.base_end = self.base_end.min(size);
    }

    /// Lays a piece (of a chunk, or a hole) over its range.
    pub(super) fn lay(&mut self, piece: Piece) {
        match piece.source {
            Source::Hole => self.punch(piece.start, piece.end()),
            Source::Memory { .. } | Source::Chunk { .. } => {
                self.carve(piece.start, piece.end());
                if matches!(piece.source, Source::Memory { .. }) {
                    self.memory_bytes += piece.len;
                }
                self.insert(piece);
            }
        }
    }

    /// Replaces what is left of `sealed`, bytes that were in memory, by the chunk that holds them. Where
    /// something else was laid over them in the meantime, that stays.
    pub(super) fn seal(&mut self, start: u64, sealed: &[Piece], chunk: ChunkRef) {
        for part in sealed {
            let Source::Memory { buffer, skip } = &part.source else { continue };
            let still_there: Vec<Piece> = self
                .overlapping(part.start, part.end())
                .filter(|piece| match &piece.source {
                    Source::Memory { buffer: now, skip: now_skip } => {
                        Arc::ptr_eq(buffer, now)
                            && *now_skip as u64 + part.start == *skip as u64 + piece.start
                    }
                    Source::Chunk { .. } | Source::Hole => false,
                })
                .map(|piece| piece.clip(part.start, part.end()))
                .collect();
            for piece in still_there {
                let skip = (piece.start - start) as u32;
                // What is left may be sealed next, and is known by its buffer.
                self.carve_as(piece.start, piece.end(), |rest| rest);
                self.insert(Piece { source: Source::Chunk { chunk, skip }, ..piece });
            }
        }
    }

    /// The pieces that overlap the range, unclipped.
    pub(super) fn overlapping(&self, from: u64, to: u64) -> impl Iterator<Item = &Piece> {
        let first = self
            .pieces
            .range(..from)
            .next_back()
            .filter(|(_, piece)| piece.end() > from)
            .map(|(start, _)| *start);
        let begin = first.unwrap_or(from);
        let range = if from < to { begin..to } else { 0..0 };
        self.pieces.range(range).map(|(_, piece)| piece)
    }

    /// What the range shows, in order. What is beyond the cut and in no piece is a hole.
    pub(super) fn resolve(&self, from: u64, to: u64) -> Vec<Shown> {
        let mut shown = Vec::new();
        let mut at = from;
        for piece in self.overlapping(from, to) {
            self.resolve_gap(at, piece.start.max(from), &mut shown);
            let part = piece.clip(from, to);
            at = part.end();
            shown.push(Shown::Piece(part));
        }
        self.resolve_gap(at, to, &mut shown);
        shown
    }

    fn resolve_gap(&self, from: u64, to: u64, shown: &mut Vec<Shown>) {
        let visible = to.min(self.base_end);
        if from < visible {
            shown.push(Shown::Base { start: from, len: visible - from });
        }
        let cut = from.max(self.base_end);
        if cut < to {
            let source = Source::Hole;
            shown.push(Shown::Piece(Piece { start: cut, len: to - cut, source }));
        }
    }

    /// Runs of bytes in memory that lie side by side.
    pub(super) fn memory_runs(&self) -> Vec<Vec<Piece>> {
        let mut runs: Vec<Vec<Piece>> = Vec::new();
        for piece in self.pieces.values() {
            if piece.bytes().is_none() {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|last| last.end() == piece.start) => {
                    run.push(piece.clone());
                }
                _ => runs.push(vec![piece.clone()]),
            }
        }
        runs
    }

    /// How many bytes in memory lie side by side around `at`, counted up to about `enough`.
    pub(super) fn run_bytes_around(&self, at: u64, enough: u64) -> u64 {
        let Some((_, middle)) = self.pieces.range(..=at).next_back() else { return 0 };
        if middle.bytes().is_none() || middle.end() <= at {
            return 0;
        }
        let (mut from, mut to) = (middle.start, middle.end());
        for (_, piece) in self.pieces.range(..from).rev() {
            if piece.bytes().is_none() || piece.end() != from || to - from >= enough {
                break;
            }
            from = piece.start;
        }
        for (start, piece) in self.pieces.range(to..) {
            if piece.bytes().is_none() || *start != to || to - from >= enough {
                break;
            }
            to = piece.end();
        }
        to - from
    }

    /// The first run of at least `least` bytes in memory: its first pieces, up to about `most` bytes.
    pub(super) fn long_run(&self, least: u64, most: u64) -> Option<Vec<Piece>> {
        let mut start = 0;
        let mut end = u64::MAX;
        for piece in self.pieces.values().filter(|piece| piece.bytes().is_some()) {
            if piece.start != end {
                start = piece.start;
            }
            end = piece.end();
            if end - start >= least {
                let pieces = self.overlapping(start, start.saturating_add(most));
                let mut at = start;
                let run = pieces.take_while(|piece| {
                    let follows = piece.bytes().is_some() && piece.start == at;
                    at = piece.end();
                    follows
                });
                return Some(run.cloned().collect());
            }
        }
        None
    }

    /// Lets go of buffers of which little is left: after sealing.
    pub(super) fn slim(&mut self) {
        for piece in self.pieces.values_mut() {
            *piece = piece.clone().slim();
        }
    }

    /// The chunks that the pieces name.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        self.pieces.values().filter_map(|piece| match &piece.source {
            Source::Chunk { chunk, .. } => Some(chunk),
            Source::Memory { .. } | Source::Hole => None,
        })
    }

    /// The ranges to replace in the committed extents. Everything in memory must be sealed.
    pub(super) fn replacements(&self) -> Vec<Replacement> {
        debug_assert_eq!(self.memory_bytes, 0, "unsealed bytes can't be committed");
        let mut all: Vec<Replacement> = Vec::new();
        for piece in self.pieces.values() {
            // From the cut on everything is replaced, by the pieces that lie there.
            let beyond = piece.end() > self.base_end;
            let to = if beyond { u64::MAX } else { piece.end() };
            let from = piece.start.min(self.base_end);
            match all.last_mut() {
                Some(last) if last.to >= from => last.to = to,
                _ => all.push(Replacement { from, to, extents: Vec::new() }),
            }
            if let (Some(extent), Some(last)) = (piece.extent(), all.last_mut()) {
                push_extent(&mut last.extents, extent);
            }
        }
        let cut_is_covered = all.last().is_some_and(|last| last.to == u64::MAX);
        if self.base_end < u64::MAX && !cut_is_covered {
            match all.last_mut() {
                Some(last) if last.to >= self.base_end => last.to = u64::MAX,
                _ => {
                    let from = self.base_end;
                    all.push(Replacement { from, to: u64::MAX, extents: Vec::new() });
                }
            }
        }
        all
    }

    fn insert(&mut self, piece: Piece) {
        let old = self.pieces.insert(piece.start, piece);
        debug_assert!(old.is_none(), "pieces don't overlap");
    }

    /// Takes everything out of the range, cutting the pieces that reach beyond it. What is left of them
    /// lets go of buffers that are much larger, or memory would not be bounded by what is counted.
    fn carve(&mut self, from: u64, to: u64) {
        self.carve_as(from, to, Piece::slim);
    }

    fn carve_as(&mut self, from: u64, to: u64, keep: fn(Piece) -> Piece) {
        let touched: Vec<u64> = self.overlapping(from, to).map(|piece| piece.start).collect();
        for start in touched {
            let piece = self.pieces.remove(&start).expect("it was just found");
            if piece.bytes().is_some() {
                let inside = piece.end().min(to) - piece.start.max(from);
                self.memory_bytes -= inside;
            }
            if piece.start < from {
                self.insert(keep(piece.clip(piece.start, from)));
            }
            if piece.end() > to {
                self.insert(keep(piece.clip(to, piece.end())));
            }
        }
    }
}

#[cfg(test)]
mod tests;
