//! How the last upkeep went.

use super::{Result, Tx, View};
use crate::model::Timestamp;
use rusqlite::{Connection, OptionalExtension};

/// One row. Any writer that doesn't know the table keeps it all the same, since SQLite does.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS upkeep(\
     id INTEGER PRIMARY KEY CHECK (id = 1), ended INTEGER NOT NULL, rows_dropped INTEGER NOT NULL, \
     chunks_removed INTEGER NOT NULL, bytes_freed INTEGER NOT NULL)";

/// Makes sure that the table is there.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(TABLE)?;
    Ok(())
}

/// The last upkeep that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUpkeep {
    /// When that was, by the clock.
    pub ended: Timestamp,
    /// Rows of the past that went.
    pub rows_dropped: u64,
    /// Chunks that went.
    pub chunks_removed: u64,
    /// Bytes of the packs that were removed.
    pub bytes_freed: u64,
}

impl View<'_> {
    /// The last upkeep, if there was one.
    pub fn last_upkeep(&self) -> Result<Option<LastUpkeep>> {
        let mut statement = self
            .db
            .prepare("SELECT ended, rows_dropped, chunks_removed, bytes_freed FROM upkeep")?;
        let last = statement.query_row([], |row| {
            Ok(LastUpkeep {
                ended: Timestamp(row.get(0)?),
                rows_dropped: row.get(1)?,
                chunks_removed: row.get(2)?,
                bytes_freed: row.get(3)?,
            })
        });
        Ok(last.optional()?)
    }
}

impl Tx<'_> {
    /// Records an upkeep in the place of the one before.
    pub fn note_upkeep(&self, last: &LastUpkeep) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO upkeep \
                   (id, ended, rows_dropped, chunks_removed, bytes_freed) VALUES (1, ?, ?, ?, ?)";
        self.db.prepare_cached(sql)?.execute((
            last.ended.0,
            last.rows_dropped,
            last.chunks_removed,
            last.bytes_freed,
        ))?;
        Ok(())
    }
}
