//! How far scrubbing is, and what it found damaged and could not put right yet.

use super::{Result, Tx, View};
use crate::model::{ChunkId, PackId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

/// One row: how far the present round is, and when the last one that was whole ended. Any writer that doesn't know these tables
/// keeps them all the same, since SQLite does.
const ROUND: &str = "CREATE TABLE IF NOT EXISTS scrub(\
     id INTEGER PRIMARY KEY CHECK (id = 1), begun INTEGER NOT NULL, ran INTEGER NOT NULL, \
     under_way INTEGER NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL, \
     bytes INTEGER NOT NULL, chunks INTEGER NOT NULL, damaged INTEGER NOT NULL, \
     repaired INTEGER NOT NULL, ended INTEGER)";

/// Chunks that can't be read where the chunk table says.
const DAMAGE: &str = "CREATE TABLE IF NOT EXISTS damage(\
     chunk INTEGER PRIMARY KEY, found INTEGER NOT NULL, needed INTEGER NOT NULL, why TEXT NOT NULL)";

/// Packs of which something else is damaged than chunks.
const PACKS: &str = "CREATE TABLE IF NOT EXISTS damaged_pack(\
     pack INTEGER PRIMARY KEY, found INTEGER NOT NULL, why TEXT NOT NULL)";

/// Makes sure that the tables are there.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(ROUND)?;
    db.execute_batch(DAMAGE)?;
    db.execute_batch(PACKS)?;
    Ok(())
}

/// How far scrubbing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubRow {
    /// When the present round began, or the last one, by the clock.
    pub begun: Timestamp,
    /// When it was last gone on with.
    pub ran: Timestamp,
    /// Whether a round has begun that has not ended.
    pub under_way: bool,
    /// The round goes on with the first chunk here or after it.
    pub pack: PackId,
    /// Offset in that pack, in bytes.
    pub offset: u64,
    /// Bytes that the round has read.
    pub bytes: u64,
    /// Chunks that it has read.
    pub chunks: u64,
    /// Chunks that it found damaged.
    pub damaged: u64,
    /// Chunks that were put right meanwhile.
    pub repaired: u64,
    /// When the last whole round ended; none has yet.
    pub ended: Option<Timestamp>,
}

impl ScrubRow {
    /// A round that begins now; `ended`: when the last whole one did.
    pub fn beginning(now: Timestamp, ended: Option<Timestamp>) -> ScrubRow {
        ScrubRow {
            begun: now,
            ran: now,
            under_way: true,
            pack: PackId(0),
            offset: 0,
            bytes: 0,
            chunks: 0,
            damaged: 0,
            repaired: 0,
            ended,
        }
    }
}

/// A chunk that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageRow {
    /// Which.
    pub chunk: ChunkId,
    /// When that was found, by the clock.
    pub found: Timestamp,
    /// Whether something shows it, or is stored as a difference to it and is shown.
    pub needed: bool,
    /// What is wrong with it.
    pub why: String,
}

/// A pack of which something else is damaged than a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPack {
    /// Which.
    pub pack: PackId,
    /// When that was found, by the clock.
    pub found: Timestamp,
    /// What is wrong with it.
    pub why: String,
}

/// Where a chunk lies, without more about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredAt {
    /// The pack.
    pub pack: PackId,
    /// Offset in bytes of the record.
    pub offset: u64,
    /// The chunk.
    pub chunk: ChunkId,
    /// Bytes of the payload.
    pub stored_len: u32,
}

fn stored_at(row: &Row<'_>) -> rusqlite::Result<Option<StoredAt>> {
    let number = |column| row.get::<_, i64>(column);
    let (chunk, pack, offset, len) = (number(0)?, number(1)?, number(2)?, number(3)?);
    let place = || {
        Some(StoredAt {
            pack: PackId(u32::try_from(pack).ok()?),
            offset: u64::try_from(offset).ok()?,
            chunk: ChunkId(chunk as u64),
            stored_len: u32::try_from(len).ok()?,
        })
    };
    Ok(place())
}

fn damage_row(row: &Row<'_>) -> rusqlite::Result<DamageRow> {
    Ok(DamageRow {
        chunk: ChunkId(row.get(0)?),
        found: Timestamp(row.get(1)?),
        needed: row.get(2)?,
        why: row.get(3)?,
    })
}

