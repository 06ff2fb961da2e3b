//! Putting it together: each command, and the daemon behind a mount.

mod asking;
mod background;
mod backup;
mod busy;
mod check;
mod concerns;
mod contract;
mod drive;
mod events;
mod exports;
mod history;
mod jobs;
mod keys;
mod locations;
mod logger;
mod mountpoint;
mod newest;
mod pins;
mod plan;
mod projects;
mod secrets;
mod serve;
mod spares;
mod status;
mod store;
mod tidy;
mod umount;
mod waited;
mod why;

use crate::cli::{
    Cli, Command, ConfigCommand, Exit, Failure, HelperArgs, SecretArgs, completions, manual, say,
    warn,
};
use crate::config::Sources;
use plan::Plan;
use secrets::Given;
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
    let new = match &cli.command {
        Command::Key(command) => keys::new_secret_args(command),
        _ => None,
    };
    let given = Given::new(cli.config, &cli.secrets, new)?;
    match cli.command {
        Command::Init(args) => store::init(&args, &given),
        Command::Mount(args) => {
            let plan = Plan::new(&args, given.config.clone())?;
            match args.background_child {
                true => background::child(&plan, &given.piped(args.piped_secret)),
                false => mount(&plan, &given.with_flags(&plan.flags), args.foreground),
            }
        }
        Command::Key(command) => keys::key(&command, &given),
        Command::Umount(args) => umount::umount(&args),
        Command::Status { path, space, json } => {
            status::status(path.as_deref(), &given, space, json)
        }
        Command::Backup(command) => backup::backup(&command, &given),
        Command::Check(args) => check::check(&args, &given),
        Command::Tidy(args) => tidy::tidy(&args, &given),
        Command::Log(args) => history::log(&args, &given),
        Command::Cat(args) => history::cat(&args, &given),
        Command::Diff(args) => history::diff(&args, &given),
        Command::Restore(args) => history::restore(&args, &given),
        Command::Undelete(args) => history::undelete(&args, &given),
        Command::Rewind(args) => history::rewind(&args, &given),
        Command::Why(args) => why::why(&args, &given),
        Command::Space(args) => contract::space(&args, &given),
        Command::Erase(args) => contract::erase(&args, &given),
        Command::Pin(args) => pins::pin(&args, &given),
        Command::Unpin(args) => pins::unpin(&args, &given),
        Command::Jobs(args) => jobs::command(&args, &given),
        Command::Project(command) => projects::project(&command, &given),
        Command::Config(ConfigCommand::Show { store }) => show_config(given.config, store),
        Command::Config(ConfigCommand::Check { store }) => check_config(given.config, store),
        Command::Completions { shell } => completions(shell),
        Command::Man { out } => manual(out.as_deref()),
    }
}

fn mount(plan: &Plan, given: &Given, foreground: bool) -> Result<(), Failure> {
    match foreground {
        true => serve::serve(plan, given, &mut serve::Terminal),
        false => background::start(plan, given),
    }
}

/// `mount(8)` calls the helper of a filesystem by a name of its own.
fn is_mount_helper() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    let name = name.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    matches!(name, Some("mount.verso" | "mount.fuse.verso"))
}

fn mount_for_fstab(args: &HelperArgs) -> Result<(), Failure> {
    let given = Given::new(None, &SecretArgs::default(), None)?;
    let plan = Plan::from_helper(args)?;
    if args.verbose {
        say(&format!("mounting {} on {}", plan.store.display(), plan.mountpoint.display()));
    }
    if args.fake { Ok(()) } else { mount(&plan, &given.with_flags(&plan.flags), false) }
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
    jobs::check_schedules(&sources.config()?)?;
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
