//! The works of the table: each prepares what it needs off the clock, then runs on it.

use crate::Failure;
use crate::busy::Busy;
use crate::data::Data;
use crate::peers::{Kind, Peer};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub(crate) const MIB: usize = 1 << 20;
/// Size of the large file.
pub(crate) const BIG_BYTES: usize = 512 * MIB;
/// Size of the picture that is saved again, and how much of it changes.
pub(crate) const PICTURE_BYTES: usize = 64 * MIB;
const CHANGED_BYTES: usize = MIB;
const PICTURE_SAVES: usize = 3;
const PAGE_BYTES: usize = 4096;
const RANDOM_OPS: usize = 4000;
const APPENDS: usize = 200;
pub(crate) const SMALL_FILES: usize = 4000;
const SAVES: usize = 1000;
/// Documents that the saves go round over.
const SAVED_NAMES: usize = 100;
const STAT_PASSES: usize = 5;

/// What one run of a work gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    /// Seconds on the clock.
    pub(crate) seconds: f64,
    /// How much was done, in the work's unit.
    pub(crate) amount: f64,
    /// By how much Verso's store grew, in bytes, where the work asks for it.
    pub(crate) grown_bytes: Option<u64>,
}

impl Measure {
    pub(crate) fn rate(&self) -> f64 {
        self.amount / self.seconds
    }
}

/// The unit that a work's amount is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Mebibytes,
    Operations,
    /// Shown as seconds instead of a rate.
    Seconds,
}

/// What is to be reached, as ratios of rates; `None` where nothing is asked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Target {
    pub(crate) ext4: Option<f64>,
    pub(crate) bindfs: Option<f64>,
    pub(crate) memfs: Option<f64>,
}

/// One row of the table.
pub(crate) struct Work {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) target: Target,
    run: fn(&Peer, &Data) -> Result<Measure, Failure>,
}

impl Work {
    /// Runs the work once on `peer`, with the disk quiet at the start.
    pub(crate) fn run(&self, peer: &Peer, data: &Data) -> Result<Measure, Failure> {
        let store = peer.store.as_deref().filter(|_| peer.kind == Kind::Busy);
        let _busy = store.map(|store| Busy::start(store, &peer.work)).transpose()?;
        (self.run)(peer, data)
            .map_err(|error| Failure(format!("{} on {}: {error}", self.key, peer.kind.title())))
    }

    /// Whether it works on the large file.
    pub(crate) fn needs_big(&self) -> bool {
        USE_BIG.contains(&self.key)
    }
}

const fn to(bindfs: Option<f64>, memfs: Option<f64>) -> Target {
    Target { ext4: None, bindfs, memfs }
}

const fn to_ext4(ext4: f64, bindfs: Option<f64>, memfs: Option<f64>) -> Target {
    Target { ext4: Some(ext4), bindfs, memfs }
}

macro_rules! work {
    ($key:literal, $title:literal, $unit:ident, $target:expr, $run:ident) => {
        Work { key: $key, title: $title, unit: Unit::$unit, target: $target, run: $run }
    };
}

/// Every work, in the order in which they run.
#[rustfmt::skip]
pub(crate) const WORKS: &[Work] = &[
    work!("write", "write 512 MiB of incompressible data once, fsync at the end", Mebibytes, to_ext4(0.85, Some(2.0), None), write_big),
    work!("rewrite", "write the same data again under another name, fsync", Mebibytes, to(Some(4.0), None), write_again),
    work!("resave", "save a 64 MiB picture again with 1 MiB changed, fsync", Mebibytes, to(Some(2.0), Some(0.4)), save_picture),
    work!("cp", "`cp` of 512 MiB inside the drive", Seconds, to(None, None), copy_inside),
    work!("read-cold", "read 512 MiB, caches dropped", Mebibytes, to(Some(1.3), Some(0.4)), read_cold),
    work!("read-warm", "read it again, warm", Mebibytes, to_ext4(0.4, None, Some(0.9)), read_warm),
    work!("randread", "4 KiB random reads, caches dropped", Operations, to(Some(1.0), Some(0.35)), random_reads),
    work!("randwrite", "4 KiB random writes, fsync at the end", Operations, to(Some(1.0), Some(0.4)), random_writes),
    work!("append", "4 KiB append + fsync each", Operations, to(Some(0.5), None), append_sync),
    work!("create", "create 4,000 files of 1–4 KB", Operations, to(Some(2.5), Some(0.4)), create_files),
    work!("save", "write a temporary file and rename it over, 1,000 times", Operations, to(Some(2.5), Some(0.35)), rename_over),
    work!("stat", "stat, warm", Operations, to(Some(1.0), Some(0.9)), stat_warm),
    work!("open-read", "open+read small files, warm", Operations, to(Some(2.0), Some(0.7)), open_read_warm),
    work!("list", "list with stat 4,000 entries, caches dropped", Operations, to(Some(1.3), Some(0.5)), list_cold),
    work!("rename", "rename 4,000 files", Operations, to(Some(1.2), Some(0.4)), rename_files),
    work!("unlink", "unlink 4,000 files", Operations, to(Some(1.2), Some(0.4)), unlink_files),
];

