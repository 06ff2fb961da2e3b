//! One run of a job, shared by its work, by whoever watches it, and by whoever ends it.

use super::demand::Demand;
use crate::model::Timestamp;
use crate::sys::Task;
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much a run that waited may do at once, beyond its limit.
const BURST: Duration = Duration::from_millis(250);

/// How often a run that goes slowly looks whether others still need the drive.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How fast a run may be.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Bytes that it may read or send in a second; 0: any number.
    pub bytes_per_second_max: u64,
    /// The same while others need the drive or the machine.
    pub busy_bytes_per_second_max: u64,
    /// Who knows whether they do; without, nobody does.
    pub demand: Option<Arc<Demand>>,
}

impl Pace {
    /// How long so many bytes take now at least, and whether that is because of others.
    fn takes(&self, bytes: u64) -> (Duration, bool) {
        let own = time_of(bytes, self.bytes_per_second_max);
        let demand = self.demand.as_ref().filter(|_| self.busy_bytes_per_second_max != 0);
        match demand {
            Some(demand) if demand.is_high() => {
                (own.max(time_of(bytes, self.busy_bytes_per_second_max)), true)
            }
            _ => (own, false),
        }
    }
}

/// How long bytes take at a limit; at 0, no time.
fn time_of(bytes: u64, per_second: u64) -> Duration {
    if per_second == 0 {
        return Duration::ZERO;
    }
    // However little a second may hold: nothing waits for longer than a year.
    Duration::from_secs_f64((bytes as f64 / per_second as f64).min(365.0 * 86_400.0))
}

/// Who ended a run before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A person.
    Asked,
    /// The daemon, which ends.
    Shutdown,
}

/// A run that is under way, or about to be.
#[derive(Debug)]
pub struct Run {
    /// Counts the runs of this process.
    pub(super) ticket: u64,
    pub(super) dry_run: bool,
    pace: Pace,
    done: AtomicU64,
    total: AtomicU64,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug)]
struct State {
    begun: Option<Timestamp>,
    stop: Option<Stop>,
    step: String,
    /// When everything that was done so far would be done at the limit.
    settled: Instant,
}

impl Run {
    /// A run that has not begun.
    pub fn new(ticket: u64, dry_run: bool, pace: Pace) -> Run {
        let state = State { begun: None, stop: None, step: String::new(), settled: Instant::now() };
        Run {
            ticket,
            dry_run,
            pace,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            state: Mutex::new(state),
            stopped: Condvar::new(),
        }
    }

    /// Asks the work to end at its next step, as a person does.
    pub fn stop(&self) {
        self.end(Stop::Asked);
    }

    pub(super) fn end(&self, why: Stop) {
        self.state.lock().stop.get_or_insert(why);
        self.stopped.notify_all();
    }

    pub(super) fn stop_reason(&self) -> Option<Stop> {
        self.state.lock().stop
    }

    pub(super) fn begin(&self, now: Timestamp) {
        self.state.lock().begun = Some(now);
    }

    pub(super) fn begun(&self) -> Option<Timestamp> {
        self.state.lock().begun
    }

    /// How far it is: `done` of `total` (0: not known) in the job's own unit, and what is being done now.
    pub fn progress_now(&self) -> (u64, u64, String) {
        let step = self.state.lock().step.clone();
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed), step)
    }

    /// The same for programs. `begun` in nanoseconds since 1970, null while it waits for its turn.
    pub fn to_json(&self) -> Value {
        let (done, total, step) = self.progress_now();
        json!({
            "ticket": self.ticket,
            "dry_run": self.dry_run,
            "begun": self.begun().map(|begun| begun.0),
            "stopping": self.is_stopped(),
            "done": done,
            "total": total,
            "step": step,
        })
    }
}

impl Task for Run {
    fn is_stopped(&self) -> bool {
        self.stop_reason().is_some()
    }

    fn pace(&self, bytes: u64) {
        let (takes, gives_way) = self.pace.takes(bytes);
        let mut state = self.state.lock();
        let now = Instant::now();
        let begun = state.settled.max(now.checked_sub(BURST).unwrap_or(now));
        state.settled = begun + takes;
        let mut until = state.settled;
        while state.stop.is_none() {
            let look = if gives_way { until.min(Instant::now() + LOOK_INTERVAL) } else { until };
            if !self.stopped.wait_until(&mut state, look).timed_out() {
                continue;
            }
            if look == until {
                return;
            }
            let (takes, still) = self.pace.takes(bytes);
            if !still {
                // They have gone: the debt is only that of the run's own limit.
                until = until.min(begun + takes);
                state.settled = state.settled.min(until);
            }
        }
    }

    fn progress(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    fn step(&self, what: &str) {
        what.clone_into(&mut self.state.lock().step);
    }
}
