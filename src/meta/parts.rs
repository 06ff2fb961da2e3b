//! The parts in which packs were copied elsewhere: what a pack's bytes hash to, so that they need not be read again to know it.

use super::{Result, Tx, View};
use crate::model::PackId;
use rusqlite::Connection;

/// Any writer that doesn't know the table keeps it all the same, since SQLite does.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS pack_part(\
     pack INTEGER NOT NULL, start INTEGER NOT NULL, len INTEGER NOT NULL, hash BLOB NOT NULL, \
     PRIMARY KEY (pack, start)) WITHOUT ROWID";

/// Makes sure that the table is there.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(TABLE)?;
    Ok(())
}

/// A stretch of a pack, which never changes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackPart {
    /// Its first byte in the pack.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
    /// The BLAKE3 hash of them, as they are in the file.
    pub hash: [u8; 32],
}

impl View<'_> {
    /// All parts that are known, by pack and start.
    pub fn pack_parts(&self) -> Result<Vec<(PackId, PackPart)>> {
        let sql = "SELECT pack, start, len, hash FROM pack_part ORDER BY pack, start";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let part = PackPart { start: row.get(1)?, len: row.get(2)?, hash: row.get(3)? };
            Ok((PackId(row.get(0)?), part))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Adds a part, in the place of what was known to begin there.
    pub fn note_pack_part(&self, pack: PackId, part: &PackPart) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO pack_part (pack, start, len, hash) VALUES (?,?,?,?)";
        self.db.prepare_cached(sql)?.execute((pack.0, part.start, part.len, &part.hash[..]))?;
        Ok(())
    }

    /// Forgets the parts of a pack.
    pub fn forget_pack_parts(&self, pack: PackId) -> Result<()> {
        self.db.prepare_cached("DELETE FROM pack_part WHERE pack = ?")?.execute([pack.0])?;
        Ok(())
    }
}
