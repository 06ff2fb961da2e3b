//! Chunks: cut, hash, compress, pack, read back, verify. Knows bytes, not files.
//!
//! `docs/FORMAT.md` describes the pack files to the byte; `format` is its code.

mod append;
mod cache;
mod cipher;
#[cfg(test)]
mod cipher_tests;
mod codec;
mod compact;
mod content;
mod cut;
mod decrypt;
#[cfg(test)]
mod difference_tests;
mod epochs;
mod error;
mod examine;
mod files;
mod form;
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
// The same tests over encrypted packs: they know by their module's name.
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "difference_tests.rs"]
mod encrypted_difference_tests;
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "read_tests.rs"]
mod encrypted_read_tests;
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "recover_tests.rs"]
mod encrypted_recover_tests;
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "store_tests.rs"]
mod encrypted_store_tests;
mod source;
mod tree;
#[cfg(test)]
mod untabled_tests;
mod walk;

#[cfg(test)]
pub(crate) use append::faults;
pub use append::record_len;
pub use content::ContentHasher;
pub use cut::{BadChunkParams, ChunkParams, Cutter};
pub use error::{Error, Result};
pub use examine::Flaw;
pub use format::{PLAIN_LEN_MAX, RECORD_HEADER_LEN};
pub use source::PackSource;
pub use store::{Base, PackInfo, PackOptions, PackStore, Stored};
pub use tree::ContentTree;
pub use walk::Record;

use crate::model::ChunkHash;

/// BLAKE3: in a plain store the identity of a chunk with these bytes.
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
