//! A store with something that must go and something that must stay, for a daemon that dies while it erases.

use super::drive::{Drive, Options, check_clean, verso};
use super::{Rng, Scratch};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is erased, with everything that it ever held.
const FOLDER: &str = "a folder of Anna";
const NAMES: [&str; 3] = ["secret plan", "deep secret", "secret list"];
/// Files and folders that hold nothing but their names.
const MANY: usize = 300;
/// How much of a content is looked for.
const NEEDLE_BYTES: usize = 64;

/// A mounted drive with a deleted folder.
pub(crate) struct Erasure {
    drive: Option<Drive>,
    scratch: Scratch,
    /// Contents of which nothing may be left.
    secrets: Vec<Vec<u8>>,
    /// What the name that stays showed, the oldest first.
    stays: Vec<Vec<u8>>,
    options: Options,
}

impl Erasure {
    pub(crate) fn new(rng: &mut Rng) -> Erasure {
        let scratch = Scratch::in_memory("erasing");
        let settings = vec![("VERSO_HISTORY__SLOT", "0s"), ("VERSO_JOBS__RETENTION", "never")];
        let options = Options { settings, ..Options::default() };
        let mut erasure = Erasure {
            drive: None,
            stays: vec![rng.bytes(900_000), rng.bytes(400_000)],
            secrets: NAMES.iter().map(|_| rng.bytes(90_000)).collect(),
            scratch,
            options,
        };
        erasure.start(None);
        erasure.fill();
        erasure
    }

    fn root(&self) -> PathBuf {
        self.scratch.dir("mnt")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.scratch.path("store")
    }

    /// Starts the daemon, which dies at the failpoint.
    pub(crate) fn start(&mut self, failpoint: Option<&str>) {
        let failpoint = failpoint.map(str::to_owned);
        let options = Options { failpoint, ..self.options.clone() };
        let drive = Drive::start_ready(&self.store(), &self.root(), &options);
        self.drive = Some(drive.unwrap_or_else(|why| panic!("{why}")));
    }

    fn fill(&self) {
        let (root, folder) = (self.root(), self.root().join(FOLDER));
        fs::write(root.join("stays"), &self.stays[0]).unwrap();
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(folder.join(NAMES[0]), &self.secrets[0]).unwrap();
        // More than go in one transaction: what is left after some of them must be found again.
        for n in 0..MANY {
            fs::create_dir_all(folder.join(format!("deep/{n}/{}", NAMES[1]))).unwrap();
            fs::write(folder.join(format!("{} {n}", NAMES[0])), "").unwrap();
        }
        // The same beginning as what stays, and then its own.
        let shared = [&self.stays[0][..300_000], &self.secrets[1]].concat();
        fs::write(folder.join("deep").join(NAMES[1]), shared).unwrap();
        fs::write(root.join("stays"), &self.stays[1]).unwrap();
        fs::write(folder.join(NAMES[0]), &self.secrets[2]).unwrap();
        fs::rename(folder.join(NAMES[0]), folder.join(NAMES[2])).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    /// `verso erase` of the folder; what it said unless it was done.
    pub(crate) fn erase(&self) -> Result<(), String> {
        let mut command = verso();
        command.args(["erase", "--history", "--yes"]).arg(self.root().join(FOLDER));
        let output = command.stdin(Stdio::null()).output().unwrap();
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The signal by which the daemon ended.
    pub(crate) fn died_by(&mut self) -> Option<i32> {
        let mut drive = self.drive.take().unwrap();
        drive.has_died(std::time::Duration::from_secs(10));
        drive.ended_by_signal()
    }

    /// What stays shows what it showed, today and in its history.
    pub(crate) fn check_what_stays(&self, when: &str) {
        let root = self.root();
        assert!(fs::read(root.join("stays")).unwrap() == self.stays[1], "{when}");
        let versions = fs::read_dir(root.join(".versions/stays")).unwrap();
        let mut versions: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path()).collect();
        versions.sort();
        let contents: Vec<Vec<u8>> = versions.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(contents == self.stays, "{when}: {versions:?}");
    }

    pub(crate) fn stop_and_check(&mut self) {
        self.drive.take().unwrap().stop();
        check_clean(&self.store());
    }

    /// Files of the store in which something of what was erased can be read.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut needles: Vec<&[u8]> = NAMES.iter().map(|name| name.as_bytes()).collect();
        needles.push(FOLDER.as_bytes());
        needles.extend(self.secrets.iter().map(|secret| &secret[40_000..40_000 + NEEDLE_BYTES]));
        holding(&self.store(), &needles)
    }
}

/// `grep` is faster than a loop in a test.
fn holding(dir: &Path, needles: &[&[u8]]) -> Vec<String> {
    let hex = |needle: &[u8]| needle.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let patterns: Vec<String> = needles.iter().map(|needle| hex(needle)).collect();
    let mut grep = Command::new("grep");
    grep.args(["-rlaP", &patterns.join("|")]).arg(dir).env("LC_ALL", "C");
    let found = String::from_utf8(grep.output().unwrap().stdout).unwrap();
    found.lines().map(str::to_owned).collect()
}
