//! The hash of a whole content, as `b3sum` prints it: chunks are hashed one by one, so it takes reading.

use crate::model::ChunkHash;

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
