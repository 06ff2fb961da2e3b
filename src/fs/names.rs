//! Names: looking them up, making, linking, moving and removing them.

use super::acl::Inherited;
use super::history::{HISTORY_NAME, is_view};
use super::node::OpenFile;
use super::types::{Caller, Handle, OpenMode, RenameMode};
use super::volume::Volume;
use super::{Error, Result};
use crate::meta::{self, Dentry, Inode, Redo, Saved, Tx};
use crate::model::{Attr, FileKind, Ino, Mode, Timestamp};

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest target of a symbolic link, in bytes.
const TARGET_BYTES_MAX: usize = 4095;
/// The most names that a file can have: ext4's limit.
const LINKS_MAX: u32 = 65_000;
/// The directory in the root whose new directories are projects.
const PROJECTS_NAME: &[u8] = b"projects";
/// Room on the disk that making a name asks for.
const NAME_ROOM_BYTES: u64 = 4096;

/// What to make.
struct NewInode<'a> {
    kind: FileKind,
    /// Permission bits, before the umask.
    mode: u32,
    rdev: u32,
    target: Option<&'a [u8]>,
}

/// A new inode and its name, complete: its rows can be written a second time.
struct Birth {
    attr: Attr,
    parent: Ino,
    name: Vec<u8>,
    target: Option<Vec<u8>>,
    inherited: Inherited,
    /// The number of the last content that the name showed.
    number: u64,
}

impl Birth {
    fn write(&self, tx: &Tx<'_>) -> meta::Result<()> {
        tx.create_inode(&self.attr, self.parent, self.number)?;
        tx.add_dentry(self.parent, &self.name, &self.attr)?;
        if let Some(target) = &self.target {
            tx.set_symlink_target(self.attr.ino, target)?;
        }
        self.inherited.store(tx, self.attr.ino)
    }

    fn inode(&self, tx: &Tx<'_>) -> Inode {
        Inode {
            attr: self.attr,
            parent: self.parent,
            since: tx.moment,
            content_since: tx.moment,
            saved: Saved { number: self.number, ..Saved::nothing(self.attr.uid) },
        }
    }
}

/// What happened to an inode's link count: to be told to its node once it is committed.
pub(super) struct LinkChange {
    ino: Ino,
    nlink: u32,
    ctime: Timestamp,
    /// The least number that its content has now: see [`Tx::raise_number`].
    number: u64,
}

/// Whether a directory is made to be filled with what is in another one. `cp` asks for the rights that the other one has,
/// `tar` for few, and `cp` fails where a directory that it is about to make is there already; `mkdir`, file managers and most
/// programs ask for all rights, and leave it to the umask to take some away. Without a umask nobody can tell: so
/// work rsync and Samba, and neither minds.
fn is_copying(caller: &Caller, mode: u32) -> bool {
    mode & 0o777 != 0o777 && caller.umask != 0
}

