//! Backups beside restic and borg: the same two trees, the same steps, in one run. Verso backs up a store with its history, the others a
//! plain copy of the tree as it is.

use crate::Failure;
use crate::peers::start_verso_exact;
use crate::report::host;
use crate::studio;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Files of the tree of small ones, and how many lie in a directory.
const SMALL_FILES: usize = 20_000;
const FILES_PER_DIRECTORY: usize = 200;
/// One file in so many changes.
const CHANGED_PART: usize = 100;
/// How often the memory of a program is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Backups of which pruning removes all but three.
const PRUNED_BACKUPS: usize = 6;

/// Who takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Verso,
    Restic,
    Borg,
}

const TOOLS: [(&str, Tool); 3] =
    [("Verso", Tool::Verso), ("restic", Tool::Restic), ("borg", Tool::Borg)];

/// The steps, in their order; each is a row of the table.
const STEPS: [&str; 6] =
    ["first backup", "unchanged", "one percent changed", "restore", "verify all data", "prune"];

/// One step of one tool.
#[derive(Clone, Copy, Default)]
struct Cost {
    time: Duration,
    peak_bytes: u64,
    sent_bytes: u64,
}

/// The tree that is backed up: as a Verso store, and as plain files.
struct Tree {
    title: &'static str,
    store: PathBuf,
    mountpoint: PathBuf,
    plain: PathBuf,
}

/// Measures both trees `rounds` times, and prints medians.
pub(crate) fn measure(base: &Path, verso: &Path, rounds: u64) -> Result<(), Failure> {
    println!("{}\n", host(base));
    for make in [small_files, studio_session] {
        let mut costs: Vec<Vec<Vec<Cost>>> = vec![vec![Vec::new(); TOOLS.len()]; STEPS.len()];
        let mut title = "";
        for round in 0..rounds {
            let dir = base.join(format!("round-{round}"));
            fs::create_dir(&dir)?;
            let tree = make(&dir, verso, round)?;
            title = tree.title;
            for turn in 0..TOOLS.len() {
                let number = (turn + round as usize) % TOOLS.len();
                let (name, tool) = TOOLS[number];
                eprintln!("{title}, round {}: {name}", round + 1);
                let site = Site::new(tool, &dir.join(name), &tree, verso)?;
                for (step, cost) in site.all_steps(round as usize * 10)?.into_iter().enumerate() {
                    costs[step][number].push(cost);
                }
            }
            fs::remove_dir_all(&dir)?;
        }
        print_table(title, &costs);
    }
    Ok(())
}

fn print_table(title: &str, costs: &[Vec<Vec<Cost>>]) {
    println!("**{title}**\n");
    println!("| | Verso | restic | borg |\n|---|---:|---:|---:|");
    for (step, tools) in STEPS.iter().zip(costs) {
        let cells: Vec<String> = tools.iter().map(|costs| cell(costs)).collect();
        println!("| {step} | {} |", cells.join(" | "));
    }
    println!();
}

fn cell(costs: &[Cost]) -> String {
    let mut times: Vec<Duration> = costs.iter().map(|cost| cost.time).collect();
    times.sort();
    let median = times[times.len() / 2].as_secs_f64();
    let peak = costs.iter().map(|cost| cost.peak_bytes).max().unwrap_or_default();
    let sent = costs.iter().map(|cost| cost.sent_bytes).max().unwrap_or_default();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!("{median:.2} s, {:.0} MiB, {:.1} MiB sent", mib(peak), mib(sent))
}

fn small_files(dir: &Path, verso: &Path, round: u64) -> Result<Tree, Failure> {
    let (store, mountpoint, plain) = (dir.join("store"), dir.join("mnt"), dir.join("plain"));
    fs::create_dir(&mountpoint)?;
    fs::create_dir(&plain)?;
    let daemon = start_verso_exact(verso, &store, &mountpoint)?;
    for root in [&mountpoint, &plain] {
        for number in 0..SMALL_FILES {
            let file = root.join(small_name(number));
            if number % FILES_PER_DIRECTORY == 0 {
                fs::create_dir_all(file.parent().unwrap_or(root))?;
            }
            fs::write(file, small_content(number, round))?;
        }
    }
    drop(daemon);
    Ok(Tree { title: "20,000 small files (1 to 16 KiB)", store, mountpoint, plain })
}

fn small_name(number: usize) -> String {
    format!("shared/{:03}/{number:05}.dat", number / FILES_PER_DIRECTORY)
}

/// Half of it compresses.
fn small_content(number: usize, salt: u64) -> Vec<u8> {
    let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (salt << 32);
    let mut bytes = Vec::new();
    let len = 1024 + (number * 7919) % (15 << 10);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(b"the same");
    }
    bytes.truncate(len);
    bytes
}

fn studio_session(dir: &Path, verso: &Path, round: u64) -> Result<Tree, Failure> {
    let (store, mountpoint, plain) = studio::play_only(dir, verso, round + 1)?;
    let title = "a studio's session (Verso with every save, the others the last state)";
    Ok(Tree { title, store, mountpoint, plain })
}

/// A tool, its repository, and the tree.
struct Site<'t> {
    tool: Tool,
    dir: PathBuf,
    tree: &'t Tree,
    verso: &'t Path,
}

