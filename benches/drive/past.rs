//! Whether a long past slows the live tree: the same operations on two stores that show the same files, one with a
//! million changes behind it and one with none, alternating in slices of a few files, so that a noisy moment of the
//! machine hits both alike.

use crate::data::Data;
use crate::peers::{Daemon, start_verso_exact};
use crate::report::{host, is_root, median};
use crate::{Failure, seed};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const FILES_PER_DIRECTORY: usize = 1000;
/// Files that each operation of a round works on, and how many of them before it is the other store's turn.
const WORKED_FILES: usize = 5000;
const SLICE_FILES: usize = 100;
/// The past is made by this many threads at once.
const WRITERS: usize = 2;
/// What the past may cost of an operation's rate.
const RATIO_MIN: f64 = 0.9;
const STORES: [&str; 2] = ["fresh", "long-past"];
/// No content here is longer.
const BUFFER_BYTES: usize = 8192;

/// How much past is made.
pub(crate) struct Load {
    /// Names that the live tree shows in both stores.
    pub(crate) names: usize,
    /// How often each of them is saved over in one of the stores.
    pub(crate) saves: usize,
}

/// Makes the two stores, runs `rounds` on copies of them, and prints rates and ratios.
pub(crate) fn measure(base: &Path, verso: &Path, load: &Load, rounds: u64) -> Result<(), Failure> {
    if load.names < WORKED_FILES {
        return Err(Failure(format!("--names: at least {WORKED_FILES}")));
    }
    let begun = Instant::now();
    fill(&base.join(STORES[0]), verso, load.names, 0)?;
    fill(&base.join(STORES[1]), verso, load.names, load.saves)?;
    let filled = begun.elapsed();
    let mut times: Vec<Round> = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        times.push(run_round(base, verso, round)?);
    }
    println!("{}, median of {rounds} rounds\n", host(base));
    print_table(&times);
    for store in STORES {
        println!("- {store}: {}", rows(&base.join(store).join("store"))?);
    }
    let (names, saves) = (load.names, load.saves);
    println!(
        "- {names} live names in both; saved over {saves} times each in {:.0} s",
        filled.as_secs_f64()
    );
    Ok(())
}

/// A store below `root` with `names` small files, each saved over `saves` times: in turn in place and by a new file
/// that is renamed over it.
fn fill(root: &Path, verso: &Path, names: usize, saves: usize) -> Result<(), Failure> {
    let mountpoint = root.join("mnt");
    fs::create_dir_all(&mountpoint)?;
    let _daemon = start_verso_exact(verso, &root.join("store"), &mountpoint)?;
    (0..names.div_ceil(FILES_PER_DIRECTORY))
        .try_for_each(|dir| fs::create_dir_all(directory(&mountpoint, Place::Old, dir)))?;
    for save in 0..=saves {
        if save % 10 == 0 && save > 0 {
            eprintln!("save {save} of {saves}");
        }
        std::thread::scope(|scope| {
            let spawn = |writer| {
                scope.spawn({
                    let top = &mountpoint;
                    move || save_share(top, names, save, writer)
                })
            };
            let writers: Vec<_> = (0..WRITERS).map(spawn).collect();
            writers.into_iter().try_for_each(|writer| {
                writer.join().unwrap_or_else(|_| Err(Failure("a writer panicked".into())))
            })
        })?;
    }
    Ok(())
}

fn save_share(top: &Path, names: usize, save: usize, writer: usize) -> Result<(), Failure> {
    for n in (0..names).filter(|n| n / FILES_PER_DIRECTORY % WRITERS == writer) {
        let (path, content) = (Place::Old.live(top, n), format!("document {n}, save {save}\n"));
        match save % 2 {
            0 => fs::write(path, content)?,
            _ => rename_over(&path, content.as_bytes())?,
        }
    }
    Ok(())
}

fn rename_over(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("tmp");
    fs::write(&beside, content)?;
    fs::rename(beside, path)
}

/// Where an operation works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Directories that the round makes.
    New,
    /// Those whose names have a past in one of the stores.
    Old,
}

impl Place {
    fn title(self) -> &'static str {
        match self {
            Place::New => "new directories",
            Place::Old => "where the past is",
        }
    }

    /// The `n`-th file that is read and saved over.
    fn live(self, top: &Path, n: usize) -> PathBuf {
        match self {
            Place::New => self.made(top, n),
            Place::Old => self.in_directory(top, n, "document"),
        }
    }

    /// The `n`-th file that the round makes and removes.
    fn made(self, top: &Path, n: usize) -> PathBuf {
        self.in_directory(top, n, "made")
    }

    fn in_directory(self, top: &Path, n: usize, stem: &str) -> PathBuf {
        directory(top, self, n / FILES_PER_DIRECTORY).join(format!("{stem}-{n:05}.txt"))
    }
}

