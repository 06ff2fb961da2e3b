//! Sealing: bytes in memory become chunks, in the background while a file is being written, and
//! the rest of them when it is saved.

use super::ingest::Contents;
use super::node::{Node, NodeState, Sealing};
use super::overlay::{Piece, Shown, Source, same_shown};
use super::recut::{Range, Shape, neighbours};
use super::trail::Trail;
use super::volume::Volume;
use super::{Error, Result};
use crate::chunks::Cutter;
use crate::model::{ChunkRef, Extent};
use std::borrow::Cow;
use std::sync::Arc;

/// So much in memory of one file sets a worker to sealing it.
pub(super) const SEAL_AFTER_BYTES: u64 = 4 << 20;
/// Runs shorter than this are left alone in the background: more is likely to follow.
const BACKGROUND_RUN_BYTES: u64 = 1 << 20;
/// Scattered writes are sealed in the background, as they are, from this much on.
const SCATTERED_BYTES: u64 = 32 << 20;
/// A worker takes this much of a run at a time, so that memory is given back in steps.
const JOB_BYTES: u64 = 8 << 20;
/// The cuts of a run from this length on are found ahead, by a thread that lives as long.
const CUT_AHEAD_BYTES_MIN: u64 = 1 << 20;
/// How many are found ahead.
const CUTS_AHEAD_MAX: usize = 16;
/// So many new chunks are kept back at the beginning of a long run, until a known one shows where they belong.
const HELD_CHUNKS_MAX: usize = 4;
/// Runs with no more than this between them are looked at together.
const CLUSTER_GAP_BYTES: u64 = 1 << 20;

impl Volume {
    /// Sets a worker to sealing the node when enough has gathered where `at` was just written.
    pub(super) fn seal_in_background(&self, node: &Arc<Node>, state: &mut NodeState, at: u64) {
        let bytes = state.overlay.memory_bytes();
        if bytes < SEAL_AFTER_BYTES || state.sealing {
            return;
        }
        let run = state.overlay.run_bytes_around(at, BACKGROUND_RUN_BYTES);
        if bytes >= SCATTERED_BYTES || run >= BACKGROUND_RUN_BYTES {
            state.sealing = self.workers.submit(Arc::clone(node));
        }
    }

    /// The work of a worker: seals a long run of the node, or everything where there is none. An error is
    /// kept for the next who asks.
    pub(super) fn seal_job(&self, node: &Arc<Node>) {
        let turn = Sealing::taken(node);
        let state = node.lock();
        let long = state.overlay.long_run(BACKGROUND_RUN_BYTES, JOB_BYTES);
        let scattered = long.is_none();
        let runs = long.map_or_else(|| state.overlay.memory_runs(), |run| vec![run]);
        drop(state);
        let outcome = runs.iter().try_for_each(|run| self.seal_run(node, run, scattered));
        drop((runs, turn));
        let mut state = node.lock();
        state.overlay.slim();
        match outcome {
            Ok(()) => self.seal_more(node, &mut state),
            // Not again at once: a full disk would be tried for ever, and nobody else got a turn.
            Err(error) => {
                log::error!("writing inode {} out in the background: {error}", node.ino);
                state.deferred_error.get_or_insert(error.errno());
            }
        }
    }

    /// Goes on where a writer was faster than the worker.
    fn seal_more(&self, node: &Arc<Node>, state: &mut NodeState) {
        let enough = state.overlay.memory_bytes() >= SEAL_AFTER_BYTES && !state.sealing;
        if enough && state.overlay.long_run(BACKGROUND_RUN_BYTES, JOB_BYTES).is_some() {
            state.sealing = self.workers.submit(Arc::clone(node));
        }
    }

    /// Seals everything that is in memory now. Afterwards the overlay can be committed, unless
    /// somebody wrote on.
    pub(super) fn seal_all(&self, node: &Node) -> Result<()> {
        let _turn = node.begin_sealing();
        let mut runs = node.lock().overlay.memory_runs();
        if self.load_neighbours(node, &runs)? {
            runs = node.lock().overlay.memory_runs();
        }
        runs.iter().try_for_each(|run| self.seal_run(node, run, true))
    }

