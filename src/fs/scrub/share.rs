//! How much of the store a run reads, so that a round of runs is over within its period. Pure.

use std::time::Duration;

/// How many bytes to read now, in a round of `total` bytes of which `left` are not read yet, so that it is over in time: the part
/// of `period` that has passed when `since` it began is the part that should be read. What is behind is made up for; who is
/// ahead rests. `since` is counted to the next run, up to which this one's share must last.
pub(super) fn share(total: u64, left: u64, period: Duration, since: Duration) -> u64 {
    if since >= period {
        return left;
    }
    // Rounded up: however small a share is, it is not nothing.
    let due = (u128::from(total) * since.as_nanos()).div_ceil(period.as_nanos());
    let due = u64::try_from(due).unwrap_or(total).min(total);
    due.saturating_sub(total.saturating_sub(left)).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

    /// The day on which a round of daily runs is over, where the runs of some days are missed.
    fn days_of_round(total: u64, missed: &[u32]) -> u32 {
        let mut left = total;
        for day in 0.. {
            if missed.contains(&day) {
                continue;
            }
            left -= share(total, left, MONTH, DAY * (day + 1));
            if left == 0 {
                return day + 1;
            }
        }
        unreachable!("the loop has no end")
    }

    #[test]
    fn a_round_takes_its_period_and_no_longer() {
        for total in [29, 30, 1000, 1 << 40, u64::MAX] {
            assert_eq!(days_of_round(total, &[]), if total == 29 { 29 } else { 30 }, "{total}");
        }
        assert_eq!(days_of_round(1, &[]), 1);
    }

    #[test]
    fn what_was_missed_is_made_up_for() {
        assert_eq!(share(3000, 3000, MONTH, DAY), 100);
        // A week in which the machine was off.
        assert_eq!(share(3000, 2900, MONTH, DAY * 8), 700);
        let missed: Vec<u32> = (5..20).chain([29, 30]).collect();
        assert_eq!(days_of_round(1 << 30, &missed), 32);
    }

    #[test]
    fn who_is_ahead_rests_and_nothing_is_read_twice() {
        assert_eq!(share(3000, 100, MONTH, DAY), 0);
        assert_eq!(share(3000, 0, MONTH, DAY), 0);
        assert_eq!(share(0, 0, MONTH, DAY), 0);
        assert_eq!(share(3000, 7, MONTH, MONTH * 2), 7);
        assert_eq!(share(3000, 7, Duration::ZERO, Duration::ZERO), 7);
        // What grew since the round began.
        assert_eq!(share(3000, 5000, MONTH, DAY), 100);
    }
}
