//! The database encrypted at rest: a VFS between SQLite and the disk that seals each page and each frame of the log.
//! `docs/FORMAT.md` (*Encrypted metadata*) has the bytes.
//!
//! `cipher` seals a page or a frame in place · `database_file`, `log_file` are the two files that there are, each read and
//! written in the pieces in which SQLite does it · `index` is what would be the `-shm` file, in memory · `vfs` tells SQLite
//! of it · `first_look` finds a wrong key before SQLite touches anything · `rekey` seals a database at rest anew.
//!
//! Every other file that SQLite might want (a rollback journal, a temporary file) is refused: nothing plain gets to the disk.

mod cipher;
mod database_file;
mod first_look;
mod index;
mod log_file;
mod rekey;
mod vfs;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use cipher::tests::keys_of as test_keys;

pub use cipher::PageKeys;
pub(super) use first_look::verify_key;
pub use rekey::{oldest_epoch, rekey};
pub(super) use vfs::{Vfs, reserve_room};

use rusqlite::ffi;

/// The result of reading or writing a file, as SQLite knows it.
type Io<T = ()> = std::result::Result<T, Code>;

/// One of SQLite's result codes, never `SQLITE_OK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code(i32);

/// Something is not what was sealed there. SQLite has this code for shims that verify checksums, and never uses it itself.
const DAMAGED: Code = Code(ffi::SQLITE_IOERR_DATA);
/// The file ends before; what is missing was filled with zeros.
const SHORT: Code = Code(ffi::SQLITE_IOERR_SHORT_READ);
/// SQLite asked for what this doesn't know to be asked for.
const UNKNOWN_READ: Code = Code(ffi::SQLITE_IOERR_READ);
/// SQLite writes what this doesn't know to be written.
const UNKNOWN_WRITE: Code = Code(ffi::SQLITE_IOERR_WRITE);

/// A file as it is on the disk.
trait Raw {
    /// Fills `bytes`. [`SHORT`] if the file ends before, with zeros for what is missing.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Io;

    /// Writes all of `bytes`.
    fn write(&self, bytes: &[u8], offset: u64) -> Io;
}
