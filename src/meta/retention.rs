//! What retention asks and removes: which names and inodes have a past, and rows of it that nothing keeps any more.
//!
//! Rows of the past never change, so what was read here holds until they are removed here.

use super::past::kind_of;
use super::{Fate, Period, Result, Tx, View};
use crate::model::{FileKind, Ino, Moment};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row};

/// A time that is kept, of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// From when.
    pub from: Moment,
    /// Until when; the end of time for what lives.
    pub until: Moment,
}

impl Kept {
    /// Whether something that held from `since` until `until` held at a moment that is kept.
    pub fn needs(&self, since: Moment, until: Moment) -> bool {
        since < self.until && self.from < until
    }
}

/// A place in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The directory.
    pub parent: Ino,
    /// The name's slot in it.
    pub slot: i64,
}

/// What a place holds or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The place.
    pub place: Place,
    /// The name.
    pub name: Vec<u8>,
    /// The inode.
    pub ino: Ino,
    /// Its type.
    pub kind: FileKind,
    /// Until when; `None`: it still does.
    pub until: Option<Moment>,
}

fn holding(row: &Row<'_>) -> rusqlite::Result<Holding> {
    let until: Option<i64> = row.get(5)?;
    Ok(Holding {
        place: Place { parent: Ino(row.get(0)?), slot: row.get(1)? },
        name: row.get(2)?,
        ino: Ino(row.get(3)?),
        kind: kind_of(row.get(4)?),
        until: until.map(Moment),
    })
}

