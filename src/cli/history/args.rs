//! Arguments of the commands over the past, as clap reads them.

use clap::Args;
use std::path::PathBuf;

pub(in crate::cli) const LOG_EXAMPLES: &str = "\
Examples:
  verso log ~/Verso/projects/spring/staged/hero.psd
  verso log --since yesterday ~/Verso/projects/spring
  verso log --store /srv/verso-store projects/spring       (a store that is not mounted)";

pub(in crate::cli) const CAT_EXAMPLES: &str = "\
Examples:
  verso cat --at 'yesterday 10:30' ~/Verso/notes.txt
  verso cat --version 3 ~/Verso/hero.psd > old.psd";

pub(in crate::cli) const DIFF_EXAMPLES: &str = "\
Examples:
  verso diff ~/Verso/notes.txt                             (the version before, and now)
  verso diff --from monday --to '2h ago' ~/Verso/projects/spring";

pub(in crate::cli) const RESTORE_EXAMPLES: &str = "\
Examples:
  verso restore --version 3 ~/Verso/hero.psd
  verso restore --at '2h ago' ~/Verso/projects/spring --to ~/spring-before";

pub(in crate::cli) const UNDELETE_EXAMPLES: &str = "\
Examples:
  verso undelete ~/Verso/projects/spring
  verso undelete ~/Verso/hero.psd --to ~/Desktop/hero.psd";

pub(in crate::cli) const REWIND_EXAMPLES: &str = "\
Examples:
  verso rewind ~/Verso/projects/spring --at 'yesterday 18:00' --preview
  verso rewind ~/Verso/projects/spring --at 'yesterday 18:00'";

pub(in crate::cli) const PIN_EXAMPLES: &str = "\
Examples:
  verso pin ~/Verso/projects/spring client-approved
  verso pin ~/Verso/projects/spring before-the-flood --at 'yesterday 18:00'";

/// Which path of which drive.
#[derive(Args, Debug)]
pub struct PathArgs {
    /// A path on a mounted drive; it need not exist any more
    pub path: PathBuf,
    /// A store: PATH is then the path within its drive
    #[arg(long, value_name = "STORE")]
    pub store: Option<PathBuf>,
}

/// `verso log`
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// Show at most so many events
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// Show only what happened since this moment
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// With --json: tell the BLAKE3 of each version's content too, which takes reading them
    #[arg(long, requires = "json")]
    pub hash: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso cat`
#[derive(Args, Debug)]
pub struct CatArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// What the name showed at this moment
    #[arg(long, value_name = "TIME", conflicts_with = "version")]
    pub at: Option<String>,
    /// The version with this number
    #[arg(long, value_name = "NUMBER")]
    pub version: Option<u64>,
}

/// `verso diff`
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// From this moment; without it from the version before, of a directory from 24 hours ago
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// To this moment; without it to now
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso restore`
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// The version with this number
    #[arg(long, value_name = "NUMBER")]
    pub version: Option<u64>,
    /// What the name showed at this moment
    #[arg(long, value_name = "TIME", conflicts_with = "version")]
    pub at: Option<String>,
    /// Where to put it; into it, if it is a directory
    #[command(flatten)]
    pub dest: DestArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where something is put.
#[derive(Args, Debug)]
pub struct DestArgs {
    /// Put it here instead, on the drive or elsewhere; into DEST, if that is a directory
    #[arg(long, value_name = "DEST")]
    pub to: Option<PathBuf>,
    /// Replace the file that is at DEST
    #[arg(long, requires = "to")]
    pub force: bool,
}

/// `verso undelete`
#[derive(Args, Debug)]
pub struct UndeleteArgs {
    /// Which path
    #[command(flatten)]
    pub path: PathArgs,
    /// Where to put it
    #[command(flatten)]
    pub dest: DestArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso rewind`
#[derive(Args, Debug)]
pub struct RewindArgs {
    /// Which directory
    #[command(flatten)]
    pub path: PathArgs,
    /// The moment: `2026-09-14T1030`, `yesterday 10:30`, `2h ago`
    #[arg(long, value_name = "TIME")]
    pub at: String,
    /// Only show what would change
    #[arg(long)]
    pub preview: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso pin`
#[derive(Args, Debug)]
pub struct PinArgs {
    /// Which directory
    #[command(flatten)]
    pub path: PathArgs,
    /// What the moment is called from now on
    pub name: String,
    /// The moment; without it now
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso unpin`
#[derive(Args, Debug)]
pub struct UnpinArgs {
    /// Which directory
    #[command(flatten)]
    pub path: PathArgs,
    /// What the moment is called
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
