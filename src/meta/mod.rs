//! The metadata: names, inodes, extents, chunks and attributes in SQLite. The only room that
//! speaks SQL.
//!
//! Live rows and ended rows are kept in tables of their own (`dentry` and `dentry_past`, …), so that
//! a million changes of history don't slow the live tree. Every row has a `since`, every ended
//! one an `until`: what held at moment T is the live rows with `since <= T` and the past rows with
//! `since <= T < until`.

mod check;
mod chunks;
mod counters;
mod database;
mod erase;
mod error;
mod extents;
mod fate;
mod freeze;
mod garbage;
mod header;
mod inodes;
mod jobs;
mod names;
mod parts;
mod past;
mod pins;
mod repair;
mod retention;
mod rewind;
mod schema;
mod scrub;
mod sealed;
mod statistics;
mod upkeep;
mod writer;
mod xattrs;

pub use check::{ChunkRow, CounterRow, ExtentRow, InodeRow, NameRow};
pub use counters::MOMENT_STEP_NANOS;
pub use database::{Meta, Tx, View};
pub use error::{Error, Result};
pub use fate::{Fate, PastState, Showing};
pub use freeze::Frozen;
pub use inodes::{Inode, Saved};
pub use jobs::{JobOutcome, JobRun, RUNS_KEPT};
pub use names::Dentry;
pub use parts::PackPart;
pub use past::{ContentState, FormerName, Period};
pub use pins::Pin;
pub use retention::{Holding, Kept, Place};
pub use scrub::{DamageRow, DamagedPack, ScrubRow, StoredAt};
pub use sealed::{PageKeys, oldest_epoch, rekey};
pub use statistics::Totals;
pub use upkeep::LastUpkeep;
pub use writer::Redo;
