//! `metadata.json` of a project that is archived: what it was, and how it becomes writable again.

use super::error::{Result, at};
use super::survey::{Survey, joined};
use crate::model::{Attr, FileKind, Mode, Moment, Timestamp, Zone, local_name};
use crate::recall::{Source, Tree, attr_if_any};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What marks the file as ours, with its version.
const FORMAT: &str = "verso-project/1";
/// Where it is; the second one where the project has a file of its own by the first name.
const NAMES: [&str; 2] = ["metadata.json", "metadata~verso.json"];
/// What it is written as before it is whole.
pub(super) const TEMPORARY: &str = ".verso~metadata.tmp";
/// A larger file of this name is not ours: some 100 bytes for each of a million exceptions.
const NOTE_BYTES_MAX: u64 = 256 << 20;
/// What is read at once.
const BLOCK_BYTES: usize = 256 << 10;
/// The bits that let somebody write.
pub(super) const WRITE: u16 = 0o222;

/// Who archived it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub name: String,
}

/// What is known of an archived project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) id: OsString,
    /// When archiving began.
    pub(super) began: Timestamp,
    pub(super) why: String,
    pub(super) by: By,
    pub(super) survey: Survey,
    pub(super) tags: Vec<String>,
    /// When the names in its directory changed last, before this file was one of them.
    pub(super) top_changed: Timestamp,
    pub(super) modes: Modes,
    /// It is on its way back to `projects/`.
    pub(super) is_leaving: bool,
}

/// The permissions that everything had: the most common ones of directories and of everything else, and what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes {
    directory: u16,
    other: u16,
    exceptions: BTreeMap<PathBuf, u16>,
}

impl Modes {
    /// Of the permissions of everything, by relative paths; the project's directory has the empty one.
    pub(super) fn new(all: Vec<(PathBuf, FileKind, u16)>) -> Modes {
        let (directory, other) = (most_common(&all, true), most_common(&all, false));
        let differs = |(path, kind, mode): (PathBuf, FileKind, u16)| {
            let usual = if kind == FileKind::Directory { directory } else { other };
            (mode != usual).then_some((path, mode))
        };
        let exceptions = all.into_iter().filter_map(differs).collect();
        Modes { directory, other, exceptions }
    }

    /// What it was.
    pub(super) fn of(&self, path: &Path, kind: FileKind) -> Mode {
        let usual = if kind == FileKind::Directory { self.directory } else { self.other };
        Mode::new(u32::from(self.exceptions.get(path).copied().unwrap_or(usual)))
    }

    /// What it was, if what it is now came of that by taking the right to write away.
    pub(super) fn before(&self, path: &Path, attr: &Attr) -> Option<Mode> {
        let before = self.of(path, attr.kind);
        (attr.mode.bits() == before.bits() & !WRITE).then_some(before)
    }

    fn to_json(&self) -> Value {
        let octal = |mode: &u16| format!("{mode:04o}");
        let exceptions = self.exceptions.iter();
        let exceptions: Vec<Value> = exceptions
            .map(|(path, mode)| json!([bytes_to_json(path.as_os_str()), octal(mode)]))
            .collect();
        json!({
            "directories": octal(&self.directory),
            "files": octal(&self.other),
            "others": exceptions,
        })
    }

    fn from_json(value: &Value) -> Option<Modes> {
        let exceptions = value["others"].as_array()?.iter();
        let exceptions = exceptions
            .map(|pair| Some((PathBuf::from(bytes_from_json(&pair[0])?), octal(&pair[1])?)))
            .collect::<Option<_>>()?;
        let (directory, other) = (octal(&value["directories"])?, octal(&value["files"])?);
        Some(Modes { directory, other, exceptions })
    }
}

