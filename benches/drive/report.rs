//! The table: medians, ratios, and what was to be reached beside them.

use crate::Results;
use crate::peers::{Kind, Peer};
use crate::work::{MIB, Measure, Target, Unit, Work};
use std::path::Path;
use std::process::Command;

/// What `cp` inside the drive may take and add to the store.
const CP_SECONDS_MAX: f64 = 0.1;
const CP_BYTES_MAX: u64 = MIB as u64;
/// What encryption may cost, at every work.
const ENCRYPTED_RATE_MIN: f64 = 0.85;
/// Of its speed the drive keeps so much while jobs run.
const BUSY_RATE_MIN: f64 = 0.9;
/// What the daemon may take of memory under all of it.
const PEAK_BYTES_MAX: u64 = 256 * MIB as u64;

/// Whether this process may drop the kernel's caches.
pub(crate) fn is_root() -> bool {
    output("id", &["-u"]) == "0"
}

/// Prints the table to stdout.
pub(crate) fn print(base: &Path, rounds: u64, works: &[&Work], peers: &[Peer], all: &Results) {
    println!("{}", machine(base, rounds));
    println!();
    print!("| work |");
    peers.iter().for_each(|peer| print!(" {} |", peer.kind.title()));
    let ratios: Vec<&str> = ratios(peers).iter().map(|ratio| ratio.title).collect();
    println!(" {} |", ratios.join(" | "));
    println!("|---|{}{}", "---:|".repeat(peers.len()), "---|".repeat(ratios.len()));
    for (work, results) in works.iter().zip(all) {
        let row = Row { work, peers, results };
        println!("{}", row.line());
    }
    println!();
    print_remarks(works, peers, all);
    print_memory(peers);
}

/// A column: one peer's rate over another's.
struct Ratio {
    title: &'static str,
    of: Kind,
    to: Kind,
    target: fn(&Target) -> Option<f64>,
}

const TO_PEERS: &[Ratio] = &[
    Ratio { title: "to ext4", of: Kind::Verso, to: Kind::Ext4, target: |target| target.ext4 },
    Ratio { title: "to bindfs", of: Kind::Verso, to: Kind::Bindfs, target: |target| target.bindfs },
    Ratio {
        title: "to memory fs",
        of: Kind::Verso,
        to: Kind::Memfs,
        target: |target| target.memfs,
    },
];
const TO_PLAIN: &[Ratio] = &[Ratio {
    title: "encrypted to plain",
    of: Kind::Encrypted,
    to: Kind::Verso,
    target: |_| Some(ENCRYPTED_RATE_MIN),
}];

const TO_IDLE: &[Ratio] = &[Ratio {
    title: "with jobs to without",
    of: Kind::Busy,
    to: Kind::Verso,
    target: |_| Some(BUSY_RATE_MIN),
}];

fn ratios(peers: &[Peer]) -> &'static [Ratio] {
    let takes_part = |kind| peers.iter().any(|peer| peer.kind == kind);
    match (takes_part(Kind::Encrypted), takes_part(Kind::Busy)) {
        (true, _) => TO_PLAIN,
        (false, true) => TO_IDLE,
        (false, false) => TO_PEERS,
    }
}

struct Row<'a> {
    work: &'a Work,
    peers: &'a [Peer],
    results: &'a [Vec<Measure>],
}

