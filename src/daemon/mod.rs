//! Putting it together: each command, and the daemon behind a mount.

mod background;
mod busy;
mod check;
mod contract;
mod drive;
mod events;
mod history;
mod logger;
mod mountpoint;
mod pins;
mod plan;
mod serve;
mod status;
mod store;
mod tidy;
mod umount;
mod upkeep;
mod waited;
mod why;

use crate::cli::{
    Cli, Command, ConfigCommand, Exit, Failure, HelperArgs, completions, manual, say, warn,
};
use crate::config::Sources;
use plan::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Does what the process's arguments say.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            warn(&failure.to_string());
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run() -> Result<(), Failure> {
    if is_mount_helper() {
        return mount_for_fstab(&HelperArgs::read());
    }
    let cli = Cli::read();
    match cli.command {
        Command::Init { store } => store::init(&store, cli.config.as_deref()),
        Command::Mount(args) if args.background_child => {
            background::child(&Plan::new(&args, cli.config)?)
        }
        Command::Mount(args) => mount(&Plan::new(&args, cli.config)?, args.foreground),
        Command::Umount(args) => umount::umount(&args),
        Command::Status { path, space, json } => {
            status::status(path.as_deref(), cli.config.as_deref(), space, json)
        }
        Command::Check(args) => check::check(&args, cli.config.as_deref()),
        Command::Tidy(args) => tidy::tidy(&args, cli.config.as_deref()),
        Command::Log(args) => history::log(&args, cli.config.as_deref()),
        Command::Cat(args) => history::cat(&args, cli.config.as_deref()),
        Command::Diff(args) => history::diff(&args, cli.config.as_deref()),
        Command::Restore(args) => history::restore(&args, cli.config.as_deref()),
        Command::Undelete(args) => history::undelete(&args, cli.config.as_deref()),
        Command::Rewind(args) => history::rewind(&args, cli.config.as_deref()),
        Command::Why(args) => why::why(&args, cli.config.as_deref()),
        Command::Space(args) => contract::space(&args, cli.config.as_deref()),
        Command::Erase(args) => contract::erase(&args, cli.config.as_deref()),
        Command::Pin(args) => pins::pin(&args, cli.config.as_deref()),
        Command::Unpin(args) => pins::unpin(&args, cli.config.as_deref()),
        Command::Config(ConfigCommand::Show { store }) => show_config(cli.config, store),
        Command::Config(ConfigCommand::Check { store }) => check_config(cli.config, store),
        Command::Completions { shell } => completions(shell),
        Command::Man { out } => manual(out.as_deref()),
    }
}

fn mount(plan: &Plan, foreground: bool) -> Result<(), Failure> {
    match foreground {
        true => serve::serve(plan, &mut serve::Terminal),
        false => background::start(plan),
    }
}

/// `mount(8)` calls the helper of a filesystem by a name of its own.
fn is_mount_helper() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    let name = name.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    matches!(name, Some("mount.verso" | "mount.fuse.verso"))
}

fn mount_for_fstab(args: &HelperArgs) -> Result<(), Failure> {
    let plan = Plan::from_helper(args)?;
    if args.verbose {
        say(&format!("mounting {} on {}", plan.store.display(), plan.mountpoint.display()));
    }
    if args.fake { Ok(()) } else { mount(&plan, false) }
}

/// The settings for `store`, from the file `explicit` or the first that there is.
fn read_settings(explicit: Option<&Path>, store: Option<&Path>) -> Result<Sources, Failure> {
    Ok(Sources::read(explicit, store, std::env::vars_os())?)
}

fn show_config(file: Option<PathBuf>, store: Option<PathBuf>) -> Result<(), Failure> {
    let sources = read_settings(file.as_deref(), store.as_deref())?;
    sources.config()?;
    say(sources.to_toml().trim_end());
    Ok(())
}

fn check_config(file: Option<PathBuf>, store: Option<PathBuf>) -> Result<(), Failure> {
    let sources = read_settings(file.as_deref(), store.as_deref())?;
    sources.config()?;
    match sources.file() {
        Some(path) => say(&format!("{}: no mistakes", path.display())),
        None => say("no settings file, the built-in defaults hold; no mistakes"),
    }
    Ok(())
}

/// A failure at `path`, with what the system said.
fn failed(exit: Exit, what: &str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit, format!("{what} {}: {error}", path.display()))
}