impl Volume {
    /// The inode that a name holds.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        check_length(name)?;
        if is_view(parent) {
            return self.look_up_view(parent, name);
        }
        if self.is_history(name) {
            return self.look_up_history(parent);
        }
        let found = self.meta.read(|view| view.lookup(parent, name))?;
        let inode = found.ok_or(Error::NotFound)?;
        Ok(self.open_inode(inode.attr.ino).unwrap_or(inode).attr)
    }

    /// The target of a symbolic link.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        if is_view(ino) {
            return self.view_target(ino);
        }
        self.meta.read(|view| view.symlink_target(ino))?.ok_or(Error::Invalid)
    }

    /// Makes a file, device node, fifo or socket. `mode`: type and permission bits, before the umask.
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        rdev: u32,
    ) -> Result<Attr> {
        let kind = match mode & libc::S_IFMT {
            0 => FileKind::File,
            bits => FileKind::from_mode(bits).ok_or(Error::Invalid)?,
        };
        if matches!(kind, FileKind::Directory | FileKind::Symlink) {
            return Err(Error::Invalid);
        }
        self.check_no_view(&[parent])?;
        let _tree = self.tree.lock();
        let new = NewInode { kind, mode, rdev, target: None };
        self.make(caller, parent, name, &new).map(|inode| inode.attr)
    }

    /// Makes a directory; a new one in `projects` gets its stages, unless it is made by copying another one.
    pub fn mkdir(&self, caller: &Caller, parent: Ino, name: &[u8], mode: u32) -> Result<Attr> {
        self.check_no_view(&[parent])?;
        let _tree = self.tree.lock();
        let new = NewInode { kind: FileKind::Directory, mode, rdev: 0, target: None };
        self.make(caller, parent, name, &new).map(|inode| inode.attr)
    }

    /// Makes a symbolic link.
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attr> {
        match target.len() {
            0 => return Err(Error::NotFound),
            1..=TARGET_BYTES_MAX => {}
            _ => return Err(Error::NameTooLong),
        }
        self.check_no_view(&[parent])?;
        let _tree = self.tree.lock();
        let new = NewInode { kind: FileKind::Symlink, mode: 0o777, rdev: 0, target: Some(target) };
        self.make(caller, parent, name, &new).map(|inode| inode.attr)
    }

    /// Makes a file and opens it; an existing one is opened, unless `how` says that it must not exist.
    pub fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        how: OpenMode,
    ) -> Result<(Attr, Handle)> {
        self.check_no_view(&[parent])?;
        let tree = self.tree.lock();
        match self.make_deferred(caller, parent, name, mode) {
            Ok(inode) => {
                let node = self.nodes.acquire(inode);
                node.enter(&how);
                Ok((inode.attr, self.handles.insert(OpenFile { node, how })))
            }
            Err(Error::Exists) if !how.exclusive => {
                drop(tree);
                let attr = self.lookup(parent, name)?;
                let handle = self.open(attr.ino, how)?;
                Ok((self.getattr(attr.ino)?, handle))
            }
            Err(error) => Err(error),
        }
    }

    /// `tree` is held.
    fn make(&self, caller: &Caller, parent: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Inode> {
        self.check_room_for(name)?;
        self.write_meta(|tx| {
            let directory = self.directory_without(tx, parent, name)?;
            let inode = self.add_inode(tx, caller, &directory, name, new)?;
            let is_directory = new.kind == FileKind::Directory;
            tx.touch_directory(parent, inode.attr.btime, i32::from(is_directory))?;
            if is_directory && !is_copying(caller, new.mode) && self.is_projects(tx, parent)? {
                return self.add_stages(tx, caller, inode);
            }
            Ok(inode)
        })
    }

    /// Makes a file whose name is committed together with what comes next, its content as a rule, or
    /// when it is closed. `tree` is held.
    fn make_deferred(&self, caller: &Caller, parent: Ino, name: &[u8], mode: u32) -> Result<Inode> {
        self.check_room_for(name)?;
        let new = NewInode { kind: FileKind::File, mode, rdev: 0, target: None };
        self.write_meta_deferred(|tx| {
            let directory = self.directory_without(tx, parent, name)?;
            let birth = self.birth(tx, caller, &directory, name, &new)?;
            let inode = birth.inode(tx);
            let add: Redo = Box::new(move |tx| {
                birth.write(tx)?;
                tx.touch_directory(parent, birth.attr.btime, 0)
            });
            add(tx)?;
            Ok((inode, add))
        })
    }

    fn check_room_for(&self, name: &[u8]) -> Result<()> {
        check_new_name(name)?;
        self.check_writable()?;
        self.space.reserve(NAME_ROOM_BYTES)
    }

    /// The directory, which must not hold the name.
    fn directory_without(&self, tx: &Tx<'_>, parent: Ino, name: &[u8]) -> Result<Inode> {
        let directory = tx.inode(parent)?.ok_or(Error::NotFound)?;
        match tx.dentry(parent, name)? {
            Some(_) => Err(Error::Exists),
            None => Ok(directory),
        }
    }

    /// Adds an inode under a name, with what it inherits from its directory.
    fn add_inode(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        directory: &Inode,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Inode> {
        let birth = self.birth(tx, caller, directory, name, new)?;
        birth.write(tx)?;
        Ok(birth.inode(tx))
    }

    /// What a new inode is to be.
    fn birth(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        directory: &Inode,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Birth> {
        let now = self.now();
        let parent = directory.attr.ino;
        let is_directory = new.kind == FileKind::Directory;
        let inherited = self.inherit_acl(tx, caller, parent, new.kind, new.mode)?;
        let setgid = directory.attr.mode.has(Mode::SGID);
        let sgid_bit = if setgid && is_directory { u32::from(Mode::SGID) } else { 0 };
        let attr = Attr {
            ino: self.meta.next_ino(),
            kind: new.kind,
            mode: Mode::new(inherited.mode | sgid_bit),
            nlink: if is_directory { 2 } else { 1 },
            uid: caller.uid,
            gid: if setgid { directory.attr.gid } else { caller.gid },
            rdev: new.rdev,
            size: new.target.map_or(0, |target| target.len() as u64),
            allocated: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        let number = match new.kind {
            FileKind::File => tx.last_number(parent, name)?,
            _ => 0,
        };
        let (name, target) = (name.to_vec(), new.target.map(<[u8]>::to_vec));
        Ok(Birth { attr, parent, name, target, inherited, number })
    }

    fn is_projects(&self, tx: &Tx<'_>, directory: Ino) -> Result<bool> {
        let projects = tx.dentry(Ino::ROOT, PROJECTS_NAME)?;
        Ok(projects.is_some_and(|dentry| dentry.ino == directory))
    }

    /// Gives a new project its stages, made like the project itself.
    fn add_stages(&self, tx: &Tx<'_>, caller: &Caller, mut project: Inode) -> Result<Inode> {
        let mode = u32::from(project.attr.mode.bits());
        let new = NewInode { kind: FileKind::Directory, mode, rdev: 0, target: None };
        // The project's mode has the umask applied already.
        let caller = Caller { umask: 0, ..*caller };
        for stage in &self.options.stages {
            self.add_inode(tx, &caller, &project, stage.as_bytes(), &new)?;
            tx.touch_directory(project.attr.ino, project.attr.mtime, 1)?;
            project.attr.nlink += 1;
        }
        Ok(project)
    }

    /// Gives a file another name.
    pub fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        check_new_name(name)?;
        self.check_no_view(&[ino, parent])?;
        let _tree = self.tree.lock();
        self.check_writable()?;
        self.space.reserve(NAME_ROOM_BYTES)?;
        let now = self.now();
        let attr = self.write_meta(|tx| {
            tx.inode(parent)?.ok_or(Error::NotFound)?;
            let mut attr = tx.inode(ino)?.ok_or(Error::NotFound)?.attr;
            match attr.nlink {
                0 => return Err(Error::NotFound),
                LINKS_MAX.. => return Err(Error::TooManyLinks),
                _ => {}
            }
            if attr.kind == FileKind::Directory {
                return Err(Error::NotPermitted);
            }
            if tx.dentry(parent, name)?.is_some() {
                return Err(Error::Exists);
            }
            tx.add_dentry(parent, name, &attr)?;
            tx.set_parent(ino, parent)?;
            attr.nlink += 1;
            attr.ctime = now;
            tx.set_links(ino, attr.nlink, now)?;
            tx.touch_directory(parent, now, 0)?;
            Ok(attr)
        })?;
        self.tell_nodes(&[LinkChange { ino, nlink: attr.nlink, ctime: now, number: 0 }]);
        Ok(self.open_inode(ino).map_or(attr, |inode| inode.attr))
    }

    /// Removes a name of anything but a directory.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove(parent, name, |_, dentry| match dentry.kind {
            FileKind::Directory => Err(Error::IsDirectory),
            _ => Ok(()),
        })
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.remove(parent, name, |tx, dentry| {
            if dentry.kind != FileKind::Directory {
                return Err(Error::NotDirectory);
            }
            match tx.is_empty_directory(dentry.ino)? {
                true => Ok(()),
                false => Err(Error::NotEmpty),
            }
        })
    }

    fn remove(
        &self,
        parent: Ino,
        name: &[u8],
        check: impl Fn(&Tx<'_>, &Dentry) -> Result<()>,
    ) -> Result<()> {
        check_length(name)?;
        self.check_no_view(&[parent])?;
        self.check_no_history(name)?;
        let _tree = self.tree.lock();
        let now = self.now();
        let change = self.freeing_write(|tx| {
            let dentry = tx.dentry(parent, name)?.ok_or(Error::NotFound)?;
            check(tx, &dentry)?;
            tx.remove_dentry(parent, &dentry)?;
            let is_directory = dentry.kind == FileKind::Directory;
            tx.touch_directory(parent, now, -i32::from(is_directory))?;
            self.drop_link(tx, dentry.ino, now)
        })?;
        self.tell_nodes(&[change]);
        Ok(())
    }

    /// Takes a name off an inode's count; without names it ends, or waits for its last handle.
    pub(super) fn drop_link(&self, tx: &Tx<'_>, ino: Ino, now: Timestamp) -> Result<LinkChange> {
        let attr = tx.inode(ino)?.ok_or(Error::NotFound)?.attr;
        let nlink = match attr.kind {
            FileKind::Directory => 0,
            _ => attr.nlink.saturating_sub(1),
        };
        if nlink > 0 {
            tx.set_links(ino, nlink, now)?;
        } else if self.nodes.get(ino).is_some() {
            tx.set_links(ino, 0, now)?;
            tx.add_orphan(ino)?;
        } else {
            tx.end_inode(ino)?;
        }
        Ok(LinkChange { ino, nlink, ctime: now, number: 0 })
    }

    /// Moves a name.
    pub fn rename(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        check_length(name)?;
        self.check_no_view(&[new_parent])?;
        self.check_no_history(name)?;
        check_new_name(new_name)?;
        if is_view(parent) {
            let to = Place { parent: new_parent, name: new_name };
            return self.move_out_of_view((parent, name), to, mode);
        }
        let _tree = self.tree.lock();
        let now = self.now();
        let changes = self.freeing_write(|tx| {
            let source = tx.dentry(parent, name)?.ok_or(Error::NotFound)?;
            tx.inode(new_parent)?.ok_or(Error::NotFound)?;
            let target = tx.dentry(new_parent, new_name)?;
            let to = Place { parent: new_parent, name: new_name };
            let from = Place { parent, name };
            if source.kind == FileKind::Directory {
                check_not_below(tx, source.ino, new_parent)?;
            }
            match (mode, target) {
                (RenameMode::Exchange, None) => Err(Error::NotFound),
                // Two names of one file: nothing moves.
                (RenameMode::Replace | RenameMode::Exchange, Some(target))
                    if target.ino == source.ino =>
                {
                    Ok(Vec::new())
                }
                (RenameMode::Exchange, Some(target)) => {
                    self.exchange(tx, now, (from, &source), (to, &target))
                }
                (RenameMode::NoReplace, Some(_)) => Err(Error::Exists),
                (_, target) => self.replace(tx, now, (from, &source), (to, target.as_ref())),
            }
        })?;
        self.tell_nodes(&changes);
        Ok(())
    }

    fn replace(
        &self,
        tx: &Tx<'_>,
        now: Timestamp,
        (from, source): (Place<'_>, &Dentry),
        (to, target): (Place<'_>, Option<&Dentry>),
    ) -> Result<Vec<LinkChange>> {
        let moves_directory = source.kind == FileKind::Directory;
        let mut changes = Vec::new();
        let mut links = LinkBalance::default();
        if let Some(target) = target {
            check_replaceable(tx, moves_directory, target)?;
            tx.remove_dentry(to.parent, target)?;
            changes.push(self.drop_link(tx, target.ino, now)?);
            links.to -= i32::from(target.kind == FileKind::Directory);
        }
        tx.remove_dentry(from.parent, source)?;
        changes.push(self.place(tx, now, source.ino, from.parent, &to)?);
        links.from -= i32::from(moves_directory);
        links.to += i32::from(moves_directory);
        links.write(tx, now, from.parent, to.parent)?;
        Ok(changes)
    }

    fn exchange(
        &self,
        tx: &Tx<'_>,
        now: Timestamp,
        (from, source): (Place<'_>, &Dentry),
        (to, target): (Place<'_>, &Dentry),
    ) -> Result<Vec<LinkChange>> {
        if target.kind == FileKind::Directory {
            check_not_below(tx, target.ino, from.parent)?;
        }
        tx.remove_dentry(from.parent, source)?;
        tx.remove_dentry(to.parent, target)?;
        let changes = vec![
            self.place(tx, now, source.ino, from.parent, &to)?,
            self.place(tx, now, target.ino, to.parent, &from)?,
        ];
        let moved = |dentry: &Dentry| i32::from(dentry.kind == FileKind::Directory);
        let balance = moved(source) - moved(target);
        let links = LinkBalance { from: -balance, to: balance };
        links.write(tx, now, from.parent, to.parent)?;
        Ok(changes)
    }

    /// Puts an inode under a new name, after it was taken from the old one.
    fn place(
        &self,
        tx: &Tx<'_>,
        now: Timestamp,
        ino: Ino,
        old_parent: Ino,
        to: &Place<'_>,
    ) -> Result<LinkChange> {
        let Inode { attr, saved, .. } = tx.inode(ino)?.ok_or(Error::NotFound)?;
        tx.add_dentry(to.parent, to.name, &attr)?;
        if old_parent != to.parent {
            tx.set_parent(ino, to.parent)?;
        }
        tx.set_links(ino, attr.nlink, now)?;
        let last = tx.last_number(to.parent, to.name)?;
        let number = if last > 0 { last + 1 } else { 0 };
        if number > saved.number {
            tx.raise_number(ino, number)?;
        }
        Ok(LinkChange { ino, nlink: attr.nlink, ctime: now, number })
    }

    /// Tells open inodes what a committed transaction did to their link counts.
    pub(super) fn tell_nodes(&self, changes: &[LinkChange]) {
        for change in changes {
            if let Some(node) = self.nodes.get(change.ino) {
                let mut state = node.lock();
                state.inode.attr.nlink = change.nlink;
                state.inode.attr.ctime = change.ctime;
                let number = &mut state.inode.saved.number;
                *number = change.number.max(*number);
            }
        }
    }
}

/// A name in a directory.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) parent: Ino,
    pub(super) name: &'a [u8],
}

/// How many subdirectories the two directories of a rename gain.
#[derive(Default)]
struct LinkBalance {
    from: i32,
    to: i32,
}

impl LinkBalance {
    fn write(&self, tx: &Tx<'_>, now: Timestamp, from: Ino, to: Ino) -> Result<()> {
        if from == to {
            return Ok(tx.touch_directory(from, now, self.from + self.to)?);
        }
        tx.touch_directory(from, now, self.from)?;
        tx.touch_directory(to, now, self.to)?;
        Ok(())
    }
}

pub(super) fn check_replaceable(tx: &Tx<'_>, by_directory: bool, target: &Dentry) -> Result<()> {
    match (by_directory, target.kind == FileKind::Directory) {
        (true, false) => Err(Error::NotDirectory),
        (false, true) => Err(Error::IsDirectory),
        (true, true) if !tx.is_empty_directory(target.ino)? => Err(Error::NotEmpty),
        _ => Ok(()),
    }
}

/// A directory can't be moved into itself or below itself.
fn check_not_below(tx: &Tx<'_>, directory: Ino, mut place: Ino) -> Result<()> {
    loop {
        if place == directory {
            return Err(Error::Invalid);
        }
        if place == Ino::ROOT {
            return Ok(());
        }
        place = tx.inode(place)?.ok_or(Error::NotFound)?.parent;
    }
}

fn check_length(name: &[u8]) -> Result<()> {
    match name.len() {
        0..=NAME_BYTES_MAX => Ok(()),
        _ => Err(Error::NameTooLong),
    }
}

fn check_new_name(name: &[u8]) -> Result<()> {
    check_length(name)?;
    match name {
        b"" | b"." | b".." => Err(Error::Invalid),
        HISTORY_NAME => Err(Error::Exists),
        _ if name.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(Error::Invalid),
        _ => Ok(()),
    }
}
