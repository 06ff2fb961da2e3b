//! What runs by itself: jobs, when each of them is due, and the record of their runs.
//!
//! `schedule.rs` when a job is to run · `due.rs` what that makes of its last run, pure · `board.rs` which jobs begin now, without
//! threads or clocks · `run.rs` one run as its work and its watchers see it · `demand.rs` whether others need the drive now · `carry.rs` carrying one out · `record.rs` the record ·
//! `hook.rs` the program that is told of failures · `scheduler.rs` the thread behind it all · `concern.rs` what to worry about.
//! What a job does is for its [`Work`] to know; `daemon` says which jobs there are.

mod board;
mod carry;
mod clock_watch;
mod concern;
mod demand;
mod due;
mod hook;
mod record;
mod run;
mod schedule;
mod scheduler;
#[cfg(test)]
mod tests;

pub use carry::{Finished, run_here};
pub use concern::{Concern, Severity, failures};
pub use demand::{Demand, Processors, Requests};
pub use record::{Record, run_to_json};
pub use run::{Pace, Run};
pub use schedule::Schedule;
pub use scheduler::{Heard, Options, Refused, Scheduler};

use crate::sys;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// What a job does when it runs. Synchronous; runs on a thread of its own at low priority.
pub trait Work: Send + Sync {
    /// Whether there is anything to do for a run that is due. If not, it counts as done, without a thread and a line in the record: for
    /// what is due every few seconds. Asked often, and under a lock: answers at once, by what is in memory.
    fn has_work(&self) -> bool {
        true
    }

    /// Does it, or with `order.dry_run` finds out what it would do. Ends at its next step when the task says so, which is no
    /// error; what was done until then stays, and the next run goes on there.
    ///
    /// # Errors
    /// What went wrong, for people. It is told loudly.
    fn run(&self, order: &Order, task: &dyn sys::Task) -> Result<Outcome, String>;
}

/// How a job is to run. The default is how it runs by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// Change nothing; say what would be done.
    pub dry_run: bool,
    /// What else the job understands; null as a rule.
    pub options: Value,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// In a line, for people.
    pub summary: String,
    /// For programs.
    pub detail: Value,
    /// Whether nothing is left to do; otherwise the next run goes on.
    pub complete: bool,
}

impl Outcome {
    /// Everything was done.
    pub fn done(summary: impl Into<String>, detail: Value) -> Outcome {
        Outcome { summary: summary.into(), detail, complete: true }
    }
}

/// Something that is done again and again.
#[derive(Clone)]
pub struct Job {
    /// Its name for people, as `retention` or `backup:nas`; there is one of a name.
    pub name: String,
    /// When it is to run.
    pub schedule: Schedule,
    /// Jobs of one lane never run at the same time: `store`, or `location:nas`.
    pub lane: String,
    /// It decides by ages what goes: so it waits where the clock may be wrong.
    pub ages: bool,
    /// What it may read or send in a second; 0: what the settings say for all.
    pub bytes_per_second_max: u64,
    /// What it does.
    pub work: Arc<dyn Work>,
}

impl Job {
    /// How fast it may be where this holds for all.
    pub fn pace(&self, general: &Pace) -> Pace {
        let bytes_per_second_max = match self.bytes_per_second_max {
            0 => general.bytes_per_second_max,
            own => own,
        };
        Pace { bytes_per_second_max, ..general.clone() }
    }
}
