//! When the deletion of a folder began.
//!
//! Programs delete a folder by deleting everything in it first: just before its own end it is empty. What a
//! person calls deleted is what was there before: the deletions that followed each other without a pause
//! are taken for one.

use crate::fs::Result;
use crate::meta::View;
use crate::model::{FileKind, Ino, Moment};

/// A pause after which an earlier deletion is taken for one of its own.
const PAUSE_NANOS: i64 = 10_000_000_000;
/// Names that are looked at for one folder and everything below it.
const NAMES_MAX: usize = 500_000;
/// Folders within each other that are looked into.
const DEPTH_MAX: usize = 512;

/// The last moment at which the folder, which was deleted at `ended`, was whole.
pub(super) fn last_whole(view: &View<'_>, folder: Ino, ended: Moment) -> Result<Moment> {
    let mut run = Run { start: ended, newest: Moment(i64::MIN), names_left: NAMES_MAX };
    // Moved away, and not deleted: it is whole.
    if view.inode_at(folder, ended)?.is_none() {
        run.extend(view, folder, ended, 0)?;
    }
    Ok(Moment(run.start.0 - 1))
}

/// Deletions that follow each other, from the last one back.
struct Run {
    /// The first of them.
    start: Moment,
    /// When the youngest of the names that they took was made. What was deleted before that never was
    /// there together with it.
    newest: Moment,
    names_left: usize,
}

impl Run {
    fn extend(&mut self, view: &View<'_>, folder: Ino, until: Moment, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX {
            return Ok(());
        }
        for lost in view.lost_names(folder, until, self.names_left)? {
            let Some(ended) = lost.until else { continue };
            let is_earlier = self.start.0 - ended.0 >= PAUSE_NANOS || ended <= self.newest;
            if is_earlier || self.names_left == 0 {
                break;
            }
            self.names_left -= 1;
            self.start = self.start.min(ended);
            self.newest = self.newest.max(lost.since);
            if lost.kind == FileKind::Directory && view.inode_at(lost.ino, ended)?.is_none() {
                self.extend(view, lost.ino, ended, depth + 1)?;
            }
        }
        Ok(())
    }
}
