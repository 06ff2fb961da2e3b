//! Listing directories.

use super::history::{HISTORY_NAME, is_view};
use super::types::{DirEntry, Handle};
use super::volume::Volume;
use super::{Error, Result};
use crate::meta::{Dentry, Inode};
use crate::model::{FileKind, Ino};

/// Cookies of `.` and `..`, and of the history where it is listed; names have their slot, which is larger.
const COOKIE_DOT: u64 = 1;
const COOKIE_DOT_DOT: u64 = 2;
const COOKIE_HISTORY: u64 = 3;
/// Names that are asked of the metadata in one query.
const BATCH: usize = 256;

impl Volume {
    /// Opens a directory. A directory's handle needs no state: it is its inode number.
    pub fn opendir(&self, ino: Ino) -> Result<Handle> {
        if is_view(ino) {
            return self.open_view_directory(ino);
        }
        match self.inode(ino)?.attr.kind {
            FileKind::Directory => Ok(Handle(ino.0)),
            _ => Err(Error::NotDirectory),
        }
    }

    /// Closes a directory.
    pub fn releasedir(&self, _handle: Handle) -> Result<()> {
        Ok(())
    }

    /// Lists from after `cookie` (0: from the start, `.` and `..` first) until `emit` says `false` (it
    /// had no room for that entry). With `plus`, entries carry their attributes.
    ///
    /// A name that stays during the listing is shown once; one that comes or goes meanwhile may be shown or not.
    pub fn readdir(
        &self,
        handle: Handle,
        cookie: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        let ino = Ino(handle.0);
        if is_view(ino) {
            return self.list_view(ino, cookie, plus, emit);
        }
        if !self.list_dots(ino, cookie, emit)? || !self.list_history(ino, cookie, plus, emit)? {
            return Ok(());
        }
        let mut after = cookie.max(COOKIE_HISTORY) as i64;
        loop {
            let batch = self.list_batch(ino, after, plus)?;
            let complete = batch.len() < BATCH;
            for entry in batch {
                after = entry.cookie as i64;
                if !emit(entry) {
                    return Ok(());
                }
            }
            if complete {
                return Ok(());
            }
        }
    }

    fn list_dots(
        &self,
        ino: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<bool> {
        let dots = [(COOKIE_DOT, b".".as_slice()), (COOKIE_DOT_DOT, b"..")];
        for (own, name) in dots.into_iter().filter(|(own, _)| *own > cookie) {
            let target = match own {
                COOKIE_DOT => ino,
                _ => self.inode(ino)?.parent,
            };
            let kind = FileKind::Directory;
            if !emit(DirEntry { cookie: own, ino: target, kind, name: name.to_vec(), attr: None }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The history of the root, where it is wanted in its listing. What is listed with attributes is looked up.
    fn list_history(
        &self,
        ino: Ino,
        cookie: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<bool> {
        let is_listed = self.options.history_dir && self.options.history_listed;
        if ino != Ino::ROOT || !is_listed || cookie >= COOKIE_HISTORY {
            return Ok(true);
        }
        let attr = self.look_up_history(ino)?;
        let taken = emit(DirEntry {
            cookie: COOKIE_HISTORY,
            ino: attr.ino,
            kind: FileKind::Directory,
            name: HISTORY_NAME.to_vec(),
            attr: plus.then_some(attr),
        });
        if !plus || !taken {
            self.forget(attr.ino, 1);
        }
        Ok(taken)
    }

    fn list_batch(&self, ino: Ino, after: i64, plus: bool) -> Result<Vec<DirEntry>> {
        if !plus {
            let names = self.meta.read(|view| view.list(ino, after, BATCH))?;
            return Ok(names.into_iter().map(|dentry| entry(dentry, None)).collect());
        }
        let names = self.meta.read(|view| view.list_inodes(ino, after, BATCH))?;
        Ok(names
            .into_iter()
            .map(|(dentry, inode)| {
                let shown = self.open_inode(inode.attr.ino).unwrap_or(inode);
                entry(dentry, Some(shown))
            })
            .collect())
    }
}

fn entry(dentry: Dentry, inode: Option<Inode>) -> DirEntry {
    DirEntry {
        cookie: dentry.slot as u64,
        ino: dentry.ino,
        kind: dentry.kind,
        name: dentry.name,
        attr: inode.map(|inode| inode.attr),
    }
}