const USE_BIG: &[&str] =
    &["write", "rewrite", "cp", "read-cold", "read-warm", "randread", "randwrite"];

/// Works whose rate is bound to the disk's cold caches, which only root can drop.
pub(crate) const NEED_ROOT: &[&str] = &["read-cold", "randread", "list"];

/// Empties the work directory for the next round.
pub(crate) fn clear(peer: &Peer) -> Result<(), Failure> {
    fs::remove_dir_all(&peer.work)?;
    fs::create_dir(&peer.work)?;
    Ok(())
}

fn write_big(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    settle(peer)?;
    timed_mib(BIG_BYTES, || write_sync(&peer.work.join("big"), data.big()))
}

fn write_again(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_big(peer, data)?;
    settle(peer)?;
    timed_mib(BIG_BYTES, || write_sync(&peer.work.join("big-again"), data.big()))
}

fn save_picture(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    let path = peer.work.join("picture");
    let mut picture = data.picture().to_vec();
    write_sync(&path, &picture)?;
    settle(peer)?;
    let mut seconds = 0.0;
    for save in 0..PICTURE_SAVES {
        let at = (save + 1) * PICTURE_BYTES / (PICTURE_SAVES + 2);
        data.fill(save as u64 + 1, &mut picture[at..at + CHANGED_BYTES]);
        seconds += timed_mib(PICTURE_BYTES, || write_sync(&path, &picture))?.seconds;
    }
    let amount = (PICTURE_SAVES * PICTURE_BYTES / MIB) as f64;
    Ok(Measure { seconds, amount, grown_bytes: None })
}

fn copy_inside(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_big(peer, data)?;
    settle(peer)?;
    let before = store_bytes(peer)?;
    let mut measure = timed_mib(BIG_BYTES, || {
        let status =
            Command::new("cp").arg("big").arg("big-copy").current_dir(&peer.work).status()?;
        if status.success() { Ok(()) } else { Err(Failure(format!("cp: {status}"))) }
    })?;
    settle(peer)?;
    measure.grown_bytes = store_bytes(peer)?.zip(before).map(|(after, b)| after.saturating_sub(b));
    Ok(measure)
}

fn read_cold(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_big(peer, data)?;
    drop_caches(peer)?;
    timed_mib(BIG_BYTES, || read_whole(&peer.work.join("big"), data.big()))
}

fn read_warm(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_big(peer, data)?;
    read_whole(&peer.work.join("big"), data.big())?;
    timed_mib(BIG_BYTES, || read_whole(&peer.work.join("big"), data.big()))
}

fn random_reads(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_big(peer, data)?;
    drop_caches(peer)?;
    let mut page = vec![0; PAGE_BYTES];
    timed_ops(RANDOM_OPS, || {
        let file = File::open(peer.work.join("big"))?;
        for at in data.page_offsets(RANDOM_OPS) {
            file.read_exact_at(&mut page, at)?;
        }
        Ok(())
    })
}

fn random_writes(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_big(peer, data)?;
    // A copy would share chunks and make the work another one: the pages go into the file itself.
    settle(peer)?;
    timed_ops(RANDOM_OPS, || {
        let file = OpenOptions::new().write(true).open(peer.work.join("big"))?;
        for (n, at) in data.page_offsets(RANDOM_OPS).enumerate() {
            let from = (n * PAGE_BYTES) % PICTURE_BYTES;
            file.write_all_at(&data.picture()[from..from + PAGE_BYTES], at)?;
        }
        Ok(file.sync_all()?)
    })
    .and_then(|measure| {
        // The large file no longer holds the round's data; whoever needs it next writes it anew.
        fs::remove_file(peer.work.join("big"))?;
        Ok(measure)
    })
}

fn append_sync(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    settle(peer)?;
    timed_ops(APPENDS, || {
        let mut log = OpenOptions::new().create(true).append(true).open(peer.work.join("log"))?;
        for n in 0..APPENDS {
            log.write_all(&data.picture()[n * PAGE_BYTES..(n + 1) * PAGE_BYTES])?;
            log.sync_all()?;
        }
        Ok(())
    })
}

fn create_files(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    settle(peer)?;
    make_files(&peer.work.join("small"), data)
}

fn rename_over(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    let dir = peer.work.join("saves");
    fs::create_dir(&dir)?;
    settle(peer)?;
    timed_ops(SAVES, || {
        for n in 0..SAVES {
            let temporary = dir.join(".tmp");
            fs::write(&temporary, data.small(n))?;
            fs::rename(&temporary, dir.join(format!("document-{}", n % SAVED_NAMES)))?;
        }
        Ok(())
    })
}

fn stat_warm(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    let paths = need_small(peer, data)?;
    let pass = || paths.iter().try_for_each(|path| fs::metadata(path).map(drop));
    pass()?;
    timed_ops(SMALL_FILES * STAT_PASSES, || {
        (0..STAT_PASSES).try_for_each(|_| pass())?;
        Ok(())
    })
}

