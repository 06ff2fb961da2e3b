//! Holds the table of rooms: who may use whom, where outside crates live, and how large things get.
//! The table is `ARCHITECTURE.md`'s; change both in one commit.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[path = "support/source.rs"]
mod source;

use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may use, besides itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &["model"]),
    ("crypt", &["model", "sys"]),
    ("chunks", &["model", "sys", "crypt"]),
    ("meta", &["model", "sys", "crypt"]),
    ("fs", &["model", "sys", "crypt", "chunks", "meta"]),
    ("recall", &["model", "fs"]),
    ("backup", &["model", "sys", "crypt", "chunks", "meta", "fs", "recall"]),
    ("jobs", &["model", "sys", "meta", "fs"]),
    ("projects", &["model", "sys", "fs", "recall"]),
    ("config", &["model"]),
    // Of `sys` only what unmounting needs, and failpoints.
    ("fuse", &["model", "config", "fs", "sys"]),
    ("http", &["model", "config", "fs"]),
    ("cli", &["model", "config", "fs", "recall", "backup", "jobs", "projects"]),
    (
        "daemon",
        &[
            "model", "sys", "crypt", "chunks", "meta", "fs", "recall", "backup", "jobs",
            "projects", "config", "fuse", "http", "cli",
        ],
    ),
];

/// Where an outside crate may be used; an empty list stands for everywhere.
const CRATES: &[(&str, &[&str])] = &[
    ("argon2", &["crypt"]),
    ("aws_lc_rs", &["crypt"]),
    ("axum", &["http"]),
    ("blake3", &["backup", "chunks", "crypt"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("croner", &["jobs"]),
    ("env_logger", &["daemon"]),
    ("fastcdc", &["chunks"]),
    ("flate2", &["projects"]),
    ("fuser", &["fuse"]),
    ("futures_util", &["backup"]),
    ("globset", &["model"]),
    ("httparse", &["http"]),
    ("imagesize", &["recall"]),
    ("indicatif", &["cli"]),
    ("jiff", &["model", "jobs"]),
    ("libc", &["sys", "fs", "fuse"]),
    ("log", &[]),
    ("lru", &["chunks", "fs"]),
    ("opendal", &["backup"]),
    ("parking_lot", &[]),
    ("rusqlite", &["meta"]),
    ("rustix", &["sys", "recall"]),
    ("rustls", &["backup"]),
    ("sd_notify", &["daemon"]),
    ("serde", &[]),
    ("serde_json", &["backup", "jobs", "projects", "http", "cli", "daemon"]),
    ("signal_hook", &["daemon"]),
    ("similar", &["recall"]),
    ("siphasher", &["backup", "meta", "fs", "chunks"]),
    ("tar", &["projects"]),
    ("thiserror", &[]),
    ("tokio", &["backup", "jobs", "http"]),
    ("toml", &["config", "fs"]),
    ("zeroize", &["crypt", "daemon"]),
    ("zstd", &["backup", "chunks", "projects"]),
];

/// Files outside of `sys` that may hold `unsafe` code, and why.
const UNSAFE_FILES: &[&str] = &[
    // SQLite asks for tables of C functions.
    "meta/sealed/vfs.rs",
];

/// Lines of a file, at most.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function, at most.
const FUNCTION_LINES_MAX: usize = 70;
/// Files that are longer all the same. May only shrink.
const LONG_FILES: &[&str] = &[];
/// Functions (`path::name`) that are longer all the same. May only shrink.
const LONG_FUNCTIONS: &[&str] = &[];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under `dir`, with their path relative to it.
fn rust_files(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The room that a file under `src` belongs to; `None` for `lib.rs` and `main.rs`.
fn room_of(path: &str) -> Option<&str> {
    path.split_once('/').map(|(room, _)| room)
}

/// Whether a file under `src` holds tests only, by its name.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("/testing.rs")
}

/// Lookup in one of the tables.
fn row<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(row, _)| *row == name).map(|(_, allowed)| *allowed)
}

