//! The past, for people and for programs.

pub(super) mod args;
mod differences;
mod table;
mod words;

pub use args::{
    CatArgs, DestArgs, DiffArgs, LogArgs, PathArgs, PinArgs, RestoreArgs, RewindArgs, UndeleteArgs,
    UnpinArgs,
};
pub use differences::{show_file_diff, show_rewind, show_tree_diff};
pub use table::show_log;
pub use words::Reader;

use super::output::say;
use super::status::show_json;
use crate::config::format_bytes;
use crate::model::{Moment, moment_name};
use crate::recall::Done;
use serde_json::{Error, json};

/// Says what was put back. `from`: what was asked for; `to`: where it is now.
pub fn show_done(
    done: &Done,
    (from, to): (&str, &str),
    reader: &Reader,
    json: bool,
) -> Result<(), Error> {
    let version = done.from.version.as_ref();
    let number = version.and_then(|version| version.number);
    let began = version.map(|version| version.began);
    if json {
        return show_json(&json!({
            "path": from,
            "to": to,
            "version": number,
            "moment": began.map(moment_name),
            "size": done.from.attr.size,
            "with_history": done.is_moved,
            "entries": (!done.is_moved).then_some(done.files),
            "bytes": (!done.is_moved).then_some(done.bytes),
            "other_owner": done.refused,
        }));
    }
    let number = number.map_or(String::new(), |number| format!("version {number} of "));
    let of = began.map_or(String::new(), |began| format!(", of {}", reader.time(began)));
    let count = match done.files {
        _ if done.is_moved => "with its history".to_owned(),
        0 | 1 => format_bytes(done.bytes),
        files => format!("{files} files and directories, {}", format_bytes(done.bytes)),
    };
    let place = if from == to { String::new() } else { format!(" to {to}") };
    say(&format!("restored {number}{from}{place}: {count}{of}"));
    if done.refused > 0 {
        say(&format!("{} of them are yours now: only root can give files away", done.refused));
    }
    Ok(())
}

/// Says which moment of the directory the name keeps; without a place where it is shown, that it does no longer.
pub fn show_pin(
    (path, name, moment): (&str, &str, Moment),
    shown_at: Option<&str>,
    reader: &Reader,
    json: bool,
) -> Result<(), Error> {
    if json {
        let moment = moment_name(moment);
        let is_kept = shown_at.is_some();
        return show_json(
            &json!({ "path": path, "name": name, "moment": moment, "pinned": is_kept }),
        );
    }
    let time = reader.time(moment);
    say(&match shown_at {
        Some(place) => format!("kept as {name:?}: {path} of {time}; it is at {place}"),
        None => format!("no longer kept as {name:?}: {path} of {time}"),
    });
    Ok(())
}
