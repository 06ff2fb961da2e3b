//! The overlay against a model that is an array of bytes.

use super::*;
use crate::model::{ChunkHash, ChunkId, ChunkLocation, PackId, splice};
use proptest::prelude::*;

/// The model's file: everything happens below this offset.
const FILE_BYTES: usize = 256;

#[derive(Clone, Debug)]
enum Op {
    Write(usize, usize),
    Punch(usize, usize),
    Truncate(usize),
    LayChunk(usize, usize),
    LayHole(usize, usize),
    /// Remembers what is in memory, as sealing does, …
    Capture,
    /// … and seals it later, whatever came in between.
    SealCaptured,
    SealAll,
    Slim,
    Commit,
}

fn op() -> impl Strategy<Value = Op> {
    let range = (0..FILE_BYTES - 40, 1..40_usize);
    prop_oneof![
        8 => range.clone().prop_map(|(at, len)| Op::Write(at, len)),
        2 => range.clone().prop_map(|(at, len)| Op::Punch(at, len)),
        2 => (0..FILE_BYTES).prop_map(Op::Truncate),
        2 => range.clone().prop_map(|(at, len)| Op::LayChunk(at, len)),
        1 => range.prop_map(|(at, len)| Op::LayHole(at, len)),
        2 => Just(Op::Capture),
        2 => Just(Op::SealCaptured),
        1 => Just(Op::SealAll),
        1 => Just(Op::Slim),
        1 => Just(Op::Commit),
    ]
}

/// An overlay over committed extents, and what it should show.
struct World {
    overlay: Overlay,
    base: Vec<Extent>,
    chunks: Vec<Vec<u8>>,
    captured: Vec<Vec<Piece>>,
    expected: Vec<u8>,
    value: u8,
}

impl World {
    fn new() -> World {
        let mut world = World {
            overlay: Overlay::default(),
            base: Vec::new(),
            chunks: Vec::new(),
            captured: Vec::new(),
            expected: vec![0; FILE_BYTES],
            value: 0,
        };
        for (at, len, skip) in [(10, 50, 0), (60, 30, 5), (120, 80, 2)] {
            let chunk = world.new_chunk(len + skip);
            let content = Content { chunk: chunk.id, skip: skip as u32 };
            world.base.push(Extent { start: at as u64, len: len as u64, content });
            let bytes = world.chunks[chunk.id.0 as usize][skip..].to_vec();
            world.expected[at..at + len].copy_from_slice(&bytes);
        }
        world
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let next = |value: &mut u8| {
            *value = if *value == u8::MAX { 1 } else { *value + 1 };
            *value
        };
        (0..len).map(|_| next(&mut self.value)).collect()
    }

    fn add_chunk(&mut self, bytes: Vec<u8>) -> ChunkRef {
        let plain_len = bytes.len() as u32;
        self.chunks.push(bytes);
        let id = ChunkId(self.chunks.len() as u64 - 1);
        let at = ChunkLocation { pack: PackId(0), offset: 0, stored_len: plain_len, plain_len };
        ChunkRef { id, hash: ChunkHash([0; 32]), at, base: None }
    }

