//! Which moments `@at` lists: of all at which something changed, as many as a person can read.

use crate::model::{Moment, moment_name, second_name};

/// Moments that are listed.
const LISTED_MAX: usize = 100;
/// Of the last hour each moment is listed, unless there are more than these: then one for each minute.
const RECENT_MAX: usize = 40;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// The moments to list, ascending: the last one of each second or minute of the last hour, of each hour of
/// the last day, of each day of the last month, of each week before.
pub(super) fn thin(mut moments: Vec<Moment>, now: Moment) -> Vec<Moment> {
    moments.sort_unstable();
    let recent = moments.iter().rev().take_while(|moment| now.0 - moment.0 < HOUR);
    let mut seconds: Vec<i64> = recent.map(|moment| moment.0.div_euclid(SECOND)).collect();
    seconds.dedup();
    let finest = if seconds.len() > RECENT_MAX { MINUTE } else { SECOND };
    let mut listed = Vec::new();
    let mut bucket = None;
    for moment in moments.into_iter().rev() {
        let width = match now.0.saturating_sub(moment.0) {
            ..HOUR => finest,
            HOUR..DAY => HOUR,
            DAY..2_678_400_000_000_000 => DAY,
            _ => WEEK,
        };
        let own = Some((width, moment.0.div_euclid(width)));
        if own != bucket {
            bucket = own;
            listed.push(moment);
        }
    }
    listed.truncate(LISTED_MAX);
    listed.reverse();
    listed
}

/// What `@at` calls a moment: the next whole second, which shows what the moment brought and is easy to read,
/// once it is over; until then the exact moment.
pub(super) fn listed_name(moment: Moment, now: Moment) -> String {
    let whole = moment.0.div_euclid(SECOND) + i64::from(moment.0.rem_euclid(SECOND) > 0);
    match whole.checked_mul(SECOND).filter(|second| *second <= now.0) {
        Some(second) => second_name(Moment(second)),
        None => moment_name(moment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_790_000_000 * SECOND);

    fn ago(nanos: i64) -> Moment {
        Moment(NOW.0 - nanos)
    }

    #[test]
    fn few_moments_are_all_listed_once() {
        let moments = vec![ago(5 * MINUTE), ago(3 * DAY), ago(5 * MINUTE), ago(2 * SECOND)];
        assert_eq!(thin(moments, NOW), [ago(3 * DAY), ago(5 * MINUTE), ago(2 * SECOND)]);
        assert_eq!(thin(Vec::new(), NOW), []);
    }

    #[test]
    fn many_moments_are_thinned_to_what_can_be_read() {
        let every_minute = (0..2 * 365 * 24 * 60).map(|minutes| ago(minutes * MINUTE)).collect();
        let listed = thin(every_minute, NOW);
        assert_eq!(listed.len(), LISTED_MAX);
        assert!(listed.is_sorted());
        assert_eq!(listed.last(), Some(&NOW));
        let busy = (0..100_000).map(|i| ago(i * SECOND / 100)).collect();
        assert!(thin(busy, NOW).len() <= 18);
    }

    #[test]
    fn the_last_moment_of_an_hour_stands_for_it() {
        let day = DAY - NOW.0.rem_euclid(HOUR);
        let moments = vec![ago(day + 10), ago(day + 20), ago(day + 30)];
        assert_eq!(thin(moments, NOW), [ago(day + 10)]);
    }

    #[test]
    fn a_listed_name_leads_to_what_the_moment_brought() {
        let moment = Moment(1_789_381_932_250_000_000);
        assert_eq!(listed_name(moment, NOW), "2026-09-14T103213Z");
        assert_eq!(listed_name(Moment(1_789_381_932 * SECOND), NOW), "2026-09-14T103212Z");
        assert_eq!(listed_name(moment, moment), "2026-09-14T103212.25Z");
    }
}
