use super::*;
use proptest::prelude::*;

/// Berlin's rules, without looking into a zone database.
fn berlin() -> Zone {
    Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// A moment by its canonical name, read by jiff alone.
fn at(text: &str) -> Moment {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Moment(instant.as_nanosecond() as i64)
}

/// Wednesday, half past twelve in Berlin.
fn now() -> Timestamp {
    Timestamp(at("2026-09-16T10:30:00Z").0)
}

fn parse(text: &str) -> Result<When, WhenError> {
    parse_when(text, now(), &berlin())
}

#[track_caller]
fn means(text: &str, expected: &str) {
    let found = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(moment_name(found.moment), moment_name(at(expected)), "{text}");
}

#[track_caller]
fn refuses(text: &str, wrong: &str) {
    let expected = WhenError::NotUnderstood { text: text.to_owned(), part: wrong.to_owned() };
    assert_eq!(parse(text), Err(expected));
}

const LAST_OF: &str = "21:59:59.999999999Z";

#[test]
fn iso_times_with_an_offset_are_exact() {
    for text in [
        "2026-09-14T103212Z",
        "2026-09-14t103212z",
        "2026-09-14T10:32:12Z",
        "20260914T103212Z",
        "2026-09-14 10:32:12Z",
        "2026-09-14_103212Z",
        "2026-09-14-10:32:12Z",
        "2026-09-14T12:32:12+02:00",
        "2026-09-14T123212+0200",
        "2026-09-14T07:32:12-03",
        " 2026-09-14T103212Z ",
    ] {
        means(text, "2026-09-14T10:32:12Z");
        assert!(parse(text).unwrap().fixed, "{text}");
    }
    means("2026-09-14T1030Z", "2026-09-14T10:30:00Z");
    means("2026-09-14T103212.5Z", "2026-09-14T10:32:12.5Z");
    means("2026-09-14T103212.123456789Z", "2026-09-14T10:32:12.123456789Z");
}

#[test]
fn iso_times_without_an_offset_are_local() {
    means("2026-09-14T10:30", "2026-09-14T08:30:00Z");
    means("2026-09-14 10:30:12", "2026-09-14T08:30:12Z");
    means("2026-09-14_1030", "2026-09-14T08:30:00Z");
    means("2026-01-14T10:30", "2026-01-14T09:30:00Z");
}

#[test]
fn local_times_that_are_twice_or_never_are_defined() {
    means("2025-10-26T02:30", "2025-10-26T00:30:00Z");
    means("2026-03-29T02:30", "2026-03-29T01:30:00Z");
}

#[test]
fn a_date_is_the_end_of_its_day_and_today_is_now() {
    means("2026-09-14", &format!("2026-09-14T{LAST_OF}"));
    means("20260914", &format!("2026-09-14T{LAST_OF}"));
    assert!(parse("2026-09-14").unwrap().fixed);
    means("2026-09-16", "2026-09-16T10:30:00Z");
    assert!(!parse("2026-09-16").unwrap().fixed, "it will be the end of the day tomorrow");
    // The days on which the clocks change have 25 and 23 hours.
    means("2025-10-26", "2025-10-26T22:59:59.999999999Z");
    means("2026-03-29", &format!("2026-03-29T{LAST_OF}"));
}

#[test]
fn a_bare_time_is_the_last_one() {
    means("12:30", "2026-09-16T10:30:00Z");
    means("12:31", "2026-09-15T10:31:00Z");
    means("9:05", "2026-09-16T07:05:00Z");
    means("9.05", "2026-09-16T07:05:00Z");
    means("10:30:12", "2026-09-16T08:30:12Z");
    means("10.30.12", "2026-09-16T08:30:12Z");
    means("10:30Z", "2026-09-16T10:30:00Z");
    means("11:00Z", "2026-09-15T11:00:00Z");
    assert!(!parse("9:05").unwrap().fixed);
}

#[test]
fn days_by_name() {
    means("now", "2026-09-16T10:30:00Z");
    means("Today", "2026-09-16T10:30:00Z");
    means("today 9:00", "2026-09-16T07:00:00Z");
    means("yesterday", &format!("2026-09-15T{LAST_OF}"));
    means("YESTERDAY 10:30", "2026-09-15T08:30:00Z");
    means("yesterday-1030", "2026-09-15T08:30:00Z");
    means("yesterday_10.30", "2026-09-15T08:30:00Z");
    means("yesterday at 10:30", "2026-09-15T08:30:00Z");
    means("yesterday 10:30Z", "2026-09-15T10:30:00Z");
    means("monday", &format!("2026-09-14T{LAST_OF}"));
    means("mon", &format!("2026-09-14T{LAST_OF}"));
    means("last.monday", &format!("2026-09-14T{LAST_OF}"));
    means("tuesday 23:00", "2026-09-15T21:00:00Z");
    means("Wednesday", &format!("2026-09-09T{LAST_OF}"));
    means("thursday", &format!("2026-09-10T{LAST_OF}"));
    means("last-sunday-10:30", "2026-09-13T08:30:00Z");
    for text in ["now", "today", "yesterday", "monday 10:30"] {
        assert!(!parse(text).unwrap().fixed, "{text}");
    }
}

#[test]
fn distances() {
    for text in
        ["2h ago", "2h-ago", "2_hours_ago", "2.hours.ago", "2 hrs ago", "120 min ago", "2H AGO"]
    {
        means(text, "2026-09-16T08:30:00Z");
    }
    means("90 minutes ago", "2026-09-16T09:00:00Z");
    means("90m ago", "2026-09-16T09:00:00Z");
    means("1h 30m ago", "2026-09-16T09:00:00Z");
    means("1.5h ago", "2026-09-16T09:00:00Z");
    means("30 seconds ago", "2026-09-16T10:29:30Z");
    means("3 days ago", "2026-09-13T10:30:00Z");
    means("3d ago", "2026-09-13T10:30:00Z");
    means("1 week ago", "2026-09-09T10:30:00Z");
    means("a-week-ago", "2026-09-09T10:30:00Z");
    means("2w ago", "2026-09-02T10:30:00Z");
    means("2 months ago", "2026-07-16T10:30:00Z");
    means("1mo ago", "2026-08-16T10:30:00Z");
    // Half past twelve on the wall, in winter.
    means("6 months ago", "2026-03-16T11:30:00Z");
    means("1y ago", "2025-09-16T10:30:00Z");
    assert!(!parse("2h ago").unwrap().fixed);
    let end_of_may = Timestamp(at("2026-05-31T10:00:00Z").0);
    let found = parse_when("3 months ago", end_of_may, &Zone::UTC).unwrap();
    assert_eq!(found.moment, at("2026-02-28T10:00:00Z"));
}

#[test]
fn sambas_names_stand_for_the_whole_second() {
    means("@GMT-2026.09.14-10.32.12", "2026-09-14T10:32:12.999999999Z");
    means("@gmt-2026.09.14-10.32.12", "2026-09-14T10:32:12.999999999Z");
    assert!(parse("@GMT-2026.09.14-10.32.12").unwrap().fixed);
    let saved = at("2026-09-14T10:32:12.25Z");
    assert_eq!(gmt_name(saved), "@GMT-2026.09.14-10.32.12");
    assert!(parse(&gmt_name(saved)).unwrap().moment >= saved);
    // The second that is not over yet goes as far as now.
    let now = Timestamp(saved.0);
    let found = parse_when(&gmt_name(saved), now, &Zone::UTC).unwrap();
    assert_eq!(found, When { moment: saved, fixed: false });
    refuses("@GMT-2026.09.14", "@GMT-2026.09.14");
    refuses("@GMT-2026.13.14-10.32.12", "@GMT-2026.13.14-10.32.12");
}

#[test]
fn seconds_since_1970() {
    means("@1789000000", "2026-09-10T00:26:40Z");
    means("@0", "1970-01-01T00:00:00Z");
    means("@-1", "1969-12-31T23:59:59Z");
    refuses("@+1", "@+1");
    refuses("@", "@");
}

#[test]
fn the_future_says_so() {
    for text in [
        "2026-09-17",
        "2026-09-16T10:31Z",
        "today 12:31",
        "@GMT-2026.09.16-10.30.01",
        "9999-01-01",
        "@99999999999",
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, WhenError::Future { text: text.to_owned() });
        assert!(error.to_string().starts_with(&format!("`{text}` is in the future")));
    }
}

