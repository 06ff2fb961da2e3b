//! What `check` reads: every row as it is, in streams, so that memory does not grow with the store.
//! Numbers are raw: a check must be able to look at what a type would refuse.

use super::{Result, View};
use crate::model::{ChunkHash, ChunkId, ChunkLocation, ChunkRef, Ino, PackId};
use rusqlite::Row;

/// What the stream's reader answers with: an error ends the stream.
type Each<'f, T, E> = &'f mut dyn FnMut(T) -> std::result::Result<(), E>;

/// A living inode.
#[derive(Clone, Copy, Debug)]
pub struct InodeRow {
    /// Inode number.
    pub ino: u64,
    /// The later of the moments from which attributes and content hold.
    pub since: i64,
    /// Type and permission bits.
    pub mode: u32,
    /// Link count.
    pub nlink: u32,
    /// The directory of its newest name.
    pub parent: u64,
    /// Whether it is a symbolic link without a target.
    pub lacks_target: bool,
}

/// A name, living or past.
#[derive(Clone, Debug)]
pub struct NameRow {
    /// The directory.
    pub parent: u64,
    /// Its place there.
    pub slot: i64,
    /// The name.
    pub name: Vec<u8>,
    /// The inode it holds.
    pub ino: u64,
    /// The copy of the inode's mode.
    pub mode: u32,
    /// The moment from which it holds it.
    pub since: i64,
}

/// An extent, living or past, with what the chunk table says of its chunk.
#[derive(Clone, Copy, Debug)]
pub struct ExtentRow {
    /// Inode number.
    pub ino: u64,
    /// Offset in the file.
    pub start: i64,
    /// Length in bytes.
    pub len: i64,
    /// The chunk's number.
    pub chunk: u64,
    /// Offset in the chunk.
    pub skip: i64,
    /// The moment from which it holds.
    pub since: i64,
    /// The chunk's length; `None` when the chunk table doesn't hold it.
    pub plain_len: Option<i64>,
}

/// A row of the chunk table.
#[derive(Clone, Copy, Debug)]
pub struct ChunkRow {
    /// The chunk, unless its columns make no sense.
    pub chunk: Option<ChunkRef>,
    /// Its number.
    pub id: u64,
    /// Whether it is found by its hash.
    pub is_indexed: bool,
}

/// What must not be handed out twice.
#[derive(Clone, Copy, Debug)]
pub struct CounterRow {
    /// No row carries a later moment.
    pub moment: i64,
    /// No inode number above was handed out.
    pub ino: i64,
    /// No chunk number above was handed out.
    pub chunk: i64,
}

/// The tables of the past.
const PAST_TABLES: [&str; 4] = ["dentry_past", "inode_past", "extent_past", "xattr_past"];
/// Every table with moments, and the column that is the latest of a row.
const MOMENTS: [(&str, &str); 9] = [
    ("dentry", "since"),
    ("inode", "max(since, content_since)"),
    ("extent", "since"),
    ("xattr", "since"),
    ("dentry_past", "until"),
    ("inode_past", "until"),
    ("extent_past", "until"),
    ("xattr_past", "until"),
    ("pin", "since"),
];

fn name_from_row(row: &Row<'_>) -> rusqlite::Result<NameRow> {
    Ok(NameRow {
        parent: row.get::<_, i64>(0)? as u64,
        slot: row.get(1)?,
        name: row.get(2)?,
        ino: row.get::<_, i64>(3)? as u64,
        mode: row.get::<_, i64>(4)? as u32,
        since: row.get(5)?,
    })
}

fn extent_from_row(row: &Row<'_>) -> rusqlite::Result<ExtentRow> {
    Ok(ExtentRow {
        ino: row.get::<_, i64>(0)? as u64,
        start: row.get(1)?,
        len: row.get(2)?,
        chunk: row.get::<_, i64>(3)? as u64,
        skip: row.get(4)?,
        since: row.get(5)?,
        plain_len: row.get(6)?,
    })
}

fn chunk_row(row: &Row<'_>) -> rusqlite::Result<ChunkRow> {
    let id = row.get::<_, i64>(0)? as u64;
    let hash: Option<[u8; 32]> = row.get(1).ok();
    let number = |column| row.get::<_, i64>(column);
    let (pack, offset, stored, plain) = (number(2)?, number(3)?, number(4)?, number(5)?);
    let location = || {
        Some(ChunkLocation {
            pack: PackId(u32::try_from(pack).ok()?),
            offset: u64::try_from(offset).ok()?,
            stored_len: u32::try_from(stored).ok()?,
            plain_len: u32::try_from(plain).ok()?,
        })
    };
    let hash = hash.map(ChunkHash);
    let base = row.get::<_, Option<i64>>(7)?.map(|base| ChunkId(base as u64));
    let chunk = hash.zip(location()).map(|(hash, at)| ChunkRef { id: ChunkId(id), hash, at, base });
    let prefix = number(6)?;
    Ok(ChunkRow { chunk, id, is_indexed: hash.is_some_and(|hash| hash.prefix() == prefix) })
}

