//! `verso backup`: its arguments, and its answers for people.

use super::args::age;
use super::output::say;
use crate::backup::{Catalog, Drilled, Made, Plan, Restored, Verified};
use crate::config::format_bytes;
use crate::model::{Moment, Zone, local_name};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

const RUN_EXAMPLES: &str = "\
Examples:
  verso backup run                       every location of the drive that is mounted
  verso backup run nas --full
  verso backup run /mnt/disk/verso --store ~/verso-store";

const RESTORE_EXAMPLES: &str = "\
Examples:
  verso backup restore nas /srv/verso-store
  verso backup restore /mnt/disk/verso ~/verso-store
  verso backup restore 's3://bucket/verso?endpoint=https://s3.example.com' ~/verso-store --credentials keys.toml
  verso backup restore nas ~/spring --path projects/spring
  verso backup restore nas ~/spring --path projects/spring --at yesterday";

const MOUNT_EXAMPLES: &str = "\
Examples:
  verso backup mount nas /mnt/backup                 (until Ctrl-C, or umount)
  verso backup mount /mnt/disk/verso /mnt/backup --generation 2026-09-14";

/// Where backups are.
#[derive(Args, Clone, Debug)]
pub struct LocationArgs {
    /// A location: its name in the settings, a URI, or a directory
    pub location: String,
    /// Read the location's credentials from this file (TOML, for its owner only)
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
}

