//! What an administrator should worry about.

use super::record::Record;
use crate::meta::JobOutcome;
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look into it.
    Warning,
    /// Something that people rely on doesn't hold now.
    Critical,
}

/// One thing to worry about; `verso status` has a line for each, and an exit code for any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// How much.
    pub severity: Severity,
    /// What is wrong, in a line.
    pub what: String,
    /// Since when, in nanoseconds since 1970, where that is known.
    pub since: Option<i64>,
    /// What to do about it.
    pub advice: String,
}

/// The jobs of these names whose last run failed, as the record says.
pub fn failures<'a>(record: &dyn Record, names: impl Iterator<Item = &'a str>) -> Vec<Concern> {
    let last = |name: &str| record.runs(name, 1).ok().and_then(|runs| runs.into_iter().next());
    names
        .filter_map(|name| Some((name, last(name)?)))
        .filter(|(_, run)| run.outcome == JobOutcome::Failed)
        .map(|(name, run)| failed(name, run.begun, run.error.as_deref()))
        .collect()
}

/// That a job failed when it last ran.
pub(super) fn failed(name: &str, begun: Timestamp, error: Option<&str>) -> Concern {
    let error = error.unwrap_or("nobody knows why");
    Concern {
        severity: Severity::Warning,
        what: format!("job {name} failed: {error}"),
        since: Some(begun.0),
        advice: format!("`verso jobs log {name}`; once it is mended: `verso jobs run {name}`"),
    }
}
