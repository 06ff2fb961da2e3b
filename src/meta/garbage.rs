//! What collection asks and writes: which chunks something names, and where they lie.

use super::{Result, Tx, View};
use crate::model::{ChunkId, ChunkLocation, Ino};

impl View<'_> {
    /// What names a chunk, today or in the past, in no order: the inode, the chunk, and whether the row is over. (Those of an inode that has ended, and were
    /// not superseded, are not: see the tables.)
    pub fn each_naming(&self, each: &mut dyn FnMut(Ino, ChunkId, bool)) -> Result<()> {
        for (sql, is_past) in
            [("SELECT ino, chunk FROM extent", false), ("SELECT ino, chunk FROM extent_past", true)]
        {
            let mut statement = self.db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(Ino(row.get(0)?), ChunkId(row.get(1)?), is_past);
            }
        }
        Ok(())
    }

    /// Whether any chunk is stored as a difference.
    pub fn has_differences(&self) -> Result<bool> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM chunk INDEXED BY chunk_by_base WHERE base IS NOT NULL)";
        Ok(self.db.query_row(sql, [], |row| row.get(0))?)
    }

    /// Every chunk that is stored as a difference, and the chunk to which it is one, in no order.
    pub fn each_difference(&self, each: &mut dyn FnMut(ChunkId, ChunkId)) -> Result<()> {
        let sql = "SELECT id, base FROM chunk INDEXED BY chunk_by_base WHERE base IS NOT NULL";
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(ChunkId(row.get(0)?), ChunkId(row.get(1)?));
        }
        Ok(())
    }

    /// Chunks that are stored as differences, and the ones to which they must not be: those that aren't there, are not older, or
    /// are differences themselves.
    pub fn bad_bases(&self) -> Result<Vec<(ChunkId, ChunkId)>> {
        let sql = "SELECT d.id, d.base FROM chunk AS d INDEXED BY chunk_by_base \
                   LEFT JOIN chunk AS b ON b.id = d.base WHERE d.base IS NOT NULL \
                   AND (b.id IS NULL OR b.id >= d.id OR b.base IS NOT NULL)";
        let mut statement = self.db.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok((ChunkId(row.get(0)?), ChunkId(row.get::<_, i64>(1)? as u64)))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Notes that a chunk's record lies at `to` now, if it lay at `from` until now; whether it did.
    pub fn relocate_chunk(
        &self,
        id: ChunkId,
        from: &ChunkLocation,
        to: &ChunkLocation,
    ) -> Result<bool> {
        let mut statement = self.db.prepare_cached(
            "UPDATE chunk SET pack = ?4, offset = ?5, stored_len = ?6 \
             WHERE id = ?1 AND pack = ?2 AND offset = ?3",
        )?;
        let places = (id.0, from.pack.0, from.offset, to.pack.0, to.offset, to.stored_len);
        Ok(statement.execute(places)? == 1)
    }

    /// Notes that a chunk is stored whole now, at the place that [`Tx::relocate_chunk`] gave it.
    pub fn make_chunk_whole(&self, id: ChunkId) -> Result<()> {
        self.db.prepare_cached("UPDATE chunk SET base = NULL WHERE id = ?")?.execute([id.0])?;
        Ok(())
    }
}
