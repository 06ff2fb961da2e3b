//! Getting things back: what the commands `log`, `cat`, `diff`, `restore`, `undelete`, `rewind`, `pin` and `unpin` do.
//!
//! All of it goes through what the drive itself answers in `.versions`, by way of a [`Tree`]: a mounted drive
//! ([`Local`], plain system calls, so the rights are those of whoever runs the command) or a store that is open in this
//! process ([`Stored`]). Each command is written once, over that.

mod compare;
mod copy;
mod diff;
mod error;
mod history;
mod local;
mod log;
mod pin;
mod put_back;
mod stored;
mod tree;
mod users;

pub use compare::{Change, What};
pub use copy::{own_xattrs, remove_all};
pub use diff::{Body, FileDiff, TreeDiff, diff_file, diff_tree};
pub use error::{Error, Result};
pub use history::{Past, Pick, Version, pick, state_at, versions, write_content};
pub use local::Local;
pub use log::{Event, Log, log};
pub use pin::{pin, unpin};
pub use put_back::{Done, Place, Rewind, Rewound, plan_rewind, restore, rewind, undelete};
pub use stored::Stored;
pub use tree::{Progress, Sink, Source, Tree, attr_if_any, printable};
pub use users::Users;
