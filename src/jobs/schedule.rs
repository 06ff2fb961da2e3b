//! When a job is to run: never by itself, at an interval, or by a cron expression.

use crate::model::{Timestamp, Zone};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use std::fmt;
use std::time::Duration;

/// The shortest interval; less would be a loop.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// The longest one.
const EVERY_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
];

/// When a job is to run.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    when: When,
}

#[derive(Clone, Debug)]
enum When {
    Never,
    Every(Duration),
    Cron { cron: Box<Cron>, zone: Zone },
}

impl Schedule {
    /// Not by itself.
    pub fn never() -> Schedule {
        Schedule { text: "never".to_owned(), when: When::Never }
    }

    /// What `text` says: `never`, `every 6h`, or a cron expression of five fields whose times are those of `zone`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str, zone: &Zone) -> Result<Schedule, String> {
        let text = text.trim();
        let when = match text.strip_prefix("every ") {
            _ if text == "never" => When::Never,
            Some(interval) => When::Every(parse_interval(interval.trim()).ok_or_else(|| {
                format!("{text:?}: write a number and a unit after every, as in \"every 6h\"")
            })?),
            None => parse_cron(text, zone)?,
        };
        Ok(Schedule { text: text.to_owned(), when })
    }

    /// Whether it never comes by itself.
    pub fn is_never(&self) -> bool {
        matches!(self.when, When::Never)
    }

    /// Whether it is at an interval, and not at times of the calendar.
    pub fn is_interval(&self) -> bool {
        matches!(self.when, When::Every(_))
    }

    /// The first time after `moment`; `None`: never. A time that the clock leaps over in spring comes at the end of the
    /// leap; one that comes twice in autumn counts once.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Never => None,
            When::Every(interval) => Some(plus(moment, *interval)),
            When::Cron { cron, zone } => {
                let from = zoned(moment, zone)?;
                timestamp(&cron.find_next_occurrence(&from, false).ok()?)
            }
        }
    }

    /// The last time at `moment` or before; `None` where there is none. Of an interval it is one interval ago.
    pub fn before(&self, moment: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Never => None,
            When::Every(interval) => {
                Some(Timestamp(moment.0.saturating_sub_unsigned(nanos(*interval))))
            }
            When::Cron { cron, zone } => {
                let from = zoned(moment, zone)?;
                timestamp(&cron.find_previous_occurrence(&from, true).ok()?)
            }
        }
    }

    /// How long it is from one time to the next, around `moment`.
    pub fn gap(&self, moment: Timestamp) -> Option<Duration> {
        if let When::Every(interval) = self.when {
            return Some(interval);
        }
        let next = self.after(moment)?;
        let second = self.after(next)?;
        Some(Duration::from_nanos(second.0.abs_diff(next.0)))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn plus(moment: Timestamp, time: Duration) -> Timestamp {
    Timestamp(moment.0.saturating_add_unsigned(nanos(time)))
}

fn parse_interval(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let interval = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*millis)?);
    (EVERY_MIN..=EVERY_MAX).contains(&interval).then_some(interval)
}

fn parse_cron(text: &str, zone: &Zone) -> Result<When, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| {
        format!(
            "{text:?} is no schedule ({error}): write \"never\", \"every 6h\", or minute, hour, day, month and weekday, \
             as in \"30 1 * * *\""
        )
    })?;
    let when = When::Cron { cron: Box::new(cron), zone: zone.clone() };
    let schedule = Schedule { text: text.to_owned(), when };
    match schedule.after(Timestamp(0)) {
        Some(_) => Ok(schedule.when),
        None => Err(format!("{text:?}: there is no such day")),
    }
}

fn zoned(moment: Timestamp, zone: &Zone) -> Option<Zoned> {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(moment.0)).ok()?;
    Some(instant.to_zoned(zone.clone()))
}

fn timestamp(at: &Zoned) -> Option<Timestamp> {
    // A match in the second of its start has its fraction.
    let seconds = at.timestamp().as_second();
    seconds.checked_mul(1_000_000_000).map(Timestamp)
}
