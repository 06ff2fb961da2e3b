//! A studio's session, saved on Verso and backed up after each save with restic and borg: what keeping every save
//! takes, in bytes.

mod backups;
mod picture;
mod session;

use crate::Failure;
use crate::peers::{Daemon, start_verso_exact};
use crate::report::{host, mark};
use backups::Repository;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much of the smaller of the others' sizes Verso may take.
const SHARE_MAX: f64 = 0.75;
const MEGABYTE: f64 = 1e6;

/// Plays the session that `seed` gives, looks whether every save is really there, and prints what it took.
pub(crate) fn measure(base: &Path, verso: &Path, seed: u64) -> Result<(), Failure> {
    let mut stage = Stage::new(base, verso)?;
    session::play(&mut stage, seed)?;
    stage.verify(verso)?;
    stage.report(base)
}

/// Only plays the session: the store, its mount point (where nothing is mounted any more), and the same tree as plain files.
pub(crate) fn play_only(
    base: &Path,
    verso: &Path,
    seed: u64,
) -> Result<(PathBuf, PathBuf, PathBuf), Failure> {
    let mut stage = Stage::new(base, verso)?;
    stage.repositories.clear();
    session::play(&mut stage, seed)?;
    stage.daemon = None;
    Ok((stage.store, stage.mountpoint, stage.plain))
}

