//! The arguments of each command, as clap reads them.

use super::backup::BackupCommand;
use super::contract::{EraseArgs, SpaceArgs, WhyArgs};
use super::exit;
use super::history::args::{
    CAT_EXAMPLES, CatArgs, DIFF_EXAMPLES, DiffArgs, LOG_EXAMPLES, LogArgs, PIN_EXAMPLES, PinArgs,
    RESTORE_EXAMPLES, REWIND_EXAMPLES, RestoreArgs, RewindArgs, UNDELETE_EXAMPLES, UndeleteArgs,
    UnpinArgs,
};
use super::jobs::{JOBS_EXAMPLES, JobsArgs};
use super::keys::{INIT_EXAMPLES, KeyCommand, SecretArgs};
use super::projects::ProjectCommand;
use crate::config::parse_time;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  verso mount ~/verso-store ~/Verso     make the store if need be, and mount it
  verso status ~/Verso                  space, files and health of what is mounted there
  verso log ~/Verso/hero.psd            every version of a file, also when it was deleted
  verso umount ~/Verso                  write everything out and take the drive away
  verso config show                     the settings that hold, and where they come from";

/// Verso: a drive that remembers.
#[derive(Debug, Parser)]
#[command(name = "verso", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", exit::TABLE))]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Read the settings from this file only
    #[arg(long, global = true, value_name = "FILE", env = "VERSO_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// What unlocks the store.
    #[command(flatten)]
    pub secrets: SecretArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The process's arguments; prints help or what is wrong, and ends the process, when they say no
    /// command.
    pub fn read() -> Cli {
        Cli::parse()
    }
}

