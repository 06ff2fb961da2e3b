//! Attributes of views, extended ones too.

use super::access::{Access, Rules, as_it_was, bits_from_elsewhere, then_and_today};
use super::table::{Past, Role, ViewNode, What};
use super::told::told_name;
use super::versions::Version;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{Inode, View};
use crate::model::{ACL_ACCESS, Attr, FileKind, Ino, Mode, Moment, moment_name};

/// Bits of a directory that only lists what the past holds.
const LISTING_BITS: u16 = 0o555;
/// Bits of one out of which can be moved: whoever may change the directory may do so, with its sticky bit.
const MOVING_BITS: u16 = 0o1777;
/// What may be told of a view beside the attributes of what it shows, and is listed.
const TOLD: [&[u8]; 5] = [
    b"user.verso.moment",
    b"user.verso.until",
    b"user.verso.author",
    b"user.verso.cause",
    b"user.verso.version",
];
/// Taken off like set-user-id: nothing of the past runs with it.
const CAPABILITY: &[u8] = b"security.capability";
/// Told to who asks by this name only: it takes reading the file, and who copies attributes asks for each that is
/// listed.
const HASH: &[u8] = b"user.verso.hash";

impl Volume {
    pub(in crate::fs) fn view_attr(&self, ino: Ino) -> Result<Attr> {
        self.attr_of_view(&*self.views.get(ino)?)
    }

    /// Whether a view's attributes stay as they are.
    pub(in crate::fs) fn is_view_settled(&self, ino: Ino) -> bool {
        self.views.get(ino).is_ok_and(|node| match &node.what {
            // The way to a directory of the past may be closed, also to the one that a version was in, and a living
            // version may be written over.
            What::Past(past) => {
                let is_over =
                    |version: &Version| version.ended.is_some() && version.dir == version.shown_in;
                past.kind != FileKind::Directory && past.version().is_none_or(is_over)
            }
            _ => false,
        })
    }

    pub(super) fn attr_of_view(&self, node: &ViewNode) -> Result<Attr> {
        let attr = match &node.what {
            What::Versions { dir }
            | What::Name { dir, .. }
            | What::At { dir, .. }
            | What::Pins { dir } => listing_attr(self.inode(*dir)?.attr, LISTING_BITS),
            What::Deleted { dir } => listing_attr(self.inode(*dir)?.attr, MOVING_BITS),
            What::Moved { dir, moved } => moved.attr(&self.inode(*dir)?.attr),
            What::Past(past) => self.past_attr(past)?.0,
        };
        Ok(Attr { ino: node.ino, ..attr })
    }

    /// The attributes of an inode of the past, and whether its access list of that time holds.
    fn past_attr(&self, past: &Past) -> Result<(Attr, bool)> {
        let at = self.moment_of(past)?;
        self.meta.read(|view| {
            let inode = past_inode(view, past, at)?.ok_or(Error::NotFound)?;
            let mut attr = inode.attr;
            let access = match (past.kind, past.version()) {
                (FileKind::Directory, _) => directory_access(view, &attr, at)?,
                (_, Some(version)) => version_access(view, &attr, version)?,
                _ => as_it_was(&attr),
            };
            (attr.mode, attr.uid, attr.gid) = (access.mode, access.uid, access.gid);
            // How many names it had is not known, and of how many directories even less: 1 lets no program
            // conclude that there are none.
            attr.nlink = if past.kind == FileKind::Directory { 1 } else { attr.nlink.max(1) };
            Ok((attr, access.has_acl))
        })
    }

