//! Extended attributes.

use super::{Result, Tx, View};
use crate::model::Ino;
use rusqlite::OptionalExtension;

impl View<'_> {
    /// The value of an attribute.
    pub fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut statement =
            self.db.prepare_cached("SELECT value FROM xattr WHERE ino = ? AND name = ?")?;
        Ok(statement.query_row((ino.0, name), |row| row.get(0)).optional()?)
    }

    /// The names of an inode's attributes, sorted.
    pub fn xattr_names(&self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let mut statement =
            self.db.prepare_cached("SELECT name FROM xattr WHERE ino = ? ORDER BY name")?;
        let rows = statement.query_map([ino.0], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Sets an attribute; a value that it had is kept in the past.
    pub fn set_xattr(&self, ino: Ino, name: &[u8], value: &[u8]) -> Result<()> {
        self.remove_xattr(ino, name)?;
        self.db.prepare_cached("INSERT INTO xattr VALUES (?,?,?,?)")?.execute((
            ino.0,
            name,
            value,
            self.moment.0,
        ))?;
        Ok(())
    }

    /// Ends an attribute; whether it was there.
    pub fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Result<bool> {
        self.db
            .prepare_cached(
                "INSERT INTO xattr_past SELECT ino, name, ?3, value, since FROM xattr \
                 WHERE ino = ?1 AND name = ?2 AND since < ?3",
            )?
            .execute((ino.0, name, self.moment.0))?;
        let removed = self
            .db
            .prepare_cached("DELETE FROM xattr WHERE ino = ? AND name = ?")?
            .execute((ino.0, name))?;
        Ok(removed == 1)
    }
}
