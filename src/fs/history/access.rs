//! Who may read the past: whoever could then, and could walk there today.
//!
//! The kernel checks permissions by the attributes that it is given, so they must say no more than both
//! then and today allow.

use crate::fs::Result;
use crate::meta::View;
use crate::model::{ACL_ACCESS, Attr, Ino, Mode};
use std::collections::HashSet;

/// Permission bits that a view may show: set-user-id and set-group-id are gone.
const SHOWN_BITS: u16 = 0o1777;
/// Directories that are looked at on the way from the root.
const DEPTH_MAX: usize = 4096;

/// What a view says about who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) mode: Mode,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether its access list of that time holds too.
    pub(super) has_acl: bool,
}

/// Owner, permissions, and whether an access list says more.
pub(super) struct Rules<'a> {
    pub(super) attr: &'a Attr,
    pub(super) acl: Option<Vec<u8>>,
}

impl Rules<'_> {
    fn bits(&self) -> u16 {
        self.attr.mode.bits()
    }

    fn owner(&self) -> (u32, u32) {
        (self.attr.uid, self.attr.gid)
    }
}

/// As it was, for what is not on the way to something else.
pub(super) fn as_it_was(attr: &Attr) -> Access {
    let mode = Mode::new(u32::from(attr.mode.bits() & SHOWN_BITS));
    Access { mode, uid: attr.uid, gid: attr.gid, has_acl: true }
}

/// A directory of the past that is there today as well: both must let somebody through.
///
/// Where owner, group and access list are the same, that is each bit which both have. Where they differ, the
/// same person may have been in another class: then a bit counts only if *each* class had it, and access
/// lists, which can name anybody, leave only the owner.
pub(super) fn then_and_today(then: &Rules<'_>, today: &Rules<'_>) -> Access {
    let same_rules = then.owner() == today.owner() && then.acl == today.acl;
    let own = |bits: u16| Access {
        mode: Mode::new(u32::from(bits & SHOWN_BITS)),
        uid: today.attr.uid,
        gid: today.attr.gid,
        has_acl: false,
    };
    if same_rules && (then.acl.is_none() || then.bits() == today.bits()) {
        return Access { has_acl: true, ..own(then.bits() & today.bits()) };
    }
    if then.acl.is_none() && today.acl.is_none() {
        return own(today.bits() & all_classes(then.bits()));
    }
    let of_owner = match then.attr.uid == today.attr.uid {
        true => then.bits() & 0o700,
        false if then.acl.is_none() => all_classes(then.bits()) & 0o700,
        false => 0,
    };
    own(today.bits() & of_owner)
}

/// What owner, group and others all have, for each of them.
fn all_classes(bits: u16) -> u16 {
    let common = (bits >> 6) & (bits >> 3) & bits & 0o7;
    (common * 0o111) | (bits & 0o1000)
}

/// A version that was in another directory than the one in which it is shown: the permission bits that are
/// left of it. Where not everybody may walk to that directory today, only the owner of the file is, if the way
/// is the owner's, and else nobody.
pub(super) fn bits_from_elsewhere(
    view: &View<'_>,
    was_in: Ino,
    shown_in: Ino,
    owner: u32,
) -> Result<u16> {
    if was_in == shown_in {
        return Ok(SHOWN_BITS);
    }
    let here = ancestors(view, shown_in)?;
    let mut bits = SHOWN_BITS;
    for dir in ancestors(view, was_in)? {
        if here.contains(&dir) {
            break;
        }
        let Some(inode) = known(view, dir)? else { return Ok(0) };
        let is_open = inode.mode.has(0o111) && view.xattr(dir, ACL_ACCESS)?.is_none();
        if !is_open {
            let is_owners = inode.uid == owner && inode.mode.has(0o100);
            bits &= if is_owners { 0o700 } else { 0 };
        }
    }
    Ok(bits)
}

/// The directory and those above it, in order.
pub(super) fn ancestors(view: &View<'_>, dir: Ino) -> Result<Vec<Ino>> {
    let (mut found, mut seen, mut at) = (Vec::new(), HashSet::new(), dir);
    while seen.insert(at) && found.len() < DEPTH_MAX {
        found.push(at);
        let parent = match view.inode(at)? {
            Some(inode) => Some(inode.parent),
            None => view.ended_inode(at)?.map(|inode| inode.parent),
        };
        at = parent.unwrap_or(at);
    }
    Ok(found)
}

fn known(view: &View<'_>, dir: Ino) -> Result<Option<Attr>> {
    let inode = match view.inode(dir)? {
        Some(inode) => Some(inode),
        None => view.ended_inode(dir)?,
    };
    Ok(inode.map(|inode| inode.attr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileKind, Timestamp};

    fn attr(mode: u32, uid: u32, gid: u32) -> Attr {
        let time = Timestamp(0);
        Attr {
            ino: Ino(5),
            kind: FileKind::Directory,
            mode: Mode::new(mode),
            nlink: 2,
            uid,
            gid,
            rdev: 0,
            size: 0,
            allocated: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        }
    }

    /// Mode, owner, and whether there is an access list: then and today; the bits that are left.
    fn left(then: (u32, u32, bool), today: (u32, u32, bool)) -> u16 {
        let acl = |has: bool| has.then(|| b"list".to_vec());
        let (before, now) = (attr(then.0, then.1, 9), attr(today.0, today.1, 9));
        let then = Rules { attr: &before, acl: acl(then.2) };
        let access = then_and_today(&then, &Rules { attr: &now, acl: acl(today.2) });
        assert_eq!(access.uid, now.uid);
        access.mode.bits()
    }

    #[test]
    fn what_was_closed_since_is_closed() {
        assert_eq!(left((0o755, 1, false), (0o755, 1, false)), 0o755);
        assert_eq!(left((0o755, 1, false), (0o700, 1, false)), 0o700);
        assert_eq!(left((0o700, 1, false), (0o755, 1, false)), 0o700);
        assert_eq!(left((0o6755, 1, false), (0o6755, 1, false)), 0o755);
    }

    #[test]
    fn another_owner_may_do_only_what_everybody_could() {
        assert_eq!(left((0o700, 1, false), (0o755, 2, false)), 0);
        assert_eq!(left((0o755, 1, false), (0o755, 2, false)), 0o555);
        assert_eq!(left((0o755, 1, false), (0o750, 2, false)), 0o550);
    }

    #[test]
    fn an_access_list_that_changed_leaves_the_owner() {
        assert_eq!(left((0o755, 1, true), (0o755, 1, true)), 0o755);
        assert_eq!(left((0o755, 1, true), (0o755, 1, false)), 0o700);
        assert_eq!(left((0o755, 1, false), (0o750, 1, true)), 0o700);
        assert_eq!(left((0o777, 1, true), (0o777, 2, true)), 0);
        assert_eq!(left((0o755, 1, true), (0o711, 1, true)), 0o700);
    }
}
