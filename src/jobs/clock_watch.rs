//! Noticing that the wall clock was set.

use std::time::Duration;

/// A step of the clock by more than this, while the machine ran, puts what depends on ages off.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(3600);

/// The wall clock and the time since the machine was started, in seconds.
pub(super) type Clocks = (i64, i64);

/// Notices when the wall clock was set.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    last: Option<Clocks>,
}

impl ClockWatch {
    /// Whether it was set by much since the last look. Time that the machine slept is no setting.
    pub(super) fn was_set(&mut self, now: Option<Clocks>) -> bool {
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
    fn a_clock_that_was_set_is_noticed_and_a_machine_that_slept_is_not() {
        let mut clock = ClockWatch { last: Some((1000, 10)) };
        assert!(!clock.was_set(Some((1060, 70))));
        assert!(!clock.was_set(Some((101_060, 100_070))), "it slept");
        assert!(clock.was_set(Some((31_536_000, 100_130))), "set ahead");
        assert!(!clock.was_set(Some((31_536_060, 100_190))));
        assert!(clock.was_set(Some((101_180, 100_250))), "set back");
        assert!(!clock.was_set(None) && !clock.was_set(Some((5, 5))), "not known");
    }
}
