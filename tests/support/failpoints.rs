//! The failpoints in the sources.
#![allow(dead_code)] // each test uses its part

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

/// What a command did, which may have died at a failpoint.
pub(crate) struct Ran(pub(crate) Output);

impl Ran {
    #[track_caller]
    pub(crate) fn ok(&self) {
        assert!(self.0.status.success(), "{}", String::from_utf8_lossy(&self.0.stderr));
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.0.status.signal() == Some(libc::SIGKILL)
    }
}

/// Whether there are any; where not, that is said.
pub(crate) fn are_built() -> bool {
    if !cfg!(feature = "failpoints") {
        eprintln!("SKIPPED: built without the feature failpoints");
    }
    cfg!(feature = "failpoints")
}

/// The name of every `failpoint::hit("…")` below `src`.
pub(crate) fn all() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(names_in(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    names
}

fn names_in(source: &str) -> Vec<String> {
    let calls = source.split("failpoint::hit(\"").skip(1);
    calls.filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect()
}

/// Whether it is a step of backups, which `tests/backup_crash.rs` dies at.
#[allow(dead_code)] // not every test that names failpoints needs it
pub(crate) fn is_of_backups(name: &str) -> bool {
    ["backup-", "prune-", "restore-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether it is a step of a command over projects, which `tests/project_crash.rs` dies at.
#[allow(dead_code)] // not every test that names failpoints needs it
pub(crate) fn is_of_projects(name: &str) -> bool {
    ["archive-", "unarchive-", "import-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether it is a step of changing keys, which `tests/key_crash.rs` dies at.
pub(crate) fn is_of_keys(name: &str) -> bool {
    ["key-", "rekey-"].iter().any(|prefix| name.starts_with(prefix))
}
