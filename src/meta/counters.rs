//! Numbers that are handed out once: moments, inode numbers, chunk numbers.
//!
//! They are counted in memory. The database holds ceilings above what was handed out, moved ahead in
//! steps, so that an ordinary transaction writes no counter: after a crash counting goes on
//! from the ceiling.

use super::Result;
use crate::model::{ChunkId, Ino, Moment, Timestamp};
use rusqlite::Connection;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How far ahead the ceilings are moved. After a crash, moments go on from theirs: it is the time that a start has to wait
/// so that what is done then is not remembered as done later.
pub const MOMENT_STEP_NANOS: i64 = 100_000_000;
const INO_STEP: u64 = 4096;
const CHUNK_STEP: u64 = 65536;

/// The counters; `ceiling_*` are what the database promises.
#[derive(Debug)]
pub(super) struct Counters {
    moment: AtomicI64,
    finished: AtomicI64,
    ino: AtomicU64,
    chunk: AtomicU64,
    ceiling_moment: AtomicI64,
    ceiling_ino: AtomicU64,
    ceiling_chunk: AtomicU64,
}

impl Counters {
    /// Goes on from what the database says.
    pub(super) fn load(db: &Connection) -> Result<Counters> {
        let (moment, ino, chunk): (i64, u64, u64) =
            db.query_row("SELECT moment, ino, chunk FROM counter", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        Ok(Counters {
            moment: moment.into(),
            finished: moment.into(),
            ino: ino.into(),
            chunk: chunk.into(),
            ceiling_moment: moment.into(),
            ceiling_ino: ino.into(),
            ceiling_chunk: chunk.into(),
        })
    }

    /// The moment of the next transaction. Called under the writer's lock only.
    pub(super) fn next_moment(&self, now: Timestamp) -> Moment {
        let next = Moment(self.moment.load(Ordering::Relaxed)).next(now);
        self.moment.store(next.0, Ordering::Relaxed);
        next
    }

    /// The transaction of this moment has ended, and readers see it. Called under the writer's lock only.
    pub(super) fn finish_moment(&self, moment: Moment) {
        self.finished.fetch_max(moment.0, Ordering::Release);
    }

    /// The newest moment that readers see, all of it: the one of a transaction that is under way is not over.
    pub(super) fn last_moment(&self) -> Moment {
        Moment(self.finished.load(Ordering::Acquire))
    }

    pub(super) fn next_ino(&self) -> Ino {
        Ino(self.ino.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn next_chunk(&self) -> ChunkId {
        ChunkId(self.chunk.fetch_add(1, Ordering::SeqCst) + 1)
    }

    pub(super) fn last_chunk(&self) -> ChunkId {
        ChunkId(self.chunk.load(Ordering::SeqCst))
    }

    /// Goes on above what turned out to be in use. Called within the transaction that repairs, which then
    /// writes them.
    pub(super) fn raise(&self, moment: i64, ino: u64, chunk: u64) {
        self.moment.fetch_max(moment, Ordering::Relaxed);
        self.finished.fetch_max(moment, Ordering::Release);
        self.ino.fetch_max(ino, Ordering::Relaxed);
        self.chunk.fetch_max(chunk, Ordering::SeqCst);
        self.distrust_ceilings();
    }

    /// Moves the ceilings ahead of what was handed out, within the transaction that needs it.
    pub(super) fn keep_below_ceiling(&self, db: &Connection) -> Result<()> {
        let moment = self.moment.load(Ordering::Relaxed);
        let ino = self.ino.load(Ordering::Relaxed);
        let chunk = self.chunk.load(Ordering::SeqCst);
        if moment <= self.ceiling_moment.load(Ordering::Relaxed)
            && ino <= self.ceiling_ino.load(Ordering::Relaxed)
            && chunk <= self.ceiling_chunk.load(Ordering::Relaxed)
        {
            return Ok(());
        }
        self.store(db, moment + MOMENT_STEP_NANOS, ino + INO_STEP, chunk + CHUNK_STEP)
    }

    /// Writes exact values: the store is being closed in order.
    pub(super) fn settle(&self, db: &Connection) -> Result<()> {
        self.store(
            db,
            self.moment.load(Ordering::Relaxed),
            self.ino.load(Ordering::Relaxed),
            self.chunk.load(Ordering::SeqCst),
        )
    }

    fn store(&self, db: &Connection, moment: i64, ino: u64, chunk: u64) -> Result<()> {
        db.prepare_cached("UPDATE counter SET moment = ?, ino = ?, chunk = ?")?
            .execute((moment, ino, chunk))?;
        // If the transaction fails the ceilings in memory are too high: the counters are
        // then written again only later, so forget them instead.
        self.ceiling_moment.store(moment, Ordering::Relaxed);
        self.ceiling_ino.store(ino, Ordering::Relaxed);
        self.ceiling_chunk.store(chunk, Ordering::Relaxed);
        Ok(())
    }

    /// The transaction that wrote the ceilings was rolled back: what the database holds is unknown.
    pub(super) fn distrust_ceilings(&self) {
        self.ceiling_moment.store(i64::MIN, Ordering::Relaxed);
    }
}