impl HelperArgs {
    /// The process's arguments, as `mount(8)` gives them; ends the process when they are wrong.
    pub fn read() -> HelperArgs {
        HelperArgs::parse()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new store in a directory that is empty or not there yet
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Mount a store (a missing or empty STORE is made first)
    ///
    /// Returns once the drive can be used; a daemon then serves it in the background and writes
    /// its log to STORE/verso.log. A store that is made here is not encrypted: `verso init --encrypt` makes one that is.
    #[command(after_help = MOUNT_EXAMPLES)]
    Mount(MountArgs),
    /// Take a mounted drive away, and wait until everything is in its store
    #[command(after_help = "Examples:\n  verso umount ~/Verso\n  verso umount --lazy ~/Verso")]
    Umount(UmountArgs),
    /// Show space, contents and health of a store, or of all that are mounted
    #[command(after_help = "Examples:\n  verso status\n  verso status ~/Verso/projects --json\n  \
        verso status ~/Verso --space")]
    Status {
        /// A store, or anything on a mounted drive
        path: Option<PathBuf>,
        /// Show what the room is for and when how much comes free; looks at everything in the store
        #[arg(long)]
        space: bool,
        /// Print JSON: an object, or without PATH a list of them
        #[arg(long)]
        json: bool,
    },
    /// Make copies of a store elsewhere, look after them, and get a store back out of them
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Look whether everything in a store is whole, mounted or not
    #[command(after_help = "Examples:\n  verso check ~/verso-store\n  \
        verso check ~/Verso --read-data\n  verso check ~/verso-store --repair")]
    Check(CheckArgs),
    /// Remove now what retention doesn't keep any more, and give its room back
    ///
    /// The daemon does this by itself from time to time. What lives, and what is younger than the floor, is never touched.
    #[command(after_help = "Examples:\n  verso tidy ~/Verso\n  \
        verso tidy ~/Verso --floor 7d --dry-run\n  verso tidy ~/verso-store --floor 7d --yes")]
    Tidy(TidyArgs),
    /// Show what happened to a file, or below a directory, also to what was deleted
    #[command(after_help = LOG_EXAMPLES)]
    Log(LogArgs),
    /// Print a file as it is, or as it was
    #[command(after_help = CAT_EXAMPLES, disable_version_flag = true)]
    Cat(CatArgs),
    /// Show what differs between two moments, or between one and now
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Put an earlier version of a file or directory back, or somewhere else
    ///
    /// Without --version and --at it is the last version before the present one, or the last one of
    /// what was deleted. What is there now stays in the file's history. A directory is put back only
    /// where there is none; `verso rewind` changes one that is there.
    #[command(after_help = RESTORE_EXAMPLES, disable_version_flag = true)]
    Restore(RestoreArgs),
    /// Bring back what was deleted, folders whole
    #[command(after_help = UNDELETE_EXAMPLES)]
    Undelete(UndeleteArgs),
    /// Make a directory what it was at a moment
    ///
    /// What came since is removed, what was removed or changed is put back. What is there now stays in
    /// the history, so that this can be undone in the same way; the output says how.
    #[command(after_help = REWIND_EXAMPLES)]
    Rewind(RewindArgs),
    /// Show what retention keeps of a file's or folder's past, by which rule, and until when
    #[command(after_help = "Examples:\n  verso why ~/Verso/shared/plan.txt\n  \
        verso why ~/Verso/shared/plan.txt@3            (version 3 alone)")]
    Why(WhyArgs),
    /// Show how many bytes would come free without a file or folder, or without its history
    #[command(after_help = "Example:\n  verso space ~/Verso/projects/spring")]
    Space(SpaceArgs),
    /// Erase a file or folder with its history, for good
    #[command(after_help = "Examples:\n  verso erase ~/Verso/shared/secret.txt\n  \
        verso erase --history --yes ~/Verso/shared/plan.txt")]
    Erase(EraseArgs),
    /// Keep a moment of a directory by a name, for as long as the name is there
    ///
    /// What the directory and everything below it was then is in `.versions/@pins/NAME`, whatever the
    /// settings say about how long the past is kept.
    #[command(after_help = PIN_EXAMPLES)]
    Pin(PinArgs),
    /// Take the name of a moment back; the past is kept as the settings say again
    #[command(after_help = "Examples:\n  verso unpin ~/Verso/projects/spring client-approved")]
    Unpin(UnpinArgs),
    /// Show what runs by itself, and when; let it run now, or end
    #[command(after_help = JOBS_EXAMPLES)]
    Jobs(JobsArgs),
    /// List, archive, export, import and delete projects
    #[command(subcommand, disable_help_subcommand = true)]
    Project(ProjectCommand),
    /// List, add, remove and change what opens an encrypted store
    #[command(subcommand, disable_help_subcommand = true)]
    Key(KeyCommand),
    /// Show or check the settings
    #[command(subcommand, disable_help_subcommand = true)]
    Config(ConfigCommand),
    /// Print a script that completes Verso's commands in a shell
    #[command(after_help = "Example:\n  verso completions bash > \
        ~/.local/share/bash-completion/completions/verso")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a directory
    #[command(
        after_help = "Examples:\n  verso man | man -l -\n  verso man --out /usr/share/man/man1"
    )]
    Man {
        /// Write one page for each command into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

const MOUNT_EXAMPLES: &str = "\
Examples:
  verso mount ~/verso-store ~/Verso
  verso mount --read-only /srv/store /mnt/verso
  verso mount /srv/store /mnt/verso -o allow_other,noatime
  verso mount --at yesterday /srv/store /mnt/then

Options for -o: ro, rw, allow_other, nonempty, dev, nodev, suid, nosuid, exec, noexec, noatime,
relatime, versions (the root lists .versions), threads=N, at=TIME, config=FILE, passphrase_file=FILE,
key_file=FILE. Permissions are always checked (default_permissions).";

/// `verso init`
#[derive(Args, Debug)]
pub struct InitArgs {
    /// Where the store will be
    pub store: PathBuf,
    /// Encrypt everything in it; asks for a passphrase, if no file with one or with a key is given
    ///
    /// This can't be changed later. Without a passphrase, key file or recovery key nobody can read the store any more.
    #[arg(long)]
    pub encrypt: bool,
}

/// What kind of secret comes by a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PipedSecret {
    /// A passphrase or recovery key.
    Passphrase,
    /// What a key file holds.
    Key,
}

