//! What makes acknowledged work survive a power cut: the packs first, then the log. The other order
//! is never allowed.

use super::commit::Saving;
use super::history::is_view;
use super::types::Handle;
use super::volume::Volume;
use super::{Error, Result};
use crate::model::{Ino, Timestamp};
use crate::sys::{Clock, failpoint};
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The log is copied back into the database when it is larger than this.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// How often the timer looks whether the log has outgrown that.
const LOG_CHECK_INTERVAL: Duration = Duration::from_millis(500);
#[derive(Debug, Default)]
struct Progress {
    /// Commits so far.
    committed: u64,
    /// Commits that a power cut leaves alone.
    durable: u64,
    /// Somebody is making commits durable.
    running: bool,
    stopped: bool,
    /// When something was committed last.
    last: Option<Instant>,
}

/// Lets those who wait for durability at the same time share the work.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    progress: Mutex<Progress>,
    changed: Condvar,
    timer: Mutex<Option<JoinHandle<()>>>,
}

impl SyncState {
    /// Something was committed.
    pub(super) fn note_commit(&self) {
        let mut progress = self.progress.lock();
        progress.committed += 1;
        progress.last = Some(Instant::now());
    }

    /// How long ago that was the last time.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        self.progress.lock().last.map(|last| last.elapsed())
    }

    /// How often something was.
    pub(super) fn commits(&self) -> u64 {
        self.progress.lock().committed
    }
}

/// A round of making commits durable. However it ends, also by a panic, others may begin the next one.
struct Round<'s> {
    state: &'s SyncState,
    /// Commits that are durable now, once that is known.
    durable: u64,
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let mut progress = self.state.progress.lock();
        progress.running = false;
        progress.durable = progress.durable.max(self.durable);
        self.state.changed.notify_all();
    }
}

impl Volume {
    /// After it returned, a killed daemon loses nothing of the file: what `close` waits for.
    pub fn flush(&self, handle: Handle) -> Result<()> {
        if is_view(Ino(handle.0)) {
            return Ok(());
        }
        let file = self.handles.get(handle)?;
        if file.how.write {
            self.guard_failure(self.save(&file.node, Saving::Close))?;
        }
        // Its name may still wait for a commit, whether something was written to it or not.
        self.commit_deferred()
    }

    /// After it returned, a power cut loses nothing of the file.
    pub fn fsync(&self, handle: Handle) -> Result<()> {
        if is_view(Ino(handle.0)) {
            return Ok(());
        }
        let file = self.handles.get(handle)?;
        self.guard_failure(self.save(&file.node, Saving::Sync))?;
        self.sync_commits()
    }

    /// After it returned, a power cut loses no name in the directory.
    pub fn fsyncdir(&self, _directory: Handle) -> Result<()> {
        self.sync_commits()
    }

    /// Everything acknowledged so far survives a power cut once this returned.
    pub fn sync_all(&self) -> Result<()> {
        let mut outcome = Ok(());
        for node in self.nodes.all() {
            let saved = self.save(&node, Saving::Background);
            outcome = outcome.and(self.guard_failure(saved));
        }
        outcome.and(self.sync_commits())
    }

    /// Makes every commit so far durable. Those who come while it runs wait for the next round together.
    pub(super) fn sync_commits(&self) -> Result<()> {
        if self.options.read_only {
            return Ok(());
        }
        let mut progress = self.sync_state.progress.lock();
        let wanted = progress.committed;
        while progress.durable < wanted {
            if progress.running {
                self.sync_state.changed.wait(&mut progress);
                continue;
            }
            progress.running = true;
            let covered = progress.committed;
            drop(progress);
            let mut round = Round { state: &self.sync_state, durable: 0 };
            self.guard_failure(self.sync_once())?;
            round.durable = covered;
            drop(round);
            progress = self.sync_state.progress.lock();
        }
        self.check_failure()
    }

    /// Packs, then the log: see the design's *one operation, one transaction*.
    fn sync_once(&self) -> Result<()> {
        self.commit_deferred()?;
        self.meta.start_sync();
        failpoint::hit("sync-before-packs");
        self.ingest.packs().sync()?;
        failpoint::hit("sync-before-log");
        self.meta.sync()?;
        failpoint::hit("sync-after-log");
        Ok(())
    }

