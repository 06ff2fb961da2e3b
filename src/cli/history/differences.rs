//! `verso diff` and `verso rewind`: what differs.

use super::super::output::say;
use super::super::status::show_json;
use super::words::Reader;
use crate::config::format_bytes;
use crate::model::{Attr, FileKind, Moment, moment_name};
use crate::recall::{Body, Change, FileDiff, Rewind, Rewound, TreeDiff, What, printable};
use serde_json::{Error, Value, json};
use std::path::{Path, PathBuf};

/// Prints how two states of a file differ. `titles`: what each of them is.
pub fn show_file_diff(diff: &FileDiff, titles: (&str, &str), json: bool) -> Result<(), Error> {
    match json {
        true => show_json(&file_json(diff, titles)),
        false => {
            say(&file_text(diff, titles));
            Ok(())
        }
    }
}

fn file_text(diff: &FileDiff, (old, new): (&str, &str)) -> String {
    let head = format!("--- {old}\n+++ {new}");
    match &diff.body {
        Body::Same => format!("no difference between {old} and {new}"),
        Body::Text(lines) => format!("{head}\n{}", lines.trim_end_matches('\n')),
        Body::Target(before, after) => {
            let target = |path: &Option<PathBuf>| path.as_deref().map_or("-".into(), printable);
            format!("{head}\nleads to: {} → {}", target(before), target(after))
        }
        Body::Picture(before, after) => {
            let size = |size: &Option<(usize, usize)>| {
                size.map_or("-".to_owned(), |(width, height)| format!("{width}×{height}"))
            };
            let sizes = sizes(diff);
            format!("{head}\ndimensions: {} → {}\n{sizes}", size(before), size(after))
        }
        Body::Binary => format!("{head}\n{}", sizes(diff)),
    }
}

fn sizes(diff: &FileDiff) -> String {
    let size = |size: Option<u64>| size.map_or("not there".to_owned(), format_bytes);
    let (before, after) = (size(diff.before), size(diff.after));
    let same = if before == after { ", with another content" } else { "" };
    format!("size: {before} → {after}{same}")
}

fn file_json(diff: &FileDiff, (old, new): (&str, &str)) -> Value {
    let pair = |size: &Option<(usize, usize)>| size.map(|(width, height)| [width, height]);
    let (kind, detail) = match &diff.body {
        Body::Same => ("same", Value::Null),
        Body::Text(lines) => ("text", json!(lines)),
        Body::Binary => ("binary", Value::Null),
        Body::Picture(before, after) => {
            ("picture", json!({ "before": pair(before), "after": pair(after) }))
        }
        Body::Target(before, after) => {
            let target = |path: &Option<PathBuf>| path.as_deref().map(printable);
            ("symlink", json!({ "before": target(before), "after": target(after) }))
        }
    };
    json!({
        "from": { "name": old, "size": diff.before },
        "to": { "name": new, "size": diff.after },
        "kind": kind,
        "detail": detail,
    })
}

/// Prints how two states of a directory differ.
pub fn show_tree_diff(diff: &TreeDiff, titles: (&str, &str), json: bool) -> Result<(), Error> {
    let (old, new) = titles;
    if json {
        let moved =
            |(from, to): &(PathBuf, PathBuf)| json!({ "from": shown(from), "to": shown(to) });
        return show_json(&json!({
            "from": old,
            "to": new,
            "changes": diff.changes.iter().map(|change| change_json(change, difference)).collect::<Vec<_>>(),
            "moved": diff.moved.iter().map(moved).collect::<Vec<_>>(),
        }));
    }
    let mut lines: Vec<(String, String)> = diff
        .changes
        .iter()
        .map(|change| (shown(&change.path), change_line(change, difference)))
        .collect();
    lines.extend(
        diff.moved
            .iter()
            .map(|(from, to)| (shown(to), format!("moved       {} → {}", shown(from), shown(to)))),
    );
    lines.sort();
    say(&format!("from {old}\nto   {new}"));
    for (_, line) in &lines {
        say(line);
    }
    let mut summary = count(&diff.changes, difference);
    if !diff.moved.is_empty() {
        summary.push(format!("{} moved", diff.moved.len()));
    }
    say(&if summary.is_empty() { "no difference".to_owned() } else { summary.join(", ") });
    Ok(())
}

fn shown(path: &Path) -> String {
    printable(path)
}