    /// Cuts a run of adjacent pieces into chunks, stores them, and puts them in the pieces' place. Without
    /// `last`, the end of the run stays in memory as long as what follows could change the cut.
    ///
    /// Finding the cuts of a long run takes about as long as hashing and storing what lies between them: they
    /// are found by a thread of their own, a few ahead.
    fn seal_run(&self, node: &Node, run: &[Piece], last: bool) -> Result<()> {
        let cuts =
            || Cuts { cutter: &self.cutter, cursor: RunCursor::new(run, self.chunk_max()), last };
        let mut follower = Follower::of(node);
        if run_bytes(run) < CUT_AHEAD_BYTES_MIN {
            return cuts().try_for_each(|cut| self.seal_cut(node, &mut follower, cut));
        }
        follower.waits = follower.trail.is_lost() && !follower.has_content;
        let mut seal = |cut| self.seal_cut(node, &mut follower, cut);
        std::thread::scope(|scope| {
            let (sender, ahead) = std::sync::mpsc::sync_channel(CUTS_AHEAD_MAX);
            let cut_ahead = move || {
                // An error on the other side ends it.
                let _ = cuts().try_for_each(|cut| sender.send(cut));
            };
            match std::thread::Builder::new().name("cut".into()).spawn_scoped(scope, cut_ahead) {
                Ok(_) => ahead.into_iter().try_for_each(&mut seal),
                // No thread to be had: one after the other, then.
                Err(_) => cuts().try_for_each(&mut seal),
            }
        })?;
        let _places = self.ingest.hold_places();
        self.seal_held(node, &mut follower)
    }