fn directory(top: &Path, place: Place, number: usize) -> PathBuf {
    let parent = match place {
        Place::New => "new",
        Place::Old => "old",
    };
    top.join(parent).join(format!("{number:02}"))
}

/// What is measured: its name, whether the kernel must have forgotten the names before, and the work on one slice.
struct Operation {
    title: &'static str,
    forgets: bool,
    run: fn(&Slice<'_>) -> std::io::Result<()>,
}

struct Slice<'a> {
    top: &'a Path,
    place: Place,
    first: usize,
    data: &'a Data,
}

impl Slice<'_> {
    fn files(&self) -> std::ops::Range<usize> {
        self.first..self.first + SLICE_FILES
    }
}

/// In the order in which they run: what is made at the beginning is removed at the end.
const OPERATIONS: [Operation; 7] = [
    Operation { title: "create", forgets: false, run: create },
    Operation { title: "list with stat (1,000)", forgets: true, run: list },
    Operation { title: "stat", forgets: true, run: stat },
    Operation { title: "open+read", forgets: true, run: open_read },
    Operation { title: "save in place", forgets: false, run: save_in_place },
    Operation { title: "save and rename over", forgets: false, run: save_over },
    Operation { title: "unlink", forgets: false, run: unlink },
];
const PLACES: [Place; 2] = [Place::New, Place::Old];

fn create(slice: &Slice<'_>) -> std::io::Result<()> {
    slice.files().try_for_each(|n| fs::write(slice.place.made(slice.top, n), slice.data.small(n)))
}

/// A whole directory, since part of one can't be listed.
fn list(slice: &Slice<'_>) -> std::io::Result<()> {
    let number = slice.first / SLICE_FILES % (WORKED_FILES / FILES_PER_DIRECTORY);
    for entry in fs::read_dir(directory(slice.top, slice.place, number))? {
        entry?.metadata()?;
    }
    Ok(())
}

fn stat(slice: &Slice<'_>) -> std::io::Result<()> {
    slice.files().try_for_each(|n| fs::metadata(slice.place.live(slice.top, n)).map(drop))
}

fn open_read(slice: &Slice<'_>) -> std::io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    slice
        .files()
        .try_for_each(|n| File::open(slice.place.live(slice.top, n))?.read(&mut buffer).map(drop))
}

fn save_in_place(slice: &Slice<'_>) -> std::io::Result<()> {
    let content = |n: usize| slice.data.small(n + WORKED_FILES);
    slice.files().try_for_each(|n| fs::write(slice.place.live(slice.top, n), content(n)))
}

fn save_over(slice: &Slice<'_>) -> std::io::Result<()> {
    let content = |n: usize| slice.data.small(n + 2 * WORKED_FILES);
    slice.files().try_for_each(|n| rename_over(&slice.place.live(slice.top, n), content(n)))
}

fn unlink(slice: &Slice<'_>) -> std::io::Result<()> {
    slice.files().try_for_each(|n| fs::remove_file(slice.place.made(slice.top, n)))
}

/// Seconds that a slice took on each store.
type Pair = [f64; 2];
/// What a round took: the slices of each operation at both places, in the order of [`PLACES`] and [`OPERATIONS`], and
/// the processor time of each daemon in seconds, with what it does in the background.
struct Round {
    slices: Vec<Vec<Pair>>,
    processor: Pair,
}

/// A copy of a store, mounted for one round, so that no round finds what an earlier one left.
struct Site {
    mountpoint: PathBuf,
    daemon: Daemon,
}

impl Site {
    fn start(base: &Path, verso: &Path, store: &str) -> Result<Site, Failure> {
        let copy = base.join("copy").join(store);
        let mountpoint = copy.join("mnt");
        fs::create_dir_all(&mountpoint)?;
        let from = base.join(store).join("store");
        let copied = Command::new("cp").arg("-r").arg(from).arg(copy.join("store")).status()?;
        if !copied.success() {
            return Err(Failure(format!("cp: {copied}")));
        }
        let daemon = start_verso_exact(verso, &copy.join("store"), &mountpoint)?;
        for number in 0..WORKED_FILES.div_ceil(FILES_PER_DIRECTORY) {
            fs::create_dir_all(directory(&mountpoint, Place::New, number))?;
        }
        Ok(Site { mountpoint, daemon })
    }
}

