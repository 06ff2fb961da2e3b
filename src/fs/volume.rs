//! The mounted store.
#![allow(missing_docs, unused_variables, clippy::todo)] // skeleton: replaced while the rooms are built

use super::*;
use crate::model::{Attr, Ino};
use std::sync::Arc;

/// A store that is open as a filesystem. Everything an adapter (FUSE, a test, later HTTP) does goes through here.
pub struct Volume {}

impl Volume {
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        todo!()
    }
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        todo!()
    }
    pub fn setattr(&self, caller: &Caller, ino: Ino, change: &SetAttr) -> Result<Attr> {
        todo!()
    }
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        todo!()
    }
    /// `mode`: type and permission bits, the umask not yet applied.
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        rdev: u32,
    ) -> Result<Attr> {
        todo!()
    }
    pub fn mkdir(&self, caller: &Caller, parent: Ino, name: &[u8], mode: u32) -> Result<Attr> {
        todo!()
    }
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attr> {
        todo!()
    }
    pub fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        todo!()
    }
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub fn rename(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        todo!()
    }
    pub fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        how: OpenMode,
    ) -> Result<(Attr, Handle)> {
        todo!()
    }
    pub fn open(&self, ino: Ino, how: OpenMode) -> Result<Handle> {
        todo!()
    }
    /// Reads up to `len` bytes at `offset` onto the end of `into`; fewer only at the end of the file.
    pub fn read(&self, handle: Handle, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<()> {
        todo!()
    }
    /// Writes all of `data` or fails.
    pub fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<()> {
        todo!()
    }
    /// What `close` waits for: after it returned, a killed daemon loses nothing of the file.
    pub fn flush(&self, handle: Handle) -> Result<()> {
        todo!()
    }
    pub fn release(&self, handle: Handle) -> Result<()> {
        todo!()
    }
    /// After it returned, a power cut loses nothing of the file.
    pub fn fsync(&self, handle: Handle) -> Result<()> {
        todo!()
    }
    pub fn opendir(&self, ino: Ino) -> Result<Handle> {
        todo!()
    }
    /// Lists from after `cookie` (0: from the start, `.` and `..` first) until `emit` says `false` (it had no room for that entry).
    /// With `plus`, entries carry their attributes.
    pub fn readdir(
        &self,
        handle: Handle,
        cookie: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        todo!()
    }
    pub fn releasedir(&self, handle: Handle) -> Result<()> {
        todo!()
    }
    pub fn fsyncdir(&self, handle: Handle) -> Result<()> {
        todo!()
    }
    pub fn statfs(&self) -> Result<StatFs> {
        todo!()
    }
    pub fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        todo!()
    }
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        todo!()
    }
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        todo!()
    }
    pub fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        todo!()
    }
    pub fn fallocate(&self, handle: Handle, offset: u64, len: u64, how: Allocate) -> Result<()> {
        todo!()
    }
    pub fn seek(&self, handle: Handle, offset: u64, what: Seek) -> Result<u64> {
        todo!()
    }
    /// Shares the range's chunks; answers how many bytes were copied (fewer than `len` only at the source's end).
    pub fn copy_range(
        &self,
        from: Handle,
        from_offset: u64,
        to: Handle,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        todo!()
    }
    /// Everything acknowledged so far survives a power cut once this returned.
    pub fn sync_all(&self) -> Result<()> {
        todo!()
    }
}

/// Keeps the skeleton's imports honest.
pub type SharedVolume = Arc<Volume>;
