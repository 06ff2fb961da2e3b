//! Which generations a location keeps. Pure.

use crate::model::{Moment, Timestamp};
use std::time::Duration;

/// All generations of the last hour are kept, …
const EACH: Duration = Duration::from_secs(3600);
/// … one for each hour of the last two days, and one for each day before.
const HOURLY: Duration = Duration::from_secs(48 * 3600);
/// Whatever their age, so many of the newest full and other generations stay.
const NEWEST_MIN: usize = 3;

/// What is known of a generation when it is decided whether it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// When it was made, by the clock.
    pub made: Timestamp,
    /// The newest moment in it.
    pub moment: Moment,
}

/// Why a generation stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One of the newest ones.
    Newest,
    /// It was made within the time that is kept.
    Young,
    /// It shows how things were when the time that is kept began.
    Eve,
    /// It was made later than now: the clock is wrong, or was.
    Future,
}

/// For each of `generations` (oldest first) whether it stays at `now`, and why; `keep` is `None` for ever.
///
/// Between `now` and `now - keep` there is one for each day (where one was made), and each moment of the time that is kept is in one that was made within
/// a day, an hour or at once after it. Which stay is decided by fixed days and hours: a generation that stays once stays until it is too old.
pub fn plan(generations: &[Age], keep: Option<Duration>, now: Timestamp) -> Vec<Option<Kept>> {
    let mut kept = vec![None; generations.len()];
    let newest = generations.len().saturating_sub(NEWEST_MIN);
    kept[newest..].fill(Some(Kept::Newest));
    let horizon = keep.map(|keep| now.0.saturating_sub(nanos(keep)));
    let is_young = |age: &Age| horizon.is_none_or(|horizon| age.made.0 >= horizon);
    let mut last_slot = None;
    for (age, kept) in generations.iter().zip(&mut kept) {
        if age.made > now {
            kept.get_or_insert(Kept::Future);
            continue;
        }
        let slot = slot(age.made, now);
        if is_young(age) && last_slot != Some(slot) {
            kept.get_or_insert(Kept::Young);
        }
        last_slot = Some(slot);
    }
    // What was there when the time began, is in the last one before.
    let eve = generations.iter().rposition(|age| !is_young(age));
    if let Some(eve) = eve {
        kept[eve].get_or_insert(Kept::Eve);
    }
    kept
}

/// Of the generations of one slot the first stays.
fn slot(made: Timestamp, now: Timestamp) -> (u8, i64) {
    let age = now.0.saturating_sub(made.0);
    if age < nanos(EACH) {
        (0, made.0)
    } else if age < nanos(HOURLY) {
        (1, made.0.div_euclid(nanos(EACH)))
    } else {
        (2, made.0.div_euclid(nanos(Duration::from_secs(24 * 3600))))
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const BEGIN: i64 = 20_000 * DAY;

    fn age(at: i64) -> Age {
        Age { made: Timestamp(at), moment: Moment(at) }
    }

    fn days(days: u64) -> Option<Duration> {
        Some(Duration::from_secs(days * 24 * 3600))
    }

    /// What is left when each run, every `step`, is followed by pruning.
    fn live(step: i64, steps: i64, keep: Option<Duration>) -> (Vec<Age>, i64) {
        let mut left: Vec<Age> = Vec::new();
        let mut now = BEGIN;
        for _ in 0..steps {
            now += step;
            left.push(age(now));
            let kept = plan(&left, keep, Timestamp(now));
            left =
                left.iter().zip(kept).filter(|(_, kept)| kept.is_some()).map(|(a, _)| *a).collect();
        }
        (left, now)
    }

    #[test]
    fn daily_ones_are_all_there_for_thirty_days_and_no_more() {
        let (left, now) = live(DAY, 3 * 365, days(30));
        assert_eq!(left.len(), 32, "30 days, today, and how it was before");
        let all: Vec<Age> = (0..32).rev().map(|n| age(now - n * DAY)).collect();
        assert_eq!(left, all);
    }

    #[test]
    fn a_minute_each_comes_to_days_hours_and_a_last_hour() {
        let (left, now) = live(5 * MINUTE, 12 * 24 * 40, days(30));
        let younger = |than: i64| left.iter().filter(|age| now - age.made.0 < than).count();
        assert_eq!(younger(HOUR), 12);
        assert!((46..=50).contains(&(younger(48 * HOUR) - 12)), "{}", younger(48 * HOUR));
        let days = left.len() - younger(48 * HOUR);
        assert!((28..=31).contains(&days), "{days}");
        // No gap is longer than a day.
        assert!(left.windows(2).all(|pair| pair[1].made.0 - pair[0].made.0 <= DAY));
        assert!(now - left[0].made.0 >= 30 * DAY, "all thirty days are there");
    }

    #[test]
    fn for_ever_is_for_ever_and_a_long_pause_removes_nothing_of_the_last() {
        let (left, _) = live(DAY, 1000, None);
        assert_eq!(left.len(), 1000);
        // Nobody was there for a year: nothing is young, and the last ones stay.
        let old: Vec<Age> = (0..10).map(|n| age(BEGIN + n * DAY)).collect();
        let kept = plan(&old, days(30), Timestamp(BEGIN + 400 * DAY));
        assert_eq!(kept.iter().filter(|kept| kept.is_some()).count(), NEWEST_MIN);
        assert_eq!(kept[9], Some(Kept::Newest));
    }

    #[test]
    fn a_clock_that_was_wrong_removes_nothing_that_is_needed() {
        let mut made: Vec<Age> = (0..40).map(|n| age(BEGIN + n * DAY)).collect();
        // The clock was a year ahead for one of them; moments go on from there.
        made.push(Age { made: Timestamp(BEGIN + 400 * DAY), moment: Moment(BEGIN + 400 * DAY) });
        let kept = plan(&made, days(30), Timestamp(BEGIN + 40 * DAY));
        assert_eq!(kept[40], Some(Kept::Newest));
        assert_eq!(kept.iter().filter(|kept| kept.is_some()).count(), 32);
        made.extend((0..5).map(|n| age(BEGIN + (41 + n) * DAY)));
        let kept = plan(&made, days(30), Timestamp(BEGIN + 45 * DAY));
        assert_eq!(kept[40], Some(Kept::Future));
    }
}