fn open_read_warm(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    let paths = need_small(peer, data)?;
    let mut buffer = vec![0; 2 * PAGE_BYTES];
    let mut pass = || -> Result<(), Failure> {
        for (n, path) in paths.iter().enumerate() {
            let read = File::open(path)?.read(&mut buffer)?;
            same(&buffer[..read], data.small(n), path)?;
        }
        Ok(())
    };
    pass()?;
    timed_ops(SMALL_FILES, pass)
}

fn list_cold(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    need_small(peer, data)?;
    drop_caches(peer)?;
    timed_ops(SMALL_FILES, || {
        let mut seen = 0;
        for entry in fs::read_dir(peer.work.join("small"))? {
            entry?.metadata()?;
            seen += 1;
        }
        if seen == SMALL_FILES { Ok(()) } else { Err(Failure(format!("{seen} entries listed"))) }
    })
}

fn rename_files(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    let paths = need_small(peer, data)?;
    settle(peer)?;
    let renamed: Vec<PathBuf> = paths.iter().map(|path| path.with_extension("renamed")).collect();
    let measure = timed_ops(SMALL_FILES, || {
        for (from, to) in paths.iter().zip(&renamed) {
            fs::rename(from, to)?;
        }
        Ok(())
    })?;
    for (from, to) in renamed.iter().zip(&paths) {
        fs::rename(from, to)?;
    }
    Ok(measure)
}

fn unlink_files(peer: &Peer, data: &Data) -> Result<Measure, Failure> {
    let paths = need_small(peer, data)?;
    settle(peer)?;
    let measure = timed_ops(SMALL_FILES, || {
        for path in &paths {
            fs::remove_file(path)?;
        }
        Ok(())
    })?;
    fs::remove_dir(peer.work.join("small"))?;
    Ok(measure)
}

fn need_big(peer: &Peer, data: &Data) -> Result<(), Failure> {
    let path = peer.work.join("big");
    if path.exists() { Ok(()) } else { write_sync(&path, data.big()) }
}

fn need_small(peer: &Peer, data: &Data) -> Result<Vec<PathBuf>, Failure> {
    let dir = peer.work.join("small");
    if !dir.exists() {
        make_files(&dir, data)?;
    }
    Ok(small_paths(&dir))
}

fn small_paths(dir: &Path) -> Vec<PathBuf> {
    (0..SMALL_FILES).map(|n| dir.join(format!("file-{n:05}.txt"))).collect()
}

fn make_files(dir: &Path, data: &Data) -> Result<Measure, Failure> {
    fs::create_dir(dir)?;
    let paths = small_paths(dir);
    timed_ops(SMALL_FILES, || {
        for (n, path) in paths.iter().enumerate() {
            fs::write(path, data.small(n))?;
        }
        Ok(())
    })
}

fn write_sync(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = File::create(path)?;
    for block in bytes.chunks(MIB) {
        file.write_all(block)?;
    }
    Ok(file.sync_all()?)
}

/// Reads the file through and compares the first page of each block: wrong bytes must not count as speed.
fn read_whole(path: &Path, expected: &[u8]) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let mut block = vec![0; MIB];
    for wanted in expected.chunks(MIB) {
        file.read_exact(&mut block[..wanted.len()])?;
        same(&block[..PAGE_BYTES], &wanted[..PAGE_BYTES], path)?;
    }
    Ok(())
}

fn same(found: &[u8], wanted: &[u8], path: &Path) -> Result<(), Failure> {
    if found == wanted {
        return Ok(());
    }
    Err(Failure(format!("{} holds other bytes than were written", path.display())))
}

fn timed_mib(bytes: usize, work: impl FnOnce() -> Result<(), Failure>) -> Result<Measure, Failure> {
    timed(bytes as f64 / MIB as f64, work)
}

fn timed_ops(
    operations: usize,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<Measure, Failure> {
    timed(operations as f64, work)
}

fn timed(amount: f64, work: impl FnOnce() -> Result<(), Failure>) -> Result<Measure, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(Measure { seconds: begun.elapsed().as_secs_f64(), amount, grown_bytes: None })
}

/// Lets earlier work reach the disk, so that it isn't paid for by the next one.
fn settle(peer: &Peer) -> Result<(), Failure> {
    File::open(&peer.work)?.sync_all()?;
    let status = Command::new("sync").status()?;
    if status.success() { Ok(()) } else { Err(Failure(format!("sync: {status}"))) }
}

fn drop_caches(peer: &Peer) -> Result<(), Failure> {
    settle(peer)?;
    fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|error| Failure(format!("/proc/sys/vm/drop_caches: {error}")))
}

/// Bytes of all files in Verso's store, but for the database's log, which is a fixed cost that comes and goes.
fn store_bytes(peer: &Peer) -> Result<Option<u64>, Failure> {
    peer.store.as_deref().map(tree_bytes).transpose()
}

fn tree_bytes(dir: &Path) -> Result<u64, Failure> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let log = entry.file_name().to_string_lossy().contains("-wal");
        total += match meta.is_dir() {
            true => tree_bytes(&entry.path())?,
            false if log => 0,
            false => meta.len(),
        };
    }
    Ok(total)
}
