//! Typed identifiers.

use std::fmt;

/// An inode number. Never reused within a store; 1 is the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory of the drive.
    pub const ROOT: Ino = Ino(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a chunk in the chunk table: increasing, local to one store, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub u64);

/// The number of a pack file: dense, increasing, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub u32);

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The BLAKE3 hash of a chunk's plain bytes: its identity, in this store and in any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash(pub [u8; 32]);

impl ChunkHash {
    /// The first eight bytes, big endian, as a signed number: what the chunk table is indexed by.
    pub fn prefix(&self) -> i64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        i64::from_be_bytes(head)
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkHash({self})")
    }
}

/// Where a chunk's record lies: the record's first byte in its pack, and its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLocation {
    /// The pack file that holds the record.
    pub pack: PackId,
    /// Offset in bytes of the record (its header) in the pack.
    pub offset: u64,
    /// Bytes of the payload as stored, without the record header.
    pub stored_len: u32,
    /// Bytes of the chunk itself.
    pub plain_len: u32,
}

impl ChunkLocation {
    /// Whether the record ends at or before `end` bytes into its pack.
    pub fn ends_by(&self, header_len: u64, end: u64) -> bool {
        self.offset + header_len + u64::from(self.stored_len) <= end
    }
}

/// Everything that is needed to read a chunk and to know that it is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// Its number in the chunk table.
    pub id: ChunkId,
    /// Its identity.
    pub hash: ChunkHash,
    /// Where it lies.
    pub at: ChunkLocation,
    /// The chunk to which its record is a difference: always an older one, and one that is stored whole. `None`: it is
    /// stored whole itself.
    pub base: Option<ChunkId>,
}
