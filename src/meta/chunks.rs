//! The chunk table: which chunks the store holds and where they lie.

use super::{Result, Tx, View};
use crate::model::{ChunkHash, ChunkId, ChunkLocation, ChunkRef, PackId};
use rusqlite::{OptionalExtension, Row};

/// The columns that [`chunk_from_row`] reads.
macro_rules! chunk_columns {
    () => {
        "id, hash, pack, offset, stored_len, plain_len, base"
    };
}

/// Reads the columns `id, hash, pack, offset, stored_len, plain_len, base` from column `first` on.
pub(super) fn chunk_from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<ChunkRef> {
    Ok(ChunkRef {
        id: ChunkId(row.get(first)?),
        hash: ChunkHash(row.get(first + 1)?),
        at: ChunkLocation {
            pack: PackId(row.get(first + 2)?),
            offset: row.get(first + 3)?,
            stored_len: row.get(first + 4)?,
            plain_len: row.get(first + 5)?,
        },
        base: row.get::<_, Option<u64>>(first + 6)?.map(ChunkId),
    })
}

impl View<'_> {
    /// The chunk with these contents, if the store holds it.
    pub fn chunk_by_hash(&self, hash: &ChunkHash) -> Result<Option<ChunkRef>> {
        let sql = concat!("SELECT ", chunk_columns!(), " FROM chunk WHERE prefix = ? AND hash = ?");
        let mut statement = self.db.prepare_cached(sql)?;
        let found = statement
            .query_row((hash.prefix(), &hash.0[..]), |row| chunk_from_row(row, 0))
            .optional()?;
        Ok(found)
    }

    /// The chunk with this number.
    pub fn chunk(&self, id: ChunkId) -> Result<Option<ChunkRef>> {
        let sql = concat!("SELECT ", chunk_columns!(), " FROM chunk WHERE id = ?");
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.query_row([id.0], |row| chunk_from_row(row, 0)).optional()?)
    }

    /// Of a chunk that is stored as a difference, the one that it is a difference to.
    pub fn base_of(&self, chunk: &ChunkRef) -> Result<Option<ChunkRef>> {
        chunk.base.map_or(Ok(None), |base| self.chunk(base))
    }

    /// Up to `limit` chunks with numbers above `after`, in order.
    pub fn chunks_after(&self, after: ChunkId, limit: usize) -> Result<Vec<ChunkRef>> {
        let sql =
            concat!("SELECT ", chunk_columns!(), " FROM chunk WHERE id > ? ORDER BY id LIMIT ?");
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map((after.0, limit), |row| chunk_from_row(row, 0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Chunks up to this number are known to be on disk.
    pub fn durable_chunk(&self) -> Result<ChunkId> {
        let mut statement = self.db.prepare_cached("SELECT durable_chunk FROM counter")?;
        Ok(statement.query_row([], |row| row.get(0).map(ChunkId))?)
    }

    /// Whether the store was stopped in order when it was last used.
    pub fn is_clean(&self) -> Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT clean FROM counter")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }
}

impl Tx<'_> {
    /// Adds a chunk, unless it is there under this number already.
    pub fn insert_chunk(&self, chunk: &ChunkRef) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO chunk (id, hash, pack, offset, stored_len, plain_len, prefix, base) \
                 VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
            )?
            .execute((
                chunk.id.0,
                &chunk.hash.0[..],
                chunk.at.pack.0,
                chunk.at.offset,
                chunk.at.stored_len,
                chunk.at.plain_len,
                chunk.hash.prefix(),
                chunk.base.map(|base| base.0),
            ))?;
        Ok(())
    }

    /// Forgets a chunk that is not on disk.
    pub fn remove_chunk(&self, id: ChunkId) -> Result<()> {
        self.db.prepare_cached("DELETE FROM chunk WHERE id = ?")?.execute([id.0])?;
        self.forget_damage(id)
    }

    /// Records that every chunk up to `chunk` is on disk.
    pub fn set_durable_chunk(&self, chunk: ChunkId) -> Result<()> {
        self.db
            .prepare_cached("UPDATE counter SET durable_chunk = max(durable_chunk, ?)")?
            .execute([chunk.0])?;
        Ok(())
    }

    /// Records whether the store is stopped in order.
    pub fn set_clean(&self, clean: bool) -> Result<()> {
        self.db.prepare_cached("UPDATE counter SET clean = ?")?.execute([clean])?;
        Ok(())
    }
}