#[test]
fn what_is_before_all_moments_is_the_first_of_them() {
    for text in ["0001-01-01", "1000 years ago", "@-99999999999"] {
        assert_eq!(parse(text).unwrap().moment, Moment(i64::MIN), "{text}");
    }
}

#[test]
fn what_is_not_understood_is_named_with_examples() {
    for text in [
        "",
        " ",
        "foo",
        "2026-13-40",
        "2026-02-30",
        "25:00",
        "1030",
        "2h",
        "ago",
        "hour ago",
        "p2d ago",
        "2 parsecs ago",
        "99999999 years ago",
        "mo",
        "mondayish",
        "last",
        "last week",
        "now 10:30",
        "2026-09-14T10:30[Europe/Berlin]",
        "2026-09-14é10:30",
        "@at",
        "..",
        "10:30 yesterday",
    ] {
        refuses(text, text);
    }
    refuses("Yesterday 25:00", "25:00");
    refuses("monday 10:30 sharp", "10:30 sharp");
    let error = parse("Yesterday 25:00").unwrap_err().to_string();
    assert!(error.starts_with("`25:00` in `Yesterday 25:00` is not understood"), "{error}");
    assert_eq!(error.matches('`').count(), 10, "three examples: {error}");
    let error = parse("Nonsense").unwrap_err().to_string();
    assert!(error.starts_with("`Nonsense` is not understood"), "{error}");
}

