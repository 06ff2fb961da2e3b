//! The filesystem itself: inodes, handles, dirty data, names.

mod acl;
mod attrs;
mod check;
mod commit;
mod dirs;
mod error;
mod freeze;
mod generation;
mod header;
mod history;
mod ingest;
mod io;
mod jobs;
mod keys;
mod names;
mod node;
mod options;
mod overlay;
mod recover;
mod recut;
mod rotate;
mod rules;
mod scrub;
mod seal;
mod space;
mod status;
mod store;
mod store_error;
mod sync;
mod told;
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
pub use freeze::Frozen;
pub use generation::accept_header;
pub use keys::{
    KeyInfo, NewKey, add_key, add_recovery_key, change_key, is_encrypted, keys, remove_key, unlock,
};
pub use options::{AtimeMode, VolumeOptions};
pub use rotate::rotate;
pub use scrub::{Budget, Damage, ScrubOptions, ScrubPlan, ScrubReport, Spare};
pub use status::{EncryptionStatus, LastUpkeep, ScrubStatus, Status};
pub use store::{CreateOptions, create_store, store_exists};
pub use store_error::StoreError;
pub use told::Told;
pub use types::*;
pub use upkeep::{
    ByRule, Coming, EraseReport, Going, Preview, Reason, Room, SpaceReport, UpkeepReport,
};
pub use volume::Volume;
