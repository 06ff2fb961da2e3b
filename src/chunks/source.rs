//! Packs that lie elsewhere, and are brought when they are first read.

use super::{PackInfo, PackStore, Result};
use crate::model::PackId;
use std::fmt::Debug;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the packs of a store lie that is only read, if not in its directory: at a backup location, say.
pub trait PackSource: Send + Sync + Debug {
    /// All packs that there are, in the order of their numbers.
    fn packs(&self) -> Vec<PackInfo>;

    /// Puts the pack whole at `path`, where nothing is; it appears there at once, or not at all. It may be taken away again at any time: who
    /// reads it has it open.
    ///
    /// # Errors
    /// `NotFound` where it should be and isn't: that counts as damage.
    fn bring(&self, pack: PackId, path: &Path) -> io::Result<()>;
}

impl PackStore {
    /// `len` bytes of a pack's file from `offset` on, as they are: nothing is verified. For copying packs that are durable.
    ///
    /// # Errors
    /// `Damaged` if the pack is not there, or ends before.
    pub fn read_raw(&self, pack: PackId, offset: u64, len: usize) -> Result<Vec<u8>> {
        let file = self.files.get(pack)?;
        let mut bytes = vec![0; len];
        match file.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(super::Error::damaged(pack, offset, "the pack file ends before"))
            }
            Err(error) => Err(super::Error::from_io(&self.files.path(pack), error)),
        }
    }
}
