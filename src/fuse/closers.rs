//! Whose close a FLUSH is.
//!
//! The kernel sends FLUSH whenever a descriptor is closed, also one that a new process inherited and closes when it
//! runs its program (`O_CLOEXEC`). That one is no end of anything: whoever opened the file may be in the middle of
//! writing it, and saving it now would keep half of it. So it is passed over, if it is sure that it comes from
//! a process that has neither opened the file nor written to it. What such a process has done is nothing.

use std::collections::HashMap;

use fuser::{FileHandle, Request};
use parking_lot::Mutex;

use crate::sys::process_of;

/// Threads remembered for a handle. Where more have used it, every close counts.
const USERS_MAX: usize = 16;

/// The threads that opened each handle for writing or changed the file through it, by the kernel's numbers.
#[derive(Default)]
pub(super) struct Closers {
    users: Mutex<HashMap<FileHandle, Vec<u32>>>,
}

impl Closers {
    /// Who asks has the handle and did something with it that a close must keep.
    pub(super) fn note(&self, request: &Request, handle: FileHandle) {
        let mut users = self.users.lock();
        let threads = users.entry(handle).or_default();
        if !threads.contains(&request.pid()) && threads.len() <= USERS_MAX {
            threads.push(request.pid());
        }
    }

    /// The handle is gone.
    pub(super) fn forget(&self, handle: FileHandle) {
        self.users.lock().remove(&handle);
    }

    /// Whether who asks closes a descriptor that it only inherited. Not where that isn't known for certain: of a
    /// thread that has ended, or one outside of what we may see.
    pub(super) fn inherited(&self, request: &Request, handle: FileHandle) -> bool {
        let closer = request.pid();
        let threads = self.users.lock().get(&handle).cloned().unwrap_or_default();
        if threads.is_empty() || threads.len() > USERS_MAX || threads.contains(&closer) {
            return false;
        }
        let Some(process) = process_of(closer) else { return false };
        threads.iter().all(|thread| process_of(*thread).is_some_and(|user| user != process))
    }
}