/// Of which store, and where.
#[derive(Args, Clone, Debug)]
pub struct StoreLocationArgs {
    /// A location: its name in the settings, a URI, or a directory; without one every location in the settings
    pub location: Option<String>,
    /// The store, or anything on its mounted drive; needed unless one drive is mounted
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,
    /// Read the location's credentials from this file (TOML, for its owner only)
    #[arg(long, value_name = "FILE", requires = "location")]
    pub credentials: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso backup`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back a store up now, mounted or not
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// Of which store, and where.
        #[command(flatten)]
        at: StoreLocationArgs,
        /// Make a generation that needs nothing of an earlier one
        #[arg(long)]
        full: bool,
        /// Say what would be sent, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List the generations at a location
    #[command(after_help = "Example:\n  verso backup list nas")]
    List {
        /// Where they are.
        #[command(flatten)]
        at: LocationArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look whether everything that the generations at a location need is there
    #[command(
        after_help = "Examples:\n  verso backup verify nas\n  verso backup verify nas --read-data"
    )]
    Verify {
        /// Where they are.
        #[command(flatten)]
        at: LocationArgs,
        /// Also read all of it, and compare it with what it should be
        #[arg(long)]
        read_data: bool,
        /// Of the newest generation only
        #[arg(long)]
        newest: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Restore a sample, and compare it byte by byte with the drive as it was then
    #[command(after_help = "Examples:\n  verso backup drill nas\n  verso backup drill nas --all")]
    Drill {
        /// Of which store, and where.
        #[command(flatten)]
        at: StoreLocationArgs,
        /// Everything, and not a sample
        #[arg(long)]
        all: bool,
    },
    /// Make a store out of a backup, or bring a part of it back
    ///
    /// STORE is a missing or empty directory; it becomes the whole store with its history. What was interrupted goes on where it was.
    /// With --path, it becomes a copy of that file or folder.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreBackupArgs),
    /// Remove the generations that are older than what the location keeps
    #[command(
        after_help = "Examples:\n  verso backup prune nas --dry-run\n  verso backup prune nas"
    )]
    Prune {
        /// Where they are.
        #[command(flatten)]
        at: StoreLocationArgs,
        /// Keep what is younger than this, in the place of the setting (30d)
        #[arg(long, value_name = "TIME", value_parser = age)]
        keep: Option<Duration>,
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Mount a backup, to be read straight from its location
    #[command(after_help = MOUNT_EXAMPLES)]
    Mount {
        /// Where it is.
        #[command(flatten)]
        at: LocationArgs,
        /// Where the drive is to be seen
        mountpoint: PathBuf,
        /// Which one: its name, or how that begins; the newest without
        #[arg(long, value_name = "NAME")]
        generation: Option<String>,
        /// Where what was read is kept meanwhile; a temporary directory without
        #[arg(long, value_name = "DIR")]
        scratch: Option<PathBuf>,
    },
}

/// `verso backup restore`
#[derive(Args, Debug)]
pub struct RestoreBackupArgs {
    /// Where the backup is.
    #[command(flatten)]
    pub at: LocationArgs,
    /// What is to be made
    pub store: PathBuf,
    /// Which one: its name, or how that begins; the newest without
    #[arg(long, value_name = "NAME")]
    pub generation: Option<String>,
    /// Only this file or folder of the drive, as a plain copy
    #[arg(long, value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// With --path: as it was at this moment
    #[arg(long, value_name = "WHEN", requires = "path")]
    pub at_moment: Option<String>,
}

/// Prints what a run came to.
pub fn show_made(location: &str, made: &Made) {
    let kind = if made.full { "a full generation" } else { "a generation" };
    say(&format!(
        "{location}: {kind}, {}: {} sent, {} in all",
        made.generation,
        format_bytes(made.sent_bytes),
        format_bytes(made.pack_bytes)
    ));
}

/// Prints the generations of a location.
pub fn show_generations(catalog: &Catalog, zone: &Zone) {
    if catalog.generations.is_empty() {
        say("nothing was ever backed up there");
    } else {
        let head = ("MADE", "KIND", "SENT", "SIZE", "GENERATION");
        say(&format!("{:19}  {:4}  {:>10}  {:>10}  {}", head.0, head.1, head.2, head.3, head.4));
    }
    for generation in &catalog.generations {
        let kind = if generation.full { "full" } else { "" };
        say(&format!(
            "{:19}  {kind:4}  {:>10}  {:>10}  {}",
            local_name(Moment(generation.made), zone),
            format_bytes(generation.sent_bytes),
            format_bytes(generation.pack_bytes),
            generation.generation
        ));
    }
    for (name, why) in &catalog.unreadable {
        say(&format!("{name}: {why}"));
    }
}

/// Prints what verifying found.
pub fn show_verified(verified: &Verified) {
    for fault in &verified.faults {
        say(&format!(
            "{}: {} (needed by {})",
            fault.object,
            fault.what,
            fault.generations.join(", ")
        ));
    }
    let left = verified.faults_total.saturating_sub(verified.faults.len() as u64);
    if left > 0 {
        say(&format!("and {left} faults more"));
    }
    say(&verified_line(verified));
}

/// In a line what verifying found.
pub fn verified_line(verified: &Verified) -> String {
    let read = match verified.read_bytes {
        0 => "none of it was read".to_owned(),
        bytes => format!("{} read and compared", format_bytes(bytes)),
    };
    let generations = counted(verified.generations.len(), "generation");
    let objects = verified.objects;
    match (&verified.newest_whole, verified.faults_total) {
        (_, 0) => format!("{generations}, {objects} objects: all there; {read}"),
        (Some(newest), faults) => {
            format!("{faults} faults; the newest generation that is whole is {newest}; {read}")
        }
        (None, faults) => format!("{faults} faults; no generation is whole; {read}"),
    }
}

/// Prints what a drill came to.
pub fn show_drilled(location: &str, drilled: &Drilled) {
    drilled.differences.iter().for_each(|difference| say(difference));
    say(&format!("{location}: {}", drilled_line(drilled)));
}

/// In a line what a drill came to.
pub fn drilled_line(drilled: &Drilled) -> String {
    let Drilled { names, files, bytes, bytes_total, differences_total, .. } = drilled;
    let (bytes, total) = (format_bytes(*bytes), format_bytes(*bytes_total));
    let compared = format!("{names} names, and {files} files byte by byte ({bytes} of {total})");
    match differences_total {
        0 => format!("{compared} are what they were"),
        differences => format!("{differences} differences among {compared}"),
    }
}

/// Prints what a restore came to.
pub fn show_restored(restored: &Restored, store: &str, zone: &Zone) {
    say(&format!(
        "{store} is the store as of {} ({}); `verso mount {store} DRIVE` mounts it",
        local_name(Moment(restored.moment), zone),
        format_bytes(restored.pack_bytes)
    ));
}

/// Prints what pruning removes, or removed.
pub fn show_plan(plan: &Plan) {
    plan.removed.iter().for_each(|name| say(&format!("goes:  {name}")));
    say(&plan_line(plan));
}

/// In a line what pruning removes, or removed.
pub fn plan_line(plan: &Plan) -> String {
    let verb = if plan.applied { "removed" } else { "would be removed" };
    let (removed, kept) = (plan.removed.len(), plan.kept.len());
    match (removed, plan.objects) {
        (0, 0) => format!("nothing to remove; {} kept", counted(kept, "generation")),
        (_, objects) => format!(
            "{} {verb}, with {objects} objects ({}) that nothing else needs; {kept} kept",
            counted(removed, "generation"),
            format_bytes(plan.bytes)
        ),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
