//! Extended attributes.

use super::attrs::beside_saved_content;
use super::history::{is_view, told_name};
use super::types::{Caller, XattrMode};
use super::volume::Volume;
use super::{Error, Result};
use crate::meta::Tx;
use crate::model::{ACL_ACCESS, ACL_DEFAULT, Ino, Timestamp};

/// The kernel's limits.
const VALUE_BYTES_MAX: usize = 64 << 10;
const NAME_BYTES_MAX: usize = 255;
const LIST_BYTES_MAX: usize = 64 << 10;
/// Namespaces that are kept as they come; ACLs are looked at.
const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

impl Volume {
    /// The value of an attribute.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        if is_view(ino) {
            return self.view_xattr(ino, name);
        }
        if let Some(told) = told_name(name) {
            return self.get_told(ino, told);
        }
        self.meta.read(|view| view.xattr(ino, name))?.ok_or(Error::NoAttribute)
    }

    /// The names of an inode's attributes.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        if is_view(ino) {
            return self.view_xattr_names(ino);
        }
        Ok(self.meta.read(|view| view.xattr_names(ino))?)
    }

    /// Sets an attribute.
    pub fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        check_name(name)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::AttributeTooLarge);
        }
        if let Some(told) = told_name(name) {
            return self.set_told(caller, ino, told, value, mode);
        }
        self.space.reserve(value.len() as u64)?;
        self.change_attributes(ino, |tx, inode| {
            let exists = tx.xattr(ino, name)?.is_some();
            match mode {
                XattrMode::Create if exists => return Err(Error::Exists),
                XattrMode::Replace if !exists => return Err(Error::NoAttribute),
                _ => {}
            }
            match name {
                ACL_ACCESS => self.set_access_acl(tx, caller, &mut inode.attr, value),
                ACL_DEFAULT => self.set_default_acl(tx, &inode.attr, value),
                _ => set_plain(tx, ino, name, value, exists),
            }
        })
    }

    /// Removes an attribute.
    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<()> {
        check_name(name)?;
        if let Some(told) = told_name(name) {
            return self.remove_told(ino, told);
        }
        self.change_attributes(ino, |tx, _| match tx.remove_xattr(ino, name)? {
            true => Ok(()),
            false => Err(Error::NoAttribute),
        })
    }

    /// Runs a change of attributes, which is a change of the inode as well.
    fn change_attributes(
        &self,
        ino: Ino,
        work: impl FnOnce(&Tx<'_>, &mut crate::meta::Inode) -> Result<()>,
    ) -> Result<()> {
        self.check_no_view(&[ino])?;
        self.check_writable()?;
        let _tree = self.tree.lock();
        let node = self.nodes.get(ino);
        let mut state = node.as_ref().map(|node| node.lock());
        let now: Timestamp = self.now();
        let after = self.write_meta(|tx| {
            let committed = tx.inode(ino)?.ok_or(Error::NotFound)?;
            let mut after = state.as_ref().map_or(committed, |state| state.inode);
            work(tx, &mut after)?;
            after.attr.ctime = now;
            let is_dirty = state.as_ref().is_some_and(|state| state.is_dirty());
            let row = beside_saved_content(&after.attr, &committed.attr, is_dirty);
            // An ACL may change the mode, which is a state of its own in any case: written in place, the past would show
            // the mode of the new list, its mask in the place of the group, without that list.
            if after.attr.mode == committed.attr.mode {
                tx.touch_inode(&row)?;
            } else {
                tx.change_inode(&row)?;
                after.since = tx.moment;
            }
            Ok(after)
        })?;
        if let Some(state) = &mut state {
            state.inode = after;
        }
        Ok(())
    }
}

fn set_plain(tx: &Tx<'_>, ino: Ino, name: &[u8], value: &[u8], exists: bool) -> Result<()> {
    if !exists {
        let names = tx.xattr_names(ino)?;
        let listed: usize = names.iter().map(|name| name.len() + 1).sum();
        if listed + name.len() + 1 > LIST_BYTES_MAX {
            return Err(Error::NoSpace);
        }
    }
    Ok(tx.set_xattr(ino, name, value)?)
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::NameTooLong);
    }
    let known = NAMESPACES.iter().any(|space| name.starts_with(space) && name.len() > space.len());
    match known || name == ACL_ACCESS || name == ACL_DEFAULT {
        true => Ok(()),
        false => Err(Error::NotSupported),
    }
}
