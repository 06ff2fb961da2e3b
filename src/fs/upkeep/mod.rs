//! Upkeep: the past is thinned out as the contract says, and the room that nothing needs is given back.
//!
//! `terms.rs` what the contract comes to · `retention.rs` rows of the past that go · `collect.rs` chunks that nothing names any more · `compact.rs` packs that
//! are emptied and removed · `rebase.rs` differences that are stored whole · `why.rs` what retention says about one name · `space.rs` what
//! would come free without one · `erase.rs` its end, at once · `foresee.rs` what retention would take, `preview.rs` name by
//! name, `forecast.rs` when how much comes free. All of it is done while the drive is in use, in small
//! steps; each can be the last one.

mod collect;
mod compact;
mod erase;
mod forecast;
mod foresee;
mod preview;
mod rebase;
mod retention;
mod space;
mod terms;
mod why;

pub(super) use collect::IdSet;
pub use erase::EraseReport;
pub use forecast::{Coming, Room};
pub use preview::{ByRule, Going, Preview};
pub use space::SpaceReport;
pub use why::Reason;

use super::volume::Volume;
use super::{Error, Result};
use crate::meta::LastUpkeep;
use crate::model::{ChunkRef, Moment, Timestamp};
use crate::sys::Task;
use compact::Moved;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use terms::Terms;

/// What upkeep remembers between its runs.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// One run at a time, and none beside a check.
    pub(super) turn: Mutex<()>,
    /// One run of scrubbing at a time. Before `turn`.
    pub(super) scrubbing: Mutex<()>,
    /// When the chunks that are condemned now were found.
    condemned_at: Mutex<Option<Timestamp>>,
    /// For how long nothing had happened when the store was opened.
    idle: Duration,
}

impl Upkeep {
    /// Of a store whose last change was at `last`.
    pub(super) fn since(last: Moment, now: Timestamp) -> Upkeep {
        let idle = Duration::from_nanos(now.0.saturating_sub(last.0).max(0) as u64);
        Upkeep { idle, ..Upkeep::default() }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepReport {
    /// Rows of the past that nothing keeps any more.
    pub rows_dropped: u64,
    /// Chunks that nothing names any more.
    pub chunks_removed: u64,
    /// Chunks that moved to another pack.
    pub chunks_moved: u64,
    /// Packs that were removed.
    pub packs_removed: u64,
    /// Bytes that came free with them, less those that moving took.
    pub bytes_freed: u64,
}

impl Volume {
    /// For how long nothing had happened to the store when it was opened, by the clock. Long may mean that it was not
    /// used, or that the clock is wrong.
    pub fn idle_before_open(&self) -> Duration {
        self.upkeep.idle
    }

    /// Carries out what retention says at this moment, then gives room back. Chunks that nothing names stay for `grace` before
    /// they go: in a later run, unless it is zero. `floor` takes the place of all that are longer for this run. `task` is asked
    /// at each step, and paces it; when it says so, the rest waits for the next run.
    pub fn upkeep(
        &self,
        floor: Option<Duration>,
        grace: Duration,
        task: &dyn Task,
    ) -> Result<UpkeepReport> {
        self.check_writable()?;
        let _turn = self.upkeep.turn.lock();
        let rows_dropped = self.thin_out(floor, task)?;
        let rebased = match self.rebase_last_ones(task) {
            // What comes next costs none, and makes some.
            Err(Error::NoSpace) => {
                log::warn!("no room to store whole what needs no base any more");
                Moved::default()
            }
            outcome => outcome?,
        };
        let chunks_removed = self.collect(grace, task)?;
        let freed = self.compact(task)?;
        let erased = match self.finish_erasing(None, task) {
            Err(Error::NoSpace) => {
                log::warn!("no room to empty packs that hold what was erased");
                None
            }
            outcome => outcome?,
        };
        let report = UpkeepReport {
            rows_dropped,
            chunks_removed,
            chunks_moved: rebased.chunks + freed.chunks_moved,
            packs_removed: freed.packs,
            bytes_freed: (freed.bytes + erased.map_or(0, |report| report.bytes_freed))
                .saturating_sub(rebased.bytes),
        };
        if !task.is_stopped() {
            self.note_upkeep(&report)?;
            self.note_header();
            self.forget_old_keys();
            self.note_header();
        }
        Ok(report)
    }

    /// Records that upkeep ran to its end.
    fn note_upkeep(&self, report: &UpkeepReport) -> Result<()> {
        let UpkeepReport { rows_dropped, chunks_removed, bytes_freed, .. } = *report;
        let last = LastUpkeep { ended: self.now(), rows_dropped, chunks_removed, bytes_freed };
        self.freeing_write(|tx| Ok(tx.note_upkeep(&last)?))
    }

    /// What the contract comes to now, with floors that are not longer than this one.
    fn terms(&self, floor: Option<Duration>) -> Terms<'_> {
        Terms::new(&self.options, &self.whereabouts, floor, self.now())
    }

    /// What the contract comes to at some moment, if nothing happens until then.
    fn terms_at(&self, now: Timestamp) -> Terms<'_> {
        Terms::new(&self.options, &self.whereabouts, None, now)
    }

    fn thin_out(&self, floor: Option<Duration>, task: &dyn Task) -> Result<u64> {
        // A start after a power cut may go back to what is durable, and reopens what ended since: that must be there.
        let durable = self.meta.last_moment();
        self.sync_commits()?;
        self.apply_retention(&self.terms(floor).until(durable), task)
    }

    /// The chunks that overlays show: of some of them no row knows yet.
    fn chunks_in_overlays(&self) -> Vec<ChunkRef> {
        let nodes = self.nodes.all();
        nodes
            .iter()
            .flat_map(|node| node.lock().overlay.chunks().copied().collect::<Vec<_>>())
            .collect()
    }
}
