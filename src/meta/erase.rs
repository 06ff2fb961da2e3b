//! What erasing removes: everything that tells of something, with no trace of what it was.

use super::{Result, Tx, View};
use crate::model::{Ino, Moment, PackId};
use rusqlite::Connection;

/// When something was erased, and how much: nothing that says what it was. Any writer that doesn't know the table keeps
/// it all the same, since SQLite does.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS erasure(\
     moment INTEGER PRIMARY KEY, inodes INTEGER NOT NULL, bytes INTEGER NOT NULL)";

/// The packs that hold what was erased, until they are gone. Only they tell of it once its rows went.
const PACKS: &str = "CREATE TABLE IF NOT EXISTS erased_pack(pack INTEGER PRIMARY KEY)";

/// Makes sure that the tables are there.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(TABLE)?;
    db.execute_batch(PACKS)?;
    Ok(())
}

impl View<'_> {
    /// The packs that hold what was erased.
    pub fn erased_packs(&self) -> Result<Vec<PackId>> {
        let mut statement = self.db.prepare_cached("SELECT pack FROM erased_pack")?;
        let packs = statement.query_map([], |row| row.get(0).map(PackId))?;
        Ok(packs.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Removes every name that the inode had until `horizon`.
    pub fn drop_lost_names_of(&self, ino: Ino, horizon: Moment) -> Result<()> {
        let sql = "DELETE FROM dentry_past WHERE (parent, slot, until) IN (SELECT parent, slot, \
                   until FROM dentry_past INDEXED BY dentry_past_by_ino WHERE ino = ? AND until <= ?)";
        self.db.prepare_cached(sql)?.execute((ino.0, horizon.0))?;
        Ok(())
    }

    /// Removes every name that the directory had until `horizon`, and its pins.
    pub fn drop_lost_names_in(&self, directory: Ino, horizon: Moment) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM dentry_past WHERE parent = ? AND until <= ?")?
            .execute((directory.0, horizon.0))?;
        self.db.prepare_cached("DELETE FROM pin WHERE dir = ?")?.execute([directory.0])?;
        Ok(())
    }

    /// Records that the pack holds what is being erased.
    pub fn note_erased_pack(&self, pack: PackId) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO erased_pack (pack) VALUES (?)";
        self.db.prepare_cached(sql)?.execute([pack.0])?;
        Ok(())
    }

    /// The pack is gone, with what was erased.
    pub fn forget_erased_pack(&self, pack: PackId) -> Result<()> {
        self.db.prepare_cached("DELETE FROM erased_pack WHERE pack = ?")?.execute([pack.0])?;
        Ok(())
    }

    /// Records that so many inodes with so many bytes were erased.
    pub fn note_erasure(&self, inodes: u64, bytes: u64) -> Result<()> {
        let sql = "INSERT INTO erasure (moment, inodes, bytes) VALUES (?, ?, ?)";
        self.db.prepare_cached(sql)?.execute((self.moment.0, inodes, bytes))?;
        Ok(())
    }
}
