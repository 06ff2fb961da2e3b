//! This process and its standard streams.

use std::fs::File;
use std::io;
use std::path::Path;

/// Leaves the terminal: its signals and its end no longer concern this process.
pub fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
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
