//! The retention contract: which versions are kept, by which rule, and until when.
//!
//! A plan is a pure function of a history, a policy, the pins and the present. What it says about a
//! version rests on clock-fixed periods and not on when it is asked, so that it can be carried out often or
//! seldom, or be interrupted, and comes to the same (see [`plan`]).

use super::{Moment, Timestamp};
use std::fmt;
use std::time::Duration;

/// The time in which one version was what its name showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it appeared.
    pub began: Moment,
    /// When it was superseded or deleted, later than `began`; `None` while it is live.
    pub ended: Option<Moment>,
    /// What counts against [`Policy::bytes_max`].
    pub bytes: u64,
}

impl Life {
    /// Whether this was the state at `moment`.
    pub fn shows(&self, moment: Moment) -> bool {
        self.began <= moment && self.ended.is_none_or(|ended| moment < ended)
    }
}

/// What is kept in one stage of thinning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every version.
    All,
    /// Of each period the last version that was current in it. Periods are fixed: whole multiples counted
    /// from a Monday at midnight, UTC. A period of 0 keeps all.
    LastOf(Duration),
}

/// One stage of thinning.
///
/// Stages don't exclude each other: what any of them keeps is kept. With periods that divide each other
/// (hours, days, weeks) the last of a week is the last of its day and hour, and nothing is kept twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Up to which age: of a version since its end, for [`Keep::All`], and of a period since its end
    /// otherwise. `None`: for ever.
    pub age_max: Option<Duration>,
    /// What is kept of what is younger.
    pub keep: Keep,
}

/// What a store promises to keep, and what it wants to be rid of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Every moment as far back as this can be opened.
    pub floor: Duration,
    /// What is kept beyond the floor. Nothing, if there is no step; everything for ever, with a step that
    /// keeps all without an age.
    pub thinning: Vec<Step>,
    /// At most so many versions, the live one included.
    pub versions_max: Option<u64>,
    /// At most so many bytes in all versions.
    pub bytes_max: Option<u64>,
}