impl PipedSecret {
    /// The word for it among the arguments.
    pub fn word(self) -> &'static str {
        match self {
            PipedSecret::Passphrase => "passphrase",
            PipedSecret::Key => "key",
        }
    }
}

/// `verso mount`
#[derive(Args, Debug)]
pub struct MountArgs {
    /// The store
    pub store: PathBuf,
    /// An empty directory that becomes the drive
    pub mountpoint: PathBuf,
    /// Serve the drive in this process, log to the terminal, stop with Ctrl-C
    #[arg(long, short)]
    pub foreground: bool,
    /// Nothing on the drive can be changed
    #[arg(long, short)]
    pub read_only: bool,
    /// Mount the drive as it was at a moment (2026-11-20T1030, yesterday, "2h ago"), read-only
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Let other users use the drive too
    #[arg(long)]
    pub allow_other: bool,
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS", value_delimiter = ',')]
    pub options: Vec<String>,
    /// The foreground process is the daemon behind a `verso mount`, and reports to it.
    #[arg(long, hide = true, requires = "foreground")]
    pub background_child: bool,
    /// What unlocks the store comes from that command, on standard input.
    #[arg(long, hide = true, requires = "background_child")]
    pub piped_secret: Option<PipedSecret>,
}

/// `verso check`
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The store, or anything on its mounted drive
    pub store: PathBuf,
    /// Read and verify every byte that is stored; that takes its time
    #[arg(long)]
    pub read_data: bool,
    /// Put right what can be put right without losing anything
    #[arg(long)]
    pub repair: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso tidy`
#[derive(Args, Debug)]
pub struct TidyArgs {
    /// The store, or anything on its mounted drive
    pub store: PathBuf,
    /// For this once, promise only this age (7d, 12h) where the settings promise more; needs --yes
    #[arg(long, value_name = "AGE", value_parser = age, requires = "consent")]
    pub floor: Option<Duration>,
    /// What is older than the floor given may go for good
    #[arg(long, group = "consent")]
    pub yes: bool,
    /// Change nothing: show what would go, by which rule, and how much would come free
    #[arg(long, group = "consent")]
    pub dry_run: bool,
    /// With --dry-run: show at most so many lines, those with the most bytes; the sums are always whole
    #[arg(long, value_name = "NUMBER", default_value_t = 200, requires = "dry_run")]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn age(text: &str) -> Result<Duration, &'static str> {
    parse_time(text).ok_or("write a number and a unit, like 7d or 12h")
}

/// `verso umount`
#[derive(Args, Debug)]
pub struct UmountArgs {
    /// Where the drive is mounted
    pub mountpoint: PathBuf,
    /// Take it away even when it is in use; programs keep what they have open
    #[arg(long, short)]
    pub lazy: bool,
    /// Only clear the mount point of a daemon that died; do nothing otherwise
    #[arg(long, conflicts_with = "lazy")]
    pub if_dead: bool,
}

/// `verso config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings that hold, and where each comes from
    Show {
        /// The store whose own settings count
        store: Option<PathBuf>,
    },
    /// Look for mistakes in the settings
    Check {
        /// The store whose own settings count
        store: Option<PathBuf>,
    },
}

/// What `mount(8)` calls for a line in `/etc/fstab`.
#[derive(Debug, Parser)]
#[command(name = "mount.verso", version)]
pub struct HelperArgs {
    /// The store
    pub store: PathBuf,
    /// The mount point
    pub mountpoint: PathBuf,
    /// Ignore options that are not known
    #[arg(short)]
    pub sloppy: bool,
    /// Do everything but mount
    #[arg(short)]
    pub fake: bool,
    /// Accepted for `mount`: nothing is written to /etc/mtab anyway
    #[arg(short)]
    pub no_mtab: bool,
    /// Say what is done
    #[arg(short)]
    pub verbose: bool,
    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS", value_delimiter = ',')]
    pub options: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
        HelperArgs::command().debug_assert();
    }
}