/// All plain files below `root`.
pub(crate) fn all_files(root: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => all_files(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

/// What a file held after a save.
type Digest = blake3::Hash;

/// The same tree twice, on Verso and on the plain disk, and the repositories that the second is backed up to.
struct Stage {
    base: PathBuf,
    store: PathBuf,
    mountpoint: PathBuf,
    plain: PathBuf,
    /// None while nothing is mounted.
    daemon: Option<Daemon>,
    repositories: Vec<Repository>,
    /// What each name held, save by save.
    saved: BTreeMap<String, Vec<Digest>>,
    saves: usize,
    saved_bytes: u64,
    /// Bytes of pixels that the strokes changed.
    painted_bytes: u64,
    verso_time: Duration,
    plain_time: Duration,
}

impl Stage {
    fn new(base: &Path, verso: &Path) -> Result<Stage, Failure> {
        let (store, mountpoint, plain) = (base.join("store"), base.join("mnt"), base.join("plain"));
        fs::create_dir(&mountpoint)?;
        fs::create_dir(&plain)?;
        Ok(Stage {
            daemon: Some(start_verso_exact(verso, &store, &mountpoint)?),
            repositories: Repository::all(base)?,
            base: base.to_owned(),
            store,
            mountpoint,
            plain,
            saved: BTreeMap::new(),
            saves: 0,
            saved_bytes: 0,
            painted_bytes: 0,
            verso_time: Duration::ZERO,
            plain_time: Duration::ZERO,
        })
    }

    /// A directory for what is made before any clock starts.
    fn outside(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.base.join(name);
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// Does on both trees what saves nothing.
    fn prepare(&self, work: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        work(&self.mountpoint)?;
        work(&self.plain)
    }

    /// The names that were saved so far.
    fn names(&self) -> Vec<String> {
        self.saved.keys().cloned().collect()
    }

    /// One save of `names` by `work`, which runs at the top of each tree; then a backup with each tool.
    fn save(
        &mut self,
        what: &str,
        names: &[&str],
        work: impl Fn(&Path) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.verso_time += timed(|| work(&self.mountpoint))?;
        self.plain_time += timed(|| work(&self.plain))?;
        for name in names {
            self.remember(name)?;
        }
        self.saves += 1;
        eprintln!("save {}: {what} {}", self.saves, names[0]);
        for repository in &mut self.repositories {
            repository.back_up(&self.plain)?;
        }
        Ok(())
    }

    /// Both trees must show the same: what the programs write depends on nothing but the session.
    fn remember(&mut self, name: &str) -> Result<(), Failure> {
        let (shown, wanted) = (self.mountpoint.join(name), self.plain.join(name));
        let digest = digest(&wanted)?;
        if self::digest(&shown)? != digest {
            return Err(Failure(format!("{name} differs between Verso and the plain disk")));
        }
        self.saved_bytes += fs::metadata(&wanted)?.len();
        self.saved.entry(name.to_owned()).or_default().push(digest);
        Ok(())
    }

    /// Mounts the store anew; each name's `.versions` must show what it held, save by save, and nothing else.
    fn verify(&mut self, verso: &Path) -> Result<(), Failure> {
        self.daemon = None;
        eprintln!("reading every version back");
        let daemon = start_verso_exact(verso, &self.store, &self.mountpoint)?;
        for (name, wanted) in &self.saved {
            let found = versions(&self.mountpoint.join(name))?;
            if found != *wanted {
                let (found, wanted) = (found.len(), wanted.len());
                return Err(Failure(format!(
                    "{name}: {found} versions are not the {wanted} saves"
                )));
            }
        }
        drop(daemon);
        Ok(())
    }

    fn report(&self, base: &Path) -> Result<(), Failure> {
        let versions: usize = self.saved.values().map(Vec::len).sum();
        let size = StoreSize::of(&self.store)?;
        println!("{}\n", host(base));
        println!("| | bytes | of what was saved | kept | time |");
        println!("|---|---:|---:|---:|---:|");
        println!(
            "{}",
            self.row(
                "saved in all (a plain disk keeps the last)",
                self.saved_bytes,
                "",
                self.plain_time
            )
        );
        println!(
            "{}",
            self.row("Verso", size.total(), &format!("{versions} versions"), self.verso_time)
        );
        let mut least = u64::MAX;
        for repository in &self.repositories {
            let (bytes, kept) = (repository.bytes()?, repository.counted()?);
            least = least.min(bytes);
            println!(
                "{}",
                self.row(repository.title, bytes, &format!("{kept} backups"), repository.time)
            );
        }
        println!("\n{}", self.remarks(&size, least));
        Ok(())
    }

    fn row(&self, title: &str, bytes: u64, kept: &str, time: Duration) -> String {
        let share = 100.0 * bytes as f64 / self.saved_bytes as f64;
        let (bytes, seconds) = (megabytes(bytes), time.as_secs_f64());
        format!("| {title} | {bytes:.1} MB | {share:.1} % | {kept} | {seconds:.1} s |")
    }

    fn remarks(&self, size: &StoreSize, least: u64) -> String {
        let share = size.total() as f64 / least as f64;
        format!(
            "- {}: Verso takes {share:.3} of the smaller of the others (≤ {SHARE_MAX})\n\
             - Verso's store: packs {:.1} MB, metadata {:.1} MB, all else {:.1} MB; without `reserve`, \
             which is room set aside and holds nothing\n\
             - {} saves; strokes changed {:.1} MB of pixels in {} of them\n\
             - every version was read back after mounting again, and is what was saved\n\
             - time: of Verso and of the plain disk (first line) that of the saves themselves, of the others \
             that of the backups, which come on top",
            mark(share <= SHARE_MAX),
            megabytes(size.packs),
            megabytes(size.metadata),
            megabytes(size.other),
            self.saves,
            megabytes(self.painted_bytes),
            session::TIFFS * session::PAINTED_SAVES,
        )
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn digest(file: &Path) -> Result<Digest, Failure> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(file).map_err(|error| Failure(format!("{}: {error}", file.display())))?;
    hasher.update_reader(file)?;
    Ok(hasher.finalize())
}

/// What `.versions` shows of a file, in the order of the versions' numbers.
fn versions(file: &Path) -> Result<Vec<Digest>, Failure> {
    let missing = || Failure(format!("{}: no name", file.display()));
    let (parent, name) = file.parent().zip(file.file_name()).ok_or_else(missing)?;
    let mut numbered = Vec::new();
    for entry in fs::read_dir(parent.join(".versions").join(name))? {
        let entry = entry?;
        let number = versofs::model::parse_number(entry.file_name().as_encoded_bytes());
        numbered.push((number, entry.path()));
    }
    numbered.sort();
    numbered.iter().map(|(_, path)| digest(path)).collect()
}

/// Bytes of the store's files.
struct StoreSize {
    packs: u64,
    metadata: u64,
    other: u64,
}

impl StoreSize {
    /// Of a store that is not mounted. `reserve` doesn't count: it is room set aside for a full disk.
    fn of(store: &Path) -> Result<StoreSize, Failure> {
        let mut size = StoreSize { packs: 0, metadata: 0, other: 0 };
        for entry in fs::read_dir(store)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_string_lossy().as_ref() {
                "reserve" => {}
                "packs" => size.packs += file_bytes(&entry.path())?,
                name if name.starts_with("meta.db") => size.metadata += entry.metadata()?.len(),
                _ => size.other += file_bytes(&entry.path())?,
            }
        }
        Ok(size)
    }

    fn total(&self) -> u64 {
        self.packs + self.metadata + self.other
    }
}

/// Bytes of all files at and below `path`.
pub(crate) fn file_bytes(path: &Path) -> Result<u64, Failure> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.map(|entry| file_bytes(&entry?.path())).sum()
}
