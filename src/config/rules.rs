//! `[[rule]]`: what holds for some paths only; and the names that make no versions.

use super::resolve::{Broken, broken, resolve_slot, within};
use super::{raw, retention};
use crate::model::{PathRule, RuleError, Rules};

pub(super) fn resolve(never: &[String], raw: &[raw::Rule]) -> Result<Rules, Broken> {
    let mut rules = Vec::new();
    for (at, rule) in raw.iter().enumerate() {
        rules.push(one(rule).map_err(|broken| Broken { rule: Some(at), ..broken })?);
    }
    Rules::new(never.to_vec(), rules).map_err(|RuleError { rule, is_path, message }| {
        let key = match (rule, is_path) {
            (_, true) => "rule.paths",
            (Some(_), false) => "rule.never",
            (None, false) => "history.never",
        };
        Broken { key, rule, message }
    })
}

fn one(raw: &raw::Rule) -> Result<PathRule, Broken> {
    if raw.paths.is_empty() {
        return broken("rule.paths", "names no path");
    }
    let thinning = raw.thinning.as_ref().map(|texts| retention::steps("rule.thinning", texts));
    let any = 1..=u64::MAX;
    let versions =
        raw.versions_max.map(|max| within("rule.versions_max", max, any.clone(), "at least 1"));
    let bytes = raw.bytes_max.map(|max| within("rule.bytes_max", max.0, any, "at least 1B"));
    let rule = PathRule {
        paths: raw.paths.clone(),
        floor: raw.floor.map(|time| retention::floor("rule.floor", time.0)).transpose()?,
        thinning: thinning.transpose()?,
        versions_max: versions.transpose()?,
        bytes_max: bytes.transpose()?,
        slot: raw.slot.map(|time| resolve_slot("rule.slot", time.0)).transpose()?,
        never: raw.never.clone(),
    };
    if rule == (PathRule { paths: raw.paths.clone(), ..PathRule::default() }) {
        return broken("rule.paths", "says nothing of these paths");
    }
    Ok(rule)
}