/// What a file does that its room must not.
fn room_violations(path: &str, source: &Source) -> Vec<String> {
    let Some(room) = room_of(path) else { return Vec::new() };
    let Some(allowed) = row(ROOMS, room) else {
        return vec![format!("{path}: the room `{room}` is not in the table")];
    };
    let depth = path.matches('/').count() + usize::from(!path.ends_with("/mod.rs")) - 1;
    let mut found = Vec::new();
    for used in source.rooms_used(depth) {
        let known = ROOMS.iter().any(|(name, _)| *name == used);
        if known && used != room && !allowed.contains(&used.as_str()) {
            found.push(format!("{path}: `{room}` must not use `{used}`"));
        }
    }
    for (name, rooms) in CRATES {
        let free = rooms.is_empty() || rooms.contains(&room) || is_test(path);
        if !free && source.uses_crate(name) {
            found.push(format!("{path}: the crate `{name}` does not belong in `{room}`"));
        }
    }
    let may_be_unsafe = room == "sys" || UNSAFE_FILES.contains(&path);
    if !may_be_unsafe && source.has_word("unsafe") {
        found.push(format!("{path}: `unsafe` outside of `sys`"));
    }
    found
}

/// Where a file is too large, or gives up too easily.
fn size_violations(path: &str, source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.lines();
    if lines > FILE_LINES_MAX && !LONG_FILES.contains(&path) {
        found.push(format!("{path}: {lines} lines, {FILE_LINES_MAX} at most"));
    }
    for (name, lines) in source.functions() {
        let listed = LONG_FUNCTIONS.contains(&format!("{path}::{name}").as_str());
        if lines > FUNCTION_LINES_MAX && !listed {
            let limit = FUNCTION_LINES_MAX;
            found.push(format!("{path}: `{name}` has {lines} lines, {limit} at most"));
        }
    }
    if !is_test(path) && source.without_tests().contains(".unwrap()") {
        found.push(format!("{path}: `.unwrap()` outside of tests"));
    }
    found
}

fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_room_keeps_to_the_table() {
    let files = rust_files(&root().join("src"));
    assert!(!files.is_empty());
    let found = files.iter().flat_map(|(path, text)| room_violations(path, &Source::new(text)));
    assert_none(found.collect());
}

#[test]
fn files_and_functions_fit_on_a_screen_and_nothing_unwraps() {
    let files = rust_files(&root().join("src"));
    let found = files.iter().flat_map(|(path, text)| size_violations(path, &Source::new(text)));
    assert_none(found.collect());
}

#[test]
fn exceptions_that_are_no_longer_needed_are_struck_off() {
    let files = rust_files(&root().join("src"));
    for listed in UNSAFE_FILES {
        let still =
            files.iter().any(|(path, text)| path == listed && Source::new(text).has_word("unsafe"));
        assert!(still, "{listed} has no unsafe code");
    }
    for listed in LONG_FILES {
        let still = files
            .iter()
            .any(|(path, text)| path == listed && Source::new(text).lines() > FILE_LINES_MAX);
        assert!(still, "{listed} is short enough now");
    }
    for listed in LONG_FUNCTIONS {
        let still = files.iter().any(|(path, text)| {
            let long = |(name, lines): &(String, usize)| {
                *lines > FUNCTION_LINES_MAX && format!("{path}::{name}") == **listed
            };
            Source::new(text).functions().iter().any(long)
        });
        assert!(still, "{listed} is short enough now");
    }
}

#[test]
fn every_dependency_has_its_place() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("[dependencies]").unwrap();
    let section = after.split("\n[").next().unwrap();
    let lines = section.lines().filter(|line| !line.trim_start().starts_with('#'));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    for name in names.map(|name| name.replace('-', "_")) {
        assert!(row(CRATES, &name).is_some(), "`{name}` is in Cargo.toml and in no room");
    }
}

mod the_checker {
    use super::*;

    fn rooms(path: &str, text: &str) -> Vec<String> {
        room_violations(path, &Source::new(text))
    }

    fn sizes(path: &str, text: &str) -> Vec<String> {
        size_violations(path, &Source::new(text))
    }