fn most_common(all: &[(PathBuf, FileKind, u16)], directories: bool) -> u16 {
    let mut counts: HashMap<u16, u64> = HashMap::new();
    let of_kind = all.iter().filter(|(_, kind, _)| (*kind == FileKind::Directory) == directories);
    for (_, _, mode) in of_kind {
        *counts.entry(*mode).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(mode, count)| (*count, *mode));
    most.map_or(if directories { 0o755 } else { 0o644 }, |(mode, _)| mode)
}

fn octal(value: &Value) -> Option<u16> {
    u16::from_str_radix(value.as_str()?, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// A name as text where it is text, and else as a list of its bytes.
fn bytes_to_json(name: &OsStr) -> Value {
    name.to_str().map_or_else(|| json!(name.as_bytes()), |text| json!(text))
}

fn bytes_from_json(value: &Value) -> Option<OsString> {
    if let Some(text) = value.as_str() {
        return Some(OsString::from(text));
    }
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let bytes = value.as_array()?.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    Some(OsString::from_vec(bytes))
}

impl Note {
    /// The note of the project in `dir`, and its name; `None` where there is none of ours.
    pub(super) fn of(tree: &dyn Tree, dir: &Path) -> Result<Option<(&'static str, Note)>> {
        for name in NAMES {
            let path = dir.join(name);
            let attr = attr_if_any(tree, &path).map_err(at(tree, "look at", &path))?;
            let is_file = |attr: &Attr| attr.kind == FileKind::File && attr.size <= NOTE_BYTES_MAX;
            if attr.filter(is_file).is_none() {
                continue;
            }
            let source = tree.open(&path).map_err(at(tree, "read", &path))?;
            let text = read(&*source).map_err(at(tree, "read", &path))?;
            let value = serde_json::from_slice(&text).unwrap_or(Value::Null);
            if let Some(note) = Note::from_json(&value) {
                return Ok(Some((name, note)));
            }
        }
        Ok(None)
    }

    /// Puts the note into `dir`, whole or not at all. The names of the directory are changed by it.
    pub(super) fn write(&self, tree: &dyn Tree, dir: &Path) -> Result<()> {
        let name = match Note::of(tree, dir)? {
            Some((name, _)) => name,
            None => free_name(tree, dir)?,
        };
        let (path, temporary) = (dir.join(name), dir.join(TEMPORARY));
        remove_temporary(tree, dir)?;
        let text = format!("{:#}\n", self.to_json());
        let mut sink = tree.create(&temporary, "").map_err(at(tree, "make", &temporary))?;
        let written = sink.write_at(0, text.as_bytes());
        let written = written.and_then(|()| sink.finish(text.len() as u64, true));
        written.map_err(at(tree, "write", &temporary))?;
        tree.set_mode(&temporary, 0o644).map_err(at(tree, "change", &temporary))?;
        tree.rename(&temporary, &path, true).map_err(at(tree, "put in place", &path))
    }

    fn to_json(&self) -> Value {
        let Survey { files, directories, bytes, first_change, last_change, .. } = self.survey;
        json!({
            "format": FORMAT,
            "id": bytes_to_json(&self.id),
            "state": if self.is_leaving { "unarchiving" } else { "archived" },
            "archived": utc(self.began),
            "archived_nanos": self.began.0,
            "why": self.why,
            "by": { "uid": self.by.uid, "name": self.by.name },
            "files": files,
            "directories": directories,
            "bytes": bytes,
            "tags": self.tags,
            "first_change": first_change.map(utc),
            "last_change": last_change.map(utc),
            "first_change_nanos": first_change.map(|time| time.0),
            "last_change_nanos": last_change.map(|time| time.0),
            "top_changed_nanos": self.top_changed.0,
            "modes": self.modes.to_json(),
            "verso": env!("CARGO_PKG_VERSION"),
        })
    }

    /// `None`: it is not ours, or not whole.
    fn from_json(value: &Value) -> Option<Note> {
        if value["format"] != FORMAT {
            return None;
        }
        let time = |name: &str| value[name].as_i64().map(Timestamp);
        let number = |name: &str| value[name].as_u64();
        let tags = value["tags"].as_array()?.iter();
        let tags = tags.map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        let uid = u32::try_from(value["by"]["uid"].as_u64()?).ok()?;
        Some(Note {
            id: bytes_from_json(&value["id"])?,
            began: time("archived_nanos")?,
            why: value["why"].as_str()?.to_owned(),
            by: By { uid, name: value["by"]["name"].as_str()?.to_owned() },
            survey: Survey {
                files: number("files")?,
                directories: number("directories")?,
                bytes: number("bytes")?,
                first_change: time("first_change_nanos"),
                last_change: time("last_change_nanos"),
                unreadable: 0,
            },
            tags,
            top_changed: time("top_changed_nanos")?,
            modes: Modes::from_json(&value["modes"])?,
            is_leaving: value["state"] == "unarchiving",
        })
    }
}

/// Takes away what a note that was not finished left.
pub(super) fn remove_temporary(tree: &dyn Tree, dir: &Path) -> Result<()> {
    let path = dir.join(TEMPORARY);
    match attr_if_any(tree, &path).map_err(at(tree, "look at", &path))? {
        Some(attr) => tree.remove(&path, attr.kind).map_err(at(tree, "remove", &path)),
        None => Ok(()),
    }
}

/// A name for the note that nothing has.
fn free_name(tree: &dyn Tree, dir: &Path) -> Result<&'static str> {
    for name in NAMES {
        let path = dir.join(name);
        if attr_if_any(tree, &path).map_err(at(tree, "look at", &path))?.is_none() {
            return Ok(name);
        }
    }
    let path = joined(dir, Path::new(NAMES[1]));
    let taken = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(at(tree, "make", &path)(taken))
}

fn read(source: &dyn Source) -> io::Result<Vec<u8>> {
    let (mut bytes, mut block) = (Vec::new(), vec![0; BLOCK_BYTES]);
    loop {
        match source.read_at(bytes.len() as u64, &mut block)? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&block[..read]),
        }
    }
}

