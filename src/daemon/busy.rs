//! Who keeps a mount point busy.

use crate::sys::mounts;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How many are named in a message.
const NAMED_MAX: usize = 10;

/// A process, or a mount, that uses something on the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    who: String,
    pid: Option<u32>,
    what: PathBuf,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} uses {}", self.who, self.what.display())
    }
}

/// Everyone who can be seen to use something at or below `mountpoint`, the first use of each.
/// Processes of other users are only seen by root.
pub(super) fn holders(mountpoint: &Path) -> Vec<Holder> {
    let mut found = mounts_below(mountpoint);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    found.extend(processes.filter_map(|process| process_use(&process.path(), mountpoint)));
    found
}

/// The holders as lines, the first few of them.
pub(super) fn describe(holders: &[Holder]) -> String {
    lines(holders, Holder::to_string)
}

/// The same, for a log in which no name from the drive may be: a program's name may be that of a file there.
pub(super) fn describe_without_names(holders: &[Holder]) -> String {
    lines(holders, |holder| match holder.pid {
        Some(pid) => format!("process {pid} uses something"),
        None => "something is mounted below".to_owned(),
    })
}

fn lines(holders: &[Holder], line: impl Fn(&Holder) -> String) -> String {
    let mut lines: Vec<String> = holders.iter().take(NAMED_MAX).map(line).collect();
    if holders.len() > NAMED_MAX {
        lines.push(format!("and {} more", holders.len() - NAMED_MAX));
    }
    lines.join("\n")
}

fn mounts_below(mountpoint: &Path) -> Vec<Holder> {
    let below = mounts::all().unwrap_or_default().into_iter();
    let below =
        below.filter(|m| m.mountpoint != mountpoint && m.mountpoint.starts_with(mountpoint));
    below
        .map(|mount| Holder {
            who: format!("a {} mount", mount.kind),
            pid: None,
            what: mount.mountpoint,
        })
        .collect()
}

/// What the process in `proc_dir` (`/proc/PID`) uses, if anything.
fn process_use(proc_dir: &Path, mountpoint: &Path) -> Option<Holder> {
    let pid: u32 = proc_dir.file_name()?.to_str()?.parse().ok()?;
    let links = ["cwd", "root", "exe"].map(|name| proc_dir.join(name)).into_iter();
    let open = fs::read_dir(proc_dir.join("fd")).into_iter().flatten().flatten();
    let paths = links.chain(open.map(|fd| fd.path())).filter_map(|link| fs::read_link(link).ok());
    let what = paths.chain(mapped(proc_dir)).find(|path| mounts::is_within(path, mountpoint))?;
    let name = fs::read_to_string(proc_dir.join("comm")).unwrap_or_default();
    Some(Holder { who: format!("{} (process {pid})", name.trim()), pid: Some(pid), what })
}

/// The files that a process has mapped into memory.
fn mapped(proc_dir: &Path) -> Vec<PathBuf> {
    let maps = fs::read_to_string(proc_dir.join("maps")).unwrap_or_default();
    maps.lines().filter_map(|line| line.find('/').map(|at| line[at..].into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_found_with_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let path = root.join("picture.psd");
        let none = |holders: Vec<Holder>| holders.iter().all(|h| h.what != path);
        assert!(none(holders(&root)));
        let file = fs::File::create(&path).unwrap();
        let found = holders(&root).into_iter().find(|holder| holder.what == path).unwrap();
        assert!(found.who.ends_with(&format!("(process {})", std::process::id())));
        drop(file);
        assert!(none(holders(&root)));
    }
}
