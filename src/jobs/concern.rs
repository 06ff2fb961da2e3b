//! What an administrator should worry about.

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
