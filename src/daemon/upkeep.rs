//! The thread that does a mounted store's upkeep from time to time.

use crate::config::RetentionConfig;
use crate::fs::Volume;
use crate::sys::{self, Clock, SystemClock};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After a start, people come first.
const FIRST_RUN_AFTER: Duration = Duration::from_secs(600);
/// A step of the clock by more than this, while the machine ran, puts what depends on ages off …
const CLOCK_STEP_MAX: Duration = Duration::from_secs(3600);
/// … for so long: somebody may notice, and set it right.
const CLOCK_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// So does a clock by which the store was not used for longer than this: a machine may start with a wrong one.
const IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// The thread; dropping it ends the run that is under way at its next step.
pub(super) struct Upkeep {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// When upkeep runs next, and whether the last run failed.
#[derive(Default)]
pub(super) struct Schedule {
    state: Mutex<Scheduled>,
}

#[derive(Default)]
struct Scheduled {
    next: Option<Instant>,
    error: Option<String>,
}

impl Schedule {
    /// `next`, in nanoseconds since 1970, null where it never runs by itself; `error` of the last run.
    pub(super) fn to_json(&self) -> Value {
        let state = self.state.lock();
        let next = state.next.map(|next| {
            let wait = next.saturating_duration_since(Instant::now());
            SystemClock.now().0.saturating_add_unsigned(wait.as_nanos() as u64)
        });
        json!({ "next": next, "error": state.error })
    }

    fn due(&self, next: Instant) -> Instant {
        self.state.lock().next = Some(next);
        next
    }
}

#[derive(Default)]
struct Shared {
    stopped: Mutex<bool>,
    changed: Condvar,
    schedule: Arc<Schedule>,
}

impl Shared {
    fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// Waits; false when it is to end.
    fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut stopped = self.stopped.lock();
        while !*stopped && !self.changed.wait_until(&mut stopped, deadline).timed_out() {}
        !*stopped
    }
}

impl Upkeep {
    /// Begins, unless the settings say never.
    pub(super) fn start(
        volume: &Arc<Volume>,
        settings: &RetentionConfig,
        schedule: &Arc<Schedule>,
    ) -> Option<Upkeep> {
        let (interval, grace) = (settings.interval, settings.grace);
        if interval.is_zero() {
            return None;
        }
        let shared = Arc::new(Shared { schedule: Arc::clone(schedule), ..Shared::default() });
        let (volume, inner) = (Arc::clone(volume), Arc::clone(&shared));
        let work = move || work(&volume, &inner, interval, grace);
        match std::thread::Builder::new().name("upkeep".into()).spawn(work) {
            Ok(thread) => Some(Upkeep { shared, thread: Some(thread) }),
            Err(error) => {
                log::error!("retention will not run: no thread for it: {error}");
                None
            }
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        *self.shared.stopped.lock() = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the upkeep thread panicked");
        }
    }
}

fn work(volume: &Volume, shared: &Shared, interval: Duration, grace: Duration) {
    let mut clock = ClockWatch::new();
    let schedule = &shared.schedule;
    let first = first_run_after(volume.idle_before_open(), interval);
    let mut due = schedule.due(Instant::now() + first);
    loop {
        let wait = due.saturating_duration_since(Instant::now()).min(LOOK_INTERVAL);
        if !shared.wait(wait) {
            return;
        }
        if clock.was_set(read_clocks()) {
            log::warn!(
                "the clock was set: what is too old by it is looked for in {} hours",
                CLOCK_PATIENCE.as_secs() / 3600
            );
            due = schedule.due(Instant::now() + CLOCK_PATIENCE);
        }
        if Instant::now() >= due {
            let run = || run_once(volume, shared, grace);
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                log::error!("upkeep panicked; it is tried again later");
            }
            due = schedule.due(Instant::now() + interval);
        }
    }
}

fn first_run_after(idle: Duration, interval: Duration) -> Duration {
    if idle <= IDLE_MAX {
        return interval.min(FIRST_RUN_AFTER);
    }
    log::info!(
        "by the clock the store was not used for {} days: what is too old is looked for in {} hours",
        idle.as_secs() / (24 * 3600),
        CLOCK_PATIENCE.as_secs() / 3600
    );
    CLOCK_PATIENCE
}

fn run_once(volume: &Volume, shared: &Shared, grace: Duration) {
    let begun = Instant::now();
    let outcome = volume.upkeep(None, grace, &|| shared.is_stopped());
    shared.schedule.state.lock().error = outcome.as_ref().err().map(ToString::to_string);
    match outcome {
        Ok(report) if report == Default::default() => {}
        Ok(report) => log::info!(
            "upkeep: {} rows of history over, {} chunks removed, {} moved, {} packs and {} bytes \
             freed in {:.1} s",
            report.rows_dropped,
            report.chunks_removed,
            report.chunks_moved,
            report.packs_removed,
            report.bytes_freed,
            begun.elapsed().as_secs_f64()
        ),
        Err(error) => log::error!("upkeep: {error}"),
    }
}

/// The wall clock and the time since the machine was started, in seconds.
type Clocks = (i64, i64);

fn read_clocks() -> Option<Clocks> {
    let wall = SystemClock.now().0 / 1_000_000_000;
    sys::seconds_since_boot().map(|boot| (wall, boot))
}

/// Notices when the wall clock was set.
struct ClockWatch {
    last: Option<Clocks>,
}

impl ClockWatch {
    fn new() -> ClockWatch {
        ClockWatch { last: read_clocks() }
    }

    /// Whether it was set by much since the last look. Time that the machine slept is no setting.
    fn was_set(&mut self, now: Option<Clocks>) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        let (Some((wall, boot)), Some((wall_now, boot_now))) = (before, now) else { return false };
        let step = (wall_now - wall) - (boot_now - boot);
        step.unsigned_abs() > CLOCK_STEP_MAX.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_long_unused_is_given_time() {
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(first_run_after(day * 6, day), FIRST_RUN_AFTER);
        assert_eq!(first_run_after(day * 6, Duration::from_secs(1)), Duration::from_secs(1));
        assert_eq!(first_run_after(day * 365 * 70, day / 4), CLOCK_PATIENCE);
    }

    #[test]
    fn the_schedule_tells_the_time_of_day() {
        let schedule = Schedule::default();
        assert_eq!(schedule.to_json(), json!({ "next": null, "error": null }));
        schedule.due(Instant::now() + Duration::from_secs(3600));
        let next = schedule.to_json()["next"].as_i64().unwrap();
        assert!(next > SystemClock.now().0 && next <= SystemClock.now().0 + 3_600_000_000_000);
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_a_machine_that_slept_is_not() {
        let mut clock = ClockWatch { last: Some((1000, 10)) };
        assert!(!clock.was_set(Some((1060, 70))));
        assert!(!clock.was_set(Some((101_060, 100_070))), "it slept");
        assert!(clock.was_set(Some((31_536_000, 100_130))), "set ahead");
        assert!(!clock.was_set(Some((31_536_060, 100_190))));
        assert!(clock.was_set(Some((101_180, 100_250))), "set back");
        assert!(!clock.was_set(None) && !clock.was_set(Some((5, 5))), "not known");
        assert!(read_clocks().is_some());
    }
}
