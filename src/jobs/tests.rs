//! Schedules over years, and jobs on a clock that is moved by hand.

use super::Schedule;
use crate::model::{Timestamp, Zone};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Timestamp(instant.as_nanosecond() as i64)
}

fn berlin() -> Zone {
    Zone::get("Europe/Berlin").unwrap()
}

#[test]
fn an_interval_goes_on_from_any_moment() {
    let schedule = Schedule::parse(" every 6h ", &Zone::UTC).unwrap();
    assert_eq!(schedule.after(Timestamp(5)), Some(Timestamp(5 + 6 * 3_600_000_000_000)));
    assert_eq!(schedule.gap(Timestamp(0)), Some(HOUR * 6));
    assert_eq!(schedule.to_string(), "every 6h");
    assert_eq!(Schedule::parse("never", &Zone::UTC).unwrap().after(Timestamp(0)), None);
}

#[test]
fn what_is_no_schedule_is_refused() {
    for wrong in [
        "",
        "often",
        "every",
        "every 6",
        "every 1ms",
        "every 9999999999w",
        "* * * *",
        "0 0 30 2 *",
        "60 * * * *",
        "0 0 * * * *",
        "every  ",
    ] {
        let error = Schedule::parse(wrong, &Zone::UTC).unwrap_err();
        assert!(error.contains('"'), "{wrong:?}: {error}");
    }
}

#[test]
fn a_time_that_spring_leaps_over_comes_once_and_one_that_autumn_repeats_too() {
    let schedule = Schedule::parse("30 2 * * *", &berlin()).unwrap();
    let mut moment = at("2026-03-27T12:00:00Z");
    let mut times = Vec::new();
    for _ in 0..3 {
        moment = schedule.after(moment).unwrap();
        times.push(moment);
    }
    // On the 29th there is no half past two: it comes at three by the new time.
    let spring = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(times, spring.map(at));
    let autumn = schedule.after(at("2026-10-24T12:00:00Z")).unwrap();
    assert_eq!(autumn, at("2026-10-25T00:30:00Z"));
    assert_eq!(schedule.after(autumn).unwrap(), at("2026-10-26T01:30:00Z"), "once only");
}
