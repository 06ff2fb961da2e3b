//! Pins: moments of a directory that are kept by name, whatever retention says.

use super::{Result, Tx, View};
use crate::model::{Ino, Moment};
use rusqlite::{OptionalExtension, Row};

/// A moment of a directory, kept by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The directory.
    pub dir: Ino,
    /// What it is called there.
    pub name: Vec<u8>,
    /// The moment that is kept.
    pub moment: Moment,
    /// Its place in listings.
    pub id: i64,
}

impl Pin {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Pin> {
        Ok(Pin {
            dir: Ino(row.get(0)?),
            name: row.get(1)?,
            moment: Moment(row.get(2)?),
            id: row.get(3)?,
        })
    }
}

/// Directories that are looked at on the way up.
const DEPTH_MAX: usize = 4096;

impl View<'_> {
    /// All pins of the store. There are few: people make them by hand.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let mut statement =
            self.db.prepare_cached("SELECT dir, name, moment, rowid FROM pin ORDER BY rowid")?;
        let rows = statement.query_map([], Pin::from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The moments of all pins, unsorted.
    pub fn pinned_moments(&self) -> Result<Vec<Moment>> {
        let mut statement = self.db.prepare_cached("SELECT moment FROM pin")?;
        let rows = statement.query_map([], |row| row.get(0).map(Moment))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a directory was `above`, or somewhere in it, at a moment. As far as is known: where it was then need not be.
    pub fn was_below(&self, dir: Ino, above: Ino, at: Moment) -> Result<bool> {
        let mut dir = dir;
        for _ in 0..DEPTH_MAX {
            if dir == above {
                return Ok(true);
            }
            match self.parent_at(dir, at)? {
                Some(parent) if dir != Ino::ROOT => dir = parent,
                _ => return Ok(false),
            }
        }
        // Nobody can tell any more: then it counts.
        Ok(true)
    }

    /// The directory that had the directory in it.
    fn parent_at(&self, dir: Ino, at: Moment) -> Result<Option<Ino>> {
        let mut statement = self.db.prepare_cached(
            "SELECT parent FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ?1 AND until > ?2 AND since <= ?2 LIMIT 1",
        )?;
        let past = statement.query_row((dir.0, at.0), |row| row.get(0).map(Ino)).optional()?;
        match past {
            Some(parent) => Ok(Some(parent)),
            None => Ok(self.inode(dir)?.filter(|inode| inode.attr.nlink > 0).map(|i| i.parent)),
        }
    }

    /// The pin of the directory that has this name.
    pub fn pin(&self, dir: Ino, name: &[u8]) -> Result<Option<Pin>> {
        let mut statement = self.db.prepare_cached(
            "SELECT dir, name, moment, rowid FROM pin WHERE dir = ? AND name = ?",
        )?;
        Ok(statement.query_row((dir.0, name), Pin::from_row).optional()?)
    }

    /// Up to `limit` pins of the directory, from after the one at `after` on.
    pub fn pins_of(&self, dir: Ino, after: i64, limit: usize) -> Result<Vec<Pin>> {
        let mut statement = self.db.prepare_cached(
            "SELECT dir, name, moment, rowid FROM pin WHERE dir = ? AND rowid > ? \
             ORDER BY rowid LIMIT ?",
        )?;
        let rows = statement.query_map((dir.0, after, limit), Pin::from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The pins of what never was a directory.
    pub fn pins_of_nobody(&self) -> Result<Vec<Pin>> {
        let mut statement = self.db.prepare(
            "SELECT dir, name, moment, rowid FROM pin WHERE NOT EXISTS \
             (SELECT 1 FROM inode WHERE ino = pin.dir AND mode & 0xf000 = 0x4000) AND NOT EXISTS \
             (SELECT 1 FROM inode_past WHERE ino = pin.dir AND mode & 0xf000 = 0x4000)",
        )?;
        let rows = statement.query_map([], Pin::from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Adds a pin; the directory has none of this name.
    pub fn add_pin(&self, dir: Ino, name: &[u8], moment: Moment) -> Result<()> {
        self.db
            .prepare_cached("INSERT INTO pin (dir, name, moment, since) VALUES (?,?,?,?)")?
            .execute((dir.0, name, moment.0, self.moment.0))?;
        Ok(())
    }

    /// Removes a pin; whether it was there.
    pub fn remove_pin(&self, dir: Ino, name: &[u8]) -> Result<bool> {
        let removed = self
            .db
            .prepare_cached("DELETE FROM pin WHERE dir = ? AND name = ?")?
            .execute((dir.0, name))?;
        Ok(removed == 1)
    }
}
