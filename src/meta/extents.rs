//! Extents: which bytes of a file come from which chunk.

use super::chunks::chunk_from_row;
use super::{Error, Result, Tx, View};
use crate::model::{ChunkId, ChunkRef, Content, Extent, Ino, Splice};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::hash::Hasher;

fn extent_from_row(row: &Row<'_>) -> rusqlite::Result<Extent> {
    Ok(Extent {
        start: row.get(0)?,
        len: row.get(1)?,
        content: Content { chunk: ChunkId(row.get(2)?), skip: row.get(3)? },
    })
}

/// SQLite's integers are signed; so are the offsets of files.
fn offset(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The start of the extent that covers `from`, or of the first one after it: extents don't overlap,
/// so that this is the last one that starts at or before `from`.
macro_rules! overlapping {
    ($columns:literal, $join:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM extent ",
            $join,
            " WHERE extent.ino = ?1 AND extent.start >= coalesce((SELECT max(start) FROM extent \
             WHERE ino = ?1 AND start <= ?2), ?2) AND extent.start < ?3 \
             AND extent.start + extent.len > ?2 ORDER BY extent.start"
        )
    };
}

impl View<'_> {
    /// The extents that overlap `[from, to)`, sorted, unclipped.
    pub fn extents(&self, ino: Ino, from: u64, to: u64) -> Result<Vec<Extent>> {
        let sql = overlapping!("extent.start, extent.len, extent.chunk, extent.skip", "");
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map((ino.0, offset(from), offset(to)), extent_from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Like [`View::extents`], with where each chunk lies. A chunk that the chunk table doesn't hold is an
    /// error: its bytes must not be taken for a hole.
    pub fn extents_and_chunks(
        &self,
        ino: Ino,
        from: u64,
        to: u64,
    ) -> Result<Vec<(Extent, ChunkRef)>> {
        let sql = overlapping!(
            "extent.start, extent.len, extent.chunk, extent.skip, \
             chunk.id, chunk.hash, chunk.pack, chunk.offset, chunk.stored_len, chunk.plain_len, \
             chunk.base",
            "LEFT JOIN chunk ON chunk.id = extent.chunk"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query((ino.0, offset(from), offset(to)))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let extent = extent_from_row(row)?;
            // Left out, it would be read as zeros.
            if row.get_ref(4)? == ValueRef::Null {
                let chunk = extent.content.chunk;
                return Err(Error::Damaged(format!(
                    "inode {ino} names chunk {chunk:?}, which is gone"
                )));
            }
            found.push((extent, chunk_from_row(row, 4)?));
        }
        Ok(found)
    }

    /// Up to `limit` extents that end after `from`.
    pub fn extents_limited(&self, ino: Ino, from: u64, limit: usize) -> Result<Vec<Extent>> {
        let sql = "SELECT start, len, chunk, skip FROM extent WHERE ino = ?1 AND start >= \
             coalesce((SELECT max(start) FROM extent WHERE ino = ?1 AND start <= ?2), ?2) \
             AND start + len > ?2 ORDER BY start LIMIT ?3";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map((ino.0, offset(from), limit), extent_from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Applies what a save changed: ends some extents, begins others. Answers by how much the digest of
    /// the file's content changes (wrapping).
    ///
    /// The digest is a sum over the extents (an incremental hash: Bellare and Micciancio, 1997), so that it
    /// costs what changed, like everything else of a save. 64 keyed bits tell equal contents of a name
    /// from different ones; they are no identity.
    pub fn splice_extents(&self, ino: Ino, change: &Splice) -> Result<u64> {
        let mut archive = self.db.prepare_cached(
            "INSERT INTO extent_past SELECT ino, start, ?3, len, chunk, skip, since \
             FROM extent WHERE ino = ?1 AND start = ?2 AND since < ?3",
        )?;
        let mut delete =
            self.db.prepare_cached("DELETE FROM extent WHERE ino = ?1 AND start = ?2")?;
        for extent in &change.ended {
            archive.execute((ino.0, offset(extent.start), self.moment.0))?;
            delete.execute((ino.0, offset(extent.start)))?;
        }
        let mut insert = self.db.prepare_cached("INSERT INTO extent VALUES (?,?,?,?,?,?)")?;
        for extent in &change.begun {
            let Extent { start, len, content } = *extent;
            insert.execute((
                ino.0,
                offset(start),
                offset(len),
                content.chunk.0,
                content.skip,
                self.moment.0,
            ))?;
        }
        let sum = |extents: &[Extent]| {
            extents.iter().fold(0_u64, |sum, extent| sum.wrapping_add(self.extent_hash(extent)))
        };
        Ok(sum(&change.begun).wrapping_sub(sum(&change.ended)))
    }

    fn extent_hash(&self, extent: &Extent) -> u64 {
        let mut hasher = self.meta.slot_hasher();
        hasher.write_u64(extent.start);
        hasher.write_u64(extent.len);
        hasher.write_u64(extent.content.chunk.0);
        hasher.write_u64(u64::from(extent.content.skip));
        hasher.finish()
    }
}