impl Row<'_> {
    fn line(&self) -> String {
        let mut line = format!("| {} |", self.work.title);
        for measures in self.results {
            line += &format!(" {} |", shown(self.work.unit, measures));
        }
        for ratio in ratios(self.peers) {
            line += &format!(" {} |", self.ratio_cell(ratio, (ratio.target)(&self.work.target)));
        }
        line
    }

    fn rate(&self, kind: Kind) -> Option<f64> {
        let at = self.peers.iter().position(|peer| peer.kind == kind)?;
        Some(median(self.results[at].iter().map(Measure::rate)))
    }

    /// One peer's rate over the other's; bold where the target is missed.
    fn ratio_cell(&self, ratio: &Ratio, target: Option<f64>) -> String {
        let (Some(verso), Some(other)) = (self.rate(ratio.of), self.rate(ratio.to)) else {
            return target.map_or(String::new(), |target| format!("(≥ {target})"));
        };
        let ratio = verso / other;
        match target {
            Some(target) if ratio < target => format!("**{ratio:.2}** (≥ {target})"),
            Some(target) => format!("{ratio:.2} (≥ {target})"),
            None => format!("{ratio:.2}"),
        }
    }
}

fn shown(unit: Unit, measures: &[Measure]) -> String {
    let rate = median(measures.iter().map(Measure::rate));
    match unit {
        Unit::Mebibytes => format!("{rate:.0} MiB/s"),
        Unit::Operations if rate >= 10_000.0 => format!("{:.1} k/s", rate / 1000.0),
        Unit::Operations => format!("{rate:.0} /s"),
        Unit::Seconds => format!("{:.3} s", median(measures.iter().map(|m| m.seconds))),
    }
}

/// The targets that are not ratios to a peer.
fn print_remarks(works: &[&Work], peers: &[Peer], all: &Results) {
    let Some(verso) = peers.iter().position(|peer| peer.kind == Kind::Verso) else {
        return;
    };
    let of = |key: &str| {
        let at = works.iter().position(|work| work.key == key)?;
        Some(&all[at][verso])
    };
    if let Some(measures) = of("cp") {
        let seconds = median(measures.iter().map(|measure| measure.seconds));
        let grown = measures.iter().filter_map(|measure| measure.grown_bytes).max().unwrap_or(0);
        let kept = mark(seconds < CP_SECONDS_MAX && grown < CP_BYTES_MAX);
        let grown = grown as f64 / MIB as f64;
        println!(
            "- {kept}: `cp` of 512 MiB in {seconds:.3} s (< 0.1), at most {grown:.2} MiB more in the store (< 1)"
        );
    }
    if let (Some(first), Some(again)) = (of("write"), of("rewrite")) {
        let rate = |measures: &[Measure]| median(measures.iter().map(Measure::rate));
        let kept = mark(rate(again) > rate(first));
        println!(
            "- {kept}: the same data again is {:.2} times as fast as the first time (> 1)",
            rate(again) / rate(first)
        );
    }
}

fn print_memory(peers: &[Peer]) {
    for peer in peers {
        let Some(bytes) = peer.peak_bytes() else { continue };
        let mib = bytes / MIB as u64;
        match peer.kind {
            Kind::Verso | Kind::Encrypted | Kind::Busy => {
                let kept = mark(bytes <= PEAK_BYTES_MAX);
                println!(
                    "- {kept}: peak memory of the daemon of {} {mib} MiB (≤ 256)",
                    peer.kind.title()
                );
            }
            other => println!("- peak memory of {}: {mib} MiB", other.title()),
        }
    }
}

pub(crate) fn mark(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

/// The host, and how the table of works is to be read, in one line.
pub(crate) fn machine(base: &Path, rounds: u64) -> String {
    format!(
        "{}, median of {rounds} rounds; ratios are Verso's rate over the peer's, in brackets what was to be reached",
        host(base)
    )
}

/// Date, processor, kernel and disk.
pub(crate) fn host(base: &Path) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |name| name.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = output("uname", &["-r"]);
    let date = output("date", &["-u", "+%F %H:%M UTC"]);
    let disk = output("findmnt", &["-no", "FSTYPE", "-T", &base.to_string_lossy()]);
    format!("{date}, {cores} cores ({model}), Linux {kernel}, disk {disk}")
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "?".into(), |out| String::from_utf8_lossy(&out.stdout).trim().into())
}

/// The median; the mean of the middle two when the count is even, 0 of nothing.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
