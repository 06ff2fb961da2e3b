//! Which header the store had: of an encrypted store, so that one which was put back from earlier is noticed.

use super::{Result, Tx, View};
use rusqlite::OptionalExtension;

/// One row, made when it is first set.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS header(\
     id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER NOT NULL)";

impl View<'_> {
    /// The generation of the newest header that was seen; 0 if none was.
    pub fn header_generation(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'header'";
        if self.db.query_row(sql, [], |row| row.get::<_, u32>(0))? == 0 {
            return Ok(0);
        }
        let sql = "SELECT generation FROM header";
        Ok(self.db.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0))
    }
}

impl Tx<'_> {
    /// Records that a header of this generation was seen.
    pub fn set_header_generation(&self, generation: u64) -> Result<()> {
        self.db.execute_batch(TABLE)?;
        let sql = "INSERT OR REPLACE INTO header(id, generation) VALUES (1, ?)";
        self.db.execute(sql, [generation])?;
        Ok(())
    }
}
