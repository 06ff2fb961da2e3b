//! The kernel's list of mounts, `/proc/self/mountinfo` (proc(5)).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The type under which Verso's mounts are listed.
pub const FILESYSTEM_TYPE: &str = "fuse.verso";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The device's major and minor number, as the kernel writes them.
    pub device: String,
    /// The filesystem's type.
    pub kind: String,
    /// For a Verso drive the path of its store.
    pub source: PathBuf,
}

impl Mount {
    /// Whether it is a drive of ours.
    pub fn is_verso(&self) -> bool {
        self.kind == FILESYSTEM_TYPE
    }
}

/// All mounts, in the order in which they were made.
pub fn all() -> io::Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The mount that one sees at `mountpoint`, a canonical path.
pub fn at(mountpoint: &Path) -> io::Result<Option<Mount>> {
    Ok(all()?.into_iter().rev().find(|mount| mount.mountpoint == mountpoint))
}

/// The mount that `path`, a canonical path, lies in.
pub fn containing(path: &Path) -> io::Result<Option<Mount>> {
    let mounts = all()?.into_iter().filter(|mount| path.starts_with(&mount.mountpoint));
    // Of equally deep ones the last hides the others; that is the one `max_by_key` takes.
    Ok(mounts.max_by_key(|mount| mount.mountpoint.components().count()))
}

/// One line: fields, a variable number of optional ones, a lone `-`, then type and source.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = String::from_utf8_lossy(fields.nth(2)?).into_owned();
    let mountpoint = unescape(fields.nth(1)?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    Some(Mount { mountpoint, device, kind, source: unescape(rest.next()?) })
}

/// Blank, tab, newline, backslash and `#` are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).filter(|digits| digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match digits {
            Some(digits) if *first == b'\\' => {
                plain.push(
                    digits.iter().fold(0_u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')),
                );
                rest = &tail[3..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// Whether `path` is `dir` or lies in it, both as the kernel writes them.
pub fn is_within(path: &Path, dir: &Path) -> bool {
    // The kernel marks files that were removed meanwhile.
    let path = path.as_os_str().as_bytes();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let line = br"36 35 0:50 / /mnt/my\040drive rw,noatime shared:1 master:2 - fuse.verso /a\134b rw,user_id=0";
        let mount = parse(line).unwrap();
        assert_eq!(mount.mountpoint, Path::new("/mnt/my drive"));
        assert_eq!(mount.device, "0:50");
        assert_eq!(mount.source, Path::new(r"/a\b"));
        assert!(mount.is_verso());
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn what_is_mounted_here_is_found() {
        assert_eq!(at(Path::new("/proc")).unwrap().unwrap().kind, "proc");
        let inside = containing(Path::new("/proc/self/status")).unwrap().unwrap();
        assert_eq!(inside.mountpoint, Path::new("/proc"));
    }

    #[test]
    fn names_that_only_begin_alike_are_outside() {
        assert!(is_within(Path::new("/mnt/a/b (deleted)"), Path::new("/mnt/a")));
        assert!(is_within(Path::new("/mnt/a (deleted)"), Path::new("/mnt/a")));
        assert!(!is_within(Path::new("/mnt/ab"), Path::new("/mnt/a")));
    }
}
