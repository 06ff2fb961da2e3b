//! Chunks: cut, hash, compress, pack, read back, verify. Knows bytes, not files.
//!
//! `docs/FORMAT.md` describes the pack files to the byte; `format` is its code.

mod append;
mod cache;
mod codec;
mod compact;
mod content;
mod cut;
#[cfg(test)]
mod difference_tests;
mod error;
mod files;
mod format;
mod read;
#[cfg(test)]
mod read_tests;
mod recover;
#[cfg(test)]
mod recover_tests;
mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;
mod tree;
mod walk;

#[cfg(test)]
pub(crate) use append::faults;
pub use append::record_len;
pub use content::ContentHasher;
pub use cut::{BadChunkParams, ChunkParams, Cutter};
pub use error::{Error, Result};
pub use format::{PLAIN_LEN_MAX, RECORD_HEADER_LEN};
pub use store::{Base, PackInfo, PackOptions, PackStore, Stored};
pub use tree::ContentTree;
pub use walk::Record;

use crate::model::ChunkHash;

/// The identity of a chunk: BLAKE3 of its plain bytes.
pub fn hash(plain: &[u8]) -> ChunkHash {
    ChunkHash(*blake3::hash(plain).as_bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_plain_blake3() {
        // From BLAKE3's published test vectors: the empty input, and the single byte 0.
        let known = |data: &[u8]| super::hash(data).to_string();
        assert_eq!(known(b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(known(&[0]), "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213");
    }
}