/// What each difference is called.
type Words = fn(What) -> &'static str;

/// Between two states that people ask for.
fn difference(what: What) -> &'static str {
    match what {
        What::Added => "added",
        What::Deleted => "deleted",
        What::Changed => "changed",
        What::Attributes => "attributes",
    }
}

/// From what is there to what was.
fn rewinding(what: What) -> &'static str {
    match what {
        What::Added => "restored",
        What::Deleted => "removed",
        What::Changed => "changed",
        What::Attributes => "attributes",
    }
}

fn change_line(change: &Change, words: Words) -> String {
    let (what, path) = (words(change.what), shown(&change.path));
    let size = |attr: &Option<Attr>| attr.as_ref().map(|attr| attr.size).unwrap_or_default();
    let (before, after) = (size(&change.before), size(&change.after));
    let attr = change.after.as_ref().or(change.before.as_ref());
    match attr.map(|attr| attr.kind) {
        Some(FileKind::Directory) => format!("{what:<12}{path}/"),
        Some(FileKind::File) => match change.what {
            What::Changed => {
                let (before, after) = (format_bytes(before), format_bytes(after));
                format!("{what:<12}{path} ({before} → {after})")
            }
            What::Attributes => format!("{what:<12}{path}"),
            What::Added => format!("{what:<12}{path} ({})", format_bytes(after)),
            What::Deleted => format!("{what:<12}{path} ({})", format_bytes(before)),
        },
        _ => format!("{what:<12}{path}"),
    }
}

fn change_json(change: &Change, words: Words) -> Value {
    let size = |attr: &Option<Attr>| attr.as_ref().map(|attr| attr.size);
    json!({
        "path": shown(&change.path),
        "what": words(change.what),
        "size_before": size(&change.before),
        "size_after": size(&change.after),
    })
}

fn count(changes: &[Change], words: Words) -> Vec<String> {
    let all = [What::Added, What::Changed, What::Attributes, What::Deleted];
    let number = |what: What| changes.iter().filter(|change| change.what == what).count();
    let counted = all.map(|what| (number(what), words(what))).into_iter();
    counted.filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect()
}

/// Prints what a rewind changes, or changed. `done`: once it was, what it did, and the command that goes back.
pub fn show_rewind(
    plan: &Rewind,
    (path, target): (&str, Moment),
    done: Option<(Rewound, &str)>,
    reader: &Reader,
    json: bool,
) -> Result<(), Error> {
    let undo_command =
        done.map(|(done, command)| format!("{command} --at {}", moment_name(done.before)));
    let refused = done.map_or(0, |(done, _)| done.refused);
    if json {
        return show_json(&json!({
            "path": path,
            "at": moment_name(target),
            "done": done.is_some(),
            "refused": refused,
            "changes": plan.changes.iter().map(|change| change_json(change, rewinding)).collect::<Vec<_>>(),
            "left": plan.left.iter().map(|path| shown(path)).collect::<Vec<_>>(),
            "undo": undo_command,
        }));
    }
    for change in &plan.changes {
        say(&change_line(change, rewinding));
    }
    for path in &plan.left {
        say(&format!("{:<12}{} (history does not know what it was)", "left alone", shown(path)));
    }
    let summary = count(&plan.changes, rewinding);
    let when = reader.time(target);
    match (summary.is_empty(), &undo_command) {
        (true, _) => say(&format!("{path} is what it was at {when}: nothing to do")),
        (false, None) => say(&format!("going back to {when} would mean: {}", summary.join(", "))),
        (false, Some(undo)) => {
            say(&format!("{path} is what it was at {when}: {}", summary.join(", ")));
            if refused > 0 {
                let why = "have another owner or other attributes than then, since only root can set them";
                say(&format!("{refused} of them {why}"));
            }
            say(&format!("to undo: {undo}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_has_sizes() {
        let diff = FileDiff { before: Some(1024), after: None, body: Body::Binary };
        assert_eq!(file_text(&diff, ("a", "b")), "--- a\n+++ b\nsize: 1.00 KiB → not there");
        let body = Body::Picture(Some((4, 3)), Some((8, 6)));
        let diff = FileDiff { before: Some(7), after: Some(7), body };
        let text = file_text(&diff, ("a", "b"));
        assert!(text.contains("dimensions: 4×3 → 8×6\nsize: 7 B → 7 B, with another content"));
    }
}