    /// Stores what lies between two cuts and puts the chunk in its place; or keeps it back for a while.
    fn seal_cut<'r>(
        &self,
        node: &Node,
        follower: &mut Follower<'_, 'r>,
        cut: Cut<'r>,
    ) -> Result<()> {
        let _places = self.ingest.hold_places();
        let contents = self.ingest.find(&self.meta, &cut.bytes)?;
        if follower.waits {
            if contents.known.is_none() && follower.held.len() < HELD_CHUNKS_MAX {
                follower.held.push((cut, contents));
                return Ok(());
            }
            if let (Some(known), Some((first, _))) = (&contents.known, follower.held.first()) {
                follower.trail.go_to(first.start, follower.has_content);
                let (bytes, chunks) = (cut.start - first.start, follower.held.len() as u64);
                self.ingest.lead_back(known, &mut follower.trail, bytes, chunks);
            }
            self.seal_held(node, follower)?;
        }
        self.seal_found(node, follower, cut, contents)
    }

    /// Stores what was kept back. The caller holds `Ingest::hold_places`.
    fn seal_held(&self, node: &Node, follower: &mut Follower<'_, '_>) -> Result<()> {
        follower.waits = false;
        for (cut, contents) in std::mem::take(&mut follower.held) {
            self.seal_found(node, follower, cut, contents)?;
        }
        Ok(())
    }

    /// The caller holds `Ingest::hold_places`, since before the contents were found.
    fn seal_found(
        &self,
        node: &Node,
        follower: &mut Follower<'_, '_>,
        cut: Cut<'_>,
        contents: Contents,
    ) -> Result<()> {
        follower.trail.go_to(cut.start, follower.has_content);
        let mut chunk = self.ingest.store(&self.meta, &cut.bytes, contents, &mut follower.trail)?;
        if self.ingest.is_damaged(chunk.id) {
            chunk = self.ingest.heal(&self.meta, self.now(), chunk, &cut.bytes)?;
        }
        self.install(node, cut.start, &cut.parts, chunk);
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

    /// Brings into memory what is cut anew together with the runs; whether there was anything.
    fn load_neighbours(&self, node: &Node, runs: &[Vec<Piece>]) -> Result<bool> {
        let ranges: Vec<Range> =
            runs.iter().filter_map(|run| Some((run.first()?.start, run.last()?.end()))).collect();
        let mut loaded = false;
        for cluster in ranges.chunk_by(|a, b| b.0 - a.1 <= CLUSTER_GAP_BYTES) {
            let (extents, size) = self.extents_around(node, cluster)?;
            let shape = Shape { size, chunk_min: u64::from(self.chunk_params.min()) };
            for (from, to) in neighbours(cluster, &extents, &shape) {
                // What lies there may be damaged: then it stays as it is.
                loaded |= self.load_piece(node, from, to).is_ok_and(|piece| piece.is_some());
            }
        }
        Ok(loaded)
    }

    /// The extents below and beside the ranges, committed or not, sorted; and the file's size.
    fn extents_around(&self, node: &Node, ranges: &[Range]) -> Result<(Vec<Extent>, u64)> {
        let state = node.lock();
        let from = ranges.first().map_or(0, |range| range.0.saturating_sub(1));
        let to = ranges.last().map_or(0, |range| range.1 + 1);
        let base_end = state.overlay.base_end();
        let mut extents = Vec::new();
        if state.inode.attr.allocated > 0 && from < base_end {
            let found = self.meta.read(|view| view.extents(node.ino, from, to.min(base_end)))?;
            extents.extend(found.iter().filter_map(|extent| extent.clip(0, base_end)));
        }
        extents.extend(state.overlay.overlapping(from, to).filter_map(Piece::extent));
        extents.sort_by_key(|extent| extent.start);
        Ok((extents, state.size()))
    }

    /// Brings `[from, to)` into memory and lays it over the file, unless somebody wrote there.
    fn load_piece(&self, node: &Node, from: u64, to: u64) -> Result<Option<Piece>> {
        if from >= to {
            return Ok(None);
        }
        let before = node.lock().overlay.resolve(from, to);
        let is_hole =
            |shown: &Shown| matches!(shown, Shown::Piece(Piece { source: Source::Hole, .. }));
        if before.iter().any(is_hole) {
            return Ok(None); // punched since: it must stay a hole
        }
        let mut bytes = Vec::with_capacity((to - from) as usize);
        let _places = self.ingest.hold_places();
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

/// The trail of a node, while somebody seals a run of it.
struct Follower<'a, 'r> {
    node: &'a Node,
    trail: Trail,
    has_content: bool,
    /// Whether what begins the run and is new is kept back until something known shows what it took the place of: programs
    /// that write a file anew begin with a header that they changed.
    waits: bool,
    held: Vec<(Cut<'r>, Contents)>,
}

impl<'a> Follower<'a, '_> {
    fn of(node: &'a Node) -> Self {
        let mut state = node.lock();
        let trail = state.trail.take().unwrap_or_else(|| Trail::of(node.ino));
        let has_content = state.inode.attr.allocated > 0;
        Follower { node, trail, has_content, waits: false, held: Vec::new() }
    }
}

impl Drop for Follower<'_, '_> {
    fn drop(&mut self) {
        self.node.lock().trail = Some(self.trail.clone());
    }
}

fn run_bytes(run: &[Piece]) -> u64 {
    run.iter().map(|piece| piece.len).sum()
}

/// What becomes one chunk.
struct Cut<'a> {
    start: u64,
    bytes: Cow<'a, [u8]>,
    /// The pieces that it takes the place of.
    parts: Vec<Piece>,
}

/// The cuts of a run, one after the other.
struct Cuts<'a> {
    cutter: &'a Cutter,
    cursor: RunCursor<'a>,
    last: bool,
}

impl<'a> Iterator for Cuts<'a> {
    type Item = Cut<'a>;

    fn next(&mut self) -> Option<Cut<'a>> {
        let ahead = self.cursor.ahead()?;
        let len = self.cutter.next(&ahead, self.last)?;
        let bytes = match ahead {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[..len]),
            Cow::Owned(mut bytes) => {
                bytes.truncate(len);
                Cow::Owned(bytes)
            }
        };
        let (start, parts) = self.cursor.take(len);
        Some(Cut { start, bytes, parts })
    }
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
    fn ahead(&self) -> Option<Cow<'a, [u8]>> {
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
