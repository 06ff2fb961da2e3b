//! The bytes of one round: incompressible, new in every round, and made before any clock starts.

use crate::work::{BIG_BYTES, PICTURE_BYTES};
use std::cell::OnceCell;

/// Sizes of small files, in bytes.
const SMALL_BYTES_MIN: usize = 1000;
const SMALL_BYTES_MAX: usize = 4000;

/// Bytes of one round, the same for every peer.
pub(crate) struct Data {
    seed: u64,
    big: OnceCell<Vec<u8>>,
    picture: OnceCell<Vec<u8>>,
}

impl Data {
    pub(crate) fn new(seed: u64) -> Data {
        Data { seed, big: OnceCell::new(), picture: OnceCell::new() }
    }

    /// The large file's bytes; made at the first call, which no work does on the clock.
    pub(crate) fn big(&self) -> &[u8] {
        self.big.get_or_init(|| self.made(1 << 32, BIG_BYTES))
    }

    /// The picture's bytes, also the source of small pieces.
    pub(crate) fn picture(&self) -> &[u8] {
        self.picture.get_or_init(|| self.made(2 << 32, PICTURE_BYTES))
    }

    /// Makes everything that a work may ask for.
    pub(crate) fn prepare(&self, with_big: bool) {
        self.picture();
        if with_big {
            self.big();
        }
    }

    /// The content of small file `n`, 1 to 4 KB, each at its own place of the picture.
    pub(crate) fn small(&self, n: usize) -> &[u8] {
        let len = SMALL_BYTES_MIN + (n * 7919) % (SMALL_BYTES_MAX - SMALL_BYTES_MIN + 1);
        let at = n * SMALL_BYTES_MAX % (PICTURE_BYTES - SMALL_BYTES_MAX);
        &self.picture()[at..at + len]
    }

    /// `count` page-aligned offsets within the large file, in random order.
    pub(crate) fn page_offsets(&self, count: usize) -> impl Iterator<Item = u64> {
        let mut random = SplitMix64(self.seed ^ 0x0ff5e7);
        let pages = (BIG_BYTES / 4096) as u64;
        (0..count).map(move |_| random.next() % pages * 4096)
    }

    /// Fills `bytes` from the round's seed and `stream`.
    pub(crate) fn fill(&self, stream: u64, bytes: &mut [u8]) {
        // Both scrambled: neighbouring states of SplitMix64 give the same bytes, shifted.
        let mut random = SplitMix64(SplitMix64(self.seed).next() ^ SplitMix64(!stream).next());
        for word in bytes.chunks_mut(8) {
            let len = word.len();
            word.copy_from_slice(&random.next().to_le_bytes()[..len]);
        }
    }

    fn made(&self, stream: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(stream, &mut bytes);
        bytes
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): fast, and nothing compresses what it gives.
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
