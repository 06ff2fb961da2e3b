//! Putting right what can be put right without losing anything. Each repair looks again at what it
//! changes within its own transaction, and leaves it when it is no longer as it was found.

use super::{CheckReport, Problem};
use crate::chunks::Record;
use crate::fs::scrub::Healing;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::Tx;
use crate::model::{Attr, ChunkHash, ChunkId, ChunkRef, FileKind, Ino, Mode};
use crate::sys;
use std::collections::{HashMap, HashSet};

/// Where what has no name gets one.
const LOST_AND_FOUND: &str = "lost+found";
/// Names that are tried for it.
const LOST_AND_FOUND_TRIES: u32 = 16;

impl Volume {
    /// Does what can be done about the findings; whether anything was done.
    pub(super) fn apply_repairs(
        &self,
        report: &CheckReport,
        healing: &mut Healing<'_>,
    ) -> Result<bool> {
        let problems = || report.findings.iter().map(|finding| &finding.problem);
        if !problems().any(|problem| problem.repair().is_some()) {
            return Ok(false);
        }
        let mut done = self.repair_tree(report)?;
        for problem in problems() {
            match problem {
                Problem::Allocated { ino, .. } => done |= self.repair_allocated(Ino(*ino))?,
                Problem::ChunkUnindexed { chunk } => {
                    self.freeing_write(|tx| Ok(tx.index_chunk(ChunkId(*chunk))?))?;
                    done = true;
                }
                _ => {}
            }
        }
        if problems().any(|problem| matches!(problem, Problem::Counter { .. })) {
            self.freeing_write(|tx| Ok(tx.raise_counters(&tx.counters_needed()?)?))?;
            done = true;
        }
        Ok(self.repair_chunks(report, healing)? | done)
    }

    /// Names, directories, links: under the lock that all changes of names take.
    fn repair_tree(&self, report: &CheckReport) -> Result<bool> {
        let _tree = self.tree.lock();
        let mut done = false;
        let mut recount = false;
        for finding in &report.findings {
            let problem = &finding.problem;
            recount |= matches!(
                problem,
                Problem::LinkCount { .. }
                    | Problem::ParentHint { .. }
                    | Problem::StaleOrphan { .. }
                    | Problem::Unreachable { .. }
                    | Problem::Cycle { .. }
                    | Problem::DirectoryMissing { .. }
                    | Problem::NameWithoutInode { .. }
            );
            done |= self.freeing_write(|tx| self.repair_name(tx, problem))?;
        }
        if recount {
            self.recount_links()?;
        }
        Ok(done | recount)
    }

    fn repair_name(&self, tx: &Tx<'_>, problem: &Problem) -> Result<bool> {
        match *problem {
            Problem::NameWithoutInode { ino, is_directory, directory, .. } => {
                if tx.revive_inode(Ino(ino))? {
                    return Ok(true);
                }
                if is_directory {
                    tx.restore_inode(&self.new_directory(Ino(ino)), Ino(directory))?;
                }
                Ok(is_directory)
            }
            Problem::DirectoryMissing { directory, .. } => {
                // If a name still leads to it, that one serves; otherwise the next round finds it unnamed.
                if !tx.revive_inode(Ino(directory))? {
                    tx.restore_inode(&self.new_directory(Ino(directory)), Ino::ROOT)?;
                }
                Ok(true)
            }
            Problem::NameKind { directory, .. } => {
                tx.correct_kinds(Ino(directory))?;
                Ok(true)
            }
            Problem::NameMisplaced { directory, slot, .. } => {
                Ok(tx.place_name(Ino(directory), slot)?)
            }
            Problem::Cycle { ino, directory, slot } => {
                tx.take_name(Ino(directory), slot)?;
                self.name_lost(tx, Ino(ino))
            }
            Problem::Unreachable { ino } => self.name_lost(tx, Ino(ino)),
            _ => Ok(false),
        }
    }

    /// Gives an inode a name in `lost+found`, which is made if need be.
    fn name_lost(&self, tx: &Tx<'_>, ino: Ino) -> Result<bool> {
        let Some(inode) = tx.inode(ino)? else { return Ok(false) };
        let Some(directory) = self.lost_and_found(tx)? else { return Ok(false) };
        let name = format!("#{ino}");
        if tx.dentry(directory, name.as_bytes())?.is_none() {
            tx.add_dentry(directory, name.as_bytes(), &inode.attr)?;
            tx.set_parent(ino, directory)?;
        }
        Ok(true)
    }

    fn lost_and_found(&self, tx: &Tx<'_>) -> Result<Option<Ino>> {
        for number in 0..LOST_AND_FOUND_TRIES {
            let name = match number {
                0 => LOST_AND_FOUND.to_owned(),
                number => format!("{LOST_AND_FOUND}.{number}"),
            };
            match tx.lookup(Ino::ROOT, name.as_bytes())? {
                Some(found) if found.attr.kind == FileKind::Directory => {
                    return Ok(Some(found.attr.ino));
                }
                Some(_) => continue,
                None => {}
            }
            let attr = self.new_directory(self.meta.next_ino());
            tx.create_inode(&attr, Ino::ROOT, 0)?;
            tx.add_dentry(Ino::ROOT, name.as_bytes(), &attr)?;
            return Ok(Some(attr.ino));
        }
        Ok(None)
    }

