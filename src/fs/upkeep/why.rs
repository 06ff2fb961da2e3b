//! Why something of the past is still there, and until when.

use super::retention::{Name, Shown, plan_name};
use super::terms::Terms;
use crate::fs::history::Numbered;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::View;
use crate::model::{Ino, Moment, Until};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// What no rule drops, and goes since nobody can get to it.
pub(super) const NO_WAY: &str = "its folder is gone";

/// What retention says about one content that a name showed. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The number of the version, as in its name in `.versions`; 0 for what has none, such as a folder that is there.
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
    /// What retention says about everything that the name at `path` showed, and about what its file was under earlier
    /// names, the oldest first. `path` is from the drive's root, and may be one that is deleted.
    pub fn why(&self, path: &[u8]) -> Result<Vec<Reason>> {
        let terms = self.terms(None);
        self.meta.snapshot(|view| {
            let name = find_name(view, path)?.ok_or(Error::NotFound)?;
            let mut listed: HashMap<Content, Vec<Numbered>> = HashMap::new();
            for version in self.numbered_versions(view, name.0, &name.1)? {
                listed.entry((version.ino, version.content_since)).or_default().push(version);
            }
            let plan = plan_name(view, &terms, &name)?;
            let mut reasons: Vec<Reason> = Vec::new();
            for shown in plan.shown.iter().filter(|shown| shown.is_version) {
                let same = listed.get_mut(&(shown.ino, shown.content_since));
                let number = same.and_then(|same| take_number(same, shown));
                let number = number.unwrap_or(shown.number);
                reasons.push(Reason { number, ..reason(shown) });
            }
            reasons.extend(reasons_elsewhere(view, &terms, listed)?);
            reasons.sort_by_key(|reason| reason.began);
            Ok(reasons)
        })
    }
}

/// An inode, and from when it had a content.
type Content = (Ino, Moment);

/// The number of the version as which the name showed it, which is taken out.
fn take_number(versions: &mut Vec<Numbered>, shown: &Shown) -> Option<u64> {
    let is_same = |version: &Numbered| {
        version.ended.is_none_or(|ended| shown.life.began < ended)
            && shown.life.ended.is_none_or(|ended| version.began < ended)
    };
    let at = versions.iter().position(is_same)?;
    Some(versions.remove(at).number)
}

/// What is said about versions that their files had under other names.
fn reasons_elsewhere(
    view: &View<'_>,
    terms: &Terms<'_>,
    mut versions: HashMap<Content, Vec<Numbered>>,
) -> Result<Vec<Reason>> {
    versions.retain(|_, versions| !versions.is_empty());
    let mut names: BTreeSet<Name> = BTreeSet::new();
    for ino in versions.keys().map(|(ino, _)| *ino).collect::<BTreeSet<Ino>>() {
        names.extend(view.lost_names_of(ino)?);
    }
    let mut reasons: Vec<Reason> = Vec::new();
    for name in names {
        for shown in &plan_name(view, terms, &name)?.shown {
            let same = versions.get_mut(&(shown.ino, shown.content_since));
            let number = same.and_then(|same| take_number(same, shown));
            reasons.extend(number.map(|number| Reason { number, ..reason(shown) }));
        }
    }
    Ok(reasons)
}

fn reason(shown: &Shown) -> Reason {
    let until = match shown.verdict.until() {
        Some(Until::At(at)) => Some(at.0),
        Some(Until::Live | Until::Forever) | None => None,
    };
    let rules = match shown.is_lost() {
        true => vec![NO_WAY.to_owned()],
        false => shown.verdict.rules().map(|rule| rule.to_string()).collect(),
    };
    Reason {
        number: shown.number,
        began: shown.life.began.0,
        ended: shown.life.ended.map(|ended| ended.0),
        bytes: shown.life.bytes,
        kept: shown.is_kept,
        rules,
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
