//! Names: which inode a name in a directory holds, and held.

use super::inodes::{inode_columns, mode_bits};
use super::{Error, Inode, Result, Tx, View};
use crate::model::{Attr, FileKind, Ino, Moment};
use rusqlite::{OptionalExtension, Row};
use std::hash::Hasher;

/// Slots that a name may lie in, from its hash on. Two names of a directory share a hash once in
/// 2^62 pairs; that eight do is as good as impossible, since the hash is keyed.
pub(super) const SLOT_PROBES: i64 = 8;
/// Slots begin here: listings use the numbers below for `.` and `..`.
const SLOT_FIRST: i64 = 16;
/// The highest hash: leaves room for the probes, and cookies stay positive.
const SLOT_MASK: u64 = (1 << 62) - 1;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dentry {
    /// Its place in the listing.
    pub slot: i64,
    /// The name.
    pub name: Vec<u8>,
    /// The inode it holds.
    pub ino: Ino,
    /// The inode's type.
    pub kind: FileKind,
    /// The moment from which it holds it.
    pub since: Moment,
}

impl Dentry {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Dentry> {
        let mode: u32 = row.get(3)?;
        Ok(Dentry {
            slot: row.get(0)?,
            name: row.get(1)?,
            ino: Ino(row.get(2)?),
            // The kind is a copy of the inode's; a wrong one is found by `check`.
            kind: FileKind::from_mode(mode).unwrap_or(FileKind::File),
            since: Moment(row.get(4)?),
        })
    }
}

