//! Moments as people type them, and as directories are named after them.
//!
//! The time zone is given in: this room asks neither the clock nor the machine.

use super::{Moment, Timestamp};
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

/// The rules of a time zone. `Zone::system()` asks the machine and is for outer rooms.
pub use jiff::tz::TimeZone as Zone;

/// What a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// The moment.
    pub moment: Moment,
    /// Whether the text will go on meaning this moment (`2026-09-14T1030Z`), so that the answer may be
    /// remembered; `2h ago`, `yesterday` or today's date mean another one later.
    pub fixed: bool,
}

/// Why a text is not a moment whose state can be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// `part` of `text` is none of the known forms.
    #[error("{} is not understood; write for example {EXAMPLES}", quoted(.part, .text))]
    NotUnderstood {
        /// What was typed.
        text: String,
        /// The part of it that made no sense; often all of it.
        part: String,
    },
    /// The moment has not come yet.
    #[error("`{text}` is in the future; write for example {EXAMPLES}")]
    Future {
        /// What was typed.
        text: String,
    },
}

/// One of each kind: exact, by the calendar, by distance.
const EXAMPLES: &str = "`2026-09-14T1030`, `yesterday 10:30` or `2h ago`";

/// Names the part, and the whole where that is more.
fn quoted(part: &str, text: &str) -> String {
    if part == text { format!("`{text}`") } else { format!("`{part}` in `{text}`") }
}

/// Reads a moment in the past, or now, as typed by a person or used as the name of a directory.
///
/// Case does not matter. Between words `-`, `_` and `.` stand for spaces.
///
/// | form | means |
/// |---|---|
/// | `2026-09-14T10:30`, `2026-09-14 1030`, `20260914T103000` | local time in `zone`; seconds and up to nine digits of their fraction are optional |
/// | `2026-09-14T103212.5Z`, `2026-09-14T10:30+02:00` | the time at that offset |
/// | `2026-09-14` | the end of that day in `zone`; now, if it is today |
/// | `10:30`, `9.30`, `10:30Z` | today; yesterday, if that is still to come |
/// | `now`, `today`, `yesterday`, `monday`, `mon`, `last monday` | now; the end of that day, where a weekday is the last one before today |
/// | `yesterday 10:30`, `today at 9:05`, `monday 1030` | that time of that day |
/// | `2h ago`, `90 minutes ago`, `1h 30m ago`, `2 months ago`, `a week ago` | so much before `now`; days and longer by the calendar of `zone`; `m` is minutes |
/// | `@GMT-2026.09.14-10.32.12` | Samba's name for a snapshot: the end of that second, UTC |
/// | `@1789000000` | seconds since 1970, UTC |
///
/// A date alone means the *end* of the day, since that is what people ask: "how was it on Tuesday?" is
/// answered by the last state of Tuesday, which holds everything that was saved on that day. Its
/// beginning would show the state of Monday evening. Samba's names have no fraction and stand for their
/// second in the same way, so that [`gmt_name`] of a moment leads to what was saved at it.
///
/// A local time that occurs twice (clocks set back) is the first of the two, one that never was
/// (clocks set forward) is taken as if they had not been.
///
/// `now` is the latest moment there is: the clock, or the store's last moment where that is later. Moments
/// before 1678 are the earliest that there can be, which shows the same: nothing.
///
/// # Errors
/// What is not understood, and what is later than `now`.
pub fn parse_when(text: &str, now: Timestamp, zone: &Zone) -> Result<When, WhenError> {
    let asked = text.trim().to_ascii_lowercase();
    let now = instant(now.0);
    let point = Reader { now, zone }.read(&asked).map_err(|part| WhenError::NotUnderstood {
        text: text.to_owned(),
        part: if part == asked { text.to_owned() } else { part },
    })?;
    let (earliest, latest) = point.bounds;
    if earliest > now {
        return Err(WhenError::Future { text: text.to_owned() });
    }
    let fixed = point.fixed && latest <= now;
    Ok(When { moment: moment(latest.min(now)), fixed })
}

/// The canonical name of a moment: `2026-09-14T103212Z`, UTC, without characters that Windows forbids,
/// with as many digits of a fraction as it takes to be exact (`2026-09-14T103212.123456789Z`).
///
/// [`parse_when`] reads it back to the same nanosecond.
pub fn moment_name(moment: Moment) -> String {
    let nanos = utc(moment).subsec_nanosecond();
    let fraction = format!(".{nanos:09}");
    let fraction = if nanos == 0 { "" } else { fraction.trim_end_matches('0') };
    let whole = second_name(moment);
    format!("{}{fraction}Z", whole.trim_end_matches('Z'))
}

