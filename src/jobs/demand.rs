//! Whether others need the drive, or the machine that it is on, right now. Jobs go slowly then.
//!
//! A low priority alone does not do it: what shares a processor's core, its caches, the disk or a lock is slowed down by work of any
//! priority. The method is that of Linux's software RAID, which rebuilds at full speed while nobody uses the array, and at
//! `sync_speed_min` while somebody does (`is_mddev_idle` in `drivers/md/md.c`).

use crate::sys::ProcessorTime;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// For so long after it was last needed, the machine counts as needed: what waits for a slow job is no pause.
const LINGER: Duration = Duration::from_millis(250);
/// How often is looked what other programs do.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The part of all processors that other programs use when they count as needing the machine: two of these often share a core.
const OTHERS_SHARE: f64 = 0.25;

/// How many requests the drive has had, ever.
pub type Requests = Box<dyn Fn() -> u64 + Send + Sync>;

/// What the machine's processors do, where that can be told.
pub type Processors = fn() -> Option<ProcessorTime>;

/// Watches the drive and the machine.
pub struct Demand {
    requests: Requests,
    processors: Processors,
    seen: Mutex<Seen>,
}

/// What was there when it was last looked.
struct Seen {
    requests: u64,
    processors: Option<ProcessorTime>,
    high_until: Instant,
}

impl Demand {
    /// Of the drive that has had so many `requests`. It counts as needed for a moment.
    pub fn new(requests: Requests, processors: Processors) -> Demand {
        let high_until = Instant::now() + LINGER;
        let seen = Seen { requests: requests(), processors: None, high_until };
        Demand { requests, processors, seen: Mutex::new(seen) }
    }

    /// Whether others need the drive or the machine. Costs some microseconds.
    pub(super) fn is_high(&self) -> bool {
        self.seen.lock().look(Instant::now(), (self.requests)(), self.processors)
    }
}

impl std::fmt::Debug for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demand").finish_non_exhaustive()
    }
}

impl Seen {
    fn look(
        &mut self,
        now: Instant,
        requests: u64,
        processors: impl FnOnce() -> Option<ProcessorTime>,
    ) -> bool {
        let used = std::mem::replace(&mut self.requests, requests) != requests;
        let looked = self.processors.as_ref().map(|time| time.at);
        let is_time = looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_INTERVAL);
        let crowded = is_time && self.look_at_processors(processors());
        if used || crowded {
            self.high_until = now + LINGER;
        }
        now < self.high_until
    }

    /// Whether other programs have used much of the machine since the last time.
    fn look_at_processors(&mut self, now: Option<ProcessorTime>) -> bool {
        let before = std::mem::replace(&mut self.processors, now);
        let others = before.zip(now).map(|(before, now)| now.others_since(&before));
        others.is_some_and(|others| others > OTHERS_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(at: Instant, busy: u64, idle: u64) -> Option<ProcessorTime> {
        Some(ProcessorTime { at, busy, idle, own: Duration::ZERO, processors: 4 })
    }

    #[test]
    fn a_request_is_a_need_for_a_moment() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut seen = Seen { requests: 5, processors: None, high_until: start };
        assert!(!seen.look(at(0), 5, || time(at(0), 0, 0)));
        assert!(seen.look(at(1), 6, || unreachable!("too soon")));
        assert!(seen.look(at(200), 6, || time(at(200), 0, 80)), "a moment ago");
        assert!(!seen.look(at(300), 6, || time(at(300), 0, 120)));
    }

    #[test]
    fn others_are_a_need_where_they_use_a_quarter_of_the_machine() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut seen = Seen { requests: 5, processors: None, high_until: start };
        assert!(!seen.look(at(0), 5, || time(at(0), 100, 100)));
        assert!(!seen.look(at(100), 5, || time(at(100), 108, 132)), "a fifth");
        assert!(seen.look(at(200), 5, || time(at(200), 120, 160)), "three tenths");
        assert!(!seen.look(at(600), 5, || None), "what can't be told is no need");
    }
}
