//! Who runs this process, and numbers that nobody can guess.

use std::fs::File;
use std::io::{self, Read};

/// The effective user and group.
#[allow(unsafe_code)]
pub fn current_user() -> (u32, u32) {
    // SAFETY: both calls take nothing, can't fail, and touch no memory of ours.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Random bytes from the kernel.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