impl View<'_> {
    /// All living inodes in the order of their numbers.
    pub fn each_inode<E: From<super::Error>>(
        &self,
        each: Each<'_, InodeRow, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT ino, max(since, content_since), mode, nlink, parent, \
                   mode & 0xf000 = 0xa000 AND NOT EXISTS \
                   (SELECT 1 FROM symlink WHERE symlink.ino = inode.ino) FROM inode ORDER BY ino";
        self.stream(
            sql,
            |row| {
                Ok(InodeRow {
                    ino: row.get::<_, i64>(0)? as u64,
                    since: row.get(1)?,
                    mode: row.get::<_, i64>(2)? as u32,
                    nlink: row.get::<_, i64>(3)? as u32,
                    parent: row.get::<_, i64>(4)? as u64,
                    lacks_target: row.get(5)?,
                })
            },
            each,
        )
    }

    /// All living names, directory by directory.
    pub fn each_name<E: From<super::Error>>(
        &self,
        each: Each<'_, NameRow, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT parent, slot, name, ino, mode, since FROM dentry ORDER BY parent, slot";
        self.stream(sql, name_from_row, each)
    }

    /// All names that there were, directory by directory.
    pub fn each_past_name<E: From<super::Error>>(
        &self,
        each: Each<'_, NameRow, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT parent, slot, name, ino, mode, since FROM dentry_past";
        self.stream(sql, name_from_row, each)
    }

    /// All extents of living and ended inodes in order, but for those that a save replaced.
    pub fn each_extent<E: From<super::Error>>(
        &self,
        each: Each<'_, ExtentRow, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT ino, start, len, chunk, skip, since, plain_len \
                   FROM extent LEFT JOIN chunk ON chunk.id = extent.chunk ORDER BY ino, start";
        self.stream(sql, extent_from_row, each)
    }

    /// All extents that a save replaced.
    pub fn each_past_extent<E: From<super::Error>>(
        &self,
        each: Each<'_, ExtentRow, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT ino, start, len, chunk, skip, since, plain_len \
                   FROM extent_past LEFT JOIN chunk ON chunk.id = extent_past.chunk";
        self.stream(sql, extent_from_row, each)
    }

    /// The chunk table in the order of the numbers.
    pub fn each_chunk<E: From<super::Error>>(
        &self,
        each: Each<'_, ChunkRow, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT id, hash, pack, offset, stored_len, plain_len, prefix, base FROM chunk ORDER BY id";
        self.stream(sql, chunk_row, each)
    }

    /// Living inodes that claim allocated bytes and have no extent.
    pub fn each_unbacked_inode<E: From<super::Error>>(
        &self,
        each: Each<'_, u64, E>,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT ino FROM inode WHERE allocated <> 0 \
                   AND NOT EXISTS (SELECT 1 FROM extent WHERE extent.ino = inode.ino)";
        self.stream(sql, |row| row.get::<_, i64>(0).map(|ino| ino as u64), each)
    }

    /// For each table of the past: the rows that end before they begin.
    pub fn backward_rows(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut found = Vec::new();
        for table in PAST_TABLES {
            let sql = format!("SELECT count(*) FROM {table} WHERE since >= until");
            let count: u64 = self.db.query_row(&sql, [], |row| row.get(0))?;
            if count > 0 {
                found.push((table, count));
            }
        }
        Ok(found)
    }

    /// The counters as the database has them.
    pub fn counter_row(&self) -> Result<CounterRow> {
        let sql = "SELECT moment, ino, chunk FROM counter";
        Ok(self.db.query_row(sql, [], |row| {
            Ok(CounterRow { moment: row.get(0)?, ino: row.get(1)?, chunk: row.get(2)? })
        })?)
    }

    /// What the counters must be at least: a scan of all tables.
    pub fn counters_needed(&self) -> Result<CounterRow> {
        let number = |sql: &str| self.db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let mut moment = 0;
        for (table, column) in MOMENTS {
            moment =
                moment.max(number(&format!("SELECT coalesce(max({column}), 0) FROM {table}"))?);
        }
        let ino = number(
            "SELECT max(coalesce((SELECT max(ino) FROM inode), 0), \
             coalesce((SELECT max(ino) FROM inode_past), 0))",
        )?;
        let chunk = number("SELECT coalesce(max(id), 0) FROM chunk")?;
        Ok(CounterRow { moment, ino, chunk })
    }

    /// Whether the inode lives or lived.
    pub fn was_inode(&self, ino: Ino) -> Result<bool> {
        Ok(self.inode(ino)?.is_some() || self.ended_inode(ino)?.is_some())
    }

    /// Whether a name can be found where it lies.
    pub fn is_placed(&self, slot: i64, name: &[u8]) -> bool {
        let first = self.slot_of(name);
        (first..first + super::names::SLOT_PROBES).contains(&slot)
    }

    fn stream<T, E: From<super::Error>>(
        &self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        each: Each<'_, T, E>,
    ) -> std::result::Result<(), E> {
        let failed = |error: rusqlite::Error| E::from(error.into());
        let mut statement = self.db.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            each(read(row).map_err(failed)?)?;
        }
        Ok(())
    }
}
