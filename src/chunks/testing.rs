//! What the tests of this room share.

use super::format::{Codec, RecordHeader};
use super::{ContentTree, PackOptions, PackStore};
use crate::model::{ChunkId, ChunkRef};
use std::path::Path;

pub(super) const STORE: [u8; 16] = *b"store of a test.";

/// Bytes without structure that are the same in every run (xorshift64); `seed` must not be 0.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// Text-like bytes, which compress.
pub(super) fn text(len: usize) -> Vec<u8> {
    (0..).flat_map(|n: u32| format!("line {n} of a text\n").into_bytes()).take(len).collect()
}

pub(super) fn open(directory: &Path) -> PackStore {
    open_with(directory, PackOptions::default())
}

pub(super) fn open_with(directory: &Path, options: PackOptions) -> PackStore {
    PackStore::open(directory, STORE, options).unwrap()
}

/// Small packs, so that a few chunks fill one.
pub(super) fn small_packs() -> PackOptions {
    PackOptions { target_bytes: 4096, ..PackOptions::default() }
}

/// Appends a chunk and gives it a number.
pub(super) fn put(store: &PackStore, id: u64, plain: &[u8]) -> ChunkRef {
    let tree = ContentTree::of(plain);
    ChunkRef {
        id: ChunkId(id),
        hash: tree.hash(),
        at: store.append(&tree, plain, None).unwrap().at,
        base: None,
    }
}

impl PackStore {
    /// Appends a raw record as it was written before there were tables.
    pub(super) fn append_without_table(
        &self,
        tree: &ContentTree,
        plain: &[u8],
    ) -> super::Result<crate::model::ChunkLocation> {
        let len = plain.len() as u32;
        let header = RecordHeader {
            codec: Codec::Raw,
            has_table: false,
            plain_len: len,
            stored_len: len,
            hash: tree.hash(),
        };
        self.write(header, &[], plain)
    }
}
