//! Why something of the past is still there, and until when.

use super::retention::{Name, Shown, plan_name};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::View;
use crate::model::{Ino, Until};
use serde::{Deserialize, Serialize};

/// What retention says about one content that a name showed. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The number of the content, as in the names of versions; 0 for what has none, such as a folder.
    pub number: u64,
    /// From when the name showed it.
    pub began: i64,
    /// Until when; none: it still does.
    pub ended: Option<i64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it stays.
    pub kept: bool,
    /// The rules that keep it, or the one that lets it go.
    pub rules: Vec<String>,
    /// When the last of these rules lets go of it; none: never, as things are.
    pub until: Option<i64>,
}

impl Volume {
    /// What retention says about everything that the name at `path` showed, the oldest first. `path` is from the drive's
    /// root, and may be one that is deleted.
    pub fn why(&self, path: &[u8]) -> Result<Vec<Reason>> {
        let terms = self.terms(&self.options.retention);
        self.meta.snapshot(|view| {
            let name = find_name(view, path)?.ok_or(Error::NotFound)?;
            let plan = plan_name(view, &terms, &name)?;
            Ok(plan.shown.iter().filter(|shown| shown.is_version).map(reason).collect())
        })
    }
}

fn reason(shown: &Shown) -> Reason {
    let until = match shown.verdict.until() {
        Some(Until::At(at)) => Some(at.0),
        Some(Until::Live | Until::Forever) | None => None,
    };
    Reason {
        number: shown.number,
        began: shown.life.began.0,
        ended: shown.life.ended.map(|ended| ended.0),
        bytes: shown.life.bytes,
        kept: shown.is_kept,
        rules: shown.verdict.rules().map(|rule| rule.to_string()).collect(),
        until,
    }
}

/// The directory and the name that a path leads to, or led to: each of its directories as it is, or else as it was last.
pub(super) fn find_name(view: &View<'_>, path: &[u8]) -> Result<Option<Name>> {
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let Some(mut name) = names.next() else { return Ok(None) };
    let mut dir = Ino::ROOT;
    for next in names {
        let Some(last) = view.name_periods(dir, name)?.pop() else { return Ok(None) };
        (dir, name) = (last.ino, next);
    }
    let is_known = !view.name_periods(dir, name)?.is_empty();
    Ok(is_known.then(|| (dir, name.to_vec())))
}
