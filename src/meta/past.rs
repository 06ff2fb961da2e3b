//! What held at a moment of the past: names, attributes, extents, extended attributes; and what a name or
//! an inode went through. `docs/FORMAT.md`, "The tree as of moment T", tells the rules.
//!
//! The present only moves on by commits at later moments, so what is answered for a moment that is
//! over stays the answer. A row that ends moves from the live table to its twin: queries look at the live one
//! first, or at both in one statement, so that no row is missed on its way.

use super::chunks::chunk_from_row;
use super::inodes::inode_columns;
use super::names::SLOT_PROBES;
use super::{Dentry, Error, Inode, Result, View};
use crate::model::{ChunkId, ChunkRef, Content, Extent, FileKind, Ino, Moment};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

/// Finds the names that an inode once had. It needs no other number of the format: any writer that doesn't
/// know it keeps it all the same, since SQLite does.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS dentry_past_by_ino ON dentry_past(ino, until)";

/// Makes sure that the index is there.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.execute_batch(INDEX)?;
    Ok(())
}

/// The last ended period of each name of directory ?1 after slot ?2. One step through the index for each slot,
/// however often its name ended.
macro_rules! last_periods {
    () => {
        "WITH RECURSIVE place(slot) AS (\
         SELECT min(slot) FROM dentry_past WHERE parent = ?1 AND slot > ?2 UNION ALL \
         SELECT (SELECT min(next.slot) FROM dentry_past AS next \
         WHERE next.parent = ?1 AND next.slot > place.slot) FROM place \
         WHERE place.slot IS NOT NULL) \
         SELECT ended.slot, ended.name, ended.ino, ended.mode, ended.since, ended.until \
         FROM place CROSS JOIN dentry_past AS ended \
         ON ended.parent = ?1 AND ended.slot = place.slot AND ended.until = \
         (SELECT max(newest.until) FROM dentry_past AS newest \
         WHERE newest.parent = ?1 AND newest.slot = place.slot) WHERE true"
    };
}

/// Whether the period `ended` is over because the name was deleted: nothing holds its inode today, and no
/// other name took it over at that moment.
macro_rules! is_deleted {
    () => {
        "AND NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = ended.ino AND inode.nlink > 0) \
         AND NOT EXISTS (SELECT 1 FROM dentry_past AS moved INDEXED BY dentry_past_by_ino \
         WHERE moved.ino = ended.ino AND moved.until > ended.until \
         AND moved.since = ended.until)"
    };
}
/// A time during which a name held one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// The name's place in listings.
    pub slot: i64,
    /// The name.
    pub name: Vec<u8>,
    /// The inode.
    pub ino: Ino,
    /// Its type.
    pub kind: FileKind,
    /// From when.
    pub since: Moment,
    /// Until when; `None`: it still does.
    pub until: Option<Moment>,
}

/// A time during which an inode held one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentState {
    /// From when.
    pub since: Moment,
    /// From when the inode was recorded as it is then: earlier than `since` where it was empty before.
    pub recorded_since: Moment,
    /// Until when; `None`: it still does.
    pub until: Option<Moment>,
    /// The newest attributes that it had with this content.
    pub inode: Inode,
}

/// A name that an inode had before it was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerName {
    /// The directory.
    pub parent: Ino,
    /// The name.
    pub name: Vec<u8>,
    /// Until when it held the inode.
    pub until: Moment,
}

pub(super) fn kind_of(mode: u32) -> FileKind {
    // A copy of the inode's; a wrong one is found by `check`.
    FileKind::from_mode(mode).unwrap_or(FileKind::File)
}

/// Reads slot, name, ino, mode, since and until.
fn period_from_row(row: &Row<'_>) -> rusqlite::Result<Period> {
    let until: Option<i64> = row.get(5)?;
    Ok(Period {
        slot: row.get(0)?,
        name: row.get(1)?,
        ino: Ino(row.get(2)?),
        kind: kind_of(row.get(3)?),
        since: Moment(row.get(4)?),
        until: until.map(Moment),
    })
}

