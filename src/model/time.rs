//! Moments (the store's own order of events) and timestamps (what files claim).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in the store's history: nanoseconds since 1970, strictly increasing from one
/// transaction to the next, also when the machine's clock steps back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// The moment that follows `self`, at `now` if the clock allows it.
    pub fn next(self, now: Timestamp) -> Moment {
        Moment(now.0.max(self.0.saturating_add(1)))
    }
}

/// A file's timestamp: nanoseconds since 1970, clamped to the years 1678 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(nanos(after)),
            Err(before) => Timestamp(-nanos(before.duration())),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        if time.0 >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_the_round_trip_on_both_sides_of_1970() {
        for nanos in [0, 1, -1, 1_789_000_000_123_456_789, -86_400_000_000_001] {
            let time = SystemTime::from(Timestamp(nanos));
            assert_eq!(Timestamp::from(time), Timestamp(nanos));
        }
    }

    #[test]
    fn moments_increase_when_the_clock_steps_back() {
        assert_eq!(Moment(100).next(Timestamp(50)), Moment(101));
        assert_eq!(Moment(100).next(Timestamp(500)), Moment(500));
    }
}