    fn new_chunk(&mut self, len: usize) -> ChunkRef {
        let bytes = self.bytes(len);
        self.add_chunk(bytes)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Write(at, len) => {
                let bytes = self.bytes(len);
                self.overlay.write(at as u64, &bytes);
                self.expected[at..at + len].copy_from_slice(&bytes);
            }
            Op::Punch(at, len) => {
                self.overlay.punch(at as u64, (at + len) as u64);
                self.expected[at..at + len].fill(0);
            }
            Op::Truncate(at) => {
                self.overlay.truncate(at as u64);
                self.expected[at..].fill(0);
            }
            Op::LayChunk(at, len) => {
                let chunk = self.new_chunk(len + 3);
                let source = Source::Chunk { chunk, skip: 3 };
                self.overlay.lay(Piece { start: at as u64, len: len as u64, source });
                let bytes = &self.chunks[chunk.id.0 as usize][3..];
                self.expected[at..at + len].copy_from_slice(bytes);
            }
            Op::LayHole(at, len) => {
                let source = Source::Hole;
                self.overlay.lay(Piece { start: at as u64, len: len as u64, source });
                self.expected[at..at + len].fill(0);
            }
            Op::Capture => self.captured = self.overlay.memory_runs(),
            Op::SealCaptured => {
                let captured = std::mem::take(&mut self.captured);
                captured.iter().for_each(|run| self.seal(run));
            }
            Op::SealAll => self.seal_all(),
            Op::Slim => self.overlay.slim(),
            Op::Commit => self.commit(),
        }
    }

    fn seal_all(&mut self) {
        for run in self.overlay.memory_runs() {
            self.seal(&run);
        }
        assert_eq!(self.overlay.memory_bytes(), 0);
    }

    /// Seals a run as two chunks, cut where pieces needn't end.
    fn seal(&mut self, run: &[Piece]) {
        let (from, to) = (run[0].start, run[run.len() - 1].end());
        let middle = from + (to - from) / 3;
        for (from, to) in [(from, middle), (middle, to)].into_iter().filter(|(a, b)| a < b) {
            let parts: Vec<Piece> = run
                .iter()
                .filter(|piece| piece.start < to && piece.end() > from)
                .map(|piece| piece.clip(from, to))
                .collect();
            let bytes: Vec<u8> =
                parts.iter().flat_map(|part| part.bytes().unwrap()).copied().collect();
            assert_eq!(bytes.len() as u64, to - from);
            let chunk = self.add_chunk(bytes);
            self.overlay.seal(from, &parts, chunk);
        }
    }

    fn commit(&mut self) {
        self.seal_all();
        for Replacement { from, to, extents } in self.overlay.replacements() {
            let touched = |extent: &&Extent| extent.start < to && extent.end() > from;
            let old: Vec<Extent> = self.base.iter().filter(touched).copied().collect();
            let change = splice(&old, from, to, &extents);
            self.base.retain(|extent| !change.ended.contains(extent));
            self.base.extend(change.begun);
            self.base.sort_by_key(|extent| extent.start);
        }
        assert!(self.base.windows(2).all(|pair| pair[0].end() <= pair[1].start));
        self.overlay = Overlay::default();
        assert!(self.overlay.is_empty());
    }

    fn shown(&self, from: usize, to: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for shown in self.overlay.resolve(from as u64, to as u64) {
            let at = from + bytes.len();
            match shown {
                Shown::Base { start, len } => {
                    assert_eq!((start, len > 0), (at as u64, true));
                    bytes.extend((start..start + len).map(|at| self.base_byte(at)));
                }
                Shown::Piece(piece) => {
                    assert_eq!((piece.start, piece.len > 0), (at as u64, true));
                    match &piece.source {
                        Source::Memory { .. } => bytes.extend_from_slice(piece.bytes().unwrap()),
                        Source::Chunk { chunk, skip } => {
                            let chunk = &self.chunks[chunk.id.0 as usize][*skip as usize..];
                            bytes.extend_from_slice(&chunk[..piece.len as usize]);
                        }
                        Source::Hole => bytes.resize(bytes.len() + piece.len as usize, 0),
                    }
                }
            }
        }
        bytes
    }

    fn base_byte(&self, at: u64) -> u8 {
        let covers = |extent: &&Extent| extent.start <= at && at < extent.end();
        self.base.iter().find(covers).map_or(0, |extent| {
            let Content { chunk, skip } = extent.content;
            self.chunks[chunk.0 as usize][(u64::from(skip) + at - extent.start) as usize]
        })
    }

    fn check(&self, from: usize, to: usize) {
        assert_eq!(self.shown(0, FILE_BYTES), self.expected);
        assert_eq!(self.shown(from, to), self.expected[from..to]);
        let in_memory: usize =
            self.overlay.pieces.values().filter_map(Piece::bytes).map(<[u8]>::len).sum();
        assert_eq!(self.overlay.memory_bytes(), in_memory as u64);
        let pieces: Vec<&Piece> = self.overlay.pieces.values().collect();
        assert!(pieces.windows(2).all(|pair| pair[0].end() <= pair[1].start));
        assert!(
            self.overlay.pieces.iter().all(|(start, piece)| *start == piece.start && piece.len > 0)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn shows_what_an_array_of_bytes_would(
        ops in prop::collection::vec((op(), 0..FILE_BYTES, 0..FILE_BYTES), 1..60)
    ) {
        let mut world = World::new();
        for (op, one, other) in ops {
            world.apply(&op);
            world.check(one.min(other), one.max(other));
        }
        world.commit();
        world.check(0, FILE_BYTES);
    }
}

#[test]
fn the_largest_offsets_are_offsets_like_others() {
    let end = i64::MAX as u64;
    let mut overlay = Overlay::default();
    overlay.write(end - 4, b"tail");
    overlay.punch(0, end - 2);
    let [Shown::Piece(hole), Shown::Piece(tail)] = &overlay.resolve(end - 4, end)[..] else {
        panic!("{:?}", overlay.resolve(end - 4, end));
    };
    assert_eq!((hole.len, tail.start, tail.bytes()), (2, end - 2, Some(&b"il"[..])));
    overlay.truncate(end - 1);
    assert_eq!(overlay.memory_bytes(), 1);
    overlay.truncate(0);
    assert_eq!(overlay.memory_bytes(), 0);
    assert_eq!(overlay.replacements(), [Replacement { from: 0, to: u64::MAX, extents: vec![] }]);
}

#[test]
fn little_that_is_left_of_a_large_write_does_not_keep_its_buffer() {
    let mut overlay = Overlay::default();
    for step in 0..64_u64 {
        overlay.write(step * 4096, &[step as u8; 1 << 20]);
    }
    let kept = |overlay: &Overlay| -> usize {
        let capacity = |piece: &Piece| match &piece.source {
            Source::Memory { buffer, .. } => buffer.capacity(),
            _ => 0,
        };
        overlay.pieces.values().map(capacity).sum()
    };
    assert!(kept(&overlay) < 8 << 20, "{} bytes kept", kept(&overlay));
    assert_eq!(overlay.memory_bytes(), (1 << 20) + 63 * 4096);
}