    /// What the timer does: nothing that was acknowledged stays volatile for longer than its
    /// interval, and what a crash would leave to be verified stays little.
    fn tick(&self) {
        self.flush_atimes();
        let saved = self.sync_all();
        // A file that can't be saved is no reason to let the log grow.
        let settled = self.sync_commits().and_then(|()| self.settle());
        for error in [saved, settled].into_iter().filter_map(Result::err) {
            log::error!("{}: {error}", self.store.display());
        }
    }

    /// Records what is durable, and keeps the log short.
    pub(super) fn settle(&self) -> Result<()> {
        let durable = self.meta.last_chunk();
        // Chunks may lie in the packs that no commit brought there to be synced.
        self.guard_failure(self.ingest.packs().sync().map_err(Error::from))?;
        let pending = self.ingest.pending();
        let known = self.meta.read(|view| view.durable_chunk())?;
        if known < durable || !pending.is_empty() {
            let recorded = self.meta.write(self.now(), |tx| -> Result<_> {
                tx.set_durable_chunk(durable)?;
                self.ingest.record(tx, pending.iter())
            })?;
            self.ingest.settled(&recorded);
        }
        if self.meta.log_bytes() > LOG_BYTES_MAX {
            failpoint::hit("checkpoint-before");
            // While a backup reads the database, the log grows on.
            self.meta.try_checkpoint()?;
            failpoint::hit("checkpoint-after");
        }
        self.space.hold_reserve();
        Ok(())
    }

    /// Starts the timer that saves and syncs.
    pub(super) fn start_timer(&self, volume: Weak<Volume>) {
        let interval = self.options.sync_interval;
        let thread = std::thread::Builder::new()
            .name("sync-timer".into())
            .spawn(move || {
                while let Some(volume) = volume.upgrade() {
                    if !volume.wait_for_tick(interval) {
                        return;
                    }
                    // Others rely on the next tick, whatever this one met.
                    if catch_unwind(AssertUnwindSafe(|| volume.tick())).is_err() {
                        log::error!("saving in the background panicked");
                    }
                }
            })
            .expect("the system has a thread for us");
        *self.sync_state.timer.lock() = Some(thread);
    }

    fn wait_for_tick(&self, interval: Duration) -> bool {
        let mut progress = self.sync_state.progress.lock();
        let deadline = std::time::Instant::now() + interval;
        while !progress.stopped {
            let look = deadline.min(std::time::Instant::now() + LOG_CHECK_INTERVAL);
            let waited = self.sync_state.changed.wait_until(&mut progress, look).timed_out();
            // After some time only: a log that can't be emptied now must not make us try without pause.
            if waited && (look >= deadline || self.meta.log_bytes() > LOG_BYTES_MAX) {
                return !progress.stopped;
            }
        }
        false
    }

    pub(super) fn stop_timer(&self) {
        self.sync_state.progress.lock().stopped = true;
        self.sync_state.changed.notify_all();
        if let Some(thread) = self.sync_state.timer.lock().take()
            && thread.join().is_err()
        {
            log::error!("the sync timer panicked");
        }
    }

    /// Remembers a failure after which nothing must be written: habit of a store that doesn't
    /// retry a failed fsync, since the kernel may have dropped what it could not write.
    pub(super) fn guard_failure<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome
            && error.is_fault()
        {
            let first = self.failure.set(error.to_string()).is_ok();
            if first {
                log::error!(
                    "{}: writing failed, no more writes are taken until the store is opened anew: {error}",
                    self.store.display()
                );
            }
        }
        outcome
    }

    pub(super) fn check_failure(&self) -> Result<()> {
        match self.failure.get() {
            Some(why) => Err(Error::Failed(why.clone())),
            None => Ok(()),
        }
    }

    /// The time by the volume's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock that the volume was opened with, for what works on it.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_panics_lets_the_next_one_begin() {
        let state = SyncState::default();
        state.note_commit();
        state.progress.lock().running = true;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _round = Round { state: &state, durable: 0 };
            panic!("on purpose");
        }));
        assert!(ended.is_err());
        let progress = state.progress.lock();
        assert_eq!((progress.running, progress.durable), (false, 0));
    }
}
