//! Projects as a whole: listed, archived, exported, imported, deleted.
//!
//! A project is a directory right below `projects/`, or one that was archived to `archived/YEAR/MONTH/ID`. Everything here
//! goes through a [`Tree`](crate::recall::Tree), so it works on a mounted drive with the rights of whoever asks, and on a
//! store that is open in this process.

mod archive;
mod error;
mod export;
mod import;
mod members;
mod note;
mod plan;
mod project;
mod receive;
mod remove;
mod survey;

#[cfg(test)]
mod tests;

pub use archive::{Archived, Order, Unarchived, Unless, archive, unarchive};
pub use error::{Error, Result};
pub use export::{Compression, Destination, Exported, export};
pub use import::{Source, import, import_name};
pub use note::By;
pub use plan::{KEEP_TAG, Planned, Step, carry_out, plan};
pub use project::{Filter, Place, Project, Status, archived, find, list};
pub use receive::Imported;
pub use remove::remove;
pub use survey::{Survey, survey};

/// Where the projects are that are being worked on.
pub const PROJECTS: &str = "projects";
/// Where the others are, by year and month.
pub const ARCHIVED: &str = "archived";
/// How the names of what is not finished begin.
const UNFINISHED: &str = ".verso~";
