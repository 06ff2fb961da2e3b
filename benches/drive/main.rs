//! The benchmark beside peers: the same work on ext4, bindfs, a bare memory filesystem and Verso, alternating in one run.
//!
//! Prints a Markdown table with medians and ratios. Run it through `scripts/bench`, which builds the release binary first.

mod backup;
mod busy;
mod data;
mod memfs;
mod million;
mod past;
mod peers;
mod report;
mod studio;
mod work;

use clap::{Parser, Subcommand};
use data::Data;
use peers::{Base, Kind, Peer};
use std::path::PathBuf;
use work::{Measure, NEED_ROOT, WORKS, Work};

/// Why the benchmark could not go on.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure(error.to_string())
    }
}

/// Compares Verso with its peers.
#[derive(Parser)]
#[command(name = "scripts/bench")]
struct Args {
    /// How often each work runs on each peer; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Only these works, by key (`--list` shows them); may be given several times or with commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these peers.
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Kind>,
    /// Compares an encrypted store with a plain one, and nothing else.
    #[arg(long, conflicts_with = "peers", group = "instead")]
    encrypted: bool,
    /// Compares a drive on which jobs run all the time with one where none does, and nothing else.
    #[arg(long, conflicts_with = "peers", group = "instead")]
    jobs: bool,
    /// Lists the works and their keys.
    #[arg(long)]
    list: bool,
    /// Measures a store with a million files instead: time to mount, memory. Takes 5 minutes.
    #[arg(long, group = "instead")]
    million: bool,
    /// How many files `--million` makes.
    #[arg(long, default_value_t = 1_000_000)]
    files: usize,
    /// Plays a studio's session instead, some 500 MB of saves, and compares the store's size with restic's and borg's,
    /// which make a backup after each save. Takes 2 minutes and 1.5 GB on the disk.
    #[arg(long, group = "instead")]
    studio: bool,
    /// Compares backups instead with restic's and borg's: 20,000 small files, and a studio's session. Takes some
    /// 4 minutes a round and 3 GB on the disk.
    #[arg(long, group = "instead")]
    backup: bool,
    /// What the session of `--studio` is made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measures instead whether a million changes of the past slow the live tree; with `--saves 0` there are none, which
    /// shows the noise. Takes 6 minutes and 1.5 GB on the disk.
    #[arg(long, group = "instead")]
    history: bool,
    /// How many files both stores of `--history` show.
    #[arg(long, default_value_t = 10_000)]
    names: usize,
    /// How often `--history` saves over each of them.
    #[arg(long, default_value_t = 100)]
    saves: usize,
    /// The directory on the disk to measure on; everything made there is removed again.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// The Verso binary.
    #[arg(long, default_value = "target/release/verso")]
    verso: PathBuf,
    /// Prints every single measurement to stderr.
    #[arg(long)]
    verbose: bool,
    /// Given by `cargo bench`; says nothing.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Internal>,
}

#[derive(Subcommand)]
enum Internal {
    /// Serves the bare memory filesystem until it is unmounted.
    Memfs { mountpoint: PathBuf },
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    if let Some(Internal::Memfs { mountpoint }) = &args.command {
        return Ok(memfs::serve(mountpoint)?);
    }
    if args.list {
        for work in WORKS {
            println!("{:<10} {}", work.key, work.title);
        }
        return Ok(());
    }
    let verso = std::path::absolute(&args.verso)?;
    let base = Base::create(&args.dir)?;
    if args.million {
        return million::measure(&base.0, &verso, args.files);
    }
    if args.studio {
        return studio::measure(&base.0, &verso, args.seed);
    }
    if args.backup {
        return backup::measure(&base.0, &verso, args.rounds);
    }
    if args.history {
        let load = past::Load { names: args.names, saves: args.saves };
        return past::measure(&base.0, &verso, &load, args.rounds);
    }
    let works = chosen_works(&args.only)?;
    let mut peers = Vec::new();
    for kind in chosen_peers(args) {
        peers.push(Peer::start(kind, &base.0, &verso)?);
    }
    let results = measure_all(args, &works, &peers)?;
    report::print(&base.0, args.rounds, &works, &peers, &results);
    Ok(())
}

fn chosen_peers(args: &Args) -> Vec<Kind> {
    match &args.peers[..] {
        [] if args.encrypted => Kind::BOTH_VERSOS.to_vec(),
        [] if args.jobs => Kind::IDLE_AND_BUSY.to_vec(),
        [] => Kind::ALL.to_vec(),
        asked => asked.to_vec(),
    }
}

fn chosen_works(only: &[String]) -> Result<Vec<&'static Work>, Failure> {
    if let Some(unknown) = only.iter().find(|key| !WORKS.iter().any(|w| w.key == key.as_str())) {
        return Err(Failure(format!("--only {unknown}: no such work, see --list")));
    }
    let root = report::is_root();
    let chosen = |work: &&Work| {
        let asked = only.is_empty() || only.iter().any(|key| key == work.key);
        if asked && !root && NEED_ROOT.contains(&work.key) {
            eprintln!("{}: left out, only root can drop the kernel's caches", work.key);
            return false;
        }
        asked
    };
    Ok(WORKS.iter().filter(chosen).collect())
}

/// All measurements of one work, by peer in the order of `peers`.
pub(crate) type Results = Vec<Vec<Vec<Measure>>>;

/// Each work goes over all peers before the next begins, and each round starts with another peer,
/// so that a noisy minute of the machine hits all alike.
fn measure_all(args: &Args, works: &[&Work], peers: &[Peer]) -> Result<Results, Failure> {
    let mut results: Results = vec![vec![Vec::new(); peers.len()]; works.len()];
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        let data = Data::new(seed(round));
        data.prepare(works.iter().any(|work| work.needs_big()));
        for (w, work) in works.iter().enumerate() {
            for turn in 0..peers.len() {
                let p = (turn + round as usize) % peers.len();
                let measure = work.run(&peers[p], &data)?;
                if args.verbose {
                    eprintln!("{:<10} {:<9} {measure:?}", work.key, peers[p].kind.title());
                }
                results[w][p].push(measure);
            }
        }
        peers.iter().try_for_each(work::clear)?;
    }
    Ok(results)
}

/// Another seed in every round and in every run.
fn seed(round: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64) ^ (round << 56)
}