impl Default for Policy {
    /// 30 days of everything; beyond it the last of each week.
    fn default() -> Policy {
        let step = |days: u32, keep| Step { age_max: Some(DAY * days), keep };
        Policy {
            floor: DAY * 30,
            thinning: vec![
                step(1, Keep::All),
                step(7, Keep::LastOf(HOUR)),
                step(30, Keep::LastOf(DAY)),
                Step { age_max: None, keep: Keep::LastOf(WEEK) },
            ],
            versions_max: None,
            bytes_max: None,
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// The first Monday of 1970, in nanoseconds: from here periods are counted, so that weeks begin on Mondays.
const MONDAY: i64 = 4 * 24 * 3600 * 1_000_000_000;

impl Policy {
    /// Of the moments around `asked` for which this policy keeps the whole tree: `asked` itself within the
    /// floor (and where all is kept); beyond it the last instant of the shortest period that
    /// contains it and is kept. `None` beyond every rule.
    ///
    /// At the end of a period every name shows what it showed then, so the tree as a whole is as it was; within
    /// it some have been thinned and others not. Limits by count or bytes may still leave gaps.
    pub fn whole_at(&self, asked: Moment, now: Timestamp) -> Option<Moment> {
        let now = Moment(now.0);
        if asked >= now || now < later(asked, self.floor) {
            return Some(asked);
        }
        let ends = self.thinning.iter().filter_map(|step| {
            let end = step.period().map_or(asked, |period| Moment(period_end(asked, period).0 - 1));
            step.age_max.is_none_or(|age| now < later(end, age)).then_some(end)
        });
        ends.min().map(|end| end.min(now))
    }

    /// Whether this policy keeps everything that was there at `moment`: then what is not there was not.
    pub fn is_whole_at(&self, moment: Moment, now: Timestamp) -> bool {
        moment.0 >= now.0
            || moment > self.horizon(now)
            || (!self.has_limits() && self.whole_at(moment, now) == Some(moment))
    }

    /// What ended after this is kept in any case.
    pub fn horizon(&self, now: Timestamp) -> Moment {
        Moment(now.0.saturating_sub(nanos(self.floor)))
    }

    fn has_limits(&self) -> bool {
        self.versions_max.is_some() || self.bytes_max.is_some()
    }
}

impl Step {
    /// The length of a period in nanoseconds; `None` where all is kept.
    fn period(&self) -> Option<i64> {
        match self.keep {
            Keep::LastOf(period) if !period.is_zero() => Some(nanos(period)),
            _ => None,
        }
    }

    /// Until when this step keeps a version that ended at `ended`, and whose successor (in the same
    /// history) began at `next`. `None` if it does not keep it at any time.
    fn until(&self, life: &Life, ended: Moment, next: Option<Moment>) -> Option<Until> {
        let from = match self.period() {
            None => ended,
            Some(period) => last_won(life.began, ended, next, period)?,
        };
        Some(self.age_max.map_or(Until::Forever, |age| Until::At(later(from, age))))
    }
}

/// The end of the last period that a version won: in which it was current, and nothing after it.
/// (It won those before as well, down to the one that it began in; the last one is kept longest.)
fn last_won(began: Moment, ended: Moment, next: Option<Moment>, period: i64) -> Option<Moment> {
    // The period of the last instant, unless the successor began in it: then the one before.
    let end = period_end(Moment(ended.0 - 1), period);
    let end = match next {
        Some(next) if next < end => Moment(period_end(next, period).0.saturating_sub(period)),
        _ => end,
    };
    (began < end).then_some(end)
}

/// The first instant after the period in which `at` lies.
fn period_end(at: Moment, period: i64) -> Moment {
    let number = at.0.saturating_sub(MONDAY).div_euclid(period);
    Moment(number.saturating_add(1).saturating_mul(period).saturating_add(MONDAY))
}

/// `after` later than `at`; the end of time if there is no such moment.
fn later(at: Moment, after: Duration) -> Moment {
    Moment(at.0.saturating_add(nanos(after)))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Why a version is kept, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is what the name shows now.
    Live,
    /// It was current at a moment that is pinned.
    Pinned,
    /// It was current within the floor.
    Floor(Duration),
    /// A step keeps everything up to this age (`None`: of any age).
    All(Option<Duration>),
    /// It is the last of a period of this length.
    LastOf(Duration),
    /// No rule keeps it any more.
    BeyondEveryRule,
    /// Newer ones fill the number of versions.
    OverVersions(u64),
    /// Newer ones fill the number of bytes.
    OverBytes(u64),
    /// Its name makes no versions.
    NoVersions,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Live => write!(f, "live"),
            Rule::Pinned => write!(f, "pinned"),
            Rule::Floor(floor) => write!(f, "within the floor of {}", Length(*floor)),
            Rule::All(Some(age)) => write!(f, "within {}, when all is kept", Length(*age)),
            Rule::All(None) => write!(f, "all is kept for ever"),
            Rule::LastOf(period) => match Length(*period).unit() {
                (1, unit) => write!(f, "newest of its {unit}"),
                _ => write!(f, "newest of its {}", Length(*period)),
            },
            Rule::BeyondEveryRule => write!(f, "beyond every rule"),
            Rule::OverVersions(1) => write!(f, "over the limit of 1 version"),
            Rule::OverVersions(max) => write!(f, "over the limit of {max} versions"),
            Rule::OverBytes(max) => write!(f, "over the limit of {max} bytes"),
            Rule::NoVersions => write!(f, "its name makes no versions"),
        }
    }
}

/// A duration as people say it: in the largest unit that it is a whole number of. Days are not made into
/// weeks but for 7: promises are given in days.
struct Length(Duration);

impl Length {
    fn unit(&self) -> (u128, &'static str) {
        const UNITS: [(Duration, &str); 5] = [
            (DAY, "day"),
            (HOUR, "hour"),
            (Duration::from_secs(60), "minute"),
            (Duration::from_secs(1), "second"),
            (Duration::from_nanos(1), "nanosecond"),
        ];
        if self.0 == WEEK {
            return (1, "week");
        }
        let whole = |(unit, _): &&(Duration, _)| self.0.as_nanos().is_multiple_of(unit.as_nanos());
        let (unit, name) = UNITS.iter().find(whole).expect("a nanosecond divides everything");
        (self.0.as_nanos() / unit.as_nanos(), name)
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = self.unit();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

/// The earliest instant at which a version could go, as things stand. Ordered by how long that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// From this moment on.
    At(Moment),
    /// As long as it is live; what comes then depends on when that ends.
    Live,
    /// Never, by this policy and these pins.
    Forever,
}

/// A rule that keeps a version, and how long it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The rule.
    pub rule: Rule,
    /// Until when.
    pub until: Until,
}

/// What becomes of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays: all rules that keep it, never none. First those that no limit overrides (live,
    /// pinned, floor), then the steps in their order.
    Kept(Vec<Hold>),
    /// It goes.
    Dropped(Rule),
}

impl Verdict {
    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        matches!(self, Verdict::Kept(_))
    }

    /// All rules that keep it, or the one that lets it go.
    pub fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        let (holds, dropped) = match self {
            Verdict::Kept(holds) => (holds.as_slice(), None),
            Verdict::Dropped(rule) => (&[][..], Some(*rule)),
        };
        holds.iter().map(|hold| hold.rule).chain(dropped)
    }

    /// The rule to name if only one can be named.
    pub fn rule(&self) -> Rule {
        match self {
            Verdict::Kept(holds) => holds.first().map_or(Rule::BeyondEveryRule, |hold| hold.rule),
            Verdict::Dropped(rule) => *rule,
        }
    }

    /// When the last of the rules lets go of it; `None` for what goes now.
    pub fn until(&self) -> Option<Until> {
        match self {
            Verdict::Kept(holds) => holds.iter().map(|hold| hold.until).max(),
            Verdict::Dropped(_) => None,
        }
    }

    /// Whether a limit may take it all the same.
    fn is_limited(&self) -> bool {
        match self {
            Verdict::Kept(holds) => holds
                .iter()
                .all(|hold| !matches!(hold.rule, Rule::Live | Rule::Pinned | Rule::Floor(_))),
            Verdict::Dropped(_) => false,
        }
    }
}