impl View<'_> {
    /// How far scrubbing is; `None` if it never began.
    pub fn scrub(&self) -> Result<Option<ScrubRow>> {
        let mut statement = self.db.prepare(
            "SELECT begun, ran, under_way, pack, offset, bytes, chunks, damaged, repaired, ended \
             FROM scrub",
        )?;
        let row = statement.query_row([], |row| {
            Ok(ScrubRow {
                begun: Timestamp(row.get(0)?),
                ran: Timestamp(row.get(1)?),
                under_way: row.get(2)?,
                pack: PackId(row.get(3)?),
                offset: row.get(4)?,
                bytes: row.get(5)?,
                chunks: row.get(6)?,
                damaged: row.get(7)?,
                repaired: row.get(8)?,
                ended: row.get::<_, Option<i64>>(9)?.map(Timestamp),
            })
        });
        Ok(row.optional()?)
    }

    /// Where each chunk lies that begins at or after `(pack, offset)`, in no order. Rows that make no sense are left out, and
    /// `each` ends it with `false`.
    pub fn each_stored_from(
        &self,
        (pack, offset): (PackId, u64),
        each: &mut dyn FnMut(StoredAt) -> bool,
    ) -> Result<()> {
        let mut statement = self.db.prepare(
            "SELECT id, pack, offset, stored_len FROM chunk \
             WHERE pack > ?1 OR (pack = ?1 AND offset >= ?2)",
        )?;
        let mut rows = statement.query((pack.0, i64::try_from(offset).unwrap_or(i64::MAX)))?;
        while let Some(row) = rows.next()? {
            if stored_at(row)?.is_some_and(|place| !each(place)) {
                break;
            }
        }
        Ok(())
    }

    /// Whether any chunk is known to be damaged.
    pub fn has_damage(&self) -> Result<bool> {
        Ok(self.db.query_row("SELECT EXISTS (SELECT 1 FROM damage)", [], |row| row.get(0))?)
    }

    /// How many chunks are known to be damaged and are needed, and since when the first of them is.
    pub fn damage_known(&self) -> Result<(u64, Option<Timestamp>)> {
        let sql = "SELECT count(*), min(found) FROM damage JOIN chunk ON chunk.id = damage.chunk \
                   WHERE needed";
        let known = self.db.query_row(sql, [], |row| {
            Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(Timestamp)))
        });
        Ok(known?)
    }

    /// Up to `limit` chunks above `after` that are known to be damaged, in the order of their numbers.
    pub fn damage(&self, after: ChunkId, limit: usize) -> Result<Vec<DamageRow>> {
        let mut statement = self.db.prepare_cached(
            "SELECT damage.chunk, found, needed, why FROM damage JOIN chunk ON chunk.id = damage.chunk \
             WHERE damage.chunk > ? ORDER BY damage.chunk LIMIT ?",
        )?;
        let rows = statement.query_map((after.0, limit), damage_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The packs of which something else is damaged than chunks.
    pub fn damaged_packs(&self) -> Result<Vec<DamagedPack>> {
        let mut statement =
            self.db.prepare_cached("SELECT pack, found, why FROM damaged_pack ORDER BY pack")?;
        let rows = statement.query_map([], |row| {
            let (pack, found) = (PackId(row.get(0)?), Timestamp(row.get(1)?));
            Ok(DamagedPack { pack, found, why: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Records how far scrubbing is.
    pub fn note_scrub(&self, row: &ScrubRow) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO scrub (id, begun, ran, under_way, pack, offset, bytes, \
                   chunks, damaged, repaired, ended) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.db.prepare_cached(sql)?.execute((
            row.begun.0,
            row.ran.0,
            row.under_way,
            row.pack.0,
            row.offset,
            row.bytes,
            row.chunks,
            row.damaged,
            row.repaired,
            row.ended.map(|ended| ended.0),
        ))?;
        Ok(())
    }

    /// Records that a chunk can't be read. What was known of it before stays, but for the reason.
    pub fn note_damage(&self, chunk: ChunkId, found: Timestamp, why: &str) -> Result<()> {
        let sql = "INSERT INTO damage (chunk, found, needed, why) VALUES (?1, ?2, 1, ?3) \
                   ON CONFLICT (chunk) DO UPDATE SET why = excluded.why";
        self.db.prepare_cached(sql)?.execute((chunk.0, found.0, why))?;
        Ok(())
    }

    /// Records whether something needs a damaged chunk.
    pub fn note_damage_needed(&self, chunk: ChunkId, needed: bool) -> Result<()> {
        let sql = "UPDATE damage SET needed = ?2 WHERE chunk = ?1 AND needed <> ?2";
        self.db.prepare_cached(sql)?.execute((chunk.0, needed))?;
        Ok(())
    }

    /// The chunk can be read again, or is gone.
    pub fn forget_damage(&self, chunk: ChunkId) -> Result<()> {
        self.db.prepare_cached("DELETE FROM damage WHERE chunk = ?")?.execute([chunk.0])?;
        Ok(())
    }

    /// Records what is damaged of a pack beside its chunks.
    pub fn note_damaged_pack(&self, damaged: &DamagedPack) -> Result<()> {
        let sql = "INSERT INTO damaged_pack (pack, found, why) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (pack) DO UPDATE SET why = excluded.why";
        let DamagedPack { pack, found, why } = damaged;
        self.db.prepare_cached(sql)?.execute((pack.0, found.0, why))?;
        Ok(())
    }

    /// The pack is gone, or whole.
    pub fn forget_damaged_pack(&self, pack: PackId) -> Result<()> {
        self.db.prepare_cached("DELETE FROM damaged_pack WHERE pack = ?")?.execute([pack.0])?;
        Ok(())
    }
}
