//! What an administrator should worry about: the one place that asks everybody who may know of something.

use super::{backup, failed, jobs};
use crate::cli::{Exit, Failure};
use crate::config::Config;
use crate::fs::Volume;
use crate::jobs::{Concern, Scheduler, Severity};
use std::sync::Arc;

/// Everything to worry about, the worst first. `jobs`: what lets jobs run, in a daemon.
pub(super) fn concerns(
    volume: &Arc<Volume>,
    config: &Config,
    jobs: Option<&Scheduler>,
) -> Result<Vec<Concern>, Failure> {
    let mut concerns = match jobs {
        Some(scheduler) => scheduler.concerns(),
        None => jobs::recorded_concerns(volume, config)?,
    };
    concerns.extend(backup::concerns(&backup::places(volume, config)));
    concerns.extend(damage(volume)?);
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.severity));
    Ok(concerns)
}

/// That something can't be read, and could not be brought back.
fn damage(volume: &Volume) -> Result<Option<Concern>, Failure> {
    let cannot = |error| failed(Exit::Store, "cannot read", volume.store_path(), &error);
    let (chunks, since) = volume.damage_known().map_err(cannot)?;
    let plural = if chunks == 1 { "" } else { "s" };
    Ok((chunks > 0).then(|| Concern {
        severity: Severity::Critical,
        what: format!("{chunks} chunk{plural} of files can't be read, and no place has them whole"),
        since,
        advice: "`verso check` names the files; what is saved anew heals".to_owned(),
    }))
}
