//! What the tests of this room share.

use super::format::{Codec, RecordHeader};
use super::{ContentTree, PackOptions, PackStore};
use crate::crypt::{Key, Keyring};
use crate::model::{ChunkId, ChunkRef};
use std::path::Path;
use std::sync::{Arc, LazyLock};

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

/// Bytes as `docs/FORMAT.md` shows them.
pub(super) fn hex_dump(bytes: &[u8]) -> String {
    let line = |(at, line): (usize, &[u8])| {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", at * 16, bytes.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

/// A key of bytes that are all the same.
pub(super) fn key(byte: u8) -> Key {
    let mut key = Key::default();
    key.set(&[byte; 32]);
    key
}

/// Keys with master keys of these epochs.
pub(super) fn keys_of(epochs: &[u32]) -> Arc<Keyring> {
    let mut keys = Keyring::with_identity(&key(1)).unwrap();
    epochs.iter().for_each(|&epoch| keys.add(epoch, &key(10 + epoch as u8)).unwrap());
    Arc::new(keys)
}

/// The keys of the encrypted stores of tests.
pub(super) fn keys() -> Arc<Keyring> {
    static KEYS: LazyLock<Arc<Keyring>> = LazyLock::new(|| keys_of(&[1]));
    Arc::clone(&KEYS)
}

/// Whether tests in the module with this path run over encrypted stores: some files of tests are two modules, see `mod.rs`.
pub(super) fn is_encrypted(module: &str) -> bool {
    module.contains("encrypted_")
}

/// The options for the tests in that module.
pub(super) fn options_for(module: &str, options: PackOptions) -> PackOptions {
    PackOptions { keys: is_encrypted(module).then(keys), ..options }
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
    let tree = store.content_tree(plain);
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
        let header = RecordHeader::plain(Codec::Raw, len, len, tree.hash());
        self.write(header, &[], plain)
    }
}
