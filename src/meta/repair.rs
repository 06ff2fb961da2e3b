//! What `check --repair` writes. Nothing here removes content.

use super::names::SLOT_PROBES;
use super::{CounterRow, Error, Result, Tx};
use crate::model::{Attr, ChunkId, ChunkLocation, Ino};
use rusqlite::OptionalExtension;

impl Tx<'_> {
    /// Moves the counters ahead of everything that the tables hold.
    pub fn raise_counters(&self, needed: &CounterRow) -> Result<()> {
        self.meta.counters().raise(needed.moment, needed.ino as u64, needed.chunk as u64);
        Ok(())
    }

    /// Sets the allocated bytes to the sum of the inode's extents, and answers with it.
    pub fn recount_allocated(&self, ino: Ino) -> Result<u64> {
        let sql = "SELECT coalesce(sum(len), 0) FROM extent WHERE ino = ?";
        let allocated: u64 = self.db.query_row(sql, [ino.0], |row| row.get(0))?;
        self.db.execute("UPDATE inode SET allocated = ? WHERE ino = ?", (allocated, ino.0))?;
        Ok(allocated)
    }

    /// Points a chunk at another record of the same content, which is a whole one. It counts as damaged no more.
    pub fn move_chunk(&self, id: ChunkId, at: &ChunkLocation) -> Result<()> {
        let sql = "UPDATE chunk SET pack = ?2, offset = ?3, stored_len = ?4, plain_len = ?5, \
                   base = NULL WHERE id = ?1";
        self.db.execute(sql, (id.0, at.pack.0, at.offset, at.stored_len, at.plain_len))?;
        self.forget_damage(id)
    }

    /// Makes a chunk findable by its hash.
    pub fn index_chunk(&self, id: ChunkId) -> Result<()> {
        if let Some(chunk) = self.chunk(id)? {
            let sql = "UPDATE chunk SET prefix = ? WHERE id = ?";
            self.db.execute(sql, (chunk.hash.prefix(), id.0))?;
        }
        Ok(())
    }

    /// Sets the kind that every name of the directory carries to that of its inode.
    pub fn correct_kinds(&self, parent: Ino) -> Result<()> {
        let sql = "UPDATE dentry SET mode = inode.mode FROM inode \
                   WHERE inode.ino = dentry.ino AND dentry.parent = ?";
        self.db.execute(sql, [parent.0])?;
        Ok(())
    }

    /// Puts a name that lies at `slot` where it is found. False when it isn't there, or its place is
    /// taken by the same name.
    pub fn place_name(&self, parent: Ino, slot: i64) -> Result<bool> {
        let sql = "SELECT name FROM dentry WHERE parent = ? AND slot = ?";
        let name: Option<Vec<u8>> =
            self.db.query_row(sql, (parent.0, slot), |row| row.get(0)).optional()?;
        let Some(name) = name else { return Ok(false) };
        if self.dentry(parent, &name)?.is_some() {
            return Ok(false);
        }
        let first = self.slot_of(&name);
        let sql = "UPDATE OR IGNORE dentry SET slot = ?3 WHERE parent = ?1 AND slot = ?2";
        for free in first..first + SLOT_PROBES {
            if self.db.execute(sql, (parent.0, slot, free))? == 1 {
                return Ok(true);
            }
        }
        Err(Error::Damaged(format!("no slot is free for a name in directory {parent}")))
    }

    /// Takes the one name of a directory away, wherever it is: it then gets another.
    pub fn take_name(&self, parent: Ino, slot: i64) -> Result<()> {
        let dentry = self.list(parent, slot - 1, 1)?.into_iter().find(|found| found.slot == slot);
        match dentry {
            Some(dentry) => self.remove_dentry(parent, &dentry),
            None => Ok(()),
        }
    }

    /// Brings an inode back as it last was; false when nothing is known of it.
    pub fn revive_inode(&self, ino: Ino) -> Result<bool> {
        let sql = "INSERT OR IGNORE INTO inode SELECT ino, ?2, content_since, mode, nlink, uid, \
                   gid, rdev, size, allocated, atime, mtime, ctime, btime, parent, number, \
                   author, cause, cut, digest FROM inode_past WHERE ino = ?1 ORDER BY until DESC LIMIT 1";
        Ok(self.db.execute(sql, (ino.0, self.moment.0))? == 1)
    }

    /// Adds an inode that is missing; its number is not new.
    pub fn restore_inode(&self, attr: &Attr, parent: Ino) -> Result<()> {
        match self.inode(attr.ino)? {
            Some(_) => Ok(()),
            None => self.create_inode(attr, parent, 0),
        }
    }
}