    /// A directory for the owner of the daemon alone: nothing is shown to who could not see it before.
    fn new_directory(&self, ino: Ino) -> Attr {
        let now = self.now();
        let (uid, gid) = sys::current_user();
        Attr {
            ino,
            kind: FileKind::Directory,
            mode: Mode::new(0o700),
            nlink: 2,
            uid,
            gid,
            rdev: 0,
            size: 0,
            allocated: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        }
    }

    /// Counts links anew; open files learn of it. `tree` is held.
    fn recount_links(&self) -> Result<()> {
        self.freeing_write(|tx| Ok(tx.recount_links()?))?;
        for node in self.nodes.all() {
            let Some(row) = self.meta.read(|view| view.inode(node.ino))? else { continue };
            let mut state = node.lock();
            state.inode.attr.nlink = row.attr.nlink;
            state.inode.parent = row.parent;
        }
        Ok(())
    }

    fn repair_allocated(&self, ino: Ino) -> Result<bool> {
        let open = self.nodes.get(ino);
        let mut state = open.as_ref().map(|node| node.lock());
        let allocated = self.freeing_write(|tx| Ok(tx.recount_allocated(ino)?))?;
        if let Some(state) = &mut state {
            state.inode.attr.allocated = allocated;
        }
        Ok(true)
    }

    /// Points damaged and misplaced chunks at intact records of the same content, and fetches those of which there is none.
    fn repair_chunks(&self, report: &CheckReport, healing: &mut Healing<'_>) -> Result<bool> {
        let mut chunks = Vec::new();
        for finding in &report.findings {
            if let Problem::ChunkPlace { chunk, .. }
            | Problem::ChunkDamaged { chunk, .. }
            | Problem::ChunkBase { chunk, .. } = finding.problem
            {
                chunks.push(ChunkId(chunk));
            }
        }
        let moved = self.point_at_others(&chunks)?;
        let before = healing.repaired;
        healing.heal(&chunks)?;
        Ok(moved > 0 || healing.repaired > before)
    }

    /// Points chunks at intact records of the same content, where the packs hold some; how many. Nobody moves chunks meanwhile: the turn of
    /// upkeep is the caller's.
    pub(in crate::fs) fn point_at_others(&self, chunks: &[ChunkId]) -> Result<u64> {
        let mut wanted: HashMap<ChunkHash, Vec<ChunkRef>> = HashMap::new();
        for chunk in chunks {
            // A row that can't be read is a finding of its own.
            if let Ok(Some(row)) = self.meta.read(|view| view.chunk(*chunk)) {
                wanted.entry(row.hash).or_default().push(row);
            }
        }
        let mut moved = 0;
        if wanted.is_empty() {
            return Ok(moved);
        }
        for pack in self.ingest.packs().packs()? {
            // A pack that can't be read is a finding of its own.
            for record in self.ingest.packs().records(pack.id).unwrap_or_default() {
                if let Some(rows) = wanted.get(&record.hash)
                    && self.repoint(rows, &record)?
                {
                    moved += rows.len() as u64;
                    wanted.remove(&record.hash);
                }
            }
        }
        Ok(moved)
    }

    /// Enters the records that the chunk table lost and that are intact, so that equal content finds them
    /// again. Their old numbers are not known: what showed them by number stays damaged.
    pub(super) fn adopt_records(&self, report: &CheckReport) -> Result<()> {
        let pending: HashSet<ChunkHash> =
            self.ingest.pending().iter().map(|chunk| chunk.hash).collect();
        for &pack in &report.leaking {
            let mut chunks = Vec::new();
            for record in self.ingest.packs().records(pack)? {
                let Some(intact) = whole(&record) else { continue };
                let is_known = self.meta.read(|view| view.chunk_by_hash(&record.hash))?.is_some()
                    || pending.contains(&record.hash);
                if !is_known && self.ingest.packs().verify(&intact, None).is_ok() {
                    chunks.push(ChunkRef { id: self.meta.next_chunk(), ..intact });
                }
            }
            self.ingest.packs().sync()?;
            self.freeing_write(|tx| {
                chunks.iter().try_for_each(|chunk| Ok::<_, Error>(tx.insert_chunk(chunk)?))
            })?;
        }
        Ok(())
    }

    /// Whether the record is intact, and the rows now name it.
    fn repoint(&self, rows: &[ChunkRef], record: &Record) -> Result<bool> {
        let Some(intact) = whole(record) else { return Ok(false) };
        if self.ingest.packs().verify(&intact, None).is_err() {
            return Ok(false);
        }
        // No durable row may name what is not durable.
        self.ingest.packs().sync()?;
        self.freeing_write(|tx| -> Result<()> {
            for row in rows {
                // Only if it is still the row that was looked at.
                if tx.chunk(row.id)? == Some(*row) {
                    tx.move_chunk(row.id, &record.at)?;
                }
            }
            Ok::<_, Error>(())
        })?;
        rows.iter().for_each(|row| self.ingest.forgive(row.id));
        Ok(true)
    }
}

/// A record that can be read by itself. Of a difference the record doesn't tell where its base lies.
fn whole(record: &Record) -> Option<ChunkRef> {
    let chunk = ChunkRef { id: ChunkId(0), hash: record.hash, at: record.at, base: None };
    (!record.is_difference).then_some(chunk)
}
