//! What a process gets from the one that started it, and is not to hand on.

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that isn't standard input, output or error.
const FIRST: i32 = 3;

/// The value of an environment variable, which no child gets any more. To be called before the process has threads: later
/// it stays where it is.
#[allow(unsafe_code)]
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1) {
        // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    Some(value)
}

/// The descriptors of these numbers, which this process was started with; no child gets them. Number 0 is standard input, which
/// gives nothing more from then on. To be called once, before anything else is opened.
///
/// # Errors
/// The number, and what is wrong with it: it isn't open, is there twice, or is standard output or error.
pub fn take_descriptors(numbers: &[i32]) -> Result<Vec<File>, (i32, io::Error)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let Some(&first) = numbers.first() else { return Ok(Vec::new()) };
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err((first, io::Error::other("descriptors can be taken once only")));
    }
    let mut seen = BTreeSet::new();
    // Whatever is opened while standard input is taken could get the number of another one that isn't open.
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by_key(|&at| numbers[at] == 0);
    let mut taken: Vec<Option<File>> = numbers.iter().map(|_| None).collect();
    for at in order {
        let number = numbers[at];
        let file = match seen.insert(number) {
            true => take_descriptor(number),
            false => Err(io::Error::other("it is named twice")),
        };
        taken[at] = Some(file.map_err(|error| (number, error))?);
    }
    Ok(taken.into_iter().flatten().collect())
}

#[allow(unsafe_code)]
fn take_descriptor(number: i32) -> io::Result<File> {
    if number == 0 {
        return take_stdin();
    }
    if number < FIRST {
        return Err(io::Error::other("it has to be 0, or 3 and above"));
    }
    // SAFETY: it is only asked about here, and the kernel says itself if it isn't open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, fcntl_getfd(borrowed)? | FdFlags::CLOEXEC)?;
    // SAFETY: it is open since before this process opened anything, so whoever started it gave it to us; and each is taken once.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// Standard input, which gives nothing from now on, neither here nor to a child.
///
/// # Errors
/// It isn't open.
pub fn take_stdin() -> io::Result<File> {
    let input = fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(File::from(input))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;

    #[test]
    fn descriptors_are_taken_with_what_is_in_them() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"mine").unwrap();
        drop(writer);
        let number = reader.into_raw_fd();
        let mut taken = take_descriptors(&[number]).unwrap();
        assert!(fcntl_getfd(&taken[0]).unwrap().contains(FdFlags::CLOEXEC));
        let mut text = String::new();
        taken[0].read_to_string(&mut text).unwrap();
        assert_eq!(text, "mine");
        assert_eq!(take_descriptors(&[number]).unwrap_err().0, number, "once only");
        assert!(take_descriptors(&[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_descriptor_of_ours_is_refused() {
        for number in [-1, 1, 2, i32::MAX] {
            assert!(take_descriptor(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_variable_stays_where_there_are_threads() {
        // Tests have threads.
        assert_eq!(take_variable("PATH"), std::env::var_os("PATH"));
        assert!(std::env::var_os("PATH").is_some());
        assert_eq!(take_variable("VERSO_NOT_THERE"), None);
    }
}