impl View<'_> {
    pub(super) fn slot_of(&self, name: &[u8]) -> i64 {
        let mut hasher = self.meta.slot_hasher();
        hasher.write(name);
        SLOT_FIRST + (hasher.finish() & SLOT_MASK) as i64
    }

    /// The name in the directory.
    pub fn dentry(&self, parent: Ino, name: &[u8]) -> Result<Option<Dentry>> {
        let slot = self.slot_of(name);
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since FROM dentry \
             WHERE parent = ? AND slot >= ? AND slot < ? AND name = ?",
        )?;
        let found = statement
            .query_row((parent.0, slot, slot + SLOT_PROBES, name), Dentry::from_row)
            .optional()?;
        Ok(found)
    }

    /// The number of the last content that the name showed, of whatever inode; 0 where it never held one.
    pub fn last_number(&self, parent: Ino, name: &[u8]) -> Result<u64> {
        let mut used = self.db.prepare_cached(
            "SELECT slot FROM dentry_past WHERE parent = ? AND slot >= ? AND slot < ? \
             ORDER BY slot LIMIT 1",
        )?;
        // Within one slot the newest is found at once, however often the name was used.
        let mut newest = self.db.prepare_cached(
            "SELECT ino FROM dentry_past WHERE parent = ? AND slot = ? AND name = ? \
             ORDER BY until DESC LIMIT 1",
        )?;
        let mut from = self.slot_of(name);
        let end = from + SLOT_PROBES;
        while let Some(slot) =
            used.query_row((parent.0, from, end), |row| row.get::<_, i64>(0)).optional()?
        {
            let held = newest.query_row((parent.0, slot, name), |row| row.get(0).map(Ino));
            if let Some(ino) = held.optional()? {
                return self.number_of(ino);
            }
            from = slot + 1;
        }
        Ok(0)
    }

    /// The number of the newest content of an inode, also of one that has ended.
    fn number_of(&self, ino: Ino) -> Result<u64> {
        let inode = match self.inode(ino)? {
            Some(inode) => Some(inode),
            None => self.ended_inode(ino)?,
        };
        Ok(inode.map_or(0, |inode| inode.saved.number))
    }

    /// The inode that the name in the directory holds.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Option<Inode>> {
        let slot = self.slot_of(name);
        let sql = concat!(
            "SELECT ",
            inode_columns!(),
            " FROM dentry JOIN inode ON inode.ino = dentry.ino WHERE dentry.parent = ? \
             AND dentry.slot >= ? AND dentry.slot < ? AND dentry.name = ?"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        let found = statement
            .query_row((parent.0, slot, slot + SLOT_PROBES, name), |row| Inode::from_row(row, 0))
            .optional()?;
        Ok(found)
    }

    /// Lists up to `limit` names from after `slot` on, in the order of their slots.
    pub fn list(&self, parent: Ino, after: i64, limit: usize) -> Result<Vec<Dentry>> {
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since FROM dentry \
             WHERE parent = ? AND slot > ? ORDER BY slot LIMIT ?",
        )?;
        let rows = statement.query_map((parent.0, after, limit), Dentry::from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Like [`View::list`], with the inodes.
    pub fn list_inodes(
        &self,
        parent: Ino,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(Dentry, Inode)>> {
        let sql = concat!(
            "SELECT dentry.slot, dentry.name, dentry.ino, dentry.mode, dentry.since, ",
            inode_columns!(),
            " FROM dentry JOIN inode ON inode.ino = dentry.ino \
             WHERE dentry.parent = ? AND dentry.slot > ? ORDER BY dentry.slot LIMIT ?"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map((parent.0, after, limit), |row| {
            Ok((Dentry::from_row(row)?, Inode::from_row(row, 5)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether the directory holds no name.
    pub fn is_empty_directory(&self, ino: Ino) -> Result<bool> {
        let mut statement =
            self.db.prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM dentry WHERE parent = ?)")?;
        Ok(statement.query_row([ino.0], |row| row.get(0))?)
    }

    /// A name of the inode in the directory, if it is among the first `limit` names of that: each is looked at.
    pub fn name_in(&self, parent: Ino, ino: Ino, limit: i64) -> Result<Option<Vec<u8>>> {
        let mut statement = self.db.prepare_cached(
            "SELECT name FROM (SELECT name, ino FROM dentry WHERE parent = ? LIMIT ?) \
             WHERE ino = ? LIMIT 1",
        )?;
        Ok(statement.query_row((parent.0, limit, ino.0), |row| row.get(0)).optional()?)
    }

    /// A path of the living inode from the root on, for messages: bytes joined by `/`. Where an inode
    /// has several names it is one of those in the directory of its newest.
    pub fn path_of(&self, ino: Ino) -> Result<Option<Vec<u8>>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let Some(inode) = self.inode(at)? else { return Ok(None) };
            let Some(name) = self.name_in(inode.parent, at, i64::MAX)? else { return Ok(None) };
            parts.push(name);
            at = inode.parent;
        }
        parts.reverse();
        Ok(Some(parts.join(&b'/')))
    }
}

impl Tx<'_> {
    /// Adds a name that isn't there yet.
    pub fn add_dentry(&self, parent: Ino, name: &[u8], attr: &Attr) -> Result<()> {
        let first = self.slot_of(name);
        let mode = mode_bits(attr);
        let mut statement = self.db.prepare_cached(
            "INSERT INTO dentry (parent, slot, name, ino, mode, since) VALUES (?,?,?,?,?,?) \
             ON CONFLICT DO NOTHING",
        )?;
        for slot in first..first + SLOT_PROBES {
            let row = (parent.0, slot, name, attr.ino.0, mode, self.moment.0);
            if statement.execute(row)? == 1 {
                return Ok(());
            }
        }
        Err(Error::Damaged(format!("no slot is free for a name in directory {parent}")))
    }

    /// Ends a name; that it was there is kept in the past.
    pub fn remove_dentry(&self, parent: Ino, dentry: &Dentry) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO dentry_past SELECT parent, slot, ?3, name, ino, mode, since \
                 FROM dentry WHERE parent = ?1 AND slot = ?2 AND since < ?3",
            )?
            .execute((parent.0, dentry.slot, self.moment.0))?;
        self.db
            .prepare_cached("DELETE FROM dentry WHERE parent = ? AND slot = ?")?
            .execute((parent.0, dentry.slot))?;
        Ok(())
    }
}
