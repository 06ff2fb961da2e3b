//! Making a file appear whole, and stay.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Puts `contents` at `path`, durably: after a crash at any instant the path shows the old file or the
/// new one, whole; once this has returned, the new one.
///
/// The only way in which this project replaces a file. A crash may leave `.NAME.tmp` beside it, which the
/// next publication overwrites. One publisher of a path at a time.
pub fn publish(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = write_durably(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // Best effort: the error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    sync_dir(directory_of(path))
}

/// Makes the names in the directory at `path` durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn write_durably(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(directory_of(path).join(temporary))
}

/// The directory that holds `path`; a bare name lies in the current one.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_replaces_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.toml");
        publish(&path, b"a longer first text").unwrap();
        publish(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_publication_keeps_the_old_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        publish(&path, b"never").unwrap_err();
        assert!(path.join("inside").is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bare_name_lies_in_the_current_directory() {
        assert_eq!(directory_of(Path::new("name")), Path::new("."));
        assert_eq!(temporary_beside(Path::new("a/b")).unwrap(), Path::new("a/.b.tmp"));
        assert!(temporary_beside(Path::new("/")).is_err());
    }
}
