//! What is done with the packs when a store is opened: after a clean stop nearly nothing.
//!
//! A sealed pack whose file is read-only was made durable after it was sealed (`sync` sets the mode then): it is
//! not even opened. The others are looked at: an intact footer means sealed; otherwise the records are
//! walked by their headers, what is torn off at the end is cut away, and the newest goes on while the
//! others are sealed. A pack that holds a record *after* a gap was damaged, not torn: nothing is cut off or appended to it any more.

use super::append::Active;
use super::cipher::Cipher;
use super::files::Files;
use super::files::PackFile;
use super::format::{PACK_HEADER_LEN, PackHeader};
use super::store::{Pack, State};
use super::walk::{self, Walk};
use super::{Error, Result};
use crate::model::PackId;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a look into a pack found.
enum Found {
    /// An intact footer, or damage that makes the pack useless for writing: it is left as it is.
    Finished,
    /// Records up to an end, and nothing that is worth keeping after it.
    Unfinished(Walk),
    /// A file that never got its header, and holds nothing.
    Empty,
}

/// Looks at every pack. With `target_bytes` (open for writing) brings them into shape as well.
pub(super) fn load(files: &Files, target_bytes: Option<u64>) -> Result<State> {
    let packs = files.list()?;
    let newest = packs.last().copied();
    let mut state = State::starting_at(PackId(newest.map_or(0, |pack| pack.0 + 1)));
    for pack in packs {
        let path = files.path(pack);
        let is_newest = Some(pack) == newest;
        let work = Work { files, path: &path, pack, is_newest };
        work.load(&mut state, target_bytes).map_err(|failure| match failure {
            Failure::Io(error) => Error::from_io(&path, error),
            Failure::Known(error) => error,
        })?;
    }
    Ok(state)
}

struct Work<'a> {
    files: &'a Files,
    path: &'a Path,
    pack: PackId,
    is_newest: bool,
}

/// An error that has its path, or one that still needs it.
enum Failure {
    Io(io::Error),
    Known(Error),
}

type Outcome<T> = std::result::Result<T, Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Known(error)
    }
}

impl Work<'_> {
    fn load(&self, state: &mut State, target_bytes: Option<u64>) -> Outcome<()> {
        let metadata = std::fs::metadata(self.path)?;
        let len = metadata.len();
        if metadata.permissions().readonly() {
            state.packs.insert(self.pack, Pack { len, sealed: true });
            if self.is_newest {
                // A newer version, or other keys, show early.
                self.files.look(self.pack, File::open(self.path)?)?;
            }
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(target_bytes.is_some()).open(self.path)?;
        let (pack, header) = self.files.look(self.pack, file)?;
        let found = self.look(&pack, &header, len)?;
        match target_bytes {
            Some(target_bytes) => self.bring_into_shape(state, pack, len, found, target_bytes),
            None => {
                let sealed = matches!(found, Found::Finished);
                state.packs.insert(self.pack, Pack { len, sealed });
                Ok(())
            }
        }
    }

    fn look(&self, pack: &PackFile, header: &PackHeader, len: u64) -> Outcome<Found> {
        if walk::read_footer(pack, len)?.is_some() {
            return Ok(Found::Finished);
        }
        let walked = walk::walk(pack, PACK_HEADER_LEN.min(len), len)?;
        let header_is_ours = matches!(header, PackHeader::Known(name, _) if *name == pack.name);
        let beyond = walk::find_record(pack, walked.end, len)?;
        if let Some(offset) = beyond {
            log::error!("pack {} is damaged between bytes {} and {offset}", self.pack, walked.end);
            return Ok(Found::Finished);
        }
        if header_is_ours {
            return Ok(Found::Unfinished(walked));
        }
        if walked.entries.is_empty() && is_zero(&pack.file, len)? {
            return Ok(Found::Empty);
        }
        log::error!("the header of pack {} is damaged", self.pack);
        Ok(Found::Finished)
    }

    fn bring_into_shape(
        &self,
        state: &mut State,
        pack: PackFile,
        len: u64,
        found: Found,
        target_bytes: u64,
    ) -> Outcome<()> {
        match found {
            Found::Finished => {
                state.keep(self.pack, Pack { len, sealed: true }, pack.file);
            }
            Found::Empty => self.remove(state)?,
            Found::Unfinished(walked) => self.finish(state, pack, len, walked, target_bytes)?,
        }
        Ok(())
    }

    /// Cuts the torn end off; then goes on with the newest pack, and seals any other.
    fn finish(
        &self,
        state: &mut State,
        pack: PackFile,
        len: u64,
        walked: Walk,
        target_bytes: u64,
    ) -> Outcome<()> {
        // What comes new is sealed with the newest key.
        let is_current = pack.cipher.as_ref().is_none_or(Cipher::is_current);
        let goes_on = self.is_newest && is_current && walked.end < target_bytes;
        if walked.entries.is_empty() && !goes_on {
            return Ok(self.remove(state)?);
        }
        if walked.end < len {
            log::info!("pack {}: cut {} bytes of no whole record", self.pack, len - walked.end);
            pack.file.set_len(walked.end)?;
        }
        let mut active = Active::resume(pack, self.path.to_owned(), walked);
        let unsealed = Pack { len: active.position, sealed: false };
        let pack = match goes_on {
            true => unsealed,
            false => match active.seal() {
                Ok(len) => Pack { len, sealed: true },
                // Sealing needs room; the records are readable without, and the next start tries again.
                Err(Error::NoSpace) => unsealed,
                Err(error) => return Err(error.into()),
            },
        };
        state.keep(self.pack, pack, Arc::clone(&active.file));
        if goes_on {
            state.active = Some(active);
        }
        Ok(())
    }

    fn remove(&self, state: &mut State) -> io::Result<()> {
        state.directory_unsynced = true;
        std::fs::remove_file(self.path)
    }
}

/// Whether a file of `len` bytes holds nothing but zeros: what a crash leaves of blocks never written.
fn is_zero(file: &File, len: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < len {
        let portion = (len - offset).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..portion], offset)?;
        if buffer[..portion].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        offset += portion as u64;
    }
    Ok(true)
}
