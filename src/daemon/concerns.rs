//! What an administrator should worry about: the one place that asks everybody who may know of something.

use super::{backup, jobs};
use crate::cli::Failure;
use crate::config::Config;
use crate::fs::Volume;
use crate::jobs::{Concern, Scheduler};
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
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.severity));
    Ok(concerns)
}
