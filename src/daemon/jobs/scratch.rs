//! A directory for what is only needed for a while.

use crate::backup::{Error, Result};
use crate::sys;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// An empty directory for its owner only; it goes with everything in it when this is dropped.
pub(in crate::daemon) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// In `parent`, or where the system wants temporary files that may be large.
    pub(in crate::daemon) fn new(parent: Option<&Path>) -> Result<Scratch> {
        let parent = parent.map_or_else(usual_place, Path::to_owned);
        let failed = |source| Error::Io { path: parent.clone(), source };
        let name: String = sys::random_bytes::<8>()
            .map_err(failed)?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = parent.join(format!("verso-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Scratch { path })
    }

    pub(in crate::daemon) fn path(&self) -> &Path {
        &self.path
    }
}

/// `TMPDIR`, or `/var/tmp`, which is on a disk, unlike `/tmp` on many machines.
fn usual_place() -> PathBuf {
    let var_tmp = PathBuf::from("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if var_tmp.is_dir() => var_tmp,
        _ => std::env::temp_dir(),
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            log::warn!("{} is left behind: {error}", self.path.display());
        }
    }
}
