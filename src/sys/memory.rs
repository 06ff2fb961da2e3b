//! Memory for secrets: never swapped out, in no core dump, not handed to children. And giving back what large buffers took.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes that are mapped for each value: a page on the machines that Linux runs on, or a part of one.
const MAPPED_LEN: usize = 4096;

/// Buffers of so many bytes, and larger ones, are mapped by themselves. Above those of the write path: mapping them anew would cost it page faults.
const LARGE_BYTES: libc::c_int = 12 << 20;
/// What an arena keeps of what was freed at its end, so that smaller buffers are found there again.
const KEPT_BYTES: libc::c_int = 32 << 20;

/// From now on what large buffers took goes back to the system when they are freed. glibc as it comes learns from them that such buffers are
/// usual, and then keeps twice as much in each arena, of which there is one for each thread: backups left the daemon with 400 MiB.
#[allow(unsafe_code)]
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets numbers of the allocator's, which allows that at any time.
    let done = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) == 1
    };
    #[cfg(not(target_env = "gnu"))]
    let done = true;
    if !done {
        log::debug!("the allocator keeps its own ways");
    }
}

/// A value in a page of its own, which the kernel keeps in memory, leaves out of core dumps and doesn't copy to a forked
/// child. Dropped in place; zeroing itself is for the value to do.
pub struct Locked<T> {
    at: NonNull<T>,
}

// SAFETY: it owns what it points to, as a box does.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as above; a shared reference gives shared references to the value only.
#[allow(unsafe_code)]
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T: Default> Locked<T> {
    /// A default value, to be filled where it lies: what is moved leaves copies behind.
    ///
    /// Where the user's limit (`RLIMIT_MEMLOCK`) doesn't let it be locked, that is logged, and it may be swapped out.
    ///
    /// # Errors
    /// There is no memory.
    ///
    /// # Panics
    /// If the value is larger than 4096 bytes.
    #[allow(unsafe_code)]
    pub fn new() -> io::Result<Locked<T>> {
        assert!(size_of::<T>() <= MAPPED_LEN && align_of::<T>() <= MAPPED_LEN);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the kernel likes, touches no memory of ours.
        let page =
            unsafe { libc::mmap(std::ptr::null_mut(), MAPPED_LEN, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the page is mapped, and ours alone.
        let locked = unsafe {
            libc::madvise(page, MAPPED_LEN, libc::MADV_DONTDUMP);
            libc::madvise(page, MAPPED_LEN, libc::MADV_DONTFORK);
            libc::mlock(page, MAPPED_LEN)
        };
        if locked != 0 {
            let error = io::Error::last_os_error();
            log::warn!("a key may be swapped out ({error}): raise the limit of locked memory");
        }
        let at = NonNull::new(page.cast::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: large enough and aligned (asserted above), writable, and holds nothing yet.
        unsafe { at.write(T::default()) };
        Ok(Locked { at })
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    #[allow(unsafe_code)]
    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a value there, and it stays until `drop`.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and nobody else has a reference.
        unsafe { self.at.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, and nothing refers to the page afterwards.
        unsafe {
            self.at.drop_in_place();
            libc::munmap(self.at.as_ptr().cast(), MAPPED_LEN);
        }
    }
}

/// From now on this process leaves no core dump, and nobody but root may look into its memory.
pub fn forbid_core_dumps() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    Ok(())
}

/// Bytes of memory that the machine has; 0 where it doesn't say.
pub fn machine_memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_value_is_kept_and_dropped_once() {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        #[derive(Default)]
        struct Counted(u64);
        impl Drop for Counted {
            fn drop(&mut self) {
                DROPS.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut value = Locked::<Counted>::new().unwrap();
        value.0 = 7;
        assert_eq!(value.0, 7);
        drop(value);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(machine_memory() > 16 << 20);
    }

    #[test]
    fn it_is_locked_and_in_no_core_dump() {
        let value = Locked::<u64>::new().unwrap();
        let at = std::ptr::from_ref(&*value) as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        // Neighbouring mappings with the same flags are shown as one.
        let is_its_range = |line: &str| {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let address = |text| usize::from_str_radix(text, 16).ok();
            range.and_then(|(from, to)| Some((address(from)?..address(to)?).contains(&at)))
        };
        let mut lines = maps.lines().skip_while(|line| is_its_range(line) != Some(true));
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
        for flag in ["lo", "dd", "dc"] {
            assert!(flags.split(' ').any(|found| found == flag), "{flag} in {flags}");
        }
    }
}
