//! `[retention]`: what of the past is kept.

use super::resolve::{Broken, broken, within};
use super::{raw, units};
use crate::model::{Keep, Policy, Step};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// How long anything can be asked to be kept but for ever.
const AGE_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);
const KEEPS: [(&str, Keep); 4] = [
    ("all", Keep::All),
    ("hourly", Keep::LastOf(HOUR)),
    ("daily", Keep::LastOf(Duration::from_secs(24 * 3600))),
    ("weekly", Keep::LastOf(Duration::from_secs(7 * 24 * 3600))),
];

/// `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// What is kept, and for how long.
    pub policy: Policy,
    /// How long what nothing names stays before it is removed.
    pub grace: Duration,
}

pub(super) fn resolve(raw: &raw::Retention) -> Result<RetentionConfig, Broken> {
    let ages = Duration::ZERO..=AGE_MAX;
    let floor = floor("retention.floor", raw.floor.0)?;
    if raw.interval.is_some() {
        let message = "is now jobs.retention: in [jobs], retention = \"every 6h\" (or \"never\", or a cron expression)";
        return broken("retention.interval", message);
    }
    let grace = within("retention.grace", raw.grace.0, ages, "at most 365000d")?;
    let thinning = steps("retention.thinning", &raw.thinning)?;
    let policy = Policy { floor, thinning, versions_max: None, bytes_max: None };
    Ok(RetentionConfig { policy, grace })
}

/// What is kept beyond the floor, as the setting `key` says.
pub(super) fn steps(key: &'static str, texts: &[String]) -> Result<Vec<Step>, Broken> {
    texts
        .iter()
        .map(|text| step(text).map_err(|message| Broken { key, rule: None, message }))
        .collect()
}

/// A floor that can be kept.
pub(super) fn floor(key: &'static str, floor: Duration) -> Result<Duration, Broken> {
    within(key, floor, Duration::ZERO..=AGE_MAX, "at most 365000d")
}

/// `weekly`, or `daily 30d`: what is kept, and up to which age.
fn step(text: &str) -> Result<Step, String> {
    let wrong = || {
        let hint =
            "write all, hourly, daily or weekly, and how long if not for ever: \"daily 90d\"";
        Err(format!("{text:?} is no step; {hint}"))
    };
    let (name, age) = text.split_once(' ').map_or((text, None), |(name, age)| (name, Some(age)));
    let Some((_, keep)) = KEEPS.iter().find(|(known, _)| *known == name) else { return wrong() };
    let age_max = match age.map(|age| units::parse_time(age.trim())) {
        None => None,
        Some(Some(age)) if age <= AGE_MAX => Some(age),
        Some(_) => return wrong(),
    };
    Ok(Step { age_max, keep: *keep })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_the_contract() {
        assert_eq!(resolve(&raw::Retention::default()).unwrap().policy, Policy::default());
    }

    #[test]
    fn steps_say_what_and_for_how_long() {
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(step("weekly").unwrap(), Step { age_max: None, keep: Keep::LastOf(day * 7) });
        assert_eq!(step("all 2d").unwrap(), Step { age_max: Some(day * 2), keep: Keep::All });
        for wrong in ["", "monthly", "daily 3", "daily -3d", "daily 3d 4d", "all 99999999d"] {
            assert!(step(wrong).unwrap_err().contains("is no step"), "{wrong:?}");
        }
    }
}
