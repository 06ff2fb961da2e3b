//! Extents: what files show must be in chunks, once, and within the file.

use super::{Check, Problem};
use crate::fs::{Error, Result};
use crate::meta::{ExtentRow, View};
use crate::model::{ChunkId, FileKind, Ino};

/// The inode whose extents are being walked.
#[derive(Default)]
struct File {
    ino: u64,
    /// Size, allocated bytes and kind, while the inode lives.
    lives: Option<(u64, u64, FileKind)>,
    /// The end of the extent before.
    end: i64,
    bytes: u64,
}

impl Check<'_> {
    pub(super) fn contents(&mut self, view: &View<'_>) -> Result<()> {
        let mut file = File::default();
        view.each_extent(&mut |row: ExtentRow| {
            self.progress.go_on()?;
            if row.ino != file.ino {
                self.leave_file(&file);
                file = self.enter_file(view, row.ino)?;
            }
            if let Some(why) = fault(&file, &row) {
                let ExtentRow { ino, start, len, .. } = row;
                self.found_of(Problem::Extent { ino, start, len, why: why.into() }, ino);
            }
            file.end = row.start.saturating_add(row.len);
            file.bytes = file.bytes.saturating_add(row.len.max(0) as u64);
            self.shown_chunk(&row);
            Ok::<_, Error>(())
        })?;
        self.leave_file(&file);
        view.each_past_extent(&mut |row: ExtentRow| {
            self.progress.go_on()?;
            self.shown_chunk(&row);
            Ok::<_, Error>(())
        })?;
        view.each_unbacked_inode(&mut |ino| {
            let is = view.inode(Ino(ino))?.map_or(0, |inode| inode.attr.allocated);
            self.found_of(Problem::Allocated { ino, is, should: 0 }, ino);
            Ok::<_, Error>(())
        })
    }

    fn enter_file(&mut self, view: &View<'_>, ino: u64) -> Result<File> {
        let living = view.inode(Ino(ino))?.map(|inode| inode.attr);
        if living.is_none() && view.ended_inode(Ino(ino))?.is_none() {
            self.found_of(Problem::ExtentsOfNobody { ino }, ino);
        }
        let lives = living.map(|attr| (attr.size, attr.allocated, attr.kind));
        Ok(File { ino, lives, end: 0, bytes: 0 })
    }

    fn leave_file(&mut self, file: &File) {
        let Some((_, is, _)) = file.lives else { return };
        if is != file.bytes {
            let (ino, should) = (file.ino, file.bytes);
            self.found_of(Problem::Allocated { ino, is, should }, ino);
        }
    }

    /// What an extent shows must be in the chunk table, all of it.
    fn shown_chunk(&mut self, row: &ExtentRow) {
        let chunk = row.chunk;
        let problem = match row.plain_len {
            None => Problem::ChunkMissing { chunk },
            Some(len) if row.skip < 0 || row.skip.saturating_add(row.len) > len => {
                Problem::ChunkShort { chunk, len }
            }
            Some(_) => return,
        };
        self.bad_chunk(ChunkId(chunk), problem);
    }
}

fn fault(file: &File, row: &ExtentRow) -> Option<&'static str> {
    if row.len <= 0 || row.start < 0 {
        return Some("is empty or before the beginning");
    }
    if row.start < file.end {
        return Some("overlaps the one before");
    }
    let (size, _, kind) = file.lives?;
    if kind != FileKind::File {
        return Some("is in something that has no content");
    }
    let end = row.start.saturating_add(row.len);
    (end as u64 > size).then_some("goes beyond the end of the file")
}
