//! Positioned reads and writes of several buffers that lie one after the other in the file, in one system call.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Writes all of the slices, one after the other, at `offset`, in one call where the kernel takes them whole.
///
/// # Errors
/// As `pwrite(2)`; how much was written then is not known.
pub fn write_slices_at<const N: usize>(
    file: &File,
    slices: [&[u8]; N],
    mut offset: u64,
) -> io::Result<()> {
    let mut written = loop {
        match pwritev(file, slices, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    // A short write comes from a disk that is nearly full: the rest says which error it is.
    for slice in slices {
        let done = written.min(slice.len());
        if done < slice.len() {
            file.write_all_at(&slice[done..], offset + done as u64)?;
        }
        written -= done;
        offset += slice.len() as u64;
    }
    Ok(())
}

/// Reads `head`, then `len` bytes onto the end of `into`, then `tail`, which follow each other in the file
/// from `offset` on. What is added to `into` is not filled first, which would take as long as reading from the kernel's
/// cache does.
///
/// # Errors
/// As `pread(2)`; `UnexpectedEof` where the file holds fewer bytes. `into` is as it was then.
#[allow(unsafe_code)]
pub fn read_around(
    file: &File,
    head: &mut [u8],
    into: &mut Vec<u8>,
    len: usize,
    tail: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    let begin = into.len();
    into.reserve(len);
    let middle = &mut into.spare_capacity_mut()[..len];
    let buffers = [
        libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
        libc::iovec { iov_base: middle.as_mut_ptr().cast(), iov_len: len },
        libc::iovec { iov_base: tail.as_mut_ptr().cast(), iov_len: tail.len() },
    ];
    // SAFETY: the buffers are writable for their length (the second one is the vector's own allocation beyond its
    // length), distinct, and outlive the call.
    let result = unsafe { libc::preadv(file.as_raw_fd(), buffers.as_ptr(), 3, signed(offset)?) };
    if usize::try_from(result) == Ok(head.len() + len + tail.len()) {
        // SAFETY: the kernel has filled all buffers, and with them the `len` bytes after `begin`, which are within
        // the capacity.
        unsafe { into.set_len(begin + len) };
        return Ok(());
    }
    // Interrupted, short, or failed: the careful way finds out which.
    into.resize(begin + len, 0);
    let outcome = read_one_by_one(file, [head, &mut into[begin..], tail], offset);
    if outcome.is_err() {
        into.truncate(begin);
    }
    outcome
}

fn read_one_by_one(file: &File, buffers: [&mut [u8]; 3], mut offset: u64) -> io::Result<()> {
    for buffer in buffers {
        file.read_exact_at(buffer, offset)?;
        offset += buffer.len() as u64;
    }
    Ok(())
}

#[allow(unsafe_code)]
fn pwritev<const N: usize>(file: &File, slices: [&[u8]; N], offset: u64) -> io::Result<usize> {
    let buffers = slices.map(|slice| libc::iovec {
        iov_base: slice.as_ptr().cast_mut().cast(),
        iov_len: slice.len(),
    });
    let count = libc::c_int::try_from(N).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the `count` buffers are readable for their length and outlive the call; pwritev only reads them.
    let result =
        unsafe { libc::pwritev(file.as_raw_fd(), buffers.as_ptr(), count, signed(offset)?) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn signed(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &File, head: usize, len: usize, tail: usize, offset: u64) -> io::Result<String> {
        let (mut head, mut tail, mut into) = (vec![0; head], vec![0; tail], b">".to_vec());
        let outcome = read_around(file, &mut head, &mut into, len, &mut tail, offset);
        if outcome.is_err() {
            assert_eq!(into, b">");
        }
        outcome?;
        Ok(String::from_utf8([head, into, tail].join(&b'|')).unwrap())
    }

    #[test]
    fn buffers_lie_one_after_the_other() {
        let file = tempfile::tempfile().unwrap();
        write_slices_at(&file, [b"head", b"", b"tail!"], 3).unwrap();
        assert_eq!(read(&file, 5, 1, 3, 3).unwrap(), "headt|>a|il!");
        assert_eq!(read(&file, 0, 9, 0, 3).unwrap(), "|>headtail!|");
        assert_eq!(read(&file, 2, 0, 0, 5).unwrap(), "ad|>|");
    }

    #[test]
    fn what_the_file_does_not_hold_is_an_error_and_leaves_nothing() {
        let file = tempfile::tempfile().unwrap();
        write_slices_at(&file, [b"abc"], 0).unwrap();
        for (head, len, tail, offset) in [(4, 0, 0, 0), (1, 3, 0, 0), (1, 1, 2, 0), (0, 1, 0, 9)] {
            let error = read(&file, head, len, tail, offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(read(&file, 1, 1, 1, 0).unwrap(), "a|>b|c");
    }

    #[test]
    fn a_full_disk_is_reported() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_slices_at(&full, [b"a", b"b"], 0).unwrap_err();
        assert!(crate::sys::is_no_space(&error));
    }
}
