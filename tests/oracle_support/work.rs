//! Random work on a mounted drive: what programs do, and what people do with the past.

use super::tree::{self, Promise};
use crate::crash_support::Rng;
use crate::crash_support::drive::verso;
use crate::support::drive::{Drive as _, ThroughKernel};
use crate::support::work::{Op, apply, session};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Operations of a program in one step, at most.
const SESSION_LEN: usize = 14;
/// Names that people use; those of the sessions, so that both meet.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Works on a drive. What is impossible where it is tried is left; it is as good.
pub(crate) struct Worker {
    root: PathBuf,
    rng: Rng,
    kernel: ThroughKernel,
    sessions: TestRunner,
    /// How often each kind of use of the past succeeded.
    pub(crate) done: BTreeMap<&'static str, usize>,
}

impl Worker {
    pub(crate) fn new(root: &Path, mut rng: Rng) -> Worker {
        let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &rng.bytes(32));
        Worker {
            root: root.to_owned(),
            rng,
            kernel: ThroughKernel::mounted_at(root.to_owned()),
            sessions: TestRunner::new_with_rng(Config::default(), seed),
            done: BTreeMap::new(),
        }
    }

    /// Some operations, until `stop` says so. Nothing is open afterwards. `known` are names of moments.
    pub(crate) fn step(
        &mut self,
        promise: &mut Promise,
        known: &[String],
        stop: &dyn Fn() -> bool,
    ) {
        let began = super::now();
        if self.rng.below(2) == 0 {
            self.session(promise, stop);
        } else if !stop() {
            let (kind, outcome) = self.look_back(known);
            *self.done.entry(kind).or_default() += usize::from(outcome.is_ok());
        }
        self.kernel.reopen();
        promise.note(&self.root, began);
    }

    fn session(&mut self, promise: &mut Promise, stop: &dyn Fn() -> bool) {
        let ops = session(SESSION_LEN).new_tree(&mut self.sessions).unwrap().current();
        for op in ops.iter().filter(|op| !matches!(op, Op::Read(..) | Op::Holes(_))) {
            if stop() {
                return;
            }
            let began = super::now();
            let _ = apply(&mut self.kernel, op);
            promise.note(&self.root, began);
        }
    }

    fn look_back(&mut self, known: &[String]) -> (&'static str, io::Result<()>) {
        let (path, other) = (self.likely_path(), self.path());
        match self.rng.below(16) {
            0 | 1 => ("replaced", self.replace(&path)),
            2 => ("appended", self.append(&path)),
            3 => ("removed whole", fs::remove_dir_all(&path)),
            4 | 5 => ("made whole", self.make_whole(&path)),
            6 | 7 => ("moved", fs::rename(&path, &other)),
            8 | 9 => ("copied from a version", self.copy_version(&path)),
            10 => ("copied from a moment", self.copy_from_moment(known, &path)),
            11 | 12 => ("moved out of @deleted", self.move_out(&path)),
            13 => ("verso restore", self.verso("restore", known, &path)),
            14 => ("verso rewind", self.verso("rewind", known, &path)),
            _ => ("verso undelete", self.undelete(&path)),
        }
    }

    /// One of few paths, so that they meet again and again.
    fn path(&mut self) -> PathBuf {
        let mut path = self.root.clone();
        for _ in 0..=self.rng.below(3) {
            path.push(self.pick(&NAMES).unwrap());
        }
        path
    }

    /// As a rule one that leads to something.
    fn likely_path(&mut self) -> PathBuf {
        let found = tree::list(&self.root).unwrap_or_default();
        let found: Vec<PathBuf> = found.into_iter().map(|(path, _)| path).collect();
        let path = self.path();
        if self.rng.below(4) == 0 { path } else { self.pick(&found).unwrap_or(path) }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.rng.below(from.len().max(1) as u64) as usize;
        from.get(at).cloned()
    }

    fn content(&mut self) -> Vec<u8> {
        let len = match self.rng.below(4) {
            0 => self.rng.below(150_000),
            _ => self.rng.below(3000),
        };
        self.rng.bytes(len as usize)
    }

    fn replace(&mut self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, self.content())?;
        fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    fn append(&mut self, path: &Path) -> io::Result<()> {
        OpenOptions::new().append(true).open(path)?.write_all(&self.content())
    }

    fn make_whole(&mut self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        for name in ["one", "two", "sub/three"] {
            let path = path.join(name);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, self.content())?;
        }
        Ok(())
    }

    /// Something in a directory that is or was called by one of the names.
    fn one_of(&mut self, dir: &Path) -> io::Result<PathBuf> {
        let listed: io::Result<Vec<_>> =
            fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
        self.pick(&listed?).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn copy_version(&mut self, path: &Path) -> io::Result<()> {
        let versions = path.parent().unwrap().join(".versions").join(path.file_name().unwrap());
        let version = self.one_of(&versions)?;
        let to = self.path();
        run(Command::new("cp").args(["-aT", "--no-preserve=links"]).arg(version).arg(to))
    }

    fn copy_from_moment(&mut self, known: &[String], path: &Path) -> io::Result<()> {
        let moment = self.pick(known).ok_or(io::ErrorKind::NotFound)?;
        let from = self.one_of(&path.parent().unwrap().join(".versions/@at").join(moment))?;
        run(Command::new("cp").arg("-aT").arg(from).arg(path))
    }

    fn move_out(&mut self, path: &Path) -> io::Result<()> {
        let deleted = self.one_of(&path.parent().unwrap().join(".versions/@deleted"))?;
        let home = path.with_file_name(deleted.file_name().unwrap());
        fs::rename(deleted, if self.rng.below(2) == 0 { &home } else { path })
    }

    fn undelete(&mut self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap();
        let deleted = self.one_of(&dir.join(".versions/@deleted"))?;
        self.verso("undelete", &[], &dir.join(deleted.file_name().unwrap()))
    }

    fn verso(&mut self, word: &str, known: &[String], path: &Path) -> io::Result<()> {
        let mut command = verso();
        command.arg(word);
        if let Some(moment) = self.pick(known) {
            command.arg("--at").arg(moment);
        }
        run(command.arg(path))
    }

    /// The drive's root, with what the sessions see of it.
    pub(crate) fn copy_tree(&self) -> tree::Tree {
        tree::read(&self.root).unwrap()
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if quiet.status()?.success() { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
}
