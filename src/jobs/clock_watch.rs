//! Noticing that the wall clock was set.

use super::board::Now;
use std::time::Duration;

/// A step of the clock by more than this, while the machine ran, puts what depends on ages off.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(3600);

/// Notices when the wall clock was set.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    last: Option<Now>,
}

impl ClockWatch {
    /// Whether it was set by much since the last look. Time that the machine slept is no setting.
    pub(super) fn was_set(&mut self, now: Now) -> bool {
        let Some(before) = self.last.replace(now) else { return false };
        let by_wall = i128::from(now.wall.0) - i128::from(before.wall.0);
        let passed = now.up.as_nanos() as i128 - before.up.as_nanos() as i128;
        (by_wall - passed).unsigned_abs() > CLOCK_STEP_MAX.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_clock_that_was_set_is_noticed_and_a_machine_that_slept_is_not() {
        let now = |wall: i64, up| Now {
            wall: Timestamp(wall * 1_000_000_000),
            up: Duration::from_secs(up),
        };
        let mut clock = ClockWatch::default();
        assert!(!clock.was_set(now(1000, 10)));
        assert!(!clock.was_set(now(1060, 70)));
        assert!(!clock.was_set(now(101_060, 100_070)), "it slept");
        assert!(clock.was_set(now(31_536_000, 100_130)), "set ahead");
        assert!(!clock.was_set(now(31_536_060, 100_190)));
        assert!(clock.was_set(now(101_180, 100_250)), "set back");
        assert!(!clock.was_set(now(104_000, 100_250)), "corrected by less than an hour");
    }
}
