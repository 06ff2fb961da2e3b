//! `verso log`: a table, or JSON.

use super::super::output::say;
use super::super::status::show_json;
use super::words::Reader;
use crate::config::format_bytes;
use crate::model::{FileKind, moment_name};
use crate::recall::{Event, Log, printable};
use serde_json::{Value, json};

/// What a column shows where there is nothing to tell.
const NOTHING: &str = "-";
const HEADS: [&str; 7] = ["VERSION", "TIME", "AGE", "WHO", "WHAT", "SIZE", "PATH"];

/// Prints what happened. `path`: what was asked for.
pub fn show_log(
    log: &Log,
    path: &str,
    reader: &Reader,
    json: bool,
) -> Result<(), serde_json::Error> {
    if json {
        let events: Vec<Value> = log.events.iter().map(|event| to_json(event, reader)).collect();
        let deleted = deleted(log).map(|event| moment_name(event.at));
        return show_json(&json!({
            "path": path,
            "is_there": log.is_living,
            "deleted": deleted,
            "events": events,
            "has_more": log.has_more,
            "unreadable": log.unreadable,
        }));
    }
    say(&to_text(log, path, reader));
    Ok(())
}

/// The deletion of what was asked for, if it is not there.
fn deleted(log: &Log) -> Option<&Event> {
    let is_deletion = |event: &&Event| !log.is_directory && event.is_end() && event.to.is_none();
    log.events.first().filter(is_deletion)
}

fn to_json(event: &Event, reader: &Reader) -> Value {
    let author = event.author.map(|uid| json!({ "uid": uid, "name": reader.users.name(uid) }));
    json!({
        "moment": moment_name(event.at),
        "path": printable(&event.path),
        "what": event.what,
        "to": event.to.as_deref().map(printable),
        "kind": kind(event.kind),
        "version": event.number,
        "size": event.size,
        "author": author,
        "until": event.until.map(moment_name),
        "hash": event.hash,
    })
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
    }
}

fn to_text(log: &Log, path: &str, reader: &Reader) -> String {
    if log.events.is_empty() {
        return format!("{path}: nothing happened");
    }
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(log.events.iter().map(|event| row(event, reader)));
    let is_plain = |event: &Event| event.path == log.events[0].path && event.to.is_none();
    let one_path = log.events.iter().all(is_plain);
    let columns = if one_path && !log.is_directory { HEADS.len() - 1 } else { HEADS.len() };
    let mut lines = aligned(&rows, columns);
    if !log.is_living && !log.events[0].is_end() {
        lines.insert(0, format!("{path} is not there any more"));
    }
    if log.unreadable > 0 {
        lines.push(format!("{} names may not be read by you", log.unreadable));
    }
    if log.has_more {
        lines.push("… and more before: see --limit and --since".to_owned());
    }
    lines.join("\n")
}

fn row(event: &Event, reader: &Reader) -> [String; 7] {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let is_deletion = event.is_end();
    let slash = if event.kind == FileKind::Directory { "/" } else { "" };
    [
        or_nothing(event.number.filter(|_| !is_deletion).map(|number| number.to_string())),
        reader.time(event.at),
        reader.age(event.at),
        or_nothing(event.author.map(|uid| reader.users.name(uid))),
        event.what.clone(),
        or_nothing(event.size.filter(|_| !is_deletion).map(format_bytes)),
        match &event.to {
            None => format!("{}{slash}", printable(&event.path)),
            Some(to) => format!("{}{slash} → {}{slash}", printable(&event.path), printable(to)),
        },
    ]
}

/// The first `columns` of each row, each as wide as its widest; numbers to the right.
fn aligned(rows: &[[String; 7]], columns: usize) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let cell = |(column, text): (usize, &String)| {
        let width = widths[column];
        match HEADS[column] {
            "VERSION" | "SIZE" => format!("{text:>width$}"),
            _ => format!("{text:<width$}"),
        }
    };
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row[..columns].iter().enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Moment, Zone};
    use crate::recall::Users;
    use std::path::PathBuf;

    fn event(what: &str, number: u64, seconds: i64) -> Event {
        Event {
            at: Moment(seconds * 1_000_000_000),
            path: PathBuf::from("a\nb"),
            what: what.to_owned(),
            to: None,
            number: Some(number),
            size: Some(2048),
            author: (what != "delete").then_some(7),
            until: None,
            hash: None,
            kind: FileKind::File,
            source: PathBuf::new(),
        }
    }

    #[test]
    fn a_row_is_a_line() {
        let events = vec![event("delete", 12, 7200), event("save", 12, 60)];
        let mut log =
            Log { events, has_more: true, is_directory: false, is_living: false, unreadable: 0 };
        let now = Moment(7_200_000_000_000);
        let reader = Reader { now, zone: Zone::UTC, users: Users::default() };
        let text = to_text(&log, "p", &reader);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(
            lines[2],
            "     12  1970-01-01 00:01:00  119 minutes ago  7    save    2.00 KiB"
        );
        assert!(lines[3].starts_with("… and more"));
        log.is_directory = true;
        assert!(to_text(&log, "p", &reader).lines().nth(2).unwrap().ends_with("a\\nb"));
    }
}