/// The second that a moment lies in: `2026-09-14T103212Z`, always 18 bytes.
pub fn second_name(moment: Moment) -> String {
    let at = utc(moment);
    let (date, time) = (at.date(), at.time());
    format!("{date}T{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second())
}

/// The second that a moment lies in, for people: `2026-09-14 12:32:12`, in the time of `zone`.
pub fn local_name(moment: Moment, zone: &Zone) -> String {
    zone.to_datetime(instant(moment.0)).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Samba's name for the second that a moment lies in: `@GMT-2026.09.14-10.32.12`, always 24 bytes.
pub fn gmt_name(moment: Moment) -> String {
    utc(moment).strftime("@GMT-%Y.%m.%d-%H.%M.%S").to_string()
}

/// The civil time of a moment in UTC.
fn utc(moment: Moment) -> DateTime {
    TimeZone::UTC.to_datetime(instant(moment.0))
}

/// Nanoseconds since 1970 as an instant.
fn instant(nanos: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(nanos))
        .expect("64 bits of nanoseconds lie within the years that jiff knows")
}

/// The moment of an instant that is not in the future.
fn moment(at: jiff::Timestamp) -> Moment {
    Moment(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MIN))
}

/// What a text stands for, before it is compared with now.
struct Point {
    /// The first and last instant of what was named: the same for a time, apart for a day. The last one
    /// that is not in the future is meant.
    bounds: (jiff::Timestamp, jiff::Timestamp),
    /// Whether the text names the same instants whenever it is asked.
    fixed: bool,
}

impl Point {
    fn exactly(at: jiff::Timestamp, fixed: bool) -> Point {
        Point { bounds: (at, at), fixed }
    }
}

/// Reads one text. Its methods return `None` for what is not of their form, and the part that was not
/// understood as an error.
struct Reader<'a> {
    now: jiff::Timestamp,
    zone: &'a TimeZone,
}

impl Reader<'_> {
    fn read(&self, text: &str) -> Result<Point, String> {
        let point = match text.strip_prefix('@') {
            Some(rest) => gmt(rest).or_else(|| epoch(rest)),
            None => self.iso(text).or_else(|| self.clock_today(text)),
        };
        match point {
            Some(point) => Ok(point),
            None => self.words(text),
        }
    }

    /// A date, or a date with a time.
    fn iso(&self, text: &str) -> Option<Point> {
        let joined = with_t(text);
        let pieces = pieces(&joined)?;
        let Some(time) = pieces.time() else { return self.day(pieces.date(), true) };
        let at = self.at(pieces.date(), time, pieces.to_numeric_offset().map(TimeZone::fixed))?;
        Some(Point::exactly(at, true))
    }

    /// A time without a date: the last time that it was that late.
    fn clock_today(&self, text: &str) -> Option<Point> {
        let (time, zone) = clock(text).filter(|_| text.contains([':', '.']))?;
        let today = zone.as_ref().unwrap_or(self.zone).to_datetime(self.now).date();
        let at = self.at(today, time, zone.clone())?;
        let at = if at > self.now { self.at(today.yesterday().ok()?, time, zone)? } else { at };
        Some(Point::exactly(at, false))
    }

    /// Everything that is written with words.
    fn words(&self, text: &str) -> Result<Point, String> {
        let spaced = spaced(text);
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let today = self.zone.to_datetime(self.now).date();
        let (day, rest) = match words.as_slice() {
            ["now"] => return Ok(Point::exactly(self.now, false)),
            [span @ .., "ago"] => return self.ago(span).ok_or_else(|| text.to_owned()),
            ["today", rest @ ..] => (Some(today), rest),
            ["yesterday", rest @ ..] => (today.yesterday().ok(), rest),
            ["last", day, rest @ ..] | [day, rest @ ..] => {
                let day = weekday(day).ok_or_else(|| text.to_owned())?;
                (today.nth_weekday(-1, day).ok(), rest)
            }
            [] => return Err(text.to_owned()),
        };
        let day = day.ok_or_else(|| text.to_owned())?;
        let rest = rest.strip_prefix(&["at"]).unwrap_or(rest);
        self.time_of(day, rest).ok_or_else(|| rest.join(" "))
    }

    /// A day, at the time that follows if there is one.
    fn time_of(&self, day: Date, rest: &[&str]) -> Option<Point> {
        match rest {
            [] => self.day(day, false),
            [time] => {
                let (time, zone) = clock(time)?;
                Some(Point::exactly(self.at(day, time, zone)?, false))
            }
            _ => None,
        }
    }

    /// A distance from now; the sum of several is fine (`1h 30m`).
    fn ago(&self, span: &[&str]) -> Option<Point> {
        let number = match *span.first()? {
            "a" | "an" | "one" => "1",
            other => other,
        };
        // What begins with a digit is neither signed nor of ISO's form (`P2D`).
        let span = format!("{number} {}", span[1..].join(" "));
        let span: Span =
            span.starts_with(|c: char| c.is_ascii_digit()).then_some(span)?.parse().ok()?;
        let at = self.now.to_zoned(self.zone.clone()).checked_sub(span).ok()?;
        Some(Point::exactly(at.timestamp(), false))
    }

    /// All of a day.
    fn day(&self, date: Date, fixed: bool) -> Option<Point> {
        let day = date.to_zoned(self.zone.clone()).ok()?;
        let first = day.start_of_day().ok()?.timestamp();
        Some(Point { bounds: (first, day.end_of_day().ok()?.timestamp()), fixed })
    }

    /// A time of a day in `zone`, or the reader's.
    fn at(&self, date: Date, time: Time, zone: Option<TimeZone>) -> Option<jiff::Timestamp> {
        let zone = zone.unwrap_or_else(|| self.zone.clone());
        Some(date.to_datetime(time).to_zoned(zone).ok()?.timestamp())
    }
}

