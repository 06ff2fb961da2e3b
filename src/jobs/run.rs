//! One run of a job, shared by its work, by whoever watches it, and by whoever ends it.

use crate::model::Timestamp;
use crate::sys::Task;
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much a run that waited may do at once, beyond its limit.
const BURST: Duration = Duration::from_millis(250);

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
    bytes_per_second_max: u64,
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
    /// A run that has not begun; at most so many bytes in a second, 0: any number.
    pub fn new(ticket: u64, dry_run: bool, bytes_per_second_max: u64) -> Run {
        let state = State { begun: None, stop: None, step: String::new(), settled: Instant::now() };
        Run {
            ticket,
            dry_run,
            bytes_per_second_max,
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
        if self.bytes_per_second_max == 0 {
            return;
        }
        let takes = bytes as f64 / self.bytes_per_second_max as f64;
        // However little a second may hold: nothing waits for longer than a year.
        let takes = Duration::from_secs_f64(takes.min(365.0 * 86_400.0));
        let mut state = self.state.lock();
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        state.settled = state.settled.max(earliest) + takes;
        let until = state.settled;
        while state.stop.is_none() && !self.stopped.wait_until(&mut state, until).timed_out() {}
    }

    fn progress(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    fn step(&self, what: &str) {
        what.clone_into(&mut self.state.lock().step);
    }
}
