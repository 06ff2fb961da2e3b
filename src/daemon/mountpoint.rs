//! Whether a mount point can be used, and what to do when not.

use super::{busy, failed};
use crate::cli::{Exit, Failure};
use crate::sys::{self, mounts};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes sure that `store` (which need not exist yet) can be mounted at `mountpoint`, clearing what
/// a dead daemon left there; `say` hears of it. Returns the mount point without links.
pub(super) fn prepare(
    store: &Path,
    mountpoint: &Path,
    nonempty: bool,
    say: &mut dyn FnMut(&str),
) -> Result<PathBuf, Failure> {
    if is_dead(mountpoint) {
        unmount(mountpoint, true)
            .map_err(|error| failed(Exit::Mountpoint, "cannot clear", mountpoint, &error))?;
        say(&format!("cleared {}: the daemon behind it had died", mountpoint.display()));
    }
    let seen = fs::metadata(mountpoint).map_err(|error| unusable(mountpoint, &error))?;
    if !seen.is_dir() {
        let message = format!("the mount point {} is not a directory", mountpoint.display());
        return Err(Failure::new(Exit::Mountpoint, message).help("name a directory"));
    }
    let place = mountpoint.canonicalize().map_err(|error| unusable(mountpoint, &error))?;
    refuse_mounted(store, &place)?;
    refuse_overlap(store, &place, &seen)?;
    if !nonempty {
        refuse_contents(&place)?;
    }
    Ok(place)
}

/// Whether a FUSE mount is there whose daemon is gone. Asks for the space, which the kernel never
/// answers by itself: it may well remember what `stat` says, for long after the daemon's death.
pub(super) fn is_dead(path: &Path) -> bool {
    use io::ErrorKind::{ConnectionAborted, NotConnected};
    sys::disk_space(path).is_err_and(|e| matches!(e.kind(), NotConnected | ConnectionAborted))
}

/// Takes away what is mounted at `place`: as root, or through fusermount3 what is one's own.
/// `ResourceBusy` when it is in use and not `lazy`.
pub(super) fn unmount(place: &Path, lazy: bool) -> io::Result<()> {
    match sys::mount::unmount(place, lazy) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => fusermount(place, lazy),
        done => done,
    }
}

fn fusermount(place: &Path, lazy: bool) -> io::Result<()> {
    let mut command = Command::new("fusermount3");
    command.env("LC_ALL", "C").arg("-u").args(lazy.then_some("-z")).arg("--").arg(place);
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("fusermount3 is missing: install fuse3"),
        _ => error,
    })?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.success() {
        true => Ok(()),
        false if said.to_lowercase().contains("busy") => Err(io::ErrorKind::ResourceBusy.into()),
        false => Err(io::Error::other(said)),
    }
}

fn unusable(mountpoint: &Path, error: &io::Error) -> Failure {
    let shown = mountpoint.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("the mount point {shown} does not exist");
            Failure::new(Exit::Mountpoint, message).help(format!("make it: mkdir -p {shown}"))
        }
        _ => failed(Exit::Mountpoint, "cannot use the mount point", mountpoint, error),
    }
}

/// Nothing else may be mounted at `place`, and `store` nowhere else.
fn refuse_mounted(store: &Path, place: &Path) -> Result<(), Failure> {
    let listed = mounts::all()
        .map_err(|error| failed(Exit::Failure, "cannot read", Path::new("/proc"), &error))?;
    let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let here = listed.iter().rev().find(|mount| mount.mountpoint == place);
    let message = match here {
        Some(mount) if mount.is_verso() && mount.source == store => {
            format!("{} is mounted at {} already", store.display(), place.display())
        }
        Some(mount) => {
            let (source, kind) = (mount.source.display(), &mount.kind);
            format!("{} is a mount point already: of {source} ({kind})", place.display())
        }
        None => return Ok(()),
    };
    Err(Failure::new(Exit::Mountpoint, message)
        .help("choose another directory, or unmount that one first"))
}

/// A store that lies under its own mount could not be reached any more, least of all by its daemon.
/// Directories are compared as the kernel knows them, so that bind mounts deceive nobody.
fn refuse_overlap(store: &Path, place: &Path, place_seen: &Metadata) -> Result<(), Failure> {
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    let on_the_way = |path: &Path, seen: &Metadata| {
        let mut seen_above = path.ancestors().filter_map(|above| fs::metadata(above).ok());
        seen_above.any(|above| same(&above, seen))
    };
    let message = match fs::metadata(store) {
        Ok(store_seen) if same(&store_seen, place_seen) => "is the store itself",
        Ok(store_seen) if on_the_way(place, &store_seen) => "lies within the store",
        _ if on_the_way(&real_path(store), place_seen) => "would hide the store that lies in it",
        _ => return Ok(()),
    };
    let message = format!("the mount point {} {message} ({})", place.display(), store.display());
    Err(Failure::new(Exit::Mountpoint, message).help("mount at a directory apart from the store"))
}

/// `path` without links, as far as it exists.
fn real_path(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

fn refuse_contents(place: &Path) -> Result<(), Failure> {
    let mut entries = fs::read_dir(place).map_err(|error| unusable(place, &error))?;
    if entries.next().is_none() {
        return Ok(());
    }
    let message = format!("the mount point {} is not empty", place.display());
    Err(Failure::new(Exit::Mountpoint, message).help(
        "choose an empty directory, or use `-o nonempty`: its contents are hidden while mounted",
    ))
}

/// Why `place` cannot be unmounted, and what to do.
pub(super) fn busy_failure(place: &Path) -> Failure {
    let holders = busy::holders(place);
    let message = format!("{} is in use, it stays mounted", place.display());
    let end = "close these, or take the drive away regardless with `verso umount --lazy`";
    let help = match holders.is_empty() {
        true => format!("a process of another user may have it open; ask as root, or {end}"),
        false => format!("{}\n{end}", busy::describe(&holders)),
    };
    Failure::new(Exit::Mountpoint, message).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(store: &Path, place: &Path) -> String {
        prepare(store, place, false, &mut |_| {}).unwrap_err().message
    }

    #[test]
    fn what_cannot_be_a_mount_point_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (store, place) = (dir.path().join("store"), dir.path().join("place"));
        assert!(message(&store, &place).ends_with("does not exist"));
        fs::write(&place, "").unwrap();
        assert!(message(&store, &place).ends_with("is not a directory"));
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        prepare(&store, &place, false, &mut |_| {}).unwrap();
        fs::write(place.join("file"), "").unwrap();
        assert!(message(&store, &place).ends_with("is not empty"));
        prepare(&store, &place, true, &mut |_| {}).unwrap();
        assert!(message(&store, Path::new("/proc")).contains("a mount point already"));
    }

    #[test]
    fn the_store_and_the_mount_point_must_be_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        fs::create_dir_all(store.join("in/side")).unwrap();
        std::os::unix::fs::symlink(store.join("in"), dir.path().join("link")).unwrap();
        assert!(message(&store, &store).contains("is the store itself"));
        assert!(message(&store, &store.join("in/side")).contains("lies within the store"));
        assert!(message(&store, &dir.path().join("link/side")).contains("within the store"));
        assert!(message(&store, dir.path()).contains("would hide the store"));
        assert!(message(&dir.path().join("new/store"), dir.path()).contains("would hide"));
    }
}
