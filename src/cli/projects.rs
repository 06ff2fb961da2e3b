//! `verso project`: arguments, and answers for people.

use super::args::age;
use super::history::Reader;
use super::output::say;
use super::status::show_json;
use crate::config::{format_bytes, parse_size};
use crate::model::{Moment, Timestamp, moment_name};
use crate::projects::{Project, Status};
use crate::recall::printable;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIST_EXAMPLES: &str = "\
Examples:
  verso project list
  verso project list ~/Verso --status active --older 60d
  verso project list ~/verso-store --tag client:smith --larger 10GiB";

const ARCHIVE_EXAMPLES: &str = "\
Examples:
  verso project archive spring
  verso project archive spring --at 2026-03-31            (into archived/2026/03)";

const EXPORT_EXAMPLES: &str = "\
Examples:
  verso project export spring ~/spring.tar.zst
  verso project export spring /mnt/disk --at 'yesterday 18:00'
  verso project export spring - | ssh server tar x
  verso project export spring --to nas                    (as exports/spring.tar.zst there)
  verso project export spring spring-final.tar.gz --to /mnt/disk/verso";

const IMPORT_EXAMPLES: &str = "\
Examples:
  verso project import ~/Pictures/spring
  verso project import spring.tar.zst --as spring-2
  verso project import spring.tar.zst --from nas          (what `export --to nas` put there)";

const DELETE_EXAMPLES: &str = "\
Examples:
  verso project delete spring                             (`verso undelete` brings it back)
  verso project delete spring --hard                      (nothing does)";

/// `verso project`
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// List projects with their size and the time of their last change
    #[command(after_help = LIST_EXAMPLES)]
    List(ProjectListArgs),
    /// Move a project to archived/YEAR/MONTH, read-only, with its history
    ///
    /// The right to write is taken from everything in it; `metadata.json` in it says when, why, and what rights there
    /// were. Root can still write to it.
    #[command(after_help = ARCHIVE_EXAMPLES)]
    Archive(ProjectArchiveArgs),
    /// Move an archived project back to projects, with the rights that it had
    #[command(after_help = "Examples:\n  verso project unarchive spring\n  \
        verso project unarchive 2026/03/spring")]
    Unarchive(UnarchiveArgs),
    /// Write a project into a tar archive: .tar.zst, .tar.gz or .tar
    ///
    /// With names, rights, owners, times, links and extended attributes. Its history is not in it. It is not encrypted,
    /// not even that of an encrypted store.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Make a project of a directory or a tar archive
    ///
    /// Interrupted, the same command goes on where it was.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Delete a project; it can be brought back for as long as deleted files are kept
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(ProjectDeleteArgs),
}

/// On which drive.
#[derive(Args, Debug)]
pub struct DriveArgs {
    /// The drive: something on it, or its store. Without it the one where you are, or the only one that is mounted
    #[arg(long, value_name = "DRIVE|STORE")]
    pub on: Option<PathBuf>,
}

/// The words for [`Status`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StatusWord {
    /// In projects
    Active,
    /// In archived
    Archived,
}

impl From<StatusWord> for Status {
    fn from(word: StatusWord) -> Status {
        match word {
            StatusWord::Active => Status::Active,
            StatusWord::Archived => Status::Archived,
        }
    }
}

/// `verso project list`
#[derive(Args, Debug)]
pub struct ProjectListArgs {
    /// Something on the drive, or its store. Without it the one where you are, or the only one that is mounted
    #[arg(value_name = "DRIVE|STORE")]
    pub on: Option<PathBuf>,
    /// Only those that are worked on, or only those that are archived
    #[arg(long, value_name = "STATUS")]
    pub status: Option<StatusWord>,
    /// Only those with this tag (the attribute user.xdg.tags of the directory); several: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only those with more bytes (500MiB, 10GiB)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub larger: Option<u64>,
    /// Only those with fewer bytes
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub smaller: Option<u64>,
    /// Only those that nobody changed for so long (90d, 12h)
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older: Option<Duration>,
    /// Only those that somebody changed since
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub newer: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `verso project archive`
#[derive(Args, Debug)]
pub struct ProjectArchiveArgs {
    /// Its name in projects
    pub id: OsString,
    /// The date whose year and month it is archived under; without it today
    #[arg(long, value_name = "DATE")]
    pub at: Option<String>,
    /// On which drive
    #[command(flatten)]
    pub drive: DriveArgs,
}

/// `verso project unarchive`
#[derive(Args, Debug)]
pub struct UnarchiveArgs {
    /// Its name, or where several have it, YEAR/MONTH/NAME
    pub id: OsString,
    /// On which drive
    #[command(flatten)]
    pub drive: DriveArgs,
}

/// `verso project export`
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Its name, or where several archived ones have it, YEAR/MONTH/NAME
    pub id: OsString,
    /// A file that ends in .tar.zst, .tar.gz or .tar; a directory, for NAME.tar.zst in it; or - for a plain tar to a pipe
    #[arg(required_unless_present = "to")]
    pub dest: Option<PathBuf>,
    /// Send it to this backup location (its name in the settings, a URI, or a directory); DEST is what it is called there,
    /// NAME.tar.zst without it
    #[arg(long, value_name = "LOCATION")]
    pub to: Option<String>,
    /// Read the location's credentials from this file (TOML, for its owner only)
    #[arg(long, value_name = "FILE", requires = "to")]
    pub credentials: Option<PathBuf>,
    /// As it was at this moment; also of what is not there any more
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Replace the file that is there
    #[arg(long)]
    pub force: bool,
    /// On which drive
    #[command(flatten)]
    pub drive: DriveArgs,
}

