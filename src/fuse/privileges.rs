//! Set-user-id and set-group-id of files that ordinary users change: `FUSE_HANDLE_KILLPRIV_V2`.
//!
//! The kernel leaves clearing them to us, and then doesn't change the mode that it has cached, which
//! `execve` goes by. What reaches us, by Linux 6.18 (`fs/fuse/{dir,file}.c`):
//! - before a write, a `fallocate` or a `copy_file_range` that must clear them, and for `chown(-1, -1)`:
//!   a SETATTR that sets nothing. Its answer brings the kernel the new mode.
//! - `chown` and `truncate`: a SETATTR. Its flag FATTR_KILL_SUIDGID is not shown by fuser 0.18.
//! - `open` with `O_TRUNC`: an OPEN, and then a SETATTR as for `truncate`.
//! - each WRITE through the cache has FUSE_WRITE_KILL_SUIDGID, whoever writes; writing back a mapping has not.
//!
//! Where the flag is hidden or says too much, root is taken for who keeps them. That differs from the
//! kernel (`CAP_FSETID`) only for root without that capability and for others who have it.
//! `security.capability` is not our concern: the kernel's own `file_remove_privs` removes it, by REMOVEXATTR.

use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier, Request};

use crate::fs::{Error, Result, SetAttr, Volume};
use crate::model::Ino;

/// What the adapter tells the kernel by: there is one only after the session has been given its adapter.
pub(super) type LateNotifier = Arc<OnceLock<Notifier>>;

/// Whether this request means that set-user-id is to go.
pub(super) fn are_dropped_by(request: &Request, change: &SetAttr) -> bool {
    let chowns = change.uid.is_some() || change.gid.is_some();
    let truncates = change.size.is_some();
    let sets_nothing = *change == SetAttr::default();
    chowns || sets_nothing || (truncates && request.uid() != 0)
}

/// Before `request` changes the content of `node`.
///
/// The kernel is told before the request is answered, so that there is no moment in which the change is done
/// and `execve` still sees the old mode. An invalidation of attributes alone (a negative offset) can't
/// wait for a request: `fuse_reverse_inval_inode` takes `killsb` for reading, which nobody holds
/// over a request, and the inode's spin lock, but neither its `i_rwsem` nor a page; and the inode
/// can't be on its way out, since whoever waits for this request holds it.
pub(super) fn drop_for(
    request: &Request,
    volume: &Volume,
    node: INodeNo,
    notifier: &LateNotifier,
) -> Result<()> {
    if request.uid() == 0 || !volume.drop_privileges(Ino(node.0))? {
        return Ok(());
    }
    let notifier = notifier.get().expect("is set before the session takes requests");
    let told = notifier.inval_inode(node, -1, 0);
    told.map_err(|error| Error::Failed(format!("the kernel keeps set-user-id: {error}")))
}
