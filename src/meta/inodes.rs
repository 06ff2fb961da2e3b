//! Inodes: attributes, symlink targets, orphans.

use super::{Error, Result, Tx, View};
use crate::model::{Attr, Cause, FileKind, Ino, Mode, Moment, Timestamp};
use rusqlite::{OptionalExtension, Row};

/// The columns of `inode` in the order that [`Inode::from_row`] reads them. A macro, so that
/// statements are literals.
macro_rules! inode_columns {
    () => {
        "inode.ino, inode.since, inode.content_since, inode.mode, inode.nlink, inode.uid, \
         inode.gid, inode.rdev, inode.size, inode.allocated, inode.atime, inode.mtime, \
         inode.ctime, inode.btime, inode.parent, inode.number, inode.author, inode.cause, \
         inode.cut, inode.digest"
    };
}
pub(super) use inode_columns;

/// A row of `inode`, live or past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What `stat` shows.
    pub attr: Attr,
    /// The directory of its newest name (for a directory: of its only one).
    pub parent: Ino,
    /// The moment from which these attributes hold.
    pub since: Moment,
    /// The moment from which its content holds.
    pub content_since: Moment,
    /// Which content it is.
    pub saved: Saved,
}

/// What is recorded of a content beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its number among the contents of the file's name, from 1 on; 0 before the first.
    pub number: u64,
    /// The user id of who made it.
    pub author: u32,
    /// Why it is there.
    pub cause: Cause,
    /// Whether its writer was done with it: what a sync or the timer saved meanwhile is no version.
    pub is_cut: bool,
    /// Equal for equal extents: a sum, so that saving a part of a file costs that part.
    pub digest: u64,
}

impl Saved {
    /// What is known of a file that is empty yet.
    pub fn nothing(author: u32) -> Saved {
        Saved { number: 0, author, cause: Cause::Save, is_cut: true, digest: 0 }
    }

    fn from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Saved> {
        Ok(Saved {
            number: row.get(first)?,
            author: row.get(first + 1)?,
            // An unknown one was written by a later version.
            cause: Cause::from_number(row.get(first + 2)?).unwrap_or(Cause::Save),
            is_cut: row.get(first + 3)?,
            digest: row.get::<_, i64>(first + 4)? as u64,
        })
    }
}

impl Inode {
    /// Reads the columns named by [`inode_columns`] from column `first` on.
    pub(super) fn from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Inode> {
        let mode: u32 = row.get(first + 3)?;
        let kind = FileKind::from_mode(mode).ok_or_else(|| {
            let why = format!("inode with mode {mode:o}").into();
            rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Integer, why)
        })?;
        let time = |column| row.get(first + column).map(Timestamp);
        Ok(Inode {
            attr: Attr {
                ino: Ino(row.get(first)?),
                kind,
                mode: Mode::new(mode),
                nlink: row.get(first + 4)?,
                uid: row.get(first + 5)?,
                gid: row.get(first + 6)?,
                rdev: row.get(first + 7)?,
                size: row.get(first + 8)?,
                allocated: row.get(first + 9)?,
                atime: time(10)?,
                mtime: time(11)?,
                ctime: time(12)?,
                btime: time(13)?,
            },
            parent: Ino(row.get(first + 14)?),
            since: Moment(row.get(first + 1)?),
            content_since: Moment(row.get(first + 2)?),
            saved: Saved::from_row(row, first + 15)?,
        })
    }
}

/// Type and permission bits in one number, as the tables hold them.
pub(super) fn mode_bits(attr: &Attr) -> u32 {
    attr.kind.type_bits() | u32::from(attr.mode.bits())
}