/// Decides about every version of one history at `now`; one verdict each, in the same order.
///
/// `history` is sorted by beginning, and no two versions are current at once. It need not be whole: what
/// an earlier plan has dropped may be missing.
///
/// - What is live or pinned stays.
/// - *The floor*: a version is needed while its end is younger than the floor. Its beginning does not matter: what was
///   saved a year ago and replaced yesterday is what most of the last 30 days looked like.
/// - *Thinning* keeps what any step keeps.
/// - *Limits* take the oldest first, of what only thinning keeps, until the rest fits; the floor, pins and
///   what is live are counted but never taken.
///
/// Without limits the result does not depend on how often plans are carried out: which version is the last of
/// its period is a fact of history, a period is kept from its first instant until its age is over, and so a
/// plan at one time and another one later leave what the later one alone would have left. Limits
/// depend on what else there is at the time; with them frequent plans may leave less than one late plan
/// would, never more.
pub fn plan(history: &[Life], policy: &Policy, pins: &[Moment], now: Timestamp) -> Vec<Verdict> {
    debug_assert!(history.is_sorted_by_key(|life| life.began));
    let now = Moment(now.0);
    let mut pins = pins.to_vec();
    pins.sort_unstable();
    let next = |at: usize| history.get(at + 1).map(|life| life.began);
    let mut verdicts: Vec<Verdict> = history
        .iter()
        .enumerate()
        .map(|(at, life)| Plan { policy, pins: &pins, now }.judge(life, next(at)))
        .collect();
    limit(history, policy, &mut verdicts);
    verdicts
}

/// Decides about the history of a name that makes no versions: only what is live stays. One verdict each, in the same
/// order.
pub fn plan_without_versions(history: &[Life]) -> Vec<Verdict> {
    let judge = |life: &Life| match life.ended {
        None => Verdict::Kept(vec![Hold { rule: Rule::Live, until: Until::Live }]),
        Some(_) => Verdict::Dropped(Rule::NoVersions),
    };
    history.iter().map(judge).collect()
}

/// What all versions of a history are judged by.
struct Plan<'a> {
    policy: &'a Policy,
    /// Sorted.
    pins: &'a [Moment],
    now: Moment,
}

impl Plan<'_> {
    /// The verdict on one version, before limits.
    fn judge(&self, life: &Life, next: Option<Moment>) -> Verdict {
        let mut holds = Vec::new();
        if life.ended.is_none() {
            holds.push(Hold { rule: Rule::Live, until: Until::Live });
        }
        let pin = self.pins.partition_point(|pin| *pin < life.began);
        if self.pins.get(pin).is_some_and(|pin| life.shows(*pin)) {
            holds.push(Hold { rule: Rule::Pinned, until: Until::Forever });
        }
        if let Some(ended) = life.ended {
            self.by_age(life, ended, next, &mut holds);
        }
        if holds.is_empty() {
            Verdict::Dropped(Rule::BeyondEveryRule)
        } else {
            Verdict::Kept(holds)
        }
    }

    /// The rules by age that still keep what is over.
    fn by_age(&self, life: &Life, ended: Moment, next: Option<Moment>, holds: &mut Vec<Hold>) {
        let floor = Until::At(later(ended, self.policy.floor));
        holds.push(Hold { rule: Rule::Floor(self.policy.floor), until: floor });
        for step in &self.policy.thinning {
            let Some(until) = step.until(life, ended, next) else { continue };
            let rule = match step.keep {
                Keep::LastOf(period) if !period.is_zero() => Rule::LastOf(period),
                _ => Rule::All(step.age_max),
            };
            holds.push(Hold { rule, until });
        }
        holds.retain(|hold| hold.until > Until::At(self.now));
        if self.policy.has_limits() {
            // The next version can push it over a limit as soon as the floor lets go of it.
            let thinned = |hold: &&mut Hold| matches!(hold.rule, Rule::All(_) | Rule::LastOf(_));
            holds.iter_mut().filter(thinned).for_each(|hold| hold.until = Until::At(self.now));
        }
    }
}

/// Takes back what is over the limits.
fn limit(history: &[Life], policy: &Policy, verdicts: &mut [Verdict]) {
    let kept = || history.iter().zip(verdicts.iter()).filter(|(_, verdict)| verdict.is_kept());
    let mut versions = kept().count() as u64;
    let mut bytes = kept().fold(0u64, |sum, (life, _)| sum.saturating_add(life.bytes));
    for (life, verdict) in history.iter().zip(verdicts) {
        let rule = match (policy.versions_max, policy.bytes_max) {
            (Some(max), _) if versions > max => Rule::OverVersions(max),
            (_, Some(max)) if bytes > max => Rule::OverBytes(max),
            _ => return,
        };
        if verdict.is_limited() {
            *verdict = Verdict::Dropped(rule);
            versions -= 1;
            bytes = bytes.saturating_sub(life.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
