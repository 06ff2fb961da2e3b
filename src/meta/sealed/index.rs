//! Where the log holds which page: what SQLite keeps in a `-shm` file that connections share. A store has one process, so
//! it is kept in memory instead: the file would show a checksum of plain bytes, and its locks are system calls.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

/// Bytes of a region (`WALINDEX_PGSZ`).
pub(super) const REGION_LEN: usize = 32 << 10;
/// Locks that there are (`SQLITE_SHM_NLOCK`).
const LOCKS: usize = 8;

/// SQLite reads and writes it from several threads, with its own rules.
type Region = [AtomicU64; REGION_LEN / 8];

/// The index of one database.
struct Index {
    regions: Mutex<Vec<Box<Region>>>,
    /// How many connections share each lock; -1 where one has it alone.
    holders: Mutex<[i32; LOCKS]>,
}

/// The indices of the databases that are open in this process, by path.
static OPEN: Mutex<BTreeMap<Vec<u8>, Weak<Index>>> = Mutex::new(BTreeMap::new());

/// What a connection has of the index of its database.
pub(super) struct Membership {
    index: Arc<Index>,
    shared: [bool; LOCKS],
    exclusive: [bool; LOCKS],
}

impl Membership {
    /// Joins those who have the database at this path open. A first one finds an empty index, from which SQLite knows that
    /// the log must be read.
    pub(super) fn join(path: &[u8]) -> Membership {
        let mut open = OPEN.lock();
        open.retain(|_, index| index.strong_count() > 0);
        let index = open.get(path).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::new(Index { regions: Mutex::default(), holders: Mutex::default() });
            open.insert(path.to_owned(), Arc::downgrade(&new));
            new
        });
        Membership { index, shared: [false; LOCKS], exclusive: [false; LOCKS] }
    }

    /// Where a region is; it stays there while anybody is a member. `None` if it is not there and not to be made.
    pub(super) fn region(&self, number: usize, make: bool) -> Option<*mut c_void> {
        let mut regions = self.index.regions.lock();
        while make && regions.len() <= number {
            regions.push(Box::new([const { AtomicU64::new(0) }; REGION_LEN / 8]));
        }
        regions.get(number).map(|region| region[0].as_ptr().cast())
    }

    /// Takes one lock with others. Answers whether it could be had.
    pub(super) fn share(&mut self, lock: usize) -> bool {
        let mut holders = self.index.holders.lock();
        if self.shared[lock] {
            return true;
        }
        if holders[lock] < 0 {
            return false;
        }
        holders[lock] += 1;
        self.shared[lock] = true;
        true
    }

    /// Takes locks alone, all or none. Answers whether they could be had.
    pub(super) fn seize(&mut self, locks: std::ops::Range<usize>) -> bool {
        let mut holders = self.index.holders.lock();
        if locks.clone().any(|lock| holders[lock] != 0 && !self.exclusive[lock]) {
            return false;
        }
        for lock in locks {
            holders[lock] = -1;
            self.exclusive[lock] = true;
        }
        true
    }

    /// Whether this connection has the lock alone.
    pub(super) fn has_alone(&self, lock: usize) -> bool {
        self.exclusive[lock]
    }

    /// Gives back what this connection has of these locks.
    pub(super) fn release(&mut self, locks: std::ops::Range<usize>) {
        let mut holders = self.index.holders.lock();
        for lock in locks {
            if std::mem::take(&mut self.exclusive[lock]) {
                holders[lock] = 0;
            }
            if std::mem::take(&mut self.shared[lock]) {
                holders[lock] -= 1;
            }
        }
    }

    /// Everything that was written before is seen by who comes here afterwards.
    pub(super) fn barrier(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        drop(self.index.holders.lock());
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.release(0..LOCKS);
    }
}

/// The locks that SQLite means, if there are such.
pub(super) fn locks(first: i32, count: i32) -> Option<std::ops::Range<usize>> {
    let first = usize::try_from(first).ok()?;
    let end = first + usize::try_from(count).ok()?;
    (end <= LOCKS).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_shared_or_had_alone() {
        let (mut one, mut other) = (Membership::join(b"locks"), Membership::join(b"locks"));
        assert!(one.share(3) && other.share(3) && other.share(4));
        assert!(!one.seize(3..5));
        other.release(3..4);
        other.release(4..5);
        assert!(!other.seize(2..5), "the other one still shares 3");
        one.release(3..4);
        assert!(other.seize(2..5));
        assert!(!one.share(4) && !one.seize(4..5) && one.share(5));
        drop(other);
        assert!(one.seize(0..5));
    }

    #[test]
    fn members_have_the_same_regions_and_nobody_leaves_any_behind() {
        let (one, other) = (Membership::join(b"regions"), Membership::join(b"regions"));
        assert_eq!(one.region(1, false), None);
        let made = one.region(1, true);
        assert!(made.is_some() && made == other.region(1, false));
        assert_eq!(Membership::join(b"elsewhere").region(1, false), None);
        drop((one, other));
        assert_eq!(Membership::join(b"regions").region(0, false), None);
    }
}
