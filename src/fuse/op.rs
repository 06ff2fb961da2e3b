//! How a handler runs and answers: its panics are caught, its errors become numbers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fuser::{Errno, Generation, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyXattr};

use super::convert;
use crate::fs::{Error, Result, Volume};
use crate::model::{Attr, Ino};
use crate::sys::failpoint;

/// How long the kernel may believe a name or attributes: we are the only writer and all changes go
/// through it, so nothing that it knows gets old.
pub(super) const CACHE_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Inodes are never reused, so one generation is enough.
pub(super) const GENERATION: Generation = Generation(0);

/// How long the kernel may believe these attributes.
pub(super) fn attr_ttl(volume: &Volume, attr: &Attr) -> Duration {
    if volume.is_settled(attr.ino) { CACHE_TTL } else { Duration::ZERO }
}

/// How long the kernel may believe that the name it asked for leads to this inode.
pub(super) fn name_ttl(volume: &Volume, ino: Ino) -> Duration {
    if volume.is_fixed_name(ino) { CACHE_TTL } else { Duration::ZERO }
}

/// Requests of the kernel to this process, which serves one drive.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// How many requests of the kernel were begun to be answered, ever: whoever looks twice sees whether the drive is in use.
pub fn requests() -> u64 {
    REQUESTS.load(Ordering::Relaxed)
}

/// Which operation, on which inode: what a log line needs.
#[derive(Clone, Copy)]
pub(super) struct Op(pub(super) &'static str, pub(super) INodeNo);

impl Op {
    /// Runs a handler. A panic in it is logged; unwinding drops the reply, which answers `EIO`, and
    /// the loop lives on. The operation's name is a failpoint.
    pub(super) fn run(self, handler: impl FnOnce()) {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        let marked = || {
            failpoint::hit(self.0);
            handler();
        };
        // What it said is for the panic hook to log, or not: it may quote a name.
        if catch_unwind(AssertUnwindSafe(marked)).is_err() {
            log::error!("{} of inode {} panicked", self.0, self.1.0);
        }
    }

    /// The errno of an error; those that mean trouble are logged.
    pub(super) fn errno(self, error: &Error) -> Errno {
        match error.is_fault() {
            true => log::error!("{} of inode {} failed: {error}", self.0, self.1.0),
            false => log::trace!("{} of inode {}: {error}", self.0, self.1.0),
        }
        Errno::from_i32(error.errno())
    }

    /// Answers with an entry, or with why there is none.
    pub(super) fn entry(
        self,
        volume: &Volume,
        reply: ReplyEntry,
        answer: impl FnOnce(&Volume) -> Result<Attr>,
    ) {
        self.run(|| match answer(volume) {
            Ok(attr) => {
                let (ttl, attr) = (attr_ttl(volume, &attr), convert::file_attr(&attr));
                reply.entry_with_ttls(&ttl, &CACHE_TTL, &attr, GENERATION);
            }
            Err(error) => reply.error(self.errno(&error)),
        });
    }

    /// Answers with attributes.
    pub(super) fn attr(
        self,
        volume: &Volume,
        reply: ReplyAttr,
        answer: impl FnOnce(&Volume) -> Result<Attr>,
    ) {
        self.run(|| match answer(volume) {
            Ok(attr) => reply.attr(&attr_ttl(volume, &attr), &convert::file_attr(&attr)),
            Err(error) => reply.error(self.errno(&error)),
        });
    }

    /// Answers with success alone.
    pub(super) fn empty(
        self,
        volume: &Volume,
        reply: ReplyEmpty,
        answer: impl FnOnce(&Volume) -> Result<()>,
    ) {
        self.run(|| match answer(volume) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.errno(&error)),
        });
    }

    /// Answers with the value of an attribute, or its size where that is asked (`room` 0).
    pub(super) fn value(
        self,
        volume: &Volume,
        room: u32,
        reply: ReplyXattr,
        answer: impl FnOnce(&Volume) -> Result<Vec<u8>>,
    ) {
        self.run(|| match answer(volume) {
            Ok(value) if room == 0 => reply.size(value.len() as u32),
            Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
            Ok(value) => reply.data(&value),
            Err(error) => reply.error(self.errno(&error)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_handler_and_nothing_else() {
        let op = Op("test", INodeNo(7));
        let mut after = false;
        op.run(|| panic!("on purpose"));
        op.run(|| after = true);
        assert!(after);
    }

    #[test]
    fn every_error_reaches_the_program_as_its_own_number() {
        let op = Op("test", INodeNo(1));
        assert_eq!(op.errno(&Error::NoSpace), Errno::ENOSPC);
        assert_eq!(op.errno(&Error::Failed("disk".into())), Errno::EIO);
    }
}
