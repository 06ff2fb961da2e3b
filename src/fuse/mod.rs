//! The FUSE adapter: translates between the kernel and a [`Volume`](crate::fs::Volume), decides nothing.

mod adapter;
mod closers;
mod convert;
mod kernel;
mod mount;
mod negotiate;
mod op;
mod privileges;

pub use mount::{MountOptions, Mounted, mount};
pub use op::requests;
