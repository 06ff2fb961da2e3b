//! Positioned reads and writes of two buffers that lie one after the other in the file, in one system call.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Writes all of `head` and then all of `tail` at `offset`, in one call where the kernel takes it whole.
///
/// # Errors
/// As `pwrite(2)`; how much was written then is not known.
pub fn write_two_at(file: &File, head: &[u8], tail: &[u8], offset: u64) -> io::Result<()> {
    let written = loop {
        match pwritev(file, head, tail, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    // A short write comes from a disk that is nearly full: the rest says which error it is.
    if written < head.len() {
        file.write_all_at(&head[written..], offset + written as u64)?;
    }
    let tail_written = written.saturating_sub(head.len());
    if tail_written < tail.len() {
        let at = offset + (head.len() + tail_written) as u64;
        file.write_all_at(&tail[tail_written..], at)?;
    }
    Ok(())
}

/// Fills `head` and then `tail` from `offset` on; returns how many bytes there were, fewer than both
/// hold only at the end of the file.
fn read_two_at(file: &File, head: &mut [u8], tail: &mut [u8], offset: u64) -> io::Result<usize> {
    let total = head.len() + tail.len();
    let mut done = loop {
        match preadv(file, head, tail, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    while 0 < done && done < total {
        let rest = match done.checked_sub(head.len()) {
            Some(skip) => &mut tail[skip..],
            None => &mut head[done..],
        };
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Like [`read_two_at`], with a tail of `len` bytes that is made for it: without filling it first, which takes
/// as long as reading from the kernel's cache does. Fewer bytes than asked for are an error (`UnexpectedEof`).
#[allow(unsafe_code)]
pub fn read_head_and_tail(
    file: &File,
    head: &mut [u8],
    len: usize,
    offset: u64,
) -> io::Result<Vec<u8>> {
    let mut tail: Vec<u8> = Vec::with_capacity(len);
    let buffers = [
        libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
        libc::iovec { iov_base: tail.as_mut_ptr().cast(), iov_len: len },
    ];
    // SAFETY: both buffers are writable for their length (the second one is the vector's own allocation of
    // at least `len` bytes), distinct, and outlive the call.
    let result = unsafe { libc::preadv(file.as_raw_fd(), buffers.as_ptr(), 2, signed(offset)?) };
    if usize::try_from(result) == Ok(head.len() + len) {
        // SAFETY: the kernel has written all of the first `len` bytes.
        unsafe { tail.set_len(len) };
        return Ok(tail);
    }
    // Interrupted, short, or failed: the careful way finds out which.
    let mut tail = vec![0; len];
    match read_two_at(file, head, &mut tail, offset)? {
        all if all == head.len() + len => Ok(tail),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[allow(unsafe_code)]
fn pwritev(file: &File, head: &[u8], tail: &[u8], offset: u64) -> io::Result<usize> {
    let buffers = [head, tail]
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    // SAFETY: both buffers are readable for their length and outlive the call; pwritev only reads them.
    let result = unsafe { libc::pwritev(file.as_raw_fd(), buffers.as_ptr(), 2, signed(offset)?) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[allow(unsafe_code)]
fn preadv(file: &File, head: &mut [u8], tail: &mut [u8], offset: u64) -> io::Result<usize> {
    let buffers = [head, tail]
        .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
    // SAFETY: both buffers are writable for their length, distinct, and outlive the call.
    let result = unsafe { libc::preadv(file.as_raw_fd(), buffers.as_ptr(), 2, signed(offset)?) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn signed(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_buffers_lie_one_after_the_other() {
        let file = tempfile::tempfile().unwrap();
        write_two_at(&file, b"head", b"tail!", 3).unwrap();
        let (mut head, mut tail) = ([0; 5], [0; 4]);
        assert_eq!(read_two_at(&file, &mut head, &mut tail, 3).unwrap(), 9);
        assert_eq!((&head, &tail), (b"headt", b"ail!"));
    }

    #[test]
    fn a_read_stops_at_the_end_of_the_file() {
        let file = tempfile::tempfile().unwrap();
        write_two_at(&file, b"abc", b"", 0).unwrap();
        let (mut head, mut tail) = ([0; 2], [0; 9]);
        assert_eq!(read_two_at(&file, &mut head, &mut tail, 0).unwrap(), 3);
        assert_eq!(read_two_at(&file, &mut head, &mut tail, 7).unwrap(), 0);
    }

    #[test]
    fn a_full_disk_is_reported() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_two_at(&full, b"a", b"b", 0).unwrap_err();
        assert!(crate::sys::is_no_space(&error));
    }
}
