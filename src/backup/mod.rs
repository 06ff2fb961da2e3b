//! Backups: generations of a store at other places, made, verified, thinned out and restored.

mod directory;
mod error;
mod failure;
mod kind;
mod location;
mod remote;
mod uri;

pub use error::{Error, Result};
pub use location::{Location, Object, Patience};
pub use uri::{LocationSpec, option_is_secret};