/// A batch goes on after the last of the one before.
impl View<'_> {
    /// Inodes with a state that ended until `horizon`, in order, from after `after` on.
    pub fn inodes_with_past(&self, horizon: Moment, after: Ino, limit: usize) -> Result<Vec<Ino>> {
        let mut statement = self.db.prepare_cached(
            "SELECT DISTINCT ino FROM inode_past WHERE ino > ? AND until <= ? ORDER BY ino LIMIT ?",
        )?;
        let rows = statement.query_map((after.0, horizon.0, limit), |row| row.get(0).map(Ino))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether an inode has a state that ended until `horizon`.
    pub fn has_past_until(&self, ino: Ino, horizon: Moment) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM inode_past WHERE ino = ? AND until <= ?)";
        Ok(self.db.prepare_cached(sql)?.query_row((ino.0, horizon.0), |row| row.get(0))?)
    }

    /// What lives in the tree, in the order of the places, from after `after` on.
    pub fn living_holdings(&self, after: Place, limit: usize) -> Result<Vec<Holding>> {
        let mut statement = self.db.prepare_cached(
            "SELECT parent, slot, name, ino, mode, NULL FROM dentry \
             WHERE (parent, slot) > (?, ?) ORDER BY parent, slot LIMIT ?",
        )?;
        let rows = statement.query_map((after.parent.0, after.slot, limit), holding)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Everything that places held once, in the order of the places; those of a place in which there are
    /// more than `limit` come whole.
    pub fn past_holdings(&self, after: Place, limit: usize) -> Result<Vec<Holding>> {
        let end = self
            .db
            .prepare_cached(
                "SELECT parent, slot FROM dentry_past WHERE (parent, slot) > (?1, ?2) \
                 ORDER BY parent, slot LIMIT 1 OFFSET ?3",
            )?
            .query_row((after.parent.0, after.slot, limit), |row| {
                Ok((row.get::<_, u64>(0)?, row.get::<_, i64>(1)?))
            })
            .optional()?;
        let (parent, slot) = end.unwrap_or((i64::MAX as u64, i64::MAX));
        let mut statement = self.db.prepare_cached(
            "SELECT parent, slot, name, ino, mode, until FROM dentry_past \
             WHERE (parent, slot) > (?1, ?2) \
             AND (parent, slot) <= (?3, ?4) ORDER BY parent, slot, until",
        )?;
        let rows = statement.query_map((after.parent.0, after.slot, parent, slot), holding)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The names that a place had, each once.
    pub fn names_at_place(&self, place: Place) -> Result<Vec<Vec<u8>>> {
        let mut statement = self.db.prepare_cached(
            "SELECT name FROM dentry WHERE parent = ?1 AND slot = ?2 UNION \
             SELECT name FROM dentry_past WHERE parent = ?1 AND slot = ?2",
        )?;
        let rows = statement.query_map((place.parent.0, place.slot), |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The names that an inode had once: the directory, the name.
    pub fn lost_names_of(&self, ino: Ino) -> Result<Vec<(Ino, Vec<u8>)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT DISTINCT parent, name FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ?",
        )?;
        let rows = statement.query_map([ino.0], |row| Ok((Ino(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The last of the names that an inode had once.
    pub fn last_lost_name_of(&self, ino: Ino) -> Result<Option<(Ino, Vec<u8>)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT parent, name FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ? ORDER BY until DESC LIMIT 1",
        )?;
        let found = statement.query_row([ino.0], |row| Ok((Ino(row.get(0)?), row.get(1)?)));
        Ok(found.optional()?)
    }

    /// Up to `limit` of the directories that live in a directory, with their names.
    pub fn directories_in(&self, parent: Ino, limit: usize) -> Result<Vec<(Ino, Vec<u8>)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT ino, name FROM dentry WHERE parent = ? AND mode & 0xf000 = 0x4000 LIMIT ?",
        )?;
        let rows =
            statement.query_map((parent.0, limit), |row| Ok((Ino(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether the inode had another name until it got the one that is told, and went on after it.
    pub fn is_passed_through(&self, period: &Period) -> Result<bool> {
        let Some(until) = period.until else { return Ok(false) };
        let mut statement = self.db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ?1 AND until = ?2) \
             AND (EXISTS (SELECT 1 FROM inode WHERE ino = ?1 AND nlink > 0) \
             OR EXISTS (SELECT 1 FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ?1 AND until > ?3 AND since = ?3))",
        )?;
        let key = (period.ino.0, period.since.0, until.0);
        Ok(statement.query_row(key, |row| row.get(0))?)
    }

    /// When an inode ended, if it has: the last end that is recorded.
    pub(super) fn inode_end(&self, ino: Ino) -> Result<Option<Moment>> {
        let mut statement = self.db.prepare_cached(
            "SELECT max(until) FROM inode_past WHERE ino = ?1 \
             AND NOT EXISTS (SELECT 1 FROM inode WHERE ino = ?1)",
        )?;
        let end: Option<i64> = statement.query_row([ino.0], |row| row.get(0))?;
        Ok(end.map(Moment))
    }
}

/// The tables of an inode's past, with the column that tells their rows apart beside inode and end.
const PAST_OF_INODE: [(&str, &str); 3] =
    [("inode_past", "ino"), ("extent_past", "start"), ("xattr_past", "name")];

impl Tx<'_> {
    /// Removes a period of a name; how many rows that were.
    pub fn drop_period(&self, parent: Ino, period: &Period) -> Result<u64> {
        let Some(until) = period.until else { return Ok(0) };
        let sql = "DELETE FROM dentry_past WHERE parent = ? AND slot = ? AND until = ?";
        let key = (parent.0, period.slot, until.0);
        Ok(self.db.prepare_cached(sql)?.execute(key)? as u64)
    }

    /// Removes what the inode was, but for what ended after `horizon` or held at a moment that is `kept`; how many rows
    /// that were. A state that stays is whole: extents and attributes stay for as long as it lasted. What lives is not
    /// touched, also if it ended and lives again.
    pub fn drop_history(&self, ino: Ino, horizon: Moment, kept: &[Kept]) -> Result<u64> {
        // Told before its last state goes, which is one of the rows.
        let fate = self.fate(ino, horizon, kept)?;
        let dropped = self.drop_past(ino, &fate)?;
        let ended = fate.end().map(|end| self.drop_ended(ino, end, fate.is_all()));
        Ok(dropped + ended.transpose()?.unwrap_or(0))
    }

    fn drop_past(&self, ino: Ino, fate: &Fate) -> Result<u64> {
        let mut dropped = 0;
        for (table, key) in PAST_OF_INODE {
            let sql =
                format!("SELECT {key}, since, until FROM {table} WHERE ino = ? AND until <= ?");
            let mut statement = self.db.prepare_cached(&sql)?;
            let rows = statement.query_map((ino.0, fate.horizon().0), |row| {
                Ok((row.get(0)?, Moment(row.get(1)?), Moment(row.get(2)?)))
            })?;
            let rows: Vec<(Value, Moment, Moment)> = rows.collect::<rusqlite::Result<_>>()?;
            let sql = format!("DELETE FROM {table} WHERE ino = ? AND until = ? AND {key} = ?");
            let mut statement = self.db.prepare_cached(&sql)?;
            let goes = |row: &(Value, Moment, Moment)| match table {
                "inode_past" => fate.takes_state(row.1, row.2),
                _ => fate.takes(row.1, Some(row.2)),
            };
            for (key, _, until) in rows.into_iter().filter(goes) {
                dropped += statement.execute((ino.0, until.0, key))? as u64;
            }
        }
        Ok(dropped)
    }

    /// Of an inode that has ended, removes what was never superseded and began at `end` or later; `whole`: there is
    /// nothing else. How many rows that were.
    fn drop_ended(&self, ino: Ino, end: Moment, whole: bool) -> Result<u64> {
        let mut dropped = 0;
        for table in ["extent", "xattr"] {
            let sql = format!("DELETE FROM {table} WHERE ino = ? AND since >= ?");
            dropped += self.db.prepare_cached(&sql)?.execute((ino.0, end.0))? as u64;
        }
        if whole {
            dropped +=
                self.db.prepare_cached("DELETE FROM symlink WHERE ino = ?")?.execute([ino.0])?
                    as u64;
        }
        Ok(dropped)
    }
}