/// `verso project import`
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A directory, a tar archive (plain, .zst or .gz), or - for one from a pipe
    pub from: PathBuf,
    /// Fetch it from this backup location (its name in the settings, a URI, or a directory), where `export --to` put it
    #[arg(long = "from", id = "location", value_name = "LOCATION")]
    pub location: Option<String>,
    /// Read the location's credentials from this file (TOML, for its owner only)
    #[arg(long, value_name = "FILE", requires = "location")]
    pub credentials: Option<PathBuf>,
    /// What it is to be called; without it what it is called there
    #[arg(long = "as", value_name = "NAME")]
    pub id: Option<OsString>,
    /// On which drive
    #[command(flatten)]
    pub drive: DriveArgs,
}

/// `verso project delete`
#[derive(Args, Debug)]
pub struct ProjectDeleteArgs {
    /// Its name, or where several archived ones have it, YEAR/MONTH/NAME
    pub id: OsString,
    /// Erase it with its history, for good
    #[arg(long)]
    pub hard: bool,
    /// With --hard: don't ask
    #[arg(long, requires = "hard")]
    pub yes: bool,
    /// On which drive
    #[command(flatten)]
    pub drive: DriveArgs,
}

fn size(text: &str) -> Result<u64, &'static str> {
    parse_size(text).ok_or("write a number and a unit, like 500MiB or 10GiB")
}

const HEADS: [&str; 6] = ["PROJECT", "STATUS", "FILES", "SIZE", "LAST CHANGE", "TAGS"];

/// Prints projects as a table or as JSON.
pub fn show_projects(
    projects: &[Project],
    reader: &Reader,
    json: bool,
) -> Result<(), serde_json::Error> {
    if json {
        let all: Vec<Value> = projects.iter().map(|project| to_json(project, reader)).collect();
        return show_json(&Value::from(all));
    }
    say(&to_text(projects, reader));
    Ok(())
}

fn to_json(project: &Project, reader: &Reader) -> Value {
    let survey = &project.survey;
    let time = |time: Option<Timestamp>| time.map(|time| moment_name(Moment(time.0)));
    let age = project.age(Timestamp(reader.now.0)).map(|age| age.as_secs());
    json!({
        "id": printable(Path::new(&project.place.id)),
        "path": printable(&project.place.path),
        "status": project.place.status.word(),
        "tags": project.tags,
        "files": survey.files,
        "directories": survey.directories,
        "bytes": survey.bytes,
        "first_change": time(survey.first_change),
        "last_change": time(survey.last_change),
        "age_seconds": age,
        "unreadable": survey.unreadable,
    })
}

fn to_text(projects: &[Project], reader: &Reader) -> String {
    if projects.is_empty() {
        return "there are no such projects".to_owned();
    }
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(projects.iter().map(|project| row(project, reader)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let cell = |(column, text): (usize, &String)| {
        let width = widths[column];
        match HEADS[column] {
            "FILES" | "SIZE" => format!("{text:>width$}"),
            _ => format!("{text:<width$}"),
        }
    };
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(project: &Project, reader: &Reader) -> [String; 6] {
    let survey = &project.survey;
    let changed = survey.last_change.map(|time| Moment(time.0));
    let month = project.place.path.parent().and_then(|path| path.strip_prefix("archived").ok());
    let status = match month {
        Some(month) => format!("archived {}", printable(month)),
        None => project.place.status.word().to_owned(),
    };
    // It is at least that much, where something may not be read.
    let more = if survey.unreadable > 0 { "+" } else { "" };
    [
        printable(Path::new(&project.place.id)),
        status,
        format!("{}{more}", survey.files),
        format!("{}{more}", format_bytes(survey.bytes)),
        changed.map_or("-".to_owned(), |changed| {
            format!("{} ({})", reader.time(changed), reader.age(changed))
        }),
        project.tags.join(", "),
    ]
}
