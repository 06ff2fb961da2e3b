//! The tables. `docs/FORMAT.md` describes them for readers of other programs.

use super::{Error, Result};
use rusqlite::Connection;

/// The format that this program writes, in SQLite's `user_version`.
pub(super) const FORMAT: u32 = 4;

/// Format 4. Times are nanoseconds since 1970; modes carry type and permission bits.
const TABLES: &str = "
-- One row: what must not be handed out twice, and how the last run ended.
CREATE TABLE counter(
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    moment        INTEGER NOT NULL,   -- no row carries a later moment
    ino           INTEGER NOT NULL,   -- no inode number above was handed out
    chunk         INTEGER NOT NULL,   -- no chunk number above was handed out
    durable_chunk INTEGER NOT NULL,   -- chunks up to this number are known to be on disk
    clean         INTEGER NOT NULL,   -- 1: stopped in order, nothing to recover
    slot_key      BLOB NOT NULL       -- 16 bytes: key of the hash that spreads names over slots
);

CREATE TABLE inode(
    ino           INTEGER PRIMARY KEY,
    since         INTEGER NOT NULL,   -- moment from which this row holds
    content_since INTEGER NOT NULL,   -- moment from which the content holds
    mode          INTEGER NOT NULL,
    nlink         INTEGER NOT NULL,
    uid           INTEGER NOT NULL,
    gid           INTEGER NOT NULL,
    rdev          INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    allocated     INTEGER NOT NULL,   -- bytes that are not holes
    atime         INTEGER NOT NULL,
    mtime         INTEGER NOT NULL,
    ctime         INTEGER NOT NULL,
    btime         INTEGER NOT NULL,
    parent        INTEGER NOT NULL,   -- directory of its newest name
    number        INTEGER NOT NULL,   -- which content this is, from 1 on; 0 before the first
    author        INTEGER NOT NULL,   -- user id of who made the content
    cause         INTEGER NOT NULL,   -- why: see `model::Cause`
    cut           INTEGER NOT NULL,   -- 1: its writer was done (closed it), so it is a version
    digest        INTEGER NOT NULL    -- sum of the hashes of the extents: equal contents are told by it
);
CREATE TABLE inode_past(
    ino INTEGER NOT NULL, until INTEGER NOT NULL, since INTEGER NOT NULL,
    content_since INTEGER NOT NULL, mode INTEGER NOT NULL, nlink INTEGER NOT NULL,
    uid INTEGER NOT NULL, gid INTEGER NOT NULL, rdev INTEGER NOT NULL, size INTEGER NOT NULL,
    allocated INTEGER NOT NULL, atime INTEGER NOT NULL, mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL, btime INTEGER NOT NULL, parent INTEGER NOT NULL,
    number INTEGER NOT NULL, author INTEGER NOT NULL, cause INTEGER NOT NULL, cut INTEGER NOT NULL,
    digest INTEGER NOT NULL,
    PRIMARY KEY (ino, until)
) WITHOUT ROWID;

-- Unlinked files that were still open: ended at the next start.
CREATE TABLE orphan(ino INTEGER PRIMARY KEY);

CREATE TABLE symlink(ino INTEGER PRIMARY KEY, target BLOB NOT NULL);

-- A name's slot is a keyed hash of it (or one of the next seven, where taken): the order of
-- listings, and the cookie by which they go on.
CREATE TABLE dentry(
    parent INTEGER NOT NULL, slot INTEGER NOT NULL, name BLOB NOT NULL,
    ino INTEGER NOT NULL, mode INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (parent, slot)
) WITHOUT ROWID;
CREATE TABLE dentry_past(
    parent INTEGER NOT NULL, slot INTEGER NOT NULL, until INTEGER NOT NULL, name BLOB NOT NULL,
    ino INTEGER NOT NULL, mode INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (parent, slot, until)
) WITHOUT ROWID;