/// `2026-11-21T16:22:00Z`
fn utc(time: Timestamp) -> String {
    local_name(Moment(time.0), &Zone::UTC).replace(' ', "T") + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let odd = PathBuf::from(OsString::from_vec(b"a\xff\n".to_vec()));
        let all = vec![
            (PathBuf::new(), FileKind::Directory, 0o2775),
            (PathBuf::from("d"), FileKind::Directory, 0o755),
            (PathBuf::from("e"), FileKind::Directory, 0o755),
            (PathBuf::from("f"), FileKind::File, 0o640),
            (odd.clone(), FileKind::File, 0o600),
            (PathBuf::from("g"), FileKind::File, 0o640),
        ];
        let modes = Modes::new(all);
        assert_eq!(modes.exceptions.len(), 2);
        assert_eq!(modes.of(&odd, FileKind::File).bits(), 0o600);
        assert_eq!(modes.of(Path::new("d/new"), FileKind::File).bits(), 0o640);
        let note = Note {
            id: OsString::from_vec(b"\xffspring".to_vec()),
            began: Timestamp(1_790_000_000_123_456_789),
            why: "by hand".into(),
            by: By { uid: 7, name: "anna".into() },
            survey: Survey { files: 3, bytes: u64::MAX >> 1, ..Survey::default() },
            tags: vec!["a tag".into()],
            top_changed: Timestamp(-5),
            modes,
            is_leaving: true,
        };
        let text = note.to_json().to_string();
        assert!(
            text.contains("\"archived\":\"2026-09-21T13:33:20Z\"") || text.contains("2026-09-2")
        );
        assert_eq!(Note::from_json(&serde_json::from_str(&text).unwrap()), Some(note));
        assert_eq!(Note::from_json(&json!({ "title": "a picture" })), None);
    }
}
