//! The connection that writes: transactions, and work whose commit may wait for the next one.

use super::database::{Meta, Tx, View, run};
use super::{Error, Result};
use crate::model::{Moment, Timestamp};
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, Ordering};

/// Deferred pieces of work after which a commit follows in any case: they are kept in memory.
const DEFERRED_MAX: usize = 256;

/// Puts rows back that were acknowledged, and that a failing commit took along.
pub type Redo = Box<dyn Fn(&Tx<'_>) -> Result<()> + Send>;

/// The writing connection. While `deferred` holds something, a transaction is open on it, whose rows
/// only this connection sees.
pub(super) struct Writer {
    pub(super) db: Connection,
    deferred: Vec<Deferred>,
}

/// Work that was acknowledged and is not committed.
struct Deferred {
    moment: Moment,
    redo: Redo,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("deferred", &self.deferred.len()).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(db: Connection) -> Writer {
        Writer { db, deferred: Vec::new() }
    }

    fn commit(&mut self, has_deferred: &AtomicBool) -> Result<()> {
        run(&self.db, "COMMIT")?;
        self.deferred.clear();
        has_deferred.store(false, Ordering::Release);
        Ok(())
    }

    /// Opens a transaction, or a part of the open one that can be undone by itself.
    fn begin(&mut self, meta: &Meta) -> Result<()> {
        self.restore(meta)?;
        run(&self.db, if self.deferred.is_empty() { "BEGIN IMMEDIATE" } else { "SAVEPOINT work" })
    }

    /// Undoes what was done since [`Writer::begin`], and nothing else.
    fn undo(&mut self, meta: &Meta) -> Result<()> {
        meta.counters().distrust_ceilings();
        if self.db.is_autocommit() {
            // SQLite took everything back by itself, as it may when the disk is full.
            return self.redo(meta);
        }
        match self.deferred.is_empty() {
            true => run(&self.db, "ROLLBACK"),
            false => {
                run(&self.db, "ROLLBACK TO work")?;
                run(&self.db, "RELEASE work")
            }
        }
    }

    /// Does the deferred work again if SQLite has taken it back by itself: it may do so whenever a statement meets an
    /// I/O error or finds no memory, also one that only reads.
    fn restore(&mut self, meta: &Meta) -> Result<()> {
        match !self.deferred.is_empty() && self.db.is_autocommit() {
            true => {
                meta.counters().distrust_ceilings();
                self.redo(meta)
            }
            false => Ok(()),
        }
    }

    /// Does the deferred work again: it was acknowledged.
    fn redo(&mut self, meta: &Meta) -> Result<()> {
        if self.deferred.is_empty() {
            return Ok(());
        }
        let again = || {
            run(&self.db, "BEGIN IMMEDIATE")?;
            for work in &self.deferred {
                (work.redo)(&Tx::new(View { db: &self.db, meta }, work.moment))?;
            }
            meta.counters().keep_below_ceiling(&self.db)
        };
        again().map_err(|error| {
            Error::Damaged(format!("names that were just made could not be kept: {error}"))
        })
    }
}

impl Meta {
    /// Runs `work` as one transaction at the next moment. An error of `work` rolls everything back.
    /// Once this returned, the change survives the death of the process (not yet a power cut), and so
    /// does everything that was deferred before.
    pub fn write<T, E: From<Error>>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&Tx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.transact(now, |tx| work(tx).map(|value| (value, None)))
    }

    /// Like [`Meta::write`], but the change is committed together with the next one, or by
    /// [`Meta::commit_deferred`]: for what the death of the process may still undo, such as the name of a
    /// file that its writer has not closed. Reads see it at once. A commit costs as much as the
    /// statements of a small change do, so two that follow each other are better one.
    ///
    /// `work` also answers how to put the same rows back, should a commit fail on a full disk.
    pub fn write_deferred<T, E: From<Error>>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&Tx<'_>) -> std::result::Result<(T, Redo), E>,
    ) -> std::result::Result<T, E> {
        self.transact(now, |tx| work(tx).map(|(value, redo)| (value, Some(redo))))
    }

    /// Commits what was deferred.
    pub fn commit_deferred(&self) -> Result<()> {
        if !self.has_deferred() {
            return Ok(());
        }
        self.settle_deferred(&mut self.writer.lock())
    }

    /// Commits what was deferred on the connection that the caller holds.
    pub(super) fn settle_deferred(&self, writer: &mut Writer) -> Result<()> {
        if writer.deferred.is_empty() {
            return Ok(());
        }
        writer.restore(self)?;
        let outcome = writer.commit(&self.has_deferred);
        if outcome.is_err() {
            writer.restore(self)?;
        }
        outcome
    }

    /// Whether something is acknowledged and not committed.
    pub(super) fn has_deferred(&self) -> bool {
        self.has_deferred.load(Ordering::Acquire)
    }

    fn transact<T, E: From<Error>>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&Tx<'_>) -> std::result::Result<(T, Option<Redo>), E>,
    ) -> std::result::Result<T, E> {
        let mut turn = Turn { writer: &mut self.writer.lock(), meta: self, ended: false };
        turn.writer.begin(self).map_err(E::from)?;
        let moment = self.counters().next_moment(now);
        let tx = Tx::new(View { db: &turn.writer.db, meta: self }, moment);
        let outcome = work(&tx).and_then(|(value, redo)| {
            self.counters().keep_below_ceiling(&turn.writer.db)?;
            turn.finish(moment, redo)?;
            Ok(value)
        });
        turn.ended = true;
        match outcome {
            Ok(_) => self.counters().finish_moment(moment),
            Err(_) => turn.writer.undo(self).map_err(E::from)?,
        }
        outcome
    }
}