    pub(in crate::fs) fn view_xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let node = self.views.get(ino)?;
        let past = match &node.what {
            What::Past(past) => past,
            What::Moved { .. } => return Err(Error::NoAttribute),
            // Who may list the directory may list its history.
            What::Versions { dir }
            | What::Name { dir, .. }
            | What::At { dir, .. }
            | What::Deleted { dir }
            | What::Pins { dir } => {
                let found = self.meta.read(|view| view.xattr(*dir, ACL_ACCESS))?;
                return found.filter(|_| name == ACL_ACCESS).ok_or(Error::NoAttribute);
            }
        };
        if name == HASH && past.kind == FileKind::File {
            return Ok(self.hash_of(&node, past)?.into_bytes());
        }
        if told_name(name).is_some() {
            let told = self.tell(past, name)?.ok_or(Error::NoAttribute)?;
            return Ok(told.into_bytes());
        }
        if name == CAPABILITY || (name == ACL_ACCESS && !self.past_attr(past)?.1) {
            return Err(Error::NoAttribute);
        }
        let at = self.last_moment_of(past)?;
        self.meta.read(|view| view.xattr_at(past.ino, name, at))?.ok_or(Error::NoAttribute)
    }

    pub(in crate::fs) fn view_xattr_names(&self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let node = self.views.get(ino)?;
        let What::Past(past) = &node.what else { return Ok(Vec::new()) };
        let at = self.last_moment_of(past)?;
        let mut names = self.meta.read(|view| view.xattr_names_at(past.ino, at))?;
        if !self.past_attr(past)?.1 {
            names.retain(|name| name != ACL_ACCESS);
        }
        names.retain(|name| told_name(name).is_none() && name != CAPABILITY);
        for told in TOLD {
            names.extend(self.tell(past, told)?.map(|_| told.to_vec()));
        }
        Ok(names)
    }

    /// What is told of a view by this name, if anything.
    fn tell(&self, past: &Past, name: &[u8]) -> Result<Option<String>> {
        let moment = match (&past.role, name) {
            (Role::Version(version), _) => return Ok(tell_version(version, name)),
            (Role::Moment, b"user.verso.moment") => self.moment_of(past)?,
            (Role::Deleted { since, .. }, b"user.verso.moment") => {
                self.began_before_deletion(past, *since)?
            }
            (Role::Deleted { ended, .. }, b"user.verso.until") => *ended,
            _ => return Ok(None),
        };
        Ok(Some(moment_name(moment)))
    }

    /// From when what was deleted was what it is shown as: of a file since it had its content. A folder is shown as it
    /// was last whole, and at that moment.
    fn began_before_deletion(&self, past: &Past, since: Moment) -> Result<Moment> {
        let at = self.moment_of(past)?;
        if past.kind == FileKind::Directory {
            return Ok(at);
        }
        let inode = self.meta.read(|view| view.inode_at(past.ino, at))?.ok_or(Error::NotFound)?;
        Ok(inode.content_since.max(since))
    }

    /// The last moment at which the view's content had the attributes that it shows.
    fn last_moment_of(&self, past: &Past) -> Result<Moment> {
        match past.version() {
            Some(version) => Ok(last_moment(version)),
            None => self.moment_of(past),
        }
    }
}

fn tell_version(version: &Version, name: &[u8]) -> Option<String> {
    match name {
        b"user.verso.moment" => Some(moment_name(version.began)),
        b"user.verso.until" => version.ended.map(moment_name),
        b"user.verso.author" => Some(version.author.to_string()),
        b"user.verso.cause" => Some(version.cause.to_string()),
        b"user.verso.version" => Some(version.number.to_string()),
        _ => None,
    }
}

/// The last moment at which the version's inode had its content, under its name: the time in which it was empty before
/// something new was written counts to the version, but has attributes of its own.
fn last_moment(version: &Version) -> Moment {
    let ended = version.ended.into_iter().chain(version.content_until).min();
    ended.map_or(Moment(i64::MAX), |ended| Moment(ended.0 - 1))
}

/// The inode with the attributes that the view shows; of a version the last ones of its content.
fn past_inode(view: &View<'_>, past: &Past, at: Moment) -> Result<Option<Inode>> {
    let Some(version) = past.version() else { return Ok(view.inode_at(past.ino, at)?) };
    if past.kind != FileKind::File {
        return Ok(view.inode_at(past.ino, version.began)?);
    }
    let last = view.inode_at(past.ino, last_moment(version))?;
    let has_content = |inode: &Inode| inode.content_since == version.content_since;
    if let Some(inode) = last.filter(has_content) {
        return Ok(Some(inode));
    }
    let states = view.content_states(past.ino)?;
    Ok(states.into_iter().map(|state| state.inode).find(has_content))
}

fn directory_access(view: &View<'_>, attr: &Attr, at: Moment) -> Result<Access> {
    let Some(today) = view.inode(attr.ino)? else { return Ok(as_it_was(attr)) };
    let then = Rules { attr, acl: view.xattr_at(attr.ino, ACL_ACCESS, at)? };
    let acl = view.xattr(attr.ino, ACL_ACCESS)?;
    Ok(then_and_today(&then, &Rules { attr: &today.attr, acl }))
}

/// A listing belongs to whom the directory belongs to.
fn listing_attr(directory: Attr, bits: u16) -> Attr {
    let mode = Mode::new(u32::from(directory.mode.bits() & bits));
    Attr { mode, nlink: 1, size: 0, allocated: 0, ..directory }
}

fn version_access(view: &View<'_>, attr: &Attr, version: &Version) -> Result<Access> {
    let was = as_it_was(attr);
    let bits = bits_from_elsewhere(view, version.dir, version.shown_in, attr.uid)?;
    let mode = Mode::new(u32::from(was.mode.bits() & bits));
    Ok(Access { mode, has_acl: mode == was.mode, ..was })
}
