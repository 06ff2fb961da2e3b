//! What bytes are called: the identity of a chunk, and the hash of a whole content, as `b3sum` prints it, which takes reading
//! since chunks are hashed one by one.

use super::{ContentTree, PackStore};
use crate::model::ChunkHash;

impl PackStore {
    /// The identity of a chunk with these plain bytes, and what it takes to store it.
    pub fn content_tree(&self, plain: &[u8]) -> ContentTree {
        match self.files.keys() {
            Some(_) => ContentTree::of_one_part(self.hash(plain)),
            None => ContentTree::of(plain),
        }
    }

    /// The identity of a chunk with these plain bytes: their BLAKE3; in an encrypted store a keyed one, which says nothing to who
    /// doesn't have the key.
    pub(super) fn hash(&self, plain: &[u8]) -> ChunkHash {
        match self.files.keys() {
            Some(keys) => ChunkHash(*blake3::keyed_hash(keys.identity().bytes(), plain).as_bytes()),
            None => super::hash(plain),
        }
    }
}

/// Hashes what it is given, piece by piece.
#[derive(Debug, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The BLAKE3 of everything that was taken.
    pub fn finish(&self) -> ChunkHash {
        ChunkHash(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_like_the_whole() {
        let mut hasher = ContentHasher::default();
        hasher.update(b"some ");
        hasher.update(b"bytes");
        assert_eq!(hasher.finish(), crate::chunks::hash(b"some bytes"));
    }
}