/// `gmt-2026.09.14-10.32.12`: all of that second.
fn gmt(text: &str) -> Option<Point> {
    const DIGITS: &str = "YYYY.MM.DD-hh.mm.ss";
    let stamp = text.strip_prefix("gmt-").filter(|stamp| stamp.len() == DIGITS.len())?;
    let at = DateTime::strptime("%Y.%m.%d-%H.%M.%S", stamp).ok()?;
    let first = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let last = first.checked_add(1.second()).ok()?.checked_sub(1.nanosecond()).ok()?;
    Some(Point { bounds: (first, last), fixed: true })
}

/// Seconds since 1970.
fn epoch(text: &str) -> Option<Point> {
    let seconds = text.parse().ok().filter(|_| !text.starts_with('+'))?;
    Some(Point::exactly(jiff::Timestamp::from_second(seconds).ok()?, true))
}

/// A time of day and its zone, if it names one: `10:30`, `9.30`, `103012.5`, `10:30z`, `10:30+02:00`.
fn clock(text: &str) -> Option<(Time, Option<TimeZone>)> {
    // Where a colon can't be typed (names on Windows) people write `10.30`, as several languages do.
    let dotted = !text.contains(':') && text.find('.').is_some_and(|dot| dot <= 2);
    let text = if dotted { text.replace('.', ":") } else { text.to_owned() };
    let pad = if text.find(':') == Some(1) { "0" } else { "" };
    // A date makes it the form that `pieces` reads; which one does not matter.
    let joined = format!("2000-01-01T{pad}{text}");
    let pieces = pieces(&joined)?;
    Some((pieces.time()?, pieces.to_numeric_offset().map(TimeZone::fixed)))
}

/// The parts of an ISO 8601 text, which has no time zone in brackets (that would have to be looked up).
fn pieces(text: &str) -> Option<Pieces<'_>> {
    Pieces::parse(text).ok().filter(|pieces| pieces.time_zone_annotation().is_none())
}

/// `text` in upper case, as ISO 8601 has it, with a `T` where something else stands between a date and a time.
fn with_t(text: &str) -> String {
    const DATE_BYTES: usize = "2026-09-14".len();
    let mut bytes = text.to_ascii_uppercase().into_bytes();
    let time_follows = bytes.get(DATE_BYTES + 1).is_some_and(u8::is_ascii_digit);
    if let Some(between @ (b' ' | b'-' | b'_' | b'.')) = bytes.get_mut(DATE_BYTES)
        && time_follows
    {
        *between = b'T';
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// `text` with spaces for what stands for them in names. A dot between digits is part of a number.
fn spaced(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let space = |(at, c): (usize, char)| match c {
        '-' | '_' => ' ',
        '.' if !(digit(at.checked_sub(1)) && digit(Some(at + 1))) => ' ',
        other => other,
    };
    text.char_indices().map(space).collect()
}

/// A weekday by its English name or the first three letters or more of it.
fn weekday(word: &str) -> Option<Weekday> {
    const NAMES: [(&str, Weekday); 7] = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let named = |(name, _): &&(&str, Weekday)| word.len() >= 3 && name.starts_with(word);
    NAMES.iter().find(named).map(|(_, day)| *day)
}

#[cfg(test)]
mod tests;