impl View<'_> {
    /// The living inode.
    pub fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        let sql = concat!("SELECT ", inode_columns!(), " FROM inode WHERE ino = ?");
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.query_row([ino.0], |row| Inode::from_row(row, 0)).optional()?)
    }

    /// The last state of an inode that has ended.
    pub fn ended_inode(&self, ino: Ino) -> Result<Option<Inode>> {
        let sql = concat!(
            "SELECT ",
            inode_columns!(),
            " FROM inode_past AS inode WHERE ino = ? ORDER BY until DESC LIMIT 1"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.query_row([ino.0], |row| Inode::from_row(row, 0)).optional()?)
    }

    /// The target of a symbolic link, also of one that has ended.
    pub fn symlink_target(&self, ino: Ino) -> Result<Option<Vec<u8>>> {
        let mut statement = self.db.prepare_cached("SELECT target FROM symlink WHERE ino = ?")?;
        Ok(statement.query_row([ino.0], |row| row.get(0)).optional()?)
    }

    /// Files that had no name left when they were last heard of, but were open.
    pub fn orphans(&self) -> Result<Vec<Ino>> {
        let mut statement = self.db.prepare_cached("SELECT ino FROM orphan")?;
        let rows = statement.query_map([], |row| row.get(0).map(Ino))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Tx<'_> {
    /// Adds an inode that begins at this moment. `number`: of the last content that its name showed.
    pub fn create_inode(&self, attr: &Attr, parent: Ino, number: u64) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO inode VALUES (?1,?2,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,\
                 ?15,?5,0,1,0)",
            )?
            .execute((
                attr.ino.0,
                self.moment.0,
                mode_bits(attr),
                attr.nlink,
                attr.uid,
                attr.gid,
                attr.rdev,
                attr.size,
                attr.allocated,
                attr.atime.0,
                attr.mtime.0,
                attr.ctime.0,
                attr.btime.0,
                parent.0,
                number,
            ))?;
        Ok(())
    }

    /// Begins an inode again that has ended. Its extents, attributes and target are still there: they must
    /// be those of this state.
    pub fn begin_inode_again(&self, inode: &Inode) -> Result<()> {
        let Inode { attr, parent, saved, .. } = inode;
        self.create_inode(attr, *parent, saved.number)?;
        let changed = self
            .db
            .prepare_cached(
                "UPDATE inode SET author = ?2, cause = ?3, cut = ?4, digest = ?5 WHERE ino = ?1",
            )?
            .execute((
                attr.ino.0,
                saved.author,
                saved.cause.number(),
                saved.is_cut,
                saved.digest as i64,
            ))?;
        self.expect_one(changed, attr.ino)
    }

    /// Writes attributes without a trace of what they were: for what is no state of its own (the
    /// times and link count of a directory whose names changed, the last read of a file). The size is
    /// left alone: it changes together with the extents only, in [`Tx::change_content`].
    pub fn touch_inode(&self, attr: &Attr) -> Result<()> {
        let changed = self
            .db
            .prepare_cached(
                "UPDATE inode SET mode = ?2, nlink = ?3, uid = ?4, gid = ?5, atime = ?6, \
                 mtime = ?7, ctime = ?8 WHERE ino = ?1",
            )?
            .execute((
                attr.ino.0,
                mode_bits(attr),
                attr.nlink,
                attr.uid,
                attr.gid,
                attr.atime.0,
                attr.mtime.0,
                attr.ctime.0,
            ))?;
        self.expect_one(changed, attr.ino)
    }

    /// Writes attributes as a new state; the old one is kept in the past.
    pub fn change_inode(&self, attr: &Attr) -> Result<()> {
        self.archive_inode(attr.ino)?;
        self.touch_inode(attr)?;
        self.db
            .prepare_cached("UPDATE inode SET since = ?2 WHERE ino = ?1")?
            .execute((attr.ino.0, self.moment.0))?;
        Ok(())
    }

    /// Whether the inode ever was something else than it is now.
    pub fn has_past(&self, ino: Ino) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM inode_past WHERE ino = ?)";
        Ok(self.db.prepare_cached(sql)?.query_row([ino.0], |row| row.get(0))?)
    }

    /// Writes what a save changes: size, allocation, times, and what is known of the content. The state
    /// before it is kept in the past, but for the empty file before a `first` content, of which
    /// `content_since` tells enough.
    pub fn change_content(&self, attr: &Attr, saved: &Saved, first: bool) -> Result<()> {
        if !first {
            self.archive_inode(attr.ino)?;
        }
        let changed = self
            .db
            .prepare_cached(
                "UPDATE inode SET content_since = ?2, size = ?3, allocated = ?4, mtime = ?5, \
                 ctime = ?6, number = ?7, author = ?8, cause = ?9, cut = ?10, digest = ?11, \
                 since = iif(?12, since, ?2) WHERE ino = ?1",
            )?
            .execute((
                attr.ino.0,
                self.moment.0,
                attr.size,
                attr.allocated,
                attr.mtime.0,
                attr.ctime.0,
                saved.number,
                saved.author,
                saved.cause.number(),
                saved.is_cut,
                saved.digest as i64,
                first,
            ))?;
        self.expect_one(changed, attr.ino)
    }

    /// Gives the present content a number that its name has not had: the file was moved to it.
    pub fn raise_number(&self, ino: Ino, number: u64) -> Result<()> {
        let changed = self
            .db
            .prepare_cached("UPDATE inode SET number = max(number, ?2) WHERE ino = ?1")?
            .execute((ino.0, number))?;
        self.expect_one(changed, ino)
    }

    /// Notes that the writer of the present content is done with it.
    pub fn cut_version(&self, ino: Ino) -> Result<()> {
        let changed =
            self.db.prepare_cached("UPDATE inode SET cut = 1 WHERE ino = ?1")?.execute([ino.0])?;
        self.expect_one(changed, ino)
    }

    /// Says why the present content is there.
    pub fn set_cause(&self, ino: Ino, cause: Cause) -> Result<()> {
        let changed = self
            .db
            .prepare_cached("UPDATE inode SET cause = ?2 WHERE ino = ?1")?
            .execute((ino.0, cause.number()))?;
        self.expect_one(changed, ino)
    }

    /// Sets the link count and the time of its change.
    pub fn set_links(&self, ino: Ino, nlink: u32, ctime: Timestamp) -> Result<()> {
        let changed = self
            .db
            .prepare_cached("UPDATE inode SET nlink = ?2, ctime = ?3 WHERE ino = ?1")?
            .execute((ino.0, nlink, ctime.0))?;
        self.expect_one(changed, ino)
    }

    /// Sets the time of the last read.
    pub fn set_atime(&self, ino: Ino, atime: Timestamp) -> Result<()> {
        self.db
            .prepare_cached("UPDATE inode SET atime = ?2 WHERE ino = ?1")?
            .execute((ino.0, atime.0))?;
        Ok(())
    }

    /// Remembers in which directory the inode's newest name is.
    pub fn set_parent(&self, ino: Ino, parent: Ino) -> Result<()> {
        self.db
            .prepare_cached("UPDATE inode SET parent = ?2 WHERE ino = ?1")?
            .execute((ino.0, parent.0))?;
        Ok(())
    }

    /// Sets a directory's times and link count after its names changed.
    pub fn touch_directory(&self, ino: Ino, now: Timestamp, nlink_change: i32) -> Result<()> {
        let changed = self
            .db
            .prepare_cached(
                "UPDATE inode SET mtime = ?2, ctime = ?2, nlink = nlink + ?3 WHERE ino = ?1",
            )?
            .execute((ino.0, now.0, nlink_change))?;
        self.expect_one(changed, ino)
    }

    /// Ends the inode at this moment: it has no name and nobody has it open.
    pub fn end_inode(&self, ino: Ino) -> Result<()> {
        self.archive_inode(ino)?;
        self.db.prepare_cached("DELETE FROM inode WHERE ino = ?")?.execute([ino.0])?;
        Ok(())
    }

    /// Sets the target of a new symbolic link.
    pub fn set_symlink_target(&self, ino: Ino, target: &[u8]) -> Result<()> {
        self.db.prepare_cached("INSERT INTO symlink VALUES (?, ?)")?.execute((ino.0, target))?;
        Ok(())
    }

    /// Remembers that the inode has no name but is open.
    pub fn add_orphan(&self, ino: Ino) -> Result<()> {
        self.db.prepare_cached("INSERT OR IGNORE INTO orphan VALUES (?)")?.execute([ino.0])?;
        Ok(())
    }

    /// Forgets an orphan: it has ended.
    pub fn remove_orphan(&self, ino: Ino) -> Result<()> {
        self.db.prepare_cached("DELETE FROM orphan WHERE ino = ?")?.execute([ino.0])?;
        Ok(())
    }

    /// Keeps the present state in the past, unless it began at this very moment.
    fn archive_inode(&self, ino: Ino) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO inode_past SELECT ino, ?2, since, content_since, mode, nlink, uid, \
                 gid, rdev, size, allocated, atime, mtime, ctime, btime, parent, number, author, \
                 cause, cut, digest FROM inode WHERE ino = ?1 AND since < ?2",
            )?
            .execute((ino.0, self.moment.0))?;
        Ok(())
    }

    fn expect_one(&self, changed: usize, ino: Ino) -> Result<()> {
        match changed {
            1 => Ok(()),
            _ => Err(Error::Damaged(format!("inode {ino} is missing"))),
        }
    }
}