    #[test]
    fn sees_a_forbidden_room() {
        assert_eq!(rooms("chunks/pack.rs", "use crate::meta::Tx;").len(), 1);
        assert_eq!(rooms("chunks/pack.rs", "fn f() { crate::fs::open() }").len(), 1);
        assert_eq!(rooms("http/mod.rs", "use crate::{model::Ino, fuse::mount};").len(), 1);
        assert_eq!(rooms("http/mod.rs", "use crate::{\n model::{Ino, fs},\n cli,\n};").len(), 1);
        assert_eq!(rooms("http/mod.rs", "use super::fuse::mount;").len(), 1);
        assert_eq!(rooms("http/server.rs", "use super::super::fuse::mount;").len(), 1);
    }

    #[test]
    fn allows_what_the_table_allows() {
        assert!(
            rooms("fs/volume.rs", "use crate::{chunks::PackStore, meta, model::Ino};").is_empty()
        );
        assert!(rooms("fs/volume.rs", "use super::error; use crate::fs::Error;").is_empty());
        assert!(rooms("http/server.rs", "use super::fuse_like; use super::cli;").is_empty());
    }

    #[test]
    fn is_not_taken_in_by_comments_and_strings() {
        assert!(
            rooms("model/a.rs", "// crate::fs::x\n/* fuser::y */ const A: &str = \"crate::fs\";")
                .is_empty()
        );
        assert!(rooms("model/a.rs", "const A: &str = r#\"unsafe \" crate::fs::x\"#;").is_empty());
        assert_eq!(
            rooms("model/a.rs", "const A: char = '\"'; use crate::fs::x; const B: char = '\"';")
                .len(),
            1
        );
        assert_eq!(rooms("model/a.rs", "fn f<'a>(x: &'a str) { crate::fs::x() }").len(), 1);
    }

    #[test]
    fn sees_an_outside_crate_in_the_wrong_room() {
        assert_eq!(rooms("fs/a.rs", "use rusqlite::Connection;").len(), 1);
        assert_eq!(rooms("fs/a.rs", "fn f() -> ::fuser::Errno {}").len(), 1);
        assert_eq!(rooms("fs/a.rs", "use rusqlite as sql;").len(), 1);
        assert_eq!(rooms("fs/a.rs", "use {rusqlite::Row, std::fs};").len(), 1);
        assert!(rooms("fs/a.rs", "use crate::meta::rusqlite::Row; let my_fuser::x;").is_empty());
    }

    #[test]
    fn sees_unsafe_and_a_room_that_nobody_announced() {
        assert_eq!(rooms("fs/a.rs", "fn f() { unsafe { g() } }").len(), 1);
        assert!(rooms("sys/a.rs", "fn f() { unsafe { g() } }").is_empty());
        assert_eq!(rooms("meta/a.rs", "fn f() { unsafe { g() } }").len(), 1);
        assert!(rooms(UNSAFE_FILES[0], "fn f() { unsafe { g() } }").is_empty());
        assert!(rooms("fs/a.rs", "#![deny(unsafe_code)]").is_empty());
        assert_eq!(rooms("cellar/a.rs", "").len(), 1);
    }

    #[test]
    fn measures_files_and_functions() {
        let body = "    let a = \"}\"; // }\n".repeat(FUNCTION_LINES_MAX);
        let long =
            format!("impl X {{\n  fn long(&self) -> u8 {{\n{body}  }}\n  fn short() {{}}\n}}\n");
        assert_eq!(sizes("fs/a.rs", &long).len(), 1);
        assert!(sizes("fs/a.rs", &long)[0].contains("`long` has 72 lines"));
        assert!(sizes("fs/a.rs", "trait T {\n  fn no_body(&self);\n}").is_empty());
        let bodiless = format!("trait T {{\n fn f(a: &[u8]);\n fn g(a: [u8; 4]) {{}}\n{body}}}\n");
        assert!(sizes("fs/a.rs", &bodiless).is_empty());
        assert_eq!(sizes("fs/a.rs", &"\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn sees_unwrap_outside_of_tests_only() {
        assert_eq!(sizes("fs/a.rs", "fn f() { g().unwrap() }").len(), 1);
        let tested = "fn f() {}\n#[cfg(test)]\nmod tests { fn t() { g().unwrap() } }\n";
        assert!(sizes("fs/a.rs", tested).is_empty());
        assert_eq!(sizes("fs/a.rs", &format!("{tested}fn late() {{ g().unwrap() }}")).len(), 1);
    }
}
