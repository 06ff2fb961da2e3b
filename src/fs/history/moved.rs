//! Where something went that was moved away: a symbolic link among the versions of its old name, to where it is
//! today.

use super::access::ancestors;
use super::table::{Identity, NewView, ViewNode, What};
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::View;
use crate::model::{ACL_ACCESS, Attr, FileKind, Ino, Mode, Moment, Timestamp, second_name};

/// What the link's name begins with; the second in which it was moved follows. No version is called so.
const NAME_PREFIX: &str = "moved-";
/// Directories within each other on the way there.
const DEPTH_MAX: usize = 64;
/// Names of each of them that are looked at: none is found by its inode.
const NAMES_MAX: i64 = 100_000;
/// The longest target of a symbolic link, in bytes.
const TARGET_BYTES_MAX: usize = 4095;
/// Whoever may know of what is in a directory and walk through it: everybody.
const OPEN_BITS: u16 = 0o555;

/// Where what a name last held is today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) name: Vec<u8>,
    /// The way there from the directory of the name's versions.
    pub(super) target: Vec<u8>,
    at: Moment,
}

/// Whether a name among versions may be that of such a link.
pub(super) fn is_moved_name(name: &[u8]) -> bool {
    name.starts_with(NAME_PREFIX.as_bytes())
}

impl Volume {
    /// Where what the name held is today; `None` if the name holds something, if nothing is left of that, and if
    /// the way there is not open to all: the link would tell of names that not everybody may know.
    pub(super) fn moved_from(&self, dir: Ino, name: &[u8]) -> Result<Option<Moved>> {
        // Not in the way of those who write.
        self.meta.snapshot(|view| {
            if view.dentry(dir, name)?.is_some() {
                return Ok(None);
            }
            let Some(last) = view.last_period(dir, name)? else { return Ok(None) };
            let Some(target) = way_to(view, dir, last.ino)? else { return Ok(None) };
            let at = last.until.unwrap_or(last.since);
            let name = format!("{NAME_PREFIX}{}", second_name(at)).into_bytes();
            Ok(Some(Moved { name, target, at }))
        })
    }
}

impl Moved {
    pub(super) fn attr(&self, directory: &Attr) -> Attr {
        let time = Timestamp(self.at.0);
        Attr {
            kind: FileKind::Symlink,
            mode: Mode::new(0o777),
            nlink: 1,
            rdev: 0,
            size: self.target.len() as u64,
            allocated: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            ..*directory
        }
    }
}

/// Another place is another link: the kernel may keep what it was told of this one.
pub(super) fn moved_view(node: &ViewNode, dir: Ino, moved: Moved) -> NewView {
    let identity = Identity::of_name(node.ino, &moved.target, moved.at);
    NewView { parent: node.ino, identity, what: What::Moved { dir, moved }, is_fixed: false }
}

/// The way from `DIR/.versions/NAME/` to a living inode.
fn way_to(view: &View<'_>, dir: Ino, ino: Ino) -> Result<Option<Vec<u8>>> {
    let Some(inode) = view.inode(ino)?.filter(|inode| inode.attr.nlink > 0) else {
        return Ok(None);
    };
    let here = ancestors(view, dir)?;
    let (mut names, mut child, mut at) = (Vec::new(), ino, inode.parent);
    let up = loop {
        let Some(name) = view.name_in(at, child, NAMES_MAX)? else { return Ok(None) };
        names.push(name);
        if let Some(up) = here.iter().position(|above| *above == at) {
            break up;
        }
        let Some(directory) = view.inode(at)? else { return Ok(None) };
        let is_open = directory.attr.mode.bits() & OPEN_BITS == OPEN_BITS;
        if !is_open || view.xattr(at, ACL_ACCESS)?.is_some() || names.len() == DEPTH_MAX {
            return Ok(None);
        }
        (child, at) = (at, directory.parent);
    };
    // Out of the name's versions, out of the history, and up from there.
    names.extend(std::iter::repeat_n(b"..".to_vec(), up + 2));
    names.reverse();
    let target = names.join(&b'/');
    Ok((target.len() <= TARGET_BYTES_MAX).then_some(target))
}
