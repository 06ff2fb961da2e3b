//! Where time comes from.

use crate::model::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// A source of the present time. Everything that depends on time is given one.
pub trait Clock: Send + Sync {
    /// The present time. May step back, as the machine's clock does.
    fn now(&self) -> Timestamp;

    /// The time since the machine was started, with that in which it slept; nobody sets this one.
    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that stands still until it is told otherwise, for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicI64,
    /// Nanoseconds that passed since it was made; setting it is none of them.
    passed: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> ManualClock {
        ManualClock { now: AtomicI64::new(now.0), passed: AtomicI64::new(0) }
    }

    /// Sets the time, forward or back, as somebody does who sets the machine's clock.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.passed.fetch_add(nanos, Ordering::SeqCst);
        self.now.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        Duration::from_nanos(self.passed.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// How long the processor has worked for this thread.
pub fn thread_cpu_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_shows_what_it_was_told() {
        let clock = ManualClock::new(Timestamp(7));
        clock.advance(Duration::from_nanos(3));
        assert_eq!(clock.now(), Timestamp(10));
        clock.set(Timestamp(2));
        assert_eq!(clock.now(), Timestamp(2));
        assert_eq!(
            clock.since_boot(),
            Duration::from_nanos(3),
            "setting it is no time that passes"
        );
    }

    #[test]
    fn the_system_clock_is_later_than_this_program_was_written() {
        assert!(SystemClock.now() > Timestamp(1_700_000_000_000_000_000));
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(SystemClock.since_boot().as_secs_f64() >= uptime);
    }
}
