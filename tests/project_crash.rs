//! Who archives, unarchives or imports a project is killed at each step: afterwards it is in one place, and the same command goes
//! on.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "support/encryption.rs"]
mod encryption;
#[path = "support/failpoints.rs"]
mod failpoints;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A store that is not mounted, and beside it `source`, a directory that becomes a project of it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        encryption::make_store(&bench.path("store"));
        if encryption::key_file().is_none() {
            bench.ok("init store");
        }
        let source = bench.path("source");
        fs::create_dir_all(source.join("final/deep")).unwrap();
        fs::write(source.join("plan"), "the plan").unwrap();
        fs::write(source.join("final/deep/large"), vec![7; 300_000]).unwrap();
        fs::hard_link(source.join("plan"), source.join("final/again")).unwrap();
        symlink("../nowhere", source.join("final/link")).unwrap();
        fs::set_permissions(source.join("plan"), fs::Permissions::from_mode(0o640)).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &str, failpoint: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
        command.args(words.split_whitespace()).current_dir(self.dir.path()).stdin(Stdio::null());
        encryption::unlock(&mut command);
        if let Some(name) = failpoint {
            command.env("VERSO_FAILPOINT", name);
        }
        command.output().unwrap()
    }

    #[track_caller]
    fn ok(&self, words: &str) -> String {
        let output = self.run(words, None);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Where the projects are.
    fn places(&self) -> Vec<String> {
        let listed = self.ok("project list store --json");
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let path = |one: &serde_json::Value| one["path"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(path).collect()
    }

    /// What an export of the project holds: names, permissions, sizes and times.
    fn exported(&self, id: &str) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
        self.ok(&format!("project export {id} out.tar --force --on store"));
        let (out, archive) = (self.path("out"), self.path("out.tar"));
        if out.exists() {
            fs::remove_dir_all(&out).unwrap();
        }
        fs::create_dir(&out).unwrap();
        let unpacked = Command::new("tar").arg("-xpf").arg(archive).arg("-C").arg(&out).status();
        assert!(unpacked.unwrap().success());
        let mut found = BTreeMap::new();
        look(&out.join(id), Path::new(""), &mut found);
        found
    }
}

fn look(top: &Path, path: &Path, found: &mut BTreeMap<PathBuf, (u32, u64, i64, i64)>) {
    let at = if path.as_os_str().is_empty() { top.to_owned() } else { top.join(path) };
    let meta = fs::symlink_metadata(&at).unwrap();
    let size = if meta.is_dir() { 0 } else { meta.len() };
    // What the project's own directory held is its business.
    let mtime = if path.as_os_str().is_empty() { 0 } else { meta.mtime() };
    found.insert(path.to_owned(), (meta.mode(), size, mtime, meta.mtime_nsec() * mtime.signum()));
    if meta.is_dir() {
        for entry in fs::read_dir(&at).unwrap() {
            look(top, &path.join(entry.unwrap().file_name()), found);
        }
    }
}

/// Each command, what makes it possible, and where the project is once it is through.
const COMMANDS: [(&str, &str, &[&str], bool); 3] = [
    ("import-", "project import source --as spring --on store", &[], false),
    (
        "archive-",
        "project archive spring --on store",
        &["project import source --as spring --on store"],
        true,
    ),
    (
        "unarchive-",
        "project unarchive spring --on store",
        &["project import source --as spring --on store", "project archive spring --on store"],
        false,
    ),
];

#[test]
fn killed_at_every_step() {
    if !cfg!(feature = "failpoints") {
        eprintln!("skipped: needs the feature `failpoints`");
        return;
    }
    for (prefix, command, before, is_archived) in COMMANDS {
        let mut names = failpoints::all();
        names.retain(|name| name.starts_with(prefix));
        assert!(names.len() > 2, "{names:?}");
        let reference = Bench::new();
        reference.ok("project import source --as spring --on store");
        let whole = reference.exported("spring");
        for name in &names {
            let bench = Bench::new();
            before.iter().for_each(|words| drop(bench.ok(words)));
            let died = bench.run(command, Some(name));
            assert_eq!(died.status.signal(), Some(9), "{name}: {died:?}");
            assert!(bench.places().len() <= 1, "{name}");
            let again = bench.run(command, None);
            let text = String::from_utf8_lossy(&again.stderr).into_owned();
            let is_through = ["exists already", "archived already", "is not archived"];
            let is_through = is_through.iter().any(|words| text.contains(words));
            assert!(again.status.success() || is_through, "{name}: {text}");
            let places = bench.places();
            assert_eq!(places.len(), 1, "{name}: {places:?}");
            assert_eq!(places[0].starts_with("archived/"), is_archived, "{name}: {places:?}");
            if is_archived {
                let exported = bench.exported("spring");
                let open = exported
                    .values()
                    .any(|one| one.0 & 0o170_000 != 0o120_000 && one.0 & 0o222 != 0);
                assert!(!open, "{name}: {exported:?}");
                bench.ok("project unarchive spring --on store");
            }
            let found = bench.exported("spring");
            let modes = |all: &BTreeMap<PathBuf, (u32, u64, i64, i64)>| {
                all.iter().map(|(path, one)| (path.clone(), one.0, one.1)).collect::<Vec<_>>()
            };
            assert_eq!(modes(&found), modes(&whole), "{name}");
            bench.ok("check store --read-data");
        }
    }
}
