//! Which rows of an inode's past go, without taking them out: what [`Tx::drop_history`](super::Tx::drop_history) goes by.

use super::{Kept, Result, View};
use crate::model::{ChunkId, Ino, Moment};
use rusqlite::OptionalExtension;

/// Folders within each other that a path for a message is made of.
const DEPTH_MAX: usize = 512;

/// What becomes of the rows of one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// What ended later stays.
    horizon: Moment,
    /// States that held at one of these times stay; apart from each other, and sorted.
    kept: Vec<Kept>,
    /// Extents and attributes that held at one of these times stay: also as long as a state lasted that does.
    beside: Vec<Kept>,
    /// The inode has ended before the horizon, so that what was never superseded may go too.
    has_ended: bool,
}

impl Fate {
    /// Whether a state of the inode goes that held from `since` until `until`.
    pub fn takes_state(&self, since: Moment, until: Moment) -> bool {
        until <= self.horizon && !is_needed(&self.kept, since, until)
    }

    /// Whether an extent or attribute goes that held from `since` until `until`; none: it was never superseded.
    pub fn takes(&self, since: Moment, until: Option<Moment>) -> bool {
        match until {
            Some(until) => until <= self.horizon && !is_needed(&self.beside, since, until),
            None => self.has_ended && since >= self.last_kept(),
        }
    }

    pub(super) fn horizon(&self) -> Moment {
        self.horizon
    }

    /// From when on nothing is kept of what was never superseded, if that may go at all.
    pub(super) fn end(&self) -> Option<Moment> {
        self.has_ended.then(|| self.last_kept())
    }

    /// Whether nothing of the inode stays.
    pub(super) fn is_all(&self) -> bool {
        self.has_ended && self.beside.is_empty()
    }

    fn last_kept(&self) -> Moment {
        self.beside.last().map_or(Moment(i64::MIN), |kept| kept.until)
    }
}

/// Whether something that held from `since` until `until` held at one of the times.
fn is_needed(kept: &[Kept], since: Moment, until: Moment) -> bool {
    let first = kept.partition_point(|kept| kept.until <= since);
    kept.get(first).is_some_and(|kept| kept.needs(since, until))
}

/// Times in order; those that touch each other are one. (No row begins when it ends.)
fn joined(kept: &[Kept]) -> Vec<Kept> {
    let mut sorted = kept.to_vec();
    sorted.sort_unstable_by_key(|kept| kept.from);
    let mut joined: Vec<Kept> = Vec::new();
    for next in sorted {
        match joined.last_mut().filter(|last| next.from <= last.until) {
            Some(last) => last.until = last.until.max(next.until),
            None => joined.push(next),
        }
    }
    joined.shrink_to_fit();
    joined
}

/// A state of an inode that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastState {
    /// From when it had the content of then.
    pub content_since: Moment,
    /// From when the row holds.
    pub since: Moment,
    /// Until when.
    pub until: Moment,
}

/// For how long an extent shows a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Showing {
    /// Whose extent it is.
    pub ino: Ino,
    /// What it shows.
    pub chunk: ChunkId,
    /// From when.
    pub since: Moment,
    /// When it was superseded; none: it was not. Then the inode's end is its end.
    pub until: Option<Moment>,
    /// It is a part of what lives.
    pub lives: bool,
}