fn dentry_from_row(row: &Row<'_>) -> rusqlite::Result<Dentry> {
    Ok(Dentry {
        slot: row.get(0)?,
        name: row.get(1)?,
        ino: Ino(row.get(2)?),
        kind: kind_of(row.get(3)?),
        since: Moment(row.get(4)?),
    })
}

fn extent_from_row(row: &Row<'_>) -> rusqlite::Result<Extent> {
    let content = Content { chunk: ChunkId(row.get(2)?), skip: row.get(3)? };
    Ok(Extent { start: row.get(0)?, len: row.get(1)?, content })
}

/// SQLite's integers are signed; so are the offsets of files.
fn offset(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Before its first content a file was empty.
fn before_content(mut inode: Inode, at: Moment) -> Inode {
    if inode.content_since > at && inode.attr.kind == FileKind::File {
        inode.attr.size = 0;
        inode.attr.allocated = 0;
    }
    inode
}

/// Attributes.
impl View<'_> {
    /// The inode as it was at `at`; `None` where it did not exist.
    pub fn inode_at(&self, ino: Ino, at: Moment) -> Result<Option<Inode>> {
        let live = self.inode(ino)?;
        if let Some(live) = live.filter(|live| live.since <= at) {
            return Ok(Some(before_content(live, at)));
        }
        let sql = concat!(
            "SELECT ",
            inode_columns!(),
            " FROM inode_past AS inode WHERE ino = ? AND until > ? ORDER BY until LIMIT 1"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        let found = statement.query_row((ino.0, at.0), |row| Inode::from_row(row, 0)).optional()?;
        let found = found.filter(|inode| inode.since <= at);
        Ok(found.map(|inode| before_content(inode, at)))
    }

    /// The contents that the inode had, in order.
    pub fn content_states(&self, ino: Ino) -> Result<Vec<ContentState>> {
        let sql = concat!(
            "SELECT ",
            inode_columns!(),
            ", NULL FROM inode WHERE ino = ?1 UNION ALL SELECT ",
            inode_columns!(),
            ", until FROM inode_past AS inode WHERE ino = ?1 ORDER BY 2"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        contents_from_rows(statement.query([ino.0])?)
    }

    /// The contents of every inode that the name in the directory ever held, those of an inode in order.
    pub fn content_states_of_name(&self, parent: Ino, name: &[u8]) -> Result<Vec<ContentState>> {
        let sql = concat!(
            "WITH held(ino) AS MATERIALIZED (SELECT ino FROM dentry \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4 UNION \
             SELECT ino FROM dentry_past \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4) SELECT ",
            inode_columns!(),
            ", NULL FROM held CROSS JOIN inode ON inode.ino = held.ino UNION ALL SELECT ",
            inode_columns!(),
            ", until FROM held CROSS JOIN inode_past AS inode ON inode.ino = held.ino ORDER BY 1, 2"
        );
        let slot = self.slot_of(name);
        let mut statement = self.db.prepare_cached(sql)?;
        contents_from_rows(statement.query((parent.0, slot, slot + SLOT_PROBES, name))?)
    }

    /// The value that an extended attribute had.
    pub fn xattr_at(&self, ino: Ino, name: &[u8], at: Moment) -> Result<Option<Vec<u8>>> {
        let mut live = self
            .db
            .prepare_cached("SELECT value FROM xattr WHERE ino = ? AND name = ? AND since <= ?")?;
        let found = live.query_row((ino.0, name, at.0), |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
        let mut past = self.db.prepare_cached(
            "SELECT value, since FROM xattr_past WHERE ino = ? AND name = ? AND until > ? \
             ORDER BY until LIMIT 1",
        )?;
        let found = past
            .query_row((ino.0, name, at.0), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        Ok(found.filter(|(_, since)| *since <= at.0).map(|(value, _)| value))
    }

    /// The names of the extended attributes that an inode had, sorted.
    pub fn xattr_names_at(&self, ino: Ino, at: Moment) -> Result<Vec<Vec<u8>>> {
        let mut statement = self.db.prepare_cached(
            "SELECT name FROM xattr WHERE ino = ?1 AND since <= ?2 UNION ALL \
             SELECT name FROM xattr_past WHERE ino = ?1 AND until > ?2 AND since <= ?2 \
             ORDER BY name",
        )?;
        let rows = statement.query_map((ino.0, at.0), |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Gathers the states of contents from those of inodes, which are sorted by inode and beginning and have their
/// end after the columns of [`inode_columns`].
fn contents_from_rows(mut rows: Rows<'_>) -> Result<Vec<ContentState>> {
    let until_column = inode_columns!().split(',').count();
    let mut states: Vec<ContentState> = Vec::new();
    while let Some(row) = rows.next()? {
        let inode = Inode::from_row(row, 0)?;
        let until: Option<i64> = row.get(until_column)?;
        let since = inode.content_since;
        let is_same =
            |last: &ContentState| last.since == since && last.inode.attr.ino == inode.attr.ino;
        let before = states.pop_if(|last| is_same(last));
        let recorded_since = before.map_or(inode.since, |before| before.recorded_since);
        states.push(ContentState { since, recorded_since, until: until.map(Moment), inode });
    }
    Ok(states)
}

/// Lives that are over.
impl View<'_> {
    /// Whether extents or extended attributes of an inode that has ended are others than they were at `at`: then that
    /// state can't go on. The rows of the inode don't tell: retention may have taken the last ones.
    pub fn has_changed_since(&self, ino: Ino, at: Moment) -> Result<bool> {
        let mut statement = self.db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM extent WHERE ino = ?1 AND since > ?2) \
             OR EXISTS (SELECT 1 FROM extent_past WHERE ino = ?1 AND since <= ?2 AND until > ?2) \
             OR EXISTS (SELECT 1 FROM xattr WHERE ino = ?1 AND since > ?2) \
             OR EXISTS (SELECT 1 FROM xattr_past WHERE ino = ?1 AND since <= ?2 AND until > ?2)",
        )?;
        Ok(statement.query_row((ino.0, at.0), |row| row.get(0))?)
    }
}

/// Names.
impl View<'_> {
    /// What the name in the directory held.
    pub fn dentry_at(&self, parent: Ino, name: &[u8], at: Moment) -> Result<Option<Dentry>> {
        let live = self.dentry(parent, name)?;
        if let Some(live) = live.filter(|live| live.since <= at) {
            return Ok(Some(live));
        }
        let first = self.slot_of(name);
        // The name in one slot: its periods don't overlap, so the first that ends later is the one.
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since FROM dentry_past \
             WHERE parent = ? AND slot = ? AND until > ? AND name = ? ORDER BY until LIMIT 1",
        )?;
        for slot in first..first + SLOT_PROBES {
            let found = statement
                .query_row((parent.0, slot, at.0, name), dentry_from_row)
                .optional()?
                .filter(|dentry| dentry.since <= at);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Lists up to `limit` names that the directory had, from after `slot` on, in the order of their slots.
    pub fn list_at(
        &self,
        parent: Ino,
        at: Moment,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Dentry>> {
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since FROM dentry \
             WHERE parent = ?1 AND slot > ?3 AND since <= ?2 UNION ALL \
             SELECT slot, name, ino, mode, since FROM dentry_past \
             WHERE parent = ?1 AND slot > ?3 AND until > ?2 AND since <= ?2 ORDER BY slot LIMIT ?4",
        )?;
        let rows = statement.query_map((parent.0, at.0, after, limit), dentry_from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Everything that the name in the directory held, in order.
    pub fn name_periods(&self, parent: Ino, name: &[u8]) -> Result<Vec<Period>> {
        let slot = self.slot_of(name);
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since, NULL FROM dentry \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4 UNION ALL \
             SELECT slot, name, ino, mode, since, until FROM dentry_past \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4 ORDER BY 5",
        )?;
        let key = (parent.0, slot, slot + SLOT_PROBES, name);
        let rows = statement.query_map(key, period_from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The last period of the name that is over.
    pub fn last_period(&self, parent: Ino, name: &[u8]) -> Result<Option<Period>> {
        let slot = self.slot_of(name);
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since, until FROM dentry_past \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4 \
             ORDER BY until DESC LIMIT 1",
        )?;
        let key = (parent.0, slot, slot + SLOT_PROBES, name);
        Ok(statement.query_row(key, period_from_row).optional()?)
    }

    /// Whether the name in the directory ever held anything.
    pub fn was_name(&self, parent: Ino, name: &[u8]) -> Result<bool> {
        let slot = self.slot_of(name);
        let mut statement = self.db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM dentry \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4) OR \
             EXISTS (SELECT 1 FROM dentry_past \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4)",
        )?;
        let key = (parent.0, slot, slot + SLOT_PROBES, name);
        Ok(statement.query_row(key, |row| row.get(0))?)
    }

    /// The name that the inode had before it got one at `at`: where a move took it from, or where it was
    /// deleted before it was brought back.
    pub fn former_name(&self, ino: Ino, at: Moment) -> Result<Option<FormerName>> {
        let mut statement = self.db.prepare_cached(
            "SELECT parent, name, until FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ? AND until <= ? ORDER BY until DESC LIMIT 1",
        )?;
        let found = statement.query_row((ino.0, at.0), |row| {
            let (parent, until) = (Ino(row.get(0)?), Moment(row.get(2)?));
            Ok(FormerName { parent, name: row.get(1)?, until })
        });
        let Some(former) = found.optional()? else { return Ok(None) };
        // A link is made of what goes on under its other names.
        let comes_from = former.until == at || self.inode_at(ino, Moment(at.0 - 1))?.is_none();
        Ok(comes_from.then_some(former))
    }

    /// Up to `limit` names from after `slot` on whose last period is over and that hold nothing today, with
    /// that period, in the order of their slots. Of names that share a slot (one pair in 2^62) the last is told.
    pub fn ended_names(&self, parent: Ino, after: i64, limit: usize) -> Result<Vec<Period>> {
        self.last_periods(
            concat!(
                last_periods!(),
                " AND NOT EXISTS (SELECT 1 FROM dentry WHERE dentry.parent = ?1 \
                 AND dentry.slot = place.slot AND dentry.name = ended.name) LIMIT ?3"
            ),
            (parent, after, limit),
        )
    }

    /// Like [`View::ended_names`], without those that were moved and those whose file has other names: what
    /// was deleted.
    pub fn deleted_names(&self, parent: Ino, after: i64, limit: usize) -> Result<Vec<Period>> {
        self.last_periods(
            concat!(
                last_periods!(),
                " AND NOT EXISTS (SELECT 1 FROM dentry WHERE dentry.parent = ?1 \
                 AND dentry.slot = place.slot AND dentry.name = ended.name) ",
                is_deleted!(),
                " LIMIT ?3"
            ),
            (parent, after, limit),
        )
    }

    /// The last period of a name that was deleted. It may hold something again: who copies what was deleted
    /// back to its place must still find it.
    pub fn deleted_name(&self, parent: Ino, name: &[u8]) -> Result<Option<Period>> {
        let slot = self.slot_of(name);
        let sql = concat!(
            "SELECT slot, name, ino, mode, since, until FROM dentry_past AS ended \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4 AND until = \
             (SELECT max(until) FROM dentry_past \
             WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 AND name = ?4) ",
            is_deleted!(),
            // Nor did another file take its place at that moment.
            " AND NOT EXISTS (SELECT 1 FROM dentry WHERE parent = ?1 AND slot >= ?2 AND slot < ?3 \
             AND name = ?4 AND since = ended.until)"
        );
        let mut statement = self.db.prepare_cached(sql)?;
        let key = (parent.0, slot, slot + SLOT_PROBES, name);
        Ok(statement.query_row(key, period_from_row).optional()?)
    }

    fn last_periods(
        &self,
        sql: &'static str,
        (parent, after, limit): (Ino, i64, usize),
    ) -> Result<Vec<Period>> {
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map((parent.0, after, limit), period_from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Up to `limit` names that the directory lost until `until`, the last one first.
    pub fn lost_names(&self, parent: Ino, until: Moment, limit: usize) -> Result<Vec<Period>> {
        let mut statement = self.db.prepare_cached(
            "SELECT slot, name, ino, mode, since, until FROM dentry_past \
             WHERE parent = ? AND until <= ? ORDER BY until DESC LIMIT ?",
        )?;
        let rows = statement.query_map((parent.0, until.0, limit), period_from_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The moments at which names of the directory changed, or contents of files while it held them;
    /// unsorted, with repetitions. At most `limit` rows of each kind are looked at.
    pub fn change_moments(&self, parent: Ino, limit: usize) -> Result<Vec<Moment>> {
        let mut statement = self.db.prepare_cached(
            "SELECT * FROM (SELECT since FROM dentry WHERE parent = ?1 LIMIT ?2) UNION ALL \
             SELECT * FROM (SELECT until FROM dentry_past WHERE parent = ?1 LIMIT ?2) UNION ALL \
             SELECT * FROM (SELECT since FROM dentry_past WHERE parent = ?1 LIMIT ?2) UNION ALL \
             SELECT * FROM (SELECT inode.content_since FROM dentry CROSS JOIN inode \
             ON inode.ino = dentry.ino WHERE dentry.parent = ?1 LIMIT ?2) UNION ALL \
             SELECT * FROM (SELECT inode_past.content_since FROM dentry CROSS JOIN inode_past \
             ON inode_past.ino = dentry.ino WHERE dentry.parent = ?1 LIMIT ?2) UNION ALL \
             SELECT content_since FROM (SELECT inode.content_since, gone.since, gone.until \
             FROM dentry_past AS gone CROSS JOIN inode ON inode.ino = gone.ino \
             WHERE gone.parent = ?1 LIMIT ?2) WHERE content_since > since AND content_since < until \
             UNION ALL \
             SELECT content_since FROM (SELECT was.content_since, gone.since, gone.until \
             FROM dentry_past AS gone CROSS JOIN inode_past AS was ON was.ino = gone.ino \
             WHERE gone.parent = ?1 LIMIT ?2) WHERE content_since > since AND content_since < until",
        )?;
        let rows = statement.query_map((parent.0, limit), |row| row.get(0).map(Moment))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Contents.
impl View<'_> {
    /// The extents that overlapped `[from, to)`, sorted, unclipped, with where each chunk lies; none of the
    /// file is longer than `longest`. A chunk that the chunk table doesn't hold is an error: its bytes must
    /// not be taken for a hole.
    pub fn extents_and_chunks_at(
        &self,
        ino: Ino,
        at: Moment,
        (from, to): (u64, u64),
        longest: u64,
    ) -> Result<Vec<(Extent, ChunkRef)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT e.start, e.len, e.chunk, e.skip, \
             c.id, c.hash, c.pack, c.offset, c.stored_len, c.plain_len, c.base FROM (\
             SELECT start, len, chunk, skip FROM extent \
             WHERE ino = ?1 AND start > ?2 AND start < ?4 AND start + len > ?3 AND since <= ?5 \
             UNION ALL SELECT start, len, chunk, skip FROM extent_past \
             WHERE ino = ?1 AND start > ?2 AND start < ?4 AND start + len > ?3 AND since <= ?5 \
             AND until > ?5) AS e LEFT JOIN chunk AS c ON c.id = e.chunk ORDER BY e.start",
        )?;
        // Extents before this one end at `from` at the latest.
        let first = offset(from).saturating_sub(offset(longest)).max(-1);
        let range = (ino.0, first, offset(from), offset(to), at.0);
        let mut rows = statement.query(range)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let extent = extent_from_row(row)?;
            if row.get_ref(4)? == ValueRef::Null {
                let chunk = extent.content.chunk;
                return Err(Error::Damaged(format!(
                    "inode {ino} once named chunk {chunk:?}, which is gone"
                )));
            }
            found.push((extent, chunk_from_row(row, 4)?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