/// A transaction that is under way. A panic in the midst of it undoes it, or nothing could be written
/// any more.
struct Turn<'a> {
    writer: &'a mut Writer,
    meta: &'a Meta,
    ended: bool,
}

impl Turn<'_> {
    /// Commits, or leaves that to the next one.
    fn finish(&mut self, moment: Moment, redo: Option<Redo>) -> Result<()> {
        let writer = &mut *self.writer;
        match redo {
            Some(redo) if writer.deferred.len() < DEFERRED_MAX => {
                if !writer.deferred.is_empty() {
                    run(&writer.db, "RELEASE work")?;
                }
                writer.deferred.push(Deferred { moment, redo });
                self.meta.has_deferred.store(true, Ordering::Release);
                Ok(())
            }
            _ => writer.commit(&self.meta.has_deferred),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.writer.undo(self.meta)
        {
            log::error!("the metadata's transaction can't be rolled back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::PageKeys;
    use crate::model::Ino;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    struct Store {
        meta: Meta,
        dir: tempfile::TempDir,
        keys: Option<PageKeys>,
    }

    impl Store {
        fn plain_and_encrypted() -> [Store; 2] {
            [None, Some(crate::meta::sealed::test_keys(&[7]))].map(|keys| {
                let dir = tempfile::TempDir::new().unwrap();
                let path = dir.path().join("meta.db");
                Meta::create(&path, &[7; 16], keys.as_ref()).unwrap();
                Store { meta: Meta::open(&path, keys.as_ref()).unwrap(), dir, keys }
            })
        }

        /// What a daemon that is killed now leaves behind.
        fn after_kill(&self) -> Vec<Ino> {
            let copy = tempfile::TempDir::new().unwrap();
            for name in ["meta.db", "meta.db-wal"] {
                std::fs::copy(self.dir.path().join(name), copy.path().join(name)).unwrap();
            }
            orphans(&Meta::open(&copy.path().join("meta.db"), self.keys.as_ref()).unwrap())
        }

        fn defer(&self, ino: u64) {
            let redo: Redo = Box::new(move |tx| tx.add_orphan(Ino(ino)));
            let work = |tx: &Tx<'_>| -> Result<_> {
                redo(tx)?;
                Ok(((), redo))
            };
            self.meta.write_deferred(Timestamp(0), work).unwrap();
        }
    }

    fn orphans(meta: &Meta) -> Vec<Ino> {
        meta.read(|view| view.orphans()).unwrap()
    }

    #[test]
    fn deferred_work_is_seen_at_once_and_committed_with_the_next() {
        for store in Store::plain_and_encrypted() {
            store.defer(5);
            store.defer(6);
            assert_eq!(orphans(&store.meta), [Ino(5), Ino(6)]);
            assert_eq!(store.after_kill(), []);
            store.meta.write(Timestamp(0), |tx| tx.add_orphan(Ino(7))).unwrap();
            assert_eq!(store.after_kill(), [Ino(5), Ino(6), Ino(7)]);
        }
    }

    #[test]
    fn deferred_work_can_be_committed_by_itself_and_is_in_every_snapshot() {
        for store in Store::plain_and_encrypted() {
            store.defer(5);
            store.meta.commit_deferred().unwrap();
            assert_eq!(store.after_kill(), [Ino(5)]);
            store.defer(6);
            let seen = store.meta.snapshot(|view| view.orphans()).unwrap();
            assert_eq!(seen, [Ino(5), Ino(6)]);
            store.defer(7);
            store.meta.checkpoint().unwrap();
            assert_eq!(store.after_kill().len(), 3);
        }
    }

    #[test]
    fn readers_beside_a_writer_see_what_was_deferred() {
        for store in Store::plain_and_encrypted() {
            store.defer(5);
            std::thread::scope(|scope| {
                let writer = store.meta.writer.lock();
                let reader = scope.spawn(|| orphans(&store.meta));
                std::thread::sleep(std::time::Duration::from_millis(20));
                drop(writer);
                assert_eq!(reader.join().unwrap(), [Ino(5)]);
            });
        }
    }

    #[test]
    fn an_error_or_a_panic_undoes_its_own_work_only() {
        for store in Store::plain_and_encrypted() {
            store.defer(5);
            let failed = store.meta.write(Timestamp(0), |tx| {
                tx.add_orphan(Ino(6))?;
                Err::<(), _>(Error::NoSpace)
            });
            assert!(matches!(failed, Err(Error::NoSpace)));
            assert_eq!(orphans(&store.meta), [Ino(5)]);
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                store.meta.write(Timestamp(0), |tx| -> Result<()> {
                    tx.add_orphan(Ino(7))?;
                    panic!("on purpose")
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(orphans(&store.meta), [Ino(5)]);
            store.meta.commit_deferred().unwrap();
            assert_eq!(store.after_kill(), [Ino(5)]);
        }
    }

    #[test]
    fn what_was_acknowledged_outlives_a_rollback_that_nobody_was_told_of() {
        for store in Store::plain_and_encrypted() {
            store.defer(5);
            // As SQLite does by itself when a statement that reads meets an I/O error.
            store.meta.execute("ROLLBACK");
            store.meta.write(Timestamp(0), |tx| tx.add_orphan(Ino(6))).unwrap();
            assert_eq!(store.after_kill(), [Ino(5), Ino(6)]);
            store.defer(7);
            store.meta.execute("ROLLBACK");
            store.meta.commit_deferred().unwrap();
            assert_eq!(store.after_kill(), [Ino(5), Ino(6), Ino(7)]);
        }
    }

    #[test]
    fn the_last_moment_is_one_that_readers_see_all_of() {
        for store in Store::plain_and_encrypted() {
            store.meta.write(Timestamp(100), |tx| tx.add_orphan(Ino(5))).unwrap();
            let before = store.meta.last_moment();
            store
                .meta
                .write(Timestamp(200), |tx| -> Result<()> {
                    assert!(tx.moment > before);
                    assert_eq!(store.meta.last_moment(), before, "it is under way");
                    Ok(())
                })
                .unwrap();
            assert!(store.meta.last_moment() > before);
        }
    }

    #[test]
    fn what_was_acknowledged_outlives_a_rollback_of_everything() {
        for store in Store::plain_and_encrypted() {
            store.defer(5);
            store.defer(6);
            let failed = store.meta.write(Timestamp(0), |tx| {
                tx.add_orphan(Ino(7))?;
                // As SQLite does by itself when the disk is full.
                tx.keep_counters_and_undo()?;
                Err::<(), _>(Error::NoSpace)
            });
            assert!(failed.is_err());
            assert_eq!(orphans(&store.meta), [Ino(5), Ino(6)]);
            store.meta.write(Timestamp(0), |tx| tx.add_orphan(Ino(8))).unwrap();
            assert_eq!(store.after_kill(), [Ino(5), Ino(6), Ino(8)]);
        }
    }

    #[test]
    fn a_great_many_are_committed_unasked() {
        for store in Store::plain_and_encrypted() {
            (0..=DEFERRED_MAX as u64).for_each(|ino| store.defer(ino + 5));
            assert_eq!(store.after_kill().len(), DEFERRED_MAX + 1);
        }
    }
}
