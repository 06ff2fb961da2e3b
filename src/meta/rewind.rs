//! Putting the whole metadata back to an earlier moment: what a start does after a power cut, when
//! the log reached the disk and chunks that it names did not.
//!
//! Every change is in the tables with its moment, so going back is: drop what began later, reopen
//! what ended later. What is written in place (times and link counts) is put right afterwards. A pin that was
//! removed later stays removed.

use super::{Result, Tx};
use crate::model::{ChunkId, Moment};

/// For each table: its name and its columns without `until`.
const TABLES: [(&str, &str); 4] = [
    ("dentry", "parent, slot, name, ino, mode, since"),
    ("extent", "ino, start, len, chunk, skip, since"),
    ("xattr", "ino, name, value, since"),
    (
        "inode",
        "ino, since, content_since, mode, nlink, uid, gid, rdev, size, allocated, atime, mtime, \
         ctime, btime, parent, number, author, cause, cut, digest",
    ),
];

impl Tx<'_> {
    /// The first moment at which something named a chunk above `durable` that the chunk table doesn't
    /// hold, if anything does. A scan of all extents.
    pub fn first_dangling(&self, durable: ChunkId) -> Result<Option<Moment>> {
        let mut first: Option<i64> = None;
        for table in ["extent", "extent_past"] {
            let sql = format!(
                "SELECT min(since) FROM {table} \
                 WHERE chunk > ? AND chunk NOT IN (SELECT id FROM chunk)"
            );
            let found: Option<i64> = self.db.query_row(&sql, [durable.0], |row| row.get(0))?;
            first = first.into_iter().chain(found).min();
        }
        Ok(first.map(Moment))
    }

    /// Puts everything back to how it was at `to`. A scan of all tables.
    pub fn rewind(&self, to: Moment) -> Result<()> {
        for (table, columns) in TABLES {
            let statements = [
                format!("DELETE FROM {table} WHERE since > ?1"),
                // What held at `to`: at most one row of the past per key.
                format!(
                    "INSERT OR REPLACE INTO {table} ({columns}) SELECT {columns} FROM {table}_past \
                     WHERE since <= ?1 AND until > ?1"
                ),
                format!("DELETE FROM {table}_past WHERE until > ?1"),
            ];
            for sql in statements {
                self.db.execute(&sql, [to.0])?;
            }
        }
        self.db.execute("DELETE FROM pin WHERE since > ?", [to.0])?;
        // A first content is written over the empty file without a trace: take it off again. The
        // empty file was as old as its row.
        self.db.execute(
            "UPDATE inode SET size = 0, allocated = 0, content_since = since, mtime = since, \
             ctime = since, number = max(number - 1, 0), cut = 1, digest = 0 \
             WHERE content_since > ?1",
            [to.0],
        )?;
        self.recount_links()
    }

    /// Sets every link count and parent to what the names say, and makes orphans of files without a name.
    pub fn recount_links(&self) -> Result<()> {
        self.db.execute_batch(
            "CREATE TEMP TABLE links(ino INTEGER PRIMARY KEY, count INTEGER, parent INTEGER);
             INSERT INTO links SELECT ino, count(*), min(parent) FROM dentry GROUP BY ino;
             UPDATE inode SET parent = links.parent FROM links WHERE links.ino = inode.ino;
             CREATE TEMP TABLE subdirs(ino INTEGER PRIMARY KEY, count INTEGER NOT NULL);
             INSERT INTO subdirs SELECT parent, count(*) FROM dentry
                 WHERE mode & 0xf000 = 0x4000 GROUP BY parent;
             UPDATE inode SET nlink =
                 2 + coalesce((SELECT count FROM subdirs WHERE subdirs.ino = inode.ino), 0)
                 WHERE mode & 0xf000 = 0x4000;
             UPDATE inode SET nlink =
                 coalesce((SELECT count FROM links WHERE links.ino = inode.ino), 0)
                 WHERE mode & 0xf000 <> 0x4000;
             DELETE FROM orphan;
             INSERT INTO orphan SELECT ino FROM inode WHERE nlink = 0;
             DROP TABLE links;
             DROP TABLE subdirs;",
        )?;
        Ok(())
    }
}