#[test]
fn every_example_in_an_error_is_understood() {
    for example in EXAMPLES.split('`').skip(1).step_by(2) {
        assert!(parse(example).is_ok(), "{example}");
    }
}

#[test]
fn names_have_a_fraction_only_where_it_is_needed() {
    assert_eq!(moment_name(at("2026-09-14T10:32:12Z")), "2026-09-14T103212Z");
    assert_eq!(moment_name(at("2026-09-14T10:32:12.5Z")), "2026-09-14T103212.5Z");
    assert_eq!(moment_name(at("2026-09-14T10:32:12.000000001Z")), "2026-09-14T103212.000000001Z");
    assert_eq!(moment_name(Moment(-1)), "1969-12-31T235959.999999999Z");
    assert_eq!(second_name(Moment(-1)), "1969-12-31T235959Z");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_read_back_to_its_nanosecond(nanos: i64, coarse in 0u32..=9) {
        // Every number of digits that a fraction can have.
        let unit = 10i64.pow(coarse);
        let moment = Moment(nanos / unit * unit);
        let found = parse_when(&moment_name(moment), Timestamp(i64::MAX), &berlin());
        prop_assert_eq!(found, Ok(When { moment, fixed: true }));
        prop_assert_eq!(second_name(moment).len(), 18);
        prop_assert_eq!(gmt_name(moment).len(), 24);
    }

    #[test]
    fn no_text_is_later_than_now_or_a_panic(
        text in prop_oneof![any::<String>(), "[@0-9a-z:. _+-]{0,30}", "[0-9]{1,18} ?(h|d|mo|y|weeks) ago", "(mon|yesterday|last fri)[ .-][0-9:.]{1,12}"],
        now: i64,
    ) {
        if let Ok(found) = parse_when(&text, Timestamp(now), &berlin()) {
            prop_assert!(found.moment <= Moment(now));
        }
    }
}

#[test]
fn people_see_their_own_time() {
    let moment = Moment(1_789_381_932_250_000_000);
    assert_eq!(local_name(moment, &Zone::UTC), "2026-09-14 10:32:12");
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    assert_eq!(local_name(moment, &zone), "2026-09-14 12:32:12");
}
