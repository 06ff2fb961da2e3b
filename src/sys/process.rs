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

/// The process that the thread belongs to, by the kernel's numbers; `None` where it has ended or may not be seen.
pub fn process_of(thread: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_belongs_to_its_process() {
        let here = std::process::id();
        assert_eq!(process_of(here), Some(here));
        let thread = || {
            let link = std::fs::read_link("/proc/thread-self").unwrap();
            process_of(link.file_name().unwrap().to_str().unwrap().parse().unwrap())
        };
        assert_eq!(std::thread::spawn(thread).join().unwrap(), Some(here));
        assert_eq!(process_of(u32::MAX), None);
    }
}
