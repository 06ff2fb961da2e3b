//! Where the control socket is, however long the path to the store.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket's name in the store.
const NAME: &str = "control.sock";

/// Its name until its permissions are right.
const NEW_NAME: &str = "control.sock.new";

/// An open store directory. Sockets are reached through `/proc/self/fd`, since a socket's address
/// holds 108 bytes and a path can be longer.
pub(super) struct SocketDir {
    dir: File,
    store: PathBuf,
}

impl SocketDir {
    pub(super) fn open(store: &Path) -> io::Result<SocketDir> {
        Ok(SocketDir { dir: File::open(store)?, store: store.to_owned() })
    }

    fn address(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }

    /// Listens on the socket, in the place of one that a dead daemon left. Only for the owner of
    /// the store's lock.
    pub(super) fn listen(&self, mode: u32) -> io::Result<UnixListener> {
        let new = self.store.join(NEW_NAME);
        remove_if_there(&new)?;
        let listener = UnixListener::bind(self.address(NEW_NAME))?;
        fs::set_permissions(&new, Permissions::from_mode(mode))?;
        // Renamed only now, so that nobody ever connects past the permissions.
        fs::rename(&new, self.store.join(NAME))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.address(NAME))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        remove_if_there(&self.store.join(NAME))
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
