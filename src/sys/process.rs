//! This process and its standard streams.

use std::fs::File;
use std::io;
use std::path::Path;

/// Leaves the terminal: its signals and its end no longer concern this process.
pub fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// From now on, files that this process makes are for its user alone. What is in a store must not be
/// readable past the permissions that its files have on the drive.
pub fn make_private_files() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Makes `file` the standard error of this process.
pub fn redirect_stderr(file: &File) -> io::Result<()> {
    rustix::stdio::dup2_stderr(file)?;
    Ok(())
}

/// Writes out everything that the kernel holds for the filesystem at `path`.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(path)?)?;
    Ok(())
}
