//! History as people see it: `.versions`, a directory that answers in every directory and is listed in none.
//!
//! Everything in it is a *view*: an inode that exists while the kernel knows it, and that stands for what the
//! metadata recorded. Nothing is copied, and nothing can be changed (`EROFS`), but that what was deleted can be moved out.
//!
//! | path below a directory | shows | file |
//! |---|---|---|
//! | `.versions/` | `@at`, `@deleted`, and a directory for each name that was there | `lookup.rs`, `list.rs` |
//! | `.versions/NAME/` | the versions of a name; of folders each one that is gone | `versions.rs` |
//! | `.versions/NAME/moved-…` | where it went that was moved away, a symbolic link | `moved.rs` |
//! | `.versions/@at/WHEN/` | the directory as it was | `moments.rs` which are listed |
//! | `.versions/@deleted/` | what was deleted, as it was before that began | `deleted.rs` |
//! | `.versions/@pins/NAME/` | the directory as it was at a moment that is kept by name | `told.rs` makes them |
//! | `.versions/@GMT-…/` | the same as `@at`, for Samba | |
//!
//! `table.rs` numbers of views, and how long they live · `known.rs` what is left of the past, and which moments can be shown ·
//! `attrs.rs` attributes · `access.rs` who may read
//! them · `read.rs` contents ·
//! `numbered.rs` the numbers of versions · `told.rs` extended attributes of what lives · `undelete.rs` moving out of `@deleted`.

mod access;
mod attrs;
mod deleted;
mod known;
mod list;
mod lookup;
mod moments;
mod moved;
mod numbered;
mod read;
mod table;
mod told;
mod undelete;
mod versions;

pub(super) use lookup::HISTORY_NAME;
pub(super) use numbered::Numbered;
pub(super) use table::{ViewTable, is_view};
pub(super) use told::told_name;