-- The extents of an inode that has ended stay in `extent`: the inode's end is theirs.
CREATE TABLE extent(
    ino INTEGER NOT NULL, start INTEGER NOT NULL, len INTEGER NOT NULL,
    chunk INTEGER NOT NULL, skip INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (ino, start)
) WITHOUT ROWID;
CREATE TABLE extent_past(
    ino INTEGER NOT NULL, start INTEGER NOT NULL, until INTEGER NOT NULL, len INTEGER NOT NULL,
    chunk INTEGER NOT NULL, skip INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (ino, start, until)
) WITHOUT ROWID;

CREATE TABLE chunk(
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
    stored_len INTEGER NOT NULL, plain_len INTEGER NOT NULL,
    prefix INTEGER NOT NULL,          -- first 8 bytes of the hash: a third of an index on all 32
    base INTEGER                      -- the chunk to which the record is a difference
);
CREATE INDEX chunk_by_prefix ON chunk(prefix);

CREATE TABLE xattr(
    ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (ino, name)
) WITHOUT ROWID;
CREATE TABLE xattr_past(
    ino INTEGER NOT NULL, name BLOB NOT NULL, until INTEGER NOT NULL, value BLOB NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (ino, name, until)
) WITHOUT ROWID;
";

/// What came with format 3. A pin that is removed leaves no trace.
const PIN: &str = "
CREATE TABLE pin(
    dir    INTEGER NOT NULL,   -- the directory
    name   BLOB NOT NULL,      -- what the moment is called there
    moment INTEGER NOT NULL,   -- the moment that is kept; not later than since
    since  INTEGER NOT NULL,   -- when it was made
    PRIMARY KEY (dir, name)
);
";

/// What came with format 4, beside the column. Few chunks are differences.
const BASE_INDEX: &str = "CREATE INDEX chunk_by_base ON chunk(base) WHERE base IS NOT NULL";

/// Creates the tables in an empty database.
pub(super) fn create(db: &Connection, slot_key: &[u8; 16]) -> Result<()> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    db.execute_batch(TABLES)?;
    db.execute_batch(PIN)?;
    db.execute_batch(BASE_INDEX)?;
    db.execute("INSERT INTO counter VALUES (1, 0, 1, 0, 0, 1, ?)", [&slot_key[..]])?;
    db.pragma_update(None, "user_version", FORMAT)?;
    db.execute_batch("COMMIT")?;
    Ok(())
}

/// One format's way to the next.
type Migration = fn(&Connection) -> rusqlite::Result<()>;

/// From format 1 on.
const MIGRATIONS: [Migration; FORMAT as usize - 1] =
    [migrate_from_1, migrate_from_2, migrate_from_3];

/// Takes a database from the format `old` to the present one, each step in a transaction of its own.
fn migrate(db: &Connection, old: u32) -> Result<()> {
    for (format, step) in (1..).zip(MIGRATIONS).skip(old as usize - 1) {
        db.execute_batch("BEGIN IMMEDIATE")?;
        step(db)?;
        db.pragma_update(None, "user_version", format + 1)?;
        db.execute_batch("COMMIT")?;
    }
    Ok(())
}

/// Format 1 didn't know which content is which, nor who made it.
fn migrate_from_1(db: &Connection) -> rusqlite::Result<()> {
    for table in ["inode", "inode_past"] {
        for (column, default) in
            [("number", 1), ("author", 0), ("cause", 0), ("cut", 1), ("digest", 0)]
        {
            db.execute_batch(&format!(
                "ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT {default}"
            ))?;
        }
        db.execute_batch(&format!("UPDATE {table} SET author = uid"))?;
    }
    Ok(())
}

/// Format 2 had no pins.
fn migrate_from_2(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(PIN)
}

/// Format 3 stored every chunk whole.
fn migrate_from_3(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("ALTER TABLE chunk ADD COLUMN base INTEGER")?;
    db.execute_batch(BASE_INDEX)
}

