//! What the kernel believes of a mount, and must hear of when it changed without it.
//!
//! Names and attributes are believed for a year. Telling takes the kernel's lock of the directory, which whoever waits for
//! an answer of ours may hold: so never from a handler, and with no lock of the volume held.

use crate::fs::Told;
use crate::model::Ino;
use fuser::{INodeNo, Notifier};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The kernel's memory of a mount.
#[derive(Debug)]
pub struct Kernel(Notifier);

impl Kernel {
    pub(super) fn new(notifier: Notifier) -> Kernel {
        Kernel(notifier)
    }
}

impl Told for Kernel {
    fn name_changed(&self, dir: Ino, name: &[u8]) {
        heard(self.0.inval_entry(INodeNo(dir.0), OsStr::from_bytes(name)));
    }

    fn attributes_changed(&self, ino: Ino) {
        // A negative offset: the content is what it was.
        heard(self.0.inval_inode(INodeNo(ino.0), -1, 0));
    }
}

/// What the kernel does not know it need not forget.
fn heard(told: io::Result<()>) {
    if let Err(error) = told
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("the kernel could not be told of a change: {error}");
    }
}
