//! Backups: generations of a store at other places, made, verified, thinned out and restored.

mod blocks;
mod catalog;
mod damaged;
mod directory;
mod download;
mod drill;
mod error;
mod failure;
mod kind;
mod location;
mod make;
mod manifest;
mod packs;
mod parallel;
mod parts;
mod plan;
mod prune;
mod remote;
mod restore;
mod stream;
#[cfg(test)]
mod tests;
mod upload;
mod uri;
mod verify;

pub use catalog::{Catalog, find, newest, owner, refuse_foreign};
pub use download::Download;
pub use drill::{Drilled, Sample, compare};
pub use error::{Error, Result};
pub use kind::location_options;
pub use location::{Location, Object, Patience};
pub use make::{Made, MakeOptions, make, would_send};
pub use manifest::{Block, Manifest, Pack, Part, StoredFile};
pub use packs::RemotePacks;
pub use plan::{Age, Kept, plan};
pub use prune::{Plan, prune};
pub use restore::{Restored, prepare, restore};
pub use upload::Upload;
pub use uri::{LocationSpec, option_is_secret};
pub use verify::{Fault, Verified, verify};
