//! The filesystem itself: inodes, handles, dirty data, names.

mod error;
mod types;
mod volume;

pub use error::{Error, Result};
pub use types::*;
pub use volume::Volume;