impl View<'_> {
    /// What becomes of an inode of which `kept` is to be kept, and what ended after `horizon`.
    pub fn fate(&self, ino: Ino, horizon: Moment, kept: &[Kept]) -> Result<Fate> {
        let has_ended = self.inode_end(ino)?.is_some_and(|ended| ended <= horizon);
        let mut fate = Fate { horizon, kept: joined(kept), beside: Vec::new(), has_ended };
        let mut beside = kept.to_vec();
        for state in self.past_states(ino)? {
            if !fate.takes_state(state.since, state.until) {
                beside.push(Kept { from: state.since, until: state.until });
            }
        }
        if let Some(living) = self.inode(ino)? {
            beside.push(Kept { from: living.since, until: Moment(i64::MAX) });
        }
        fate.beside = joined(&beside);
        Ok(fate)
    }

    /// How many rows of the inode go with it.
    pub fn rows_taken(&self, ino: Ino, fate: &Fate) -> Result<u64> {
        let mut taken = 0;
        for table in ["inode_past", "extent_past", "xattr_past"] {
            let goes = |since, until| match table {
                "inode_past" => fate.takes_state(since, until),
                _ => fate.takes(since, Some(until)),
            };
            let sql = format!("SELECT since, until FROM {table} WHERE ino = ? AND until <= ?");
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut rows = statement.query((ino.0, fate.horizon.0))?;
            while let Some(row) = rows.next()? {
                let (since, until) = (Moment(row.get(0)?), Moment(row.get(1)?));
                taken += u64::from(goes(since, until));
            }
        }
        let Some(end) = fate.end() else { return Ok(taken) };
        for table in ["extent", "xattr"] {
            let sql = format!("SELECT count(*) FROM {table} WHERE ino = ? AND since >= ?");
            let mut statement = self.db.prepare_cached(&sql)?;
            taken += statement.query_row((ino.0, end.0), |row| row.get::<_, u64>(0))?;
        }
        if fate.is_all() {
            let mut statement =
                self.db.prepare_cached("SELECT count(*) FROM symlink WHERE ino = ?")?;
            taken += statement.query_row([ino.0], |row| row.get::<_, u64>(0))?;
        }
        Ok(taken)
    }

    /// The states of an inode that are over.
    pub fn past_states(&self, ino: Ino) -> Result<Vec<PastState>> {
        let mut statement = self
            .db
            .prepare_cached("SELECT content_since, since, until FROM inode_past WHERE ino = ?")?;
        let rows = statement.query_map([ino.0], |row| {
            let (content_since, since, until) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(PastState {
                content_since: Moment(content_since),
                since: Moment(since),
                until: Moment(until),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The times in which names held the inode that are over: directory, slot, end.
    pub fn lost_places_of(&self, ino: Ino) -> Result<Vec<(Ino, i64, Moment)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT parent, slot, until FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ?",
        )?;
        let rows = statement
            .query_map([ino.0], |row| Ok((Ino(row.get(0)?), row.get(1)?, Moment(row.get(2)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// A path of an inode from the root on, for messages: where it is, or where it was last. Bytes joined by `/`; what is
    /// not known is `?`.
    pub fn last_path_of(&self, ino: Ino) -> Result<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut at = ino;
        let mut last = self.db.prepare_cached(
            "SELECT parent, name FROM dentry_past INDEXED BY dentry_past_by_ino \
             WHERE ino = ? ORDER BY until DESC LIMIT 1",
        )?;
        // Folders that were moved into each other at different times could lead around in a circle.
        while at != Ino::ROOT && parts.len() < DEPTH_MAX {
            if let Some(path) = self.path_of(at)? {
                parts.push(path);
                break;
            }
            let found = last
                .query_row([at.0], |row| Ok((Ino(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))
                .optional()?;
            let (parent, name) = found.unwrap_or((Ino::ROOT, b"?".to_vec()));
            parts.push(name);
            at = parent;
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }

    /// Every extent, those of an inode at once.
    pub fn each_showing(&self, each: &mut dyn FnMut(Showing)) -> Result<()> {
        for sql in [
            "SELECT e.ino, e.chunk, e.since, NULL, inode.ino IS NOT NULL \
             FROM extent AS e LEFT JOIN inode ON inode.ino = e.ino ORDER BY e.ino",
            "SELECT ino, chunk, since, until, 0 FROM extent_past ORDER BY ino",
        ] {
            let mut statement = self.db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(showing(row)?);
            }
        }
        Ok(())
    }

    /// Every extent of one inode.
    pub fn showings_of(&self, ino: Ino) -> Result<Vec<Showing>> {
        let mut statement = self.db.prepare_cached(
            "SELECT ino, chunk, since, NULL, EXISTS (SELECT 1 FROM inode WHERE ino = ?1) \
             FROM extent WHERE ino = ?1 UNION ALL \
             SELECT ino, chunk, since, until, 0 FROM extent_past WHERE ino = ?1",
        )?;
        let rows = statement.query_map([ino.0], showing)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn showing(row: &rusqlite::Row<'_>) -> rusqlite::Result<Showing> {
    let until: Option<i64> = row.get(3)?;
    Ok(Showing {
        ino: Ino(row.get(0)?),
        chunk: ChunkId(row.get(1)?),
        since: Moment(row.get(2)?),
        until: until.map(Moment),
        lives: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_what_is_kept_stays() {
        let kept = |from, until| Kept { from: Moment(from), until: Moment(until) };
        let fate = Fate {
            horizon: Moment(90),
            kept: Vec::new(),
            beside: joined(&[kept(40, 50), kept(10, 20), kept(20, 30)]),
            has_ended: true,
        };
        assert_eq!(fate.beside, [kept(10, 30), kept(40, 50)]);
        assert!(fate.takes_state(Moment(10), Moment(20)));
        let takes = |since, until| fate.takes(Moment(since), Some(Moment(until)));
        assert!(takes(0, 10) && takes(30, 40) && takes(50, 90));
        assert!(!takes(0, 11) && !takes(29, 40) && !takes(15, 16) && !takes(50, 91));
        assert!(fate.takes(Moment(50), None) && !fate.takes(Moment(49), None));
    }
}
