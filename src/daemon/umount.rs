//! `verso umount`: takes a drive away, and returns when everything is in its store.

use super::{busy, failed, mountpoint};
use crate::cli::{Exit, Failure, UmountArgs, Waiting, say, warn};
use crate::sys::StoreLock;
use crate::sys::mounts::{self, Mount};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the daemon's end is looked for.
const POLL: Duration = Duration::from_millis(20);

/// `verso umount`
pub(super) fn umount(args: &UmountArgs) -> Result<(), Failure> {
    if mountpoint::is_dead(&args.mountpoint) {
        return clear(&args.mountpoint);
    }
    if args.if_dead {
        return Ok(());
    }
    let (place, mount) = find(&args.mountpoint)?;
    let daemon = StoreLock::owner(&mount.source).ok().flatten();
    let in_use = take_away(&place, args.lazy)?;
    match daemon {
        Some(pid) if in_use => {
            say(&format!(
                "{} is gone from the tree; process {pid} ends when the last file is closed",
                place.display()
            ));
        }
        Some(pid) => wait_for_end(&mount.source, pid),
        None => {}
    }
    Ok(())
}

fn clear(place: &Path) -> Result<(), Failure> {
    mountpoint::unmount(place, true)
        .map_err(|error| failed(Exit::Mountpoint, "cannot clear", place, &error))?;
    say(&format!("cleared {}: the daemon behind it had died", place.display()));
    Ok(())
}

/// The drive that is mounted at `path`.
fn find(path: &Path) -> Result<(PathBuf, Mount), Failure> {
    let place = path
        .canonicalize()
        .map_err(|error| failed(Exit::Mountpoint, "cannot find", path, &error))?;
    let mount = mounts::at(&place)
        .map_err(|error| failed(Exit::Failure, "cannot read the mounts for", &place, &error))?;
    match mount {
        Some(mount) if mount.is_verso() => Ok((place, mount)),
        _ => {
            let message = format!("no Verso drive is mounted at {}", place.display());
            Err(Failure::new(Exit::Mountpoint, message)
                .help("`verso status` lists the drives that are mounted"))
        }
    }
}

/// Unmounts; whether somebody still uses what is no longer in the tree.
fn take_away(place: &Path, lazy: bool) -> Result<bool, Failure> {
    let cannot = |error| failed(Exit::Mountpoint, "cannot unmount", place, &error);
    match mountpoint::unmount(place, false) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && lazy => {
            warn(&format!("in use:\n{}", busy::describe(&busy::holders(place))));
            mountpoint::unmount(place, true).map_err(cannot)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(mountpoint::busy_failure(place))
        }
        Err(error) => Err(cannot(error)),
    }
}

/// Waits until the daemon has written everything and given up the store's lock.
fn wait_for_end(store: &Path, pid: u32) {
    let mut waiting =
        Waiting::new(format!("process {pid} writes everything into {}", store.display()));
    while StoreLock::owner(store).is_ok_and(|owner| owner == Some(pid)) {
        std::thread::sleep(POLL);
        waiting.tick();
    }
}