/// Brings a database of an older format up to date, and refuses one that this program doesn't understand.
pub(super) fn verify(db: &Connection) -> Result<()> {
    let found: i32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match u32::try_from(found) {
        Ok(FORMAT) => Ok(()),
        Ok(0) => Err(Error::Damaged("it holds no tables".into())),
        Ok(old @ 1..FORMAT) => migrate(db, old),
        Ok(newer) => Err(Error::Newer { found: newer, known: FORMAT }),
        Err(_) => Err(Error::Damaged(format!("there is no format {found}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Meta;
    use crate::model::{ChunkId, ChunkRef, Ino, Timestamp};

    #[test]
    fn format_1_is_brought_up_to_date() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("meta.db");
        Meta::create(&path, &[7; 16], None).unwrap();
        let old = Connection::open(&path).unwrap();
        for table in ["inode", "inode_past"] {
            for column in ["number", "author", "cause", "cut", "digest"] {
                old.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
            }
        }
        let row = "(5, 10, 10, 33188, 1, 1000, 1000, 0, 3, 3, 1, 2, 3, 4, 1)";
        old.execute_batch(&format!("INSERT INTO inode VALUES {row}")).unwrap();
        old.execute_batch("DROP TABLE pin").unwrap();
        forget_differences(&old);
        old.pragma_update(None, "user_version", 1).unwrap();
        old.close().unwrap();

        let meta = Meta::open(&path, None).unwrap();
        let inode = meta.read(|view| view.inode(Ino(5))).unwrap().unwrap();
        assert_eq!((inode.saved.number, inode.saved.author, inode.saved.is_cut), (1, 1000, true));
        assert_eq!(inode.attr.size, 3);
        meta.write(Timestamp(20), |tx| tx.end_inode(Ino(5))).unwrap();
        drop(meta);
        let ended = Meta::open(&path, None).unwrap().read(|view| view.ended_inode(Ino(5))).unwrap();
        assert_eq!(ended.unwrap().saved.number, 1);
    }

    #[test]
    fn format_2_is_brought_up_to_date() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("meta.db");
        Meta::create(&path, &[7; 16], None).unwrap();
        let old = Connection::open(&path).unwrap();
        old.execute_batch("DROP TABLE pin").unwrap();
        forget_differences(&old);
        old.pragma_update(None, "user_version", 2).unwrap();
        old.close().unwrap();

        let meta = Meta::open(&path, None).unwrap();
        meta.write(Timestamp(20), |tx| tx.add_pin(Ino(1), b"kept", tx.moment)).unwrap();
        drop(meta);
        let pins = Meta::open(&path, None).unwrap().read(|view| view.pins()).unwrap();
        assert_eq!((pins.len(), &pins[0].name[..]), (1, &b"kept"[..]));
    }

    fn forget_differences(db: &Connection) {
        db.execute_batch("DROP INDEX chunk_by_base; ALTER TABLE chunk DROP COLUMN base").unwrap();
    }

    #[test]
    fn format_3_is_brought_up_to_date() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("meta.db");
        Meta::create(&path, &[7; 16], None).unwrap();
        let old = Connection::open(&path).unwrap();
        forget_differences(&old);
        let row = "(5, zeroblob(32), 1, 64, 9, 9, 0)";
        old.execute_batch(&format!("INSERT INTO chunk VALUES {row}")).unwrap();
        old.pragma_update(None, "user_version", 3).unwrap();
        old.close().unwrap();

        let meta = Meta::open(&path, None).unwrap();
        let chunk = meta.read(|view| view.chunk(ChunkId(5))).unwrap().unwrap();
        assert_eq!(chunk.base, None);
        let next = ChunkRef { id: ChunkId(6), base: Some(ChunkId(5)), ..chunk };
        meta.write(Timestamp(20), |tx| tx.insert_chunk(&next)).unwrap();
        let mut found = Vec::new();
        let read =
            |view: &crate::meta::View<'_>| view.each_difference(&mut |d, b| found.push((d, b)));
        meta.read(read).unwrap();
        assert_eq!(found, [(ChunkId(6), ChunkId(5))]);
    }
}