fn run_round(base: &Path, verso: &Path, round: u64) -> Result<Round, Failure> {
    let sites = [Site::start(base, verso, STORES[0])?, Site::start(base, verso, STORES[1])?];
    let data = Data::new(seed(round));
    data.prepare(false);
    let mut slices = Vec::new();
    for place in PLACES {
        for operation in &OPERATIONS {
            quieten(operation.forgets)?;
            slices.push(run_operation(&sites, operation, place, &data)?);
        }
    }
    quieten(false)?;
    let processor = [0, 1].map(|store: usize| sites[store].daemon.processor_seconds());
    drop(sites);
    fs::remove_dir_all(base.join("copy"))?;
    Ok(Round { slices, processor })
}

fn run_operation(
    sites: &[Site; 2],
    operation: &Operation,
    place: Place,
    data: &Data,
) -> Result<Vec<Pair>, Failure> {
    let failed = |error| Failure(format!("{}: {error}", operation.title));
    let mut pairs = Vec::new();
    for (turn, first) in (0..WORKED_FILES).step_by(SLICE_FILES).enumerate() {
        let mut pair = [0.0; 2];
        for store in [turn % 2, 1 - turn % 2] {
            let slice = Slice { top: &sites[store].mountpoint, place, first, data };
            let begun = Instant::now();
            (operation.run)(&slice).map_err(failed)?;
            pair[store] = begun.elapsed().as_secs_f64();
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Lets earlier work reach the disk. Where the kernel is to forget names and attributes, it must be root who asks.
fn quieten(forget: bool) -> Result<(), Failure> {
    let status = Command::new("sync").status()?;
    if !status.success() {
        return Err(Failure(format!("sync: {status}")));
    }
    if forget && is_root() {
        fs::write("/proc/sys/vm/drop_caches", "2")?;
    }
    Ok(())
}

/// A slice in which the machine did something else says nothing: medians of all slices of all rounds. The last column is
/// the median over pairs of slices, one right after the other, so that slow minutes don't count either. What falls on
/// few slices, as syncing does, is in the sums below.
fn print_table(rounds: &[Round]) {
    println!("| {SLICE_FILES} files each | where | nothing past | a long past | rate with it |");
    println!("|---|---|---:|---:|---:|");
    let operations = PLACES.iter().flat_map(|place| OPERATIONS.iter().map(move |o| (place, o)));
    for (at, (place, operation)) in operations.enumerate() {
        let pairs = || rounds.iter().flat_map(move |round| &round.slices[at]);
        let [fresh, past] = [0, 1].map(|store| median(pairs().map(|pair| pair[store])));
        let rate = median(pairs().map(|[fresh, past]| fresh / past));
        println!(
            "| {} | {} | {:.2} ms | {:.2} ms | {} |",
            operation.title,
            place.title(),
            fresh * 1000.0,
            past * 1000.0,
            shown(rate)
        );
    }
    let slices = |store: usize| {
        rounds.iter().flat_map(|r| r.slices.iter().flatten()).map(move |pair| pair[store]).sum()
    };
    let processor = |store: usize| rounds.iter().map(move |round| round.processor[store]).sum();
    println!();
    print_sum("all of it on the clock", [0, 1].map(slices));
    print_sum(
        "processor time of the daemon, with what it does in the background",
        [0, 1].map(processor),
    );
}

fn print_sum(what: &str, [fresh, past]: Pair) {
    println!(
        "- {what}: {fresh:.1} s with nothing past, {past:.1} s with a long past, rate {}",
        shown(fresh / past)
    );
}

fn shown(ratio: f64) -> String {
    match ratio < RATIO_MIN {
        true => format!("**{ratio:.2}** (≥ {RATIO_MIN})"),
        false => format!("{ratio:.2}"),
    }
}

/// How many rows of the past a store holds, and how large it is.
fn rows(store: &Path) -> Result<String, Failure> {
    let failed = |error: rusqlite::Error| Failure(format!("{}: {error}", store.display()));
    let file = store.join("meta.db");
    let db = rusqlite::Connection::open(&file).map_err(failed)?;
    let mut counts = Vec::new();
    for table in ["dentry_past", "inode_past", "extent_past"] {
        let query = format!("SELECT count(*) FROM {table}");
        let count: u64 = db.query_row(&query, [], |row| row.get(0)).map_err(failed)?;
        counts.push(format!("{count} rows in `{table}`"));
    }
    let megabytes = fs::metadata(file)?.len() as f64 / 1e6;
    Ok(format!("{}; `meta.db` {megabytes:.0} MB", counts.join(", ")))
}
