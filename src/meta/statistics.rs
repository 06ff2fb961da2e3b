//! Totals over the whole store.

use super::{Result, View};

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Living files (everything but directories).
    pub files: u64,
    /// Living directories.
    pub directories: u64,
    /// Bytes of living files as their owners count them, holes left out.
    pub logical_bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of the chunks before compression.
    pub unique_bytes: u64,
    /// Bytes of the chunks as stored.
    pub stored_bytes: u64,
}

impl View<'_> {
    /// Counts everything: a scan of the inode and the chunk table.
    pub fn totals(&self) -> Result<Totals> {
        let (directories, files, logical_bytes) = self.db.query_row(
            "SELECT count(*) FILTER (WHERE mode & 0xf000 = 0x4000), \
             count(*) FILTER (WHERE mode & 0xf000 <> 0x4000), coalesce(sum(allocated), 0) \
             FROM inode",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let (chunks, unique_bytes, stored_bytes) = self.db.query_row(
            "SELECT count(*), coalesce(sum(plain_len), 0), coalesce(sum(stored_len), 0) FROM chunk",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        Ok(Totals { files, directories, logical_bytes, chunks, unique_bytes, stored_bytes })
    }

    /// About how many inodes there are, without counting them: for `statfs`.
    pub fn inode_estimate(&self) -> Result<u64> {
        let mut statement = self.db.prepare_cached("SELECT coalesce(max(ino), 0) FROM inode")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }
}
