//! What Verso tells and is told through extended attributes named `user.verso.…` of living inodes. None of them is
//! stored as an attribute.
//!
//! | name | on | setting it |
//! |---|---|---|
//! | `user.verso.pin.NAME` | a directory | keeps a moment by name, for good: any time, or now where nothing is said |
//! | `user.verso.cause` | a file | says why its next version is made: `restore`, `rewind` or `import` |
//! | what versions tell (`moment`, `author`, …) | anything | does nothing, so that a copy with attributes succeeds |

use crate::fs::types::{Caller, XattrMode};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{Inode, Tx};
use crate::model::{Cause, FileKind, Ino, Moment, Timestamp, is_pin_name, moment_name, parse_when};
use std::time::Duration;

/// What the names begin with.
const SPACE: &[u8] = b"user.verso.";
/// What follows it in the name of a pin.
const PIN: &[u8] = b"pin.";
/// What is told of versions, and comes along when one is copied.
const OF_VERSIONS: [&[u8]; 5] = [b"moment", b"until", b"author", b"version", b"hash"];
/// The name of the cause.
const CAUSE: &[u8] = b"cause";
/// So long after a save it can still be said what it was made for: programs that set attributes by path have closed
/// the file by then.
const LATE_MAX: Duration = Duration::from_secs(10);

/// The name without the space of Verso's own attributes, if it is in that.
pub(in crate::fs) fn told_name(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(SPACE)
}

impl Volume {
    /// Sets one of Verso's attributes of a living inode.
    pub(in crate::fs) fn set_told(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        self.check_no_view(&[ino])?;
        self.check_writable()?;
        match name.strip_prefix(PIN) {
            Some(pin) => self.set_pin(ino, pin, value, mode),
            None if name == CAUSE => self.set_cause(caller, ino, value),
            None if OF_VERSIONS.contains(&name) => Ok(()),
            None => Err(Error::NotSupported),
        }
    }

    /// The value of one of Verso's attributes of a living inode.
    pub(in crate::fs) fn get_told(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let name = name.strip_prefix(PIN).ok_or(Error::NoAttribute)?;
        let pin = self.meta.read(|view| view.pin(ino, name))?.ok_or(Error::NoAttribute)?;
        Ok(moment_name(pin.moment).into_bytes())
    }

    /// Removes one of Verso's attributes of a living inode.
    pub(in crate::fs) fn remove_told(&self, ino: Ino, name: &[u8]) -> Result<()> {
        self.check_no_view(&[ino])?;
        let name = name.strip_prefix(PIN).ok_or(Error::NoAttribute)?;
        let _tree = self.tree.lock();
        self.freeing_write(|tx| match tx.remove_pin(ino, name)? {
            true => Ok(()),
            false => Err(Error::NoAttribute),
        })
    }

    fn set_pin(&self, dir: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        if !is_pin_name(name) {
            return Err(Error::Invalid);
        }
        let asked = self.pinned_moment(value)?;
        self.space.reserve(name.len() as u64)?;
        let _tree = self.tree.lock();
        self.write_meta(|tx| add_pin(tx, dir, name, asked, mode))
    }

    /// Says why the next version of a file is made: what is being written, or else what the same user saved just now.
    /// A save and a replacement need not be said; with nothing that it could be said of, it is forgotten: a copy
    /// brings along what its original tells.
    fn set_cause(&self, caller: &Caller, ino: Ino, value: &[u8]) -> Result<()> {
        let told = std::str::from_utf8(value).ok().and_then(|text| Cause::from_name(text.trim()));
        let cause = told.ok_or(Error::Invalid)?;
        let _tree = self.tree.lock();
        let inode = self.living_inode(ino)?;
        if inode.attr.kind != FileKind::File
            || matches!(cause, Cause::Save | Cause::Rewrite | Cause::Replace)
        {
            return Ok(());
        }
        let node = self.nodes.get(ino);
        let mut state = node.as_ref().map(|node| node.lock());
        let inode = state.as_ref().map_or(inode, |state| state.inode);
        // Nothing may be in it yet: then it is not what was saved last.
        let is_dirty = state
            .as_ref()
            .is_some_and(|state| state.is_dirty() || (state.writers > 0 && state.size() == 0));
        if is_dirty || !self.is_just_saved(&inode, caller.uid) {
            if let Some(state) = state.as_mut().filter(|state| is_dirty || state.writers > 0) {
                state.cause = Some(cause);
            }
            return Ok(());
        }
        self.write_meta(|tx| Ok(tx.set_cause(ino, cause)?))?;
        if let Some(state) = &mut state {
            state.inode.saved.cause = cause;
        }
        Ok(())
    }

    /// Whether the content is what the user saved just now, or still writes. A close comes back before its handle is
    /// released, so whether there are writers says nothing.
    fn is_just_saved(&self, inode: &Inode, user: u32) -> bool {
        let Inode { saved, content_since, .. } = inode;
        let age = self.now().0.saturating_sub(content_since.0);
        let is_recent = !saved.is_cut || age < LATE_MAX.as_nanos() as i64;
        saved.number > 0 && saved.author == user && is_recent
    }

    /// The moment that a pin's value means.
    fn pinned_moment(&self, value: &[u8]) -> Result<Moment> {
        let now = Timestamp(self.now().0.max(self.meta.last_moment().0));
        let text = std::str::from_utf8(value).map_err(|_| Error::Invalid)?.trim();
        if text.is_empty() {
            return Ok(Moment(now.0));
        }
        Ok(parse_when(text, now, &self.options.zone).map_err(|_| Error::Invalid)?.moment)
    }
}

/// `asked` is not later than this transaction: what comes after it has later moments, so what the pin shows stays.
fn add_pin(tx: &Tx<'_>, dir: Ino, name: &[u8], asked: Moment, mode: XattrMode) -> Result<()> {
    let today = tx.inode(dir)?.ok_or(Error::NotFound)?;
    let moment = asked.min(tx.moment);
    // A moment at which the directory wasn't there shows nothing that could be kept.
    if today.attr.kind != FileKind::Directory || tx.inode_at(dir, moment)?.is_none() {
        return Err(Error::Invalid);
    }
    match (tx.pin(dir, name)?, mode) {
        (Some(pin), XattrMode::Set | XattrMode::Replace) if pin.moment == moment => Ok(()),
        // A name that was given stands for one moment until it is taken back.
        (Some(_), _) => Err(Error::Exists),
        (None, XattrMode::Replace) => Err(Error::NoAttribute),
        (None, _) => Ok(tx.add_pin(dir, name, moment)?),
    }
}
