//! Who reads, and when: times as they stand on their clock.

use crate::model::{Moment, Zone, local_name};
use crate::recall::Users;

/// Seconds of each unit of an age, and what it is called.
const UNITS: [(i64, &str); 6] = [
    (365 * 86_400, "year"),
    (30 * 86_400, "month"),
    (7 * 86_400, "week"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
];

/// Who reads the output.
#[derive(Debug)]
pub struct Reader {
    /// The present moment.
    pub now: Moment,
    /// Their time zone.
    pub zone: Zone,
    /// Names of users.
    pub users: Users,
}

impl Reader {
    /// A moment in their time.
    pub(in crate::cli) fn time(&self, moment: Moment) -> String {
        local_name(moment, &self.zone)
    }

    /// How long ago a moment is, in the largest unit of which it is two or more.
    pub(in crate::cli) fn age(&self, moment: Moment) -> String {
        let seconds = self.now.0.saturating_sub(moment.0) / 1_000_000_000;
        match UNITS.iter().find(|(unit, _)| seconds >= 2 * unit) {
            Some((unit, name)) => format!("{} {name}s ago", seconds / unit),
            None if seconds >= 1 => format!("{seconds} s ago"),
            None => "now".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let now = Moment(1_790_000_000_000_000_000);
        let reader = Reader { now, zone: Zone::UTC, users: Users::default() };
        let age = |seconds: i64| reader.age(Moment(now.0 - seconds * 1_000_000_000));
        assert_eq!(age(0), "now");
        assert_eq!(age(-5), "now");
        assert_eq!(age(119), "119 s ago");
        assert_eq!(age(120), "2 minutes ago");
        assert_eq!(age(36 * 3600), "36 hours ago");
        assert_eq!(age(13 * 86_400), "13 days ago");
        assert_eq!(age(1000 * 86_400), "2 years ago");
    }
}
