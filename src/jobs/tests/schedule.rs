//! Schedules over years.

use super::at;
use crate::jobs::Schedule;
use crate::model::{Timestamp, Zone};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

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

#[test]
fn ten_years_of_nights_are_one_run_each_in_any_zone() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
    {
        let zone = Zone::get(zone).unwrap();
        for text in ["30 2 * * *", "0 0 * * *", "30 1 * * *"] {
            let schedule = Schedule::parse(text, &zone).unwrap();
            let mut moment = at("2020-01-01T12:00:00Z");
            let mut runs = 0;
            while let Some(next) =
                schedule.after(moment).filter(|n| *n < at("2030-01-01T12:00:00Z"))
            {
                let hours = (next.0 - moment.0) as f64 / 3.6e12;
                assert!(runs == 0 || (22.0..=26.0).contains(&hours), "{text} {zone:?}: {hours}");
                if runs % 31 == 0 {
                    assert!(schedule.before(next) == Some(next), "{text} {zone:?} {next:?}");
                    assert_eq!(schedule.before(Timestamp(next.0 + 999_000_000)), Some(next));
                    assert_eq!(schedule.after(Timestamp(next.0 - 1)), Some(next));
                }
                (moment, runs) = (next, runs + 1);
            }
            assert_eq!(runs, 3653, "{text} {zone:?}");
        }
    }
}

#[test]
fn weekdays_months_and_leap_days_are_those_of_the_calendar() {
    let times = |text: &str, from: &str, count: usize| {
        let schedule = Schedule::parse(text, &Zone::UTC).unwrap();
        let next = |moment: &Timestamp| schedule.after(*moment);
        std::iter::successors(Some(at(from)), next).skip(1).take(count).collect::<Vec<_>>()
    };
    let sundays = ["2026-11-22T03:00:00Z", "2026-11-29T03:00:00Z"].map(at);
    assert_eq!(times("0 3 * * 0", "2026-11-21T16:00:00Z", 2), sundays);
    assert_eq!(times("0 3 * * SUN", "2026-11-21T16:00:00Z", 2), sundays);
    let leap_days = ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"].map(at);
    assert_eq!(times("0 0 29 2 *", "2026-01-01T00:00:00Z", 2), leap_days);
    let firsts = ["2026-12-01T00:15:00Z", "2027-01-01T00:15:00Z"].map(at);
    assert_eq!(times("15 0 1 * *", "2026-11-21T16:00:00Z", 2), firsts);
    let quarters = Schedule::parse("*/15 * * * *", &Zone::UTC).unwrap();
    assert_eq!(quarters.gap(at("2026-11-21T16:01:00Z")), Some(HOUR / 4));
}
