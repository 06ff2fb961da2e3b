//! Removing generations that are too old, and what only they needed.
//!
//! The manifest goes first: what is without one is no backup. What no manifest names goes last, so a run that is killed leaves too much, and the
//! next one finds it.

use super::catalog::{Catalog, PackLists};
use super::location::{Location, Object};
use super::make::UNFINISHED_NANOS_MAX;
use super::manifest::{GENERATIONS, Manifest};
use super::plan::{self, Age};
use super::{Error, Result};
use crate::model::Timestamp;
use crate::sys::{Task, failpoint};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;

/// Where the series lie.
const SERIES: &str = "series/";
/// What no manifest names is left alone for this time: a run that is under way, or that goes on with an unfinished full generation, may need it. Twice as
/// long as such a one is gone on with: it may have been begun by another machine's clock, and its last run takes its time.
const UNNAMED_AGE_MIN: Duration = Duration::from_nanos(2 * UNFINISHED_NANOS_MAX as u64);
/// Objects that are removed with one request, where a location can.
const DELETED_TOGETHER: usize = 500;

/// What is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Generations that stay.
    pub kept: Vec<String>,
    /// Generations that go, oldest first.
    pub removed: Vec<String>,
    /// Objects that no other generation needs.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Whether the plan was carried out.
    pub applied: bool,
}

/// Removes what is older than `keep` (`None`: nothing ever is); with `dry_run` only says what it would remove.
///
/// # Errors
/// `Refused` where the location lets nothing be deleted; then nothing was. A manifest that can't be read, or isn't found though it was listed, stops it all:
/// nobody knows what it needs.
pub fn prune(
    location: &Location,
    keep: Option<Duration>,
    dry_run: bool,
    now: Timestamp,
    task: &dyn Task,
) -> Result<Plan> {
    task.step("looking at what the location has");
    let catalog = Catalog::outline(location)?;
    refuse_unknown(location, &catalog)?;
    let ages = catalog
        .generations
        .iter()
        .map(|generation| Age { made: generation.made(), moment: generation.moment() });
    let kept = plan::plan(&ages.collect::<Vec<_>>(), keep, now);
    let (stay, go): (Vec<_>, Vec<_>) =
        catalog.generations.into_iter().zip(kept).partition(|(_, kept)| kept.is_some());
    let (stay, go): (Vec<Manifest>, Vec<Manifest>) =
        (stay.into_iter().map(|(m, _)| m).collect(), go.into_iter().map(|(m, _)| m).collect());
    let unneeded = unneeded(location, &stay, &go, now)?;
    let mut plan = Plan {
        kept: stay.into_iter().map(|generation| generation.generation).collect(),
        removed: go.iter().map(|generation| generation.generation.clone()).collect(),
        objects: unneeded.len() as u64,
        bytes: unneeded.iter().map(|object| object.len).sum(),
        applied: false,
    };
    if !dry_run {
        let manifests: Vec<String> = go.iter().map(Manifest::key).collect();
        apply(location, &manifests, &unneeded, task)?;
        plan.applied = true;
    }
    Ok(plan)
}

/// Of a manifest that can't be read nobody knows what it needs.
pub(super) fn refuse_unknown(location: &Location, catalog: &Catalog) -> Result<()> {
    if let Some((name, why)) = catalog.unreadable.first() {
        let why = format!("{why}; nothing is removed as long as it is there");
        return Err(Error::damaged(location.name(), &format!("{GENERATIONS}{name}.json"), &why));
    }
    if let Some(name) = catalog.vanished.first() {
        let why = format!(
            "{name} was listed and then not found: is it pruned from elsewhere? Nothing was removed; try again"
        );
        return Err(Error::Location { location: location.name().into(), why });
    }
    Ok(())
}

fn apply(
    location: &Location,
    manifests: &[String],
    unneeded: &[Object],
    task: &dyn Task,
) -> Result<()> {
    task.step("removing generations");
    failpoint::hit("prune-before-manifests");
    location.delete(manifests)?;
    failpoint::hit("prune-after-manifests");
    task.step("removing what nothing needs any more");
    for (batch, objects) in unneeded.chunks(DELETED_TOGETHER).enumerate() {
        if task.is_stopped() {
            return Err(Error::Stopped);
        }
        let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        location.delete(&keys)?;
        failpoint::hit("prune-after-objects");
        let done = (batch + 1) * DELETED_TOGETHER;
        task.progress(done.min(unneeded.len()) as u64, unneeded.len() as u64);
    }
    Ok(())
}

/// The objects that only generations need that go, or none at all for a while.
fn unneeded(
    location: &Location,
    stay: &[Manifest],
    go: &[Manifest],
    now: Timestamp,
) -> Result<Vec<Object>> {
    let mut lists = PackLists::new(location);
    let needed = needed(&mut lists, stay)?;
    let known_to_go = self::needed(&mut lists, go)?;
    let oldest = now.0.saturating_sub(UNNAMED_AGE_MIN.as_nanos() as i64);
    let is_old = |object: &Object| object.modified.is_some_and(|modified| modified.0 < oldest);
    let objects = location.list(SERIES)?;
    Ok(objects
        .into_iter()
        .filter(|object| !needed.contains(&object.key))
        .filter(|object| known_to_go.contains(&object.key) || is_old(object))
        .collect())
}

/// All objects that these generations need.
fn needed(lists: &mut PackLists<'_>, generations: &[Manifest]) -> Result<HashSet<String>> {
    let mut keys = HashSet::new();
    for generation in generations {
        keys.extend(generation.objects.iter().map(|object| generation.object_key(object)));
        for pack in lists.packs(generation)? {
            keys.extend(pack.parts.iter().map(|part| generation.part_key(pack.id(), part)));
        }
    }
    Ok(keys)
}
