//! The filesystem itself: inodes, handles, dirty data, names.

mod acl;
mod attrs;
mod check;
mod commit;
mod dirs;
mod error;
mod history;
mod ingest;
mod io;
mod names;
mod node;
mod options;
mod overlay;
mod recover;
mod recut;
mod rules;
mod seal;
mod space;
mod status;
mod store;
mod sync;
mod trail;
mod types;
mod upkeep;
mod volume;
mod workers;
mod xattrs;

#[cfg(test)]
mod tests;

pub use check::{CheckOptions, CheckProgress, CheckReport, Finding, Problem, Shown};
pub use error::{Error, Result};
pub use options::{AtimeMode, VolumeOptions};
pub use status::{LastUpkeep, Status};
pub use store::{CreateOptions, StoreError, create_store, store_exists};
pub use types::*;
pub use upkeep::{
    ByRule, Coming, EraseReport, Going, Preview, Reason, Room, SpaceReport, UpkeepReport,
};
pub use volume::Volume;
