//! What we ask of the kernel when a mount begins.

use fuser::{InitFlags, KernelConfig};

/// The largest write in one request, in bytes: what the kernel allows by default.
const WRITE_BYTES_MAX: u32 = 1024 * 1024;

/// How many requests that nobody waits for (read-ahead, write-back of mappings) may be on the way.
const BACKGROUND_REQUESTS_MAX: u16 = 64;

/// What we ask of the kernel. Not writeback caching: a full disk must be reported by the write.
/// Not `O_TRUNC` with the open: the kernel would find out only afterwards that the file must not be written to
/// (`ETXTBSY`), and a running program would be emptied. Not the locks: on one machine the kernel keeps them better. With killpriv it is for us to clear
/// set-user-id (`privileges.rs`); without, the kernel asks for `security.capability` before every write.
const CAPABILITIES: [InitFlags; 9] = [
    InitFlags::FUSE_BIG_WRITES,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

/// Takes from the kernel what it has of what we want.
pub(super) fn negotiate(config: &mut KernelConfig) {
    for wanted in CAPABILITIES {
        if config.add_capabilities(wanted).is_err() {
            log::warn!("the kernel's FUSE does not know {wanted:?}");
        }
    }
    let write = config.set_max_write(WRITE_BYTES_MAX);
    let background = config.set_max_background(BACKGROUND_REQUESTS_MAX);
    if write.is_err() || background.is_err() {
        log::warn!("the kernel's FUSE refused the request sizes");
    }
}
