//! Sealing: bytes in memory become chunks, in the background while a file is being written, and
//! the rest of them when it is saved.

use super::node::{Node, NodeState, Sealing};
use super::overlay::{Piece, Shown, Source, same_shown};
use super::volume::Volume;
use super::{Error, Result};
use crate::model::{ChunkRef, Extent};
use std::sync::Arc;

/// So much in memory of one file sets a worker to sealing it.
pub(super) const SEAL_AFTER_BYTES: u64 = 4 << 20;
/// Runs shorter than this are left alone in the background: more is likely to follow.
const BACKGROUND_RUN_BYTES: u64 = 1 << 20;
/// Scattered writes are sealed in the background, as they are, from this much on.
const SCATTERED_BYTES: u64 = 32 << 20;
/// A write that replaces at least one part in so many of the chunks it touches makes them be cut
/// anew; a smaller one becomes a chunk of its own.
const RECUT_PART: u64 = 4;
/// What is appended is cut together with the tail of the file before it, where that tail is smaller than a
/// chunk should be and no more than so many times as long: a log that grows by lines gets
/// chunks of some KiB, at a bounded cost for each line.
const APPEND_PART: u64 = 32;
/// A worker takes this much of a run at a time, so that memory is given back in steps.
const JOB_BYTES: u64 = 8 << 20;

impl Volume {
    /// Sets a worker to sealing the node when enough has gathered.
    pub(super) fn seal_in_background(&self, node: &Arc<Node>, state: &mut NodeState) {
        let bytes = state.overlay.memory_bytes();
        if bytes < SEAL_AFTER_BYTES || state.sealing {
            return;
        }
        let scattered = bytes >= SCATTERED_BYTES;
        if scattered || long_runs(state).next().is_some() {
            state.sealing = self.workers.submit(Arc::clone(node));
        }
    }

    /// The work of a worker: seals the long runs of the node. An error is kept for the next who asks.
    pub(super) fn seal_job(&self, node: &Arc<Node>) {
        let turn = Sealing::taken(node);
        let state = node.lock();
        let mut runs: Vec<Vec<Piece>> = long_runs(&state).take(1).collect();
        let scattered = runs.is_empty();
        match runs.first_mut() {
            Some(run) => shorten(run, JOB_BYTES),
            None => runs = state.overlay.memory_runs(),
        }
        drop(state);
        let outcome = runs.iter().try_for_each(|run| self.seal_run(node, run, scattered));
        drop((runs, turn));
        let mut state = node.lock();
        match outcome {
            Ok(()) => self.seal_in_background(node, &mut state),
            // Not again at once: a full disk would be tried for ever, and nobody else got a turn.
            Err(error) => {
                log::error!("writing inode {} out in the background: {error}", node.ino);
                state.deferred_error.get_or_insert(error.errno());
            }
        }
    }

    /// Seals everything that is in memory. Afterwards the overlay can be committed, unless
    /// somebody wrote on.
    pub(super) fn seal_all(&self, node: &Node) -> Result<()> {
        let _turn = node.begin_sealing();
        loop {
            let runs = node.lock().overlay.memory_runs();
            if runs.is_empty() {
                return Ok(());
            }
            for run in runs {
                // What lies beside may be damaged: then it stays as it is, and the run too.
                let run = self.widen(node, &run).unwrap_or(run);
                self.seal_run(node, &run, true)?;
            }
        }
    }

    /// Cuts a run of adjacent pieces into chunks, stores them, and puts them in the pieces' place. Without
    /// `last`, the end of the run stays in memory as long as what follows could change the cut.
    fn seal_run(&self, node: &Node, run: &[Piece], last: bool) -> Result<()> {
        let mut cursor = RunCursor::new(run, self.chunk_max());
        while let Some(ahead) = cursor.ahead() {
            let Some(len) = self.cutter.next(&ahead, last) else { break };
            let chunk = self.ingest.store(&self.meta, &ahead[..len])?;
            drop(ahead);
            let (start, parts) = cursor.take(len);
            self.install(node, start, &parts, chunk);
        }
        Ok(())
    }

    fn install(&self, node: &Node, start: u64, parts: &[Piece], chunk: ChunkRef) {
        let mut state = node.lock();
        let before = state.overlay.memory_bytes();
        state.overlay.seal(start, parts, chunk);
        let after = state.overlay.memory_bytes();
        drop(state);
        self.space.dirty_shrank(before - after);
    }