impl<'t> Site<'t> {
    fn new(tool: Tool, dir: &Path, tree: &'t Tree, verso: &'t Path) -> Result<Site<'t>, Failure> {
        fs::create_dir_all(dir.join("home"))?;
        let site = Site { tool, dir: dir.to_owned(), tree, verso };
        match tool {
            Tool::Verso => {}
            Tool::Restic => drop(site.run(&["init", "--quiet"])?),
            Tool::Borg => drop(site.run(&["init", "--encryption", "none"])?),
        }
        Ok(site)
    }

    fn all_steps(&self, salt: usize) -> Result<Vec<Cost>, Failure> {
        let mut costs = vec![self.back_up(0)?, self.back_up(1)?];
        self.change(salt + 1)?;
        costs.push(self.back_up(2)?);
        costs.push(self.restore()?);
        costs.push(match self.tool {
            Tool::Verso => self.run(&["backup", "verify", "./repository", "--read-data"])?,
            Tool::Restic => self.run(&["check", "--read-data", "--quiet"])?,
            Tool::Borg => self.run(&["check", "--verify-data"])?,
        });
        for number in 3..PRUNED_BACKUPS {
            self.change(salt + number)?;
            self.back_up(number)?;
        }
        costs.push(self.prune()?);
        Ok(costs)
    }

    fn back_up(&self, number: usize) -> Result<Cost, Failure> {
        let before = self.repository_bytes()?;
        let plain = self.tree.plain.display().to_string();
        let store = self.tree.store.display().to_string();
        let cost = match self.tool {
            Tool::Verso => self.run(&["backup", "run", "./repository", "--store", &store])?,
            Tool::Restic => self.run(&["backup", "--quiet", &plain])?,
            Tool::Borg => {
                self.run(&["create", "--compression", "zstd,3", &format!("::b{number}"), &plain])?
            }
        };
        let sent_bytes = self.repository_bytes()?.saturating_sub(before);
        Ok(Cost { sent_bytes, ..cost })
    }

    /// Some files of the tree get other contents.
    fn change(&self, salt: usize) -> Result<(), Failure> {
        let daemon = match self.tool {
            Tool::Verso => {
                Some(start_verso_exact(self.verso, &self.tree.store, &self.tree.mountpoint)?)
            }
            _ => None,
        };
        let root = if daemon.is_some() { &self.tree.mountpoint } else { &self.tree.plain };
        let mut files = Vec::new();
        studio::all_files(root, &mut files)?;
        files.sort();
        for (number, file) in files.iter().enumerate().filter(|(n, _)| n % CHANGED_PART == 7) {
            fs::write(file, small_content(number, salt as u64 + 1000))?;
        }
        drop(daemon);
        Ok(())
    }

    fn restore(&self) -> Result<Cost, Failure> {
        let to = self.dir.join("restored");
        if self.tool == Tool::Borg {
            fs::create_dir(&to)?;
        }
        let place = to.display().to_string();
        let cost = match self.tool {
            Tool::Verso => self.run(&["backup", "restore", "./repository", &place])?,
            Tool::Restic => self.run(&["restore", "latest", "--quiet", "--target", &place])?,
            Tool::Borg => self.run_in(&to, &["extract", "::b2"])?,
        };
        fs::remove_dir_all(to)?;
        Ok(cost)
    }

    fn prune(&self) -> Result<Cost, Failure> {
        let store = self.tree.store.display().to_string();
        match self.tool {
            Tool::Verso => {
                std::thread::sleep(Duration::from_millis(1100));
                self.run(&["backup", "prune", "./repository", "--store", &store, "--keep", "1s"])
            }
            Tool::Restic => self.run(&["forget", "--quiet", "--keep-last", "3", "--prune"]),
            Tool::Borg => {
                let first = self.run(&["prune", "--keep-last", "3"])?;
                let second = self.run(&["compact"])?;
                let peak_bytes = first.peak_bytes.max(second.peak_bytes);
                Ok(Cost { time: first.time + second.time, peak_bytes, sent_bytes: 0 })
            }
        }
    }

    fn repository_bytes(&self) -> Result<u64, Failure> {
        match self.repository().exists() {
            true => studio::file_bytes(&self.repository()),
            false => Ok(0),
        }
    }

    fn repository(&self) -> PathBuf {
        self.dir.join("repository")
    }

    fn run(&self, words: &[&str]) -> Result<Cost, Failure> {
        self.run_in(&self.dir, words)
    }

    fn run_in(&self, directory: &Path, words: &[&str]) -> Result<Cost, Failure> {
        let mut command = match self.tool {
            Tool::Verso => Command::new(self.verso),
            Tool::Restic => Command::new("restic"),
            Tool::Borg => Command::new("borg"),
        };
        command.env("RESTIC_REPOSITORY", self.repository()).env("RESTIC_PASSWORD", "bench");
        command.env("RESTIC_CACHE_DIR", self.dir.join("home"));
        command.env("BORG_REPO", self.repository()).env("BORG_BASE_DIR", self.dir.join("home"));
        command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command.env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        command.args(words).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| Failure(format!("{words:?}: {error}")))?;
        let peak_bytes = watch(&mut child)?;
        let time = begun.elapsed();
        let status = child.wait()?;
        match status.success() {
            true => Ok(Cost { time, peak_bytes, sent_bytes: 0 }),
            false => Err(Failure(format!("{words:?}: {status}"))),
        }
    }
}

/// Waits for the program to end; the most memory that it was seen to have.
fn watch(child: &mut Child) -> Result<u64, Failure> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default() << 10);
        std::thread::sleep(LOOK);
    }
    Ok(peak)
}
