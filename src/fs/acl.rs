//! POSIX ACLs: kept as extended attributes, applied by the kernel, inherited and matched with modes
//! here. The rules are in `model::acl`.

use super::types::Caller;
use super::volume::Volume;
use super::{Error, Result};
use crate::meta::{self, Tx};
use crate::model::{ACL_ACCESS, ACL_DEFAULT, Acl, Attr, FileKind, Ino, Mode};

/// What a new inode gets from its directory.
pub(super) struct Inherited {
    /// Permission bits.
    pub(super) mode: u32,
    access: Option<Acl>,
    default: Option<Acl>,
}

impl Inherited {
    /// Stores what a new inode inherited.
    pub(super) fn store(&self, tx: &Tx<'_>, ino: Ino) -> meta::Result<()> {
        if let Some(acl) = &self.access {
            tx.set_xattr(ino, ACL_ACCESS, &acl.to_xattr())?;
        }
        if let Some(acl) = &self.default {
            tx.set_xattr(ino, ACL_DEFAULT, &acl.to_xattr())?;
        }
        Ok(())
    }
}

impl Volume {
    /// The permissions of a new inode: by its directory's default ACL, or else by the umask.
    pub(super) fn inherit_acl(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        parent: Ino,
        kind: FileKind,
        mode: u32,
    ) -> Result<Inherited> {
        if kind == FileKind::Symlink {
            return Ok(Inherited { mode: 0o777, access: None, default: None });
        }
        let permissions = mode & 0o7777;
        let Some(value) = tx.xattr(parent, ACL_DEFAULT)? else {
            let mode = permissions & !(caller.umask & 0o777);
            return Ok(Inherited { mode, access: None, default: None });
        };
        let Some(default) = parse(&value)? else { return Err(Error::Invalid) };
        let given = default.inherit(permissions, kind == FileKind::Directory);
        Ok(Inherited { mode: given.mode, access: given.access, default: given.default })
    }

    /// A change of the mode changes the access ACL, where there is one.
    pub(super) fn chmod_acl(&self, tx: &Tx<'_>, ino: Ino, mode: u32) -> Result<()> {
        let Some(value) = tx.xattr(ino, ACL_ACCESS)? else { return Ok(()) };
        if let Some(mut acl) = parse(&value)? {
            acl.chmod(mode);
            tx.set_xattr(ino, ACL_ACCESS, &acl.to_xattr())?;
        }
        Ok(())
    }

    /// Sets the access ACL: it changes the mode, and is not kept where the mode says it all.
    pub(super) fn set_access_acl(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        attr: &mut Attr,
        value: &[u8],
    ) -> Result<()> {
        let Some(acl) = parse(value)? else {
            tx.remove_xattr(attr.ino, ACL_ACCESS)?;
            return Ok(());
        };
        let (mode, kept) = acl.mode_of(u32::from(attr.mode.bits()));
        attr.mode = Mode::new(mode);
        // As with chmod: who is not in the group can't hand out its set-group-id. Of the caller's groups
        // only the first is known here.
        if caller.uid != 0 && caller.gid != attr.gid {
            attr.mode = Mode::new(u32::from(attr.mode.bits() & !Mode::SGID));
        }
        match kept {
            Some(acl) => tx.set_xattr(attr.ino, ACL_ACCESS, &acl.to_xattr())?,
            None => {
                tx.remove_xattr(attr.ino, ACL_ACCESS)?;
            }
        }
        Ok(())
    }

    /// Sets the default ACL of a directory; an empty one removes it.
    pub(super) fn set_default_acl(&self, tx: &Tx<'_>, attr: &Attr, value: &[u8]) -> Result<()> {
        if attr.kind != FileKind::Directory {
            return Err(Error::NotPermitted);
        }
        match parse(value)? {
            Some(acl) => tx.set_xattr(attr.ino, ACL_DEFAULT, &acl.to_xattr())?,
            None => {
                tx.remove_xattr(attr.ino, ACL_DEFAULT)?;
            }
        }
        Ok(())
    }
}

fn parse(value: &[u8]) -> Result<Option<Acl>> {
    Acl::from_xattr(value).map_err(|_| Error::Invalid)
}