    /// Takes in what lies beside a run in the chunks that it cuts into, where the run is a large
    /// part of them, or where it goes on from a tail that is smaller than a chunk should be.
    fn widen(&self, node: &Node, run: &[Piece]) -> Result<Vec<Piece>> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
        let (from, to) = (first.start, last.end());
        let size = node.lock().size();
        let mut part = RECUT_PART;
        let left = match self.extent_around(node, from.saturating_sub(1), from)? {
            Some(extent) if extent.end() > from => extent.start,
            Some(tail) if to >= size && tail.len < u64::from(self.chunk_params.min()) => {
                part = APPEND_PART;
                tail.start
            }
            _ => from,
        };
        let right = match self.extent_around(node, to, to + 1)? {
            Some(extent) if extent.start < to => extent.end().min(size).max(to),
            _ => to,
        };
        if (to - from) * part < right - left {
            return Ok(run.to_vec());
        }
        let mut wide = Vec::with_capacity(run.len() + 2);
        wide.extend(self.load_piece(node, left, from)?);
        wide.extend_from_slice(run);
        wide.extend(self.load_piece(node, to, right)?);
        Ok(wide)
    }

    /// The extent that shows at `[at, to)`, whole, be it committed or not.
    fn extent_around(&self, node: &Node, at: u64, to: u64) -> Result<Option<Extent>> {
        let state = node.lock();
        let overlaid = state.overlay.overlapping(at, to).next().cloned();
        if let Some(Piece { start, len, source }) = overlaid {
            return Ok(match source {
                Source::Chunk { chunk, skip } => {
                    let content = crate::model::Content { chunk: chunk.id, skip };
                    Some(Extent { start, len, content })
                }
                Source::Memory { .. } | Source::Hole => None,
            });
        }
        let base_end = state.overlay.base_end();
        let extents = self.meta.read(|view| view.extents(node.ino, at, to))?;
        Ok(extents.first().and_then(|extent| extent.clip(0, base_end)))
    }

    /// Brings `[from, to)` into memory and lays it over the file, unless somebody wrote there.
    fn load_piece(&self, node: &Node, from: u64, to: u64) -> Result<Option<Piece>> {
        if from >= to {
            return Ok(None);
        }
        let before = node.lock().overlay.resolve(from, to);
        let mut bytes = Vec::with_capacity((to - from) as usize);
        self.read_node(node, from, (to - from) as usize, &mut bytes)?;
        Ok(self.lay_loaded(node, from, bytes, &before))
    }

    /// Lays bytes that were read over where they came from, if that still shows what it showed `before`
    /// they were read. Nobody commits meanwhile: it is our turn to seal.
    pub(super) fn lay_loaded(
        &self,
        node: &Node,
        from: u64,
        bytes: Vec<u8>,
        before: &[Shown],
    ) -> Option<Piece> {
        let to = from + bytes.len() as u64;
        let mut state = node.lock();
        let now = state.overlay.resolve(from, to);
        if state.size() < to || !now.iter().all(Shown::is_at_rest) || !same_shown(before, &now) {
            return None;
        }
        let source = Source::Memory { buffer: Arc::new(bytes), skip: 0 };
        let piece = Piece { start: from, len: to - from, source };
        state.overlay.lay(piece.clone());
        self.space.dirty_grew(piece.len);
        Some(piece)
    }

    fn chunk_max(&self) -> usize {
        self.chunk_params.max() as usize
    }
}

fn long_runs(state: &NodeState) -> impl Iterator<Item = Vec<Piece>> {
    let runs = state.overlay.memory_runs().into_iter();
    runs.filter(|run| run.iter().map(|piece| piece.len).sum::<u64>() >= BACKGROUND_RUN_BYTES)
}

/// Keeps the first pieces of a run, up to `bytes_max` but at least one.
fn shorten(run: &mut Vec<Piece>, bytes_max: u64) {
    let mut bytes = 0;
    let keep = run.iter().take_while(|piece| {
        bytes += piece.len;
        bytes <= bytes_max
    });
    let keep = keep.count().max(1);
    run.truncate(keep);
}

/// Walks along adjacent pieces and shows up to a chunk's largest size ahead, copying only where a chunk
/// may straddle two buffers.
struct RunCursor<'a> {
    run: &'a [Piece],
    /// The piece that is being read, and how much of it is taken.
    index: usize,
    taken: usize,
    window: usize,
}

impl<'a> RunCursor<'a> {
    fn new(run: &'a [Piece], window: usize) -> Self {
        RunCursor { run, index: 0, taken: 0, window }
    }

    fn rest_of_piece(&self) -> &'a [u8] {
        let bytes = self.run.get(self.index).and_then(Piece::bytes);
        &bytes.unwrap_or_default()[self.taken..]
    }

    /// Up to `window` bytes from here on; `None` at the end.
    fn ahead(&self) -> Option<std::borrow::Cow<'a, [u8]>> {
        let here = self.rest_of_piece();
        if here.len() >= self.window {
            return Some(here[..self.window].into());
        }
        if self.index + 1 >= self.run.len() {
            return (!here.is_empty()).then(|| here.into());
        }
        let mut joined = here.to_vec();
        for piece in &self.run[self.index + 1..] {
            let bytes = piece.bytes().unwrap_or_default();
            let room = self.window - joined.len();
            joined.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if joined.len() == self.window {
                break;
            }
        }
        Some(joined.into())
    }

    /// Goes on by `len` bytes; answers where they begin, and the pieces that they were.
    fn take(&mut self, mut len: usize) -> (u64, Vec<Piece>) {
        let start = self.run[self.index].start + self.taken as u64;
        let mut parts = Vec::with_capacity(1);
        while len > 0 {
            let piece = &self.run[self.index];
            let step = len.min(piece.len as usize - self.taken);
            let from = piece.start + self.taken as u64;
            parts.push(piece.clip(from, from + step as u64));
            len -= step;
            self.taken += step;
            if self.taken == piece.len as usize {
                self.index += 1;
                self.taken = 0;
            }
        }
        (start, parts)
    }
}

/// What a deferred error was, as an error again.
pub(super) fn deferred(errno: i32) -> Error {
    match errno {
        libc::ENOSPC => Error::NoSpace,
        _ => Error::Failed("an earlier part of this file could not be written out".into()),
    }
}
