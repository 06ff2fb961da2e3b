//! The daemon of a mounted drive is killed at each step of what its jobs do, while somebody works on the drive.

use super::{Site, failpoints};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use versofs::fs::OpenMode;
use versofs::model::Ino;

/// Far beyond what anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Somebody at work, and not a load: the jobs are what this is about.
const PAUSE: Duration = Duration::from_millis(5);
const FILE_BYTES: usize = 5000;
/// Damage comes so often in the packs that it is in each chunk.
const DAMAGE_BYTES: usize = 9000;
/// Everything is scrubbed at once; nothing runs by itself.
const SETTINGS: &str = "[jobs]\nretention = \"never\"\nscrub = \"never\"\nscrub_period = \"1d\"\narchive = \"never\"\n\
    [[backup]]\nname = \"usb\"\nschedule = \"never\"\nfull = \"never\"\nverify = \"never\"\ndrill = \"never\"\nprune = \"never\"\n";

/// What is done: the command, and the job that the daemon does it as.
type Deed = (&'static str, &'static str);
const BACK_UP: Deed = ("jobs run backup:usb drive", "backup:usb");
const FULL: Deed = ("jobs run full:usb drive", "full:usb");
const PRUNE: Deed = ("backup prune usb --store drive --keep 0s", "prune:usb");
const SCRUB: Deed = ("jobs run scrub drive", "scrub");

/// `verso mount`, running.
struct Mounted<'s> {
    site: &'s Site,
    child: Child,
}

impl<'s> Mounted<'s> {
    /// With a daemon that dies at the failpoint.
    fn start(site: &'s Site, failpoint: Option<&str>) -> Mounted<'s> {
        fs::create_dir_all(site.path("drive")).unwrap();
        let log = File::create(site.path("log")).unwrap();
        let mut command = site.command("mount store drive --foreground", failpoint);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut mounted = Mounted { site, child };
        let said = || fs::read_to_string(site.path("log")).unwrap();
        let since = Instant::now();
        while !said().contains(" is mounted at ") {
            assert!(mounted.child.try_wait().unwrap().is_none(), "{}", said());
            assert!(since.elapsed() < PATIENCE, "not mounted: {}", said());
            std::thread::sleep(LOOK_INTERVAL);
        }
        mounted
    }

    /// Whether the daemon dies by itself, once that was to be.
    fn is_killed(&mut self) -> bool {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.signal() == Some(libc::SIGKILL);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        false
    }

    fn job(&self, job: &str) -> Value {
        let said = self.site.run(&format!("jobs log {job} drive --limit 1 --json"), None);
        let mut runs: Vec<Value> = serde_json::from_slice(&said.0.stdout).unwrap();
        runs.remove(0)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // It may be dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut umount = Command::new("umount");
        let _ = umount.arg("-l").arg(self.site.path("drive")).stderr(Stdio::null()).status();
    }
}

/// Saves and syncs one file after the other until that is not possible; how many are synced.
fn work(dir: &Path) -> io::Result<usize> {
    let name = dir.file_name().unwrap().to_str().unwrap();
    fs::create_dir(dir)?;
    for number in 0.. {
        let written = File::create(dir.join(number.to_string())).and_then(|mut file| {
            file.write_all(&file_content(name, number))?;
            file.sync_all()
        });
        if written.is_err() {
            return Ok(number);
        }
        std::thread::sleep(PAUSE);
    }
    unreachable!("numbers have no end")
}

/// No two are the same: each of them has to be sent.
fn file_content(dir: &str, number: usize) -> Vec<u8> {
    let seed =
        dir.bytes().fold(number as u64, |seed, byte| (seed << 7) ^ (seed >> 57) ^ u64::from(byte));
    super::noise(seed, FILE_BYTES + number)
}

fn expect_work(dir: &Path, synced: usize, when: &str) {
    let name = dir.file_name().unwrap().to_str().unwrap();
    for number in 0..synced {
        let found = fs::read(dir.join(number.to_string()));
        let found = found.unwrap_or_else(|error| panic!("{when}: {number} of {synced}: {error}"));
        assert!(found == file_content(name, number), "{when}: {number} of {synced}");
    }
}

/// The mounted drive of a site, and what was done on it.
struct Drive {
    site: Site,
    /// What was synced at each step: the directory, and the number of files.
    synced: Vec<(String, usize)>,
}

impl Drive {
    fn new(encrypted: bool) -> Drive {
        let site = Site::new(encrypted);
        let shelf = site.path("shelf");
        let settings = format!("{SETTINGS}location = \"{}\"\n", shelf.display());
        fs::write(site.path("store/verso.toml"), settings).unwrap();
        site.run("backup run usb --store store", None).ok();
        Drive { site, synced: Vec::new() }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.site.path("drive").join(name)
    }

    /// Whether the daemon dies at the step of what is asked for. If it does, nothing is lost by it, and it can be asked for again.
    fn dies(&mut self, deed: Deed, step: &str) -> bool {
        let when = format!("{}, killed at {step}", deed.0);
        let name = format!("{}-{}", step.replace(':', "-"), self.synced.len());
        let Some(synced) = self.is_killed(deed, step, &name) else { return false };
        assert!(synced > 0, "{when}: nobody worked");
        self.synced.push((name, synced));
        self.expect_backups(&when);

        let mounted = Mounted::start(&self.site, None);
        let (name, synced) = self.synced.last().unwrap();
        expect_work(&self.dir(name), *synced, &when);
        assert_eq!(mounted.job(deed.1)["outcome"], "interrupted", "{when}");
        self.site.run(deed.0, None).ok();
        assert_eq!(mounted.job(deed.1)["outcome"], "done", "{when}");
        self.site.run("check drive --read-data", None).ok();
        self.expect_backups(&when);
        true
    }

    /// How many files were synced till then.
    fn is_killed(&self, deed: Deed, step: &str, name: &str) -> Option<usize> {
        let mut mounted = Mounted::start(&self.site, Some(step));
        let dir = self.dir(name);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| work(&dir));
            while !dir.join("1").exists() {
                std::thread::sleep(LOOK_INTERVAL);
            }
            let ran = self.site.run(deed.0, None);
            // Whoever asked is told, too.
            let killed = !ran.0.status.success() && mounted.is_killed();
            // Whoever works ends with it.
            drop(mounted);
            let synced = worker.join().unwrap().unwrap();
            assert!(killed || ran.0.status.success(), "{step}: {:?}", ran.0);
            killed.then_some(synced)
        })
    }

    /// Every generation that is there is whole.
    fn expect_backups(&self, when: &str) {
        let generations = self.site.expect_whole(when).generations;
        assert!(!generations.is_empty(), "{when}: there is no backup");
    }

    /// What is at the location comes back, with everything that was synced.
    fn expect_restored(&self, when: &str) {
        self.site.run("backup run usb --store store", None).ok();
        self.site.run("backup restore shelf/ copy", None).ok();
        self.site.expect("copy", self.site.rounds, when);
        let volume = self.site.open("copy");
        for (name, synced) in &self.synced {
            let dir = volume.lookup(Ino::ROOT, name.as_bytes()).unwrap();
            for number in 0..*synced {
                let attr = volume.lookup(dir.ino, number.to_string().as_bytes()).unwrap();
                let how = OpenMode { read: true, ..OpenMode::default() };
                let handle = volume.open(attr.ino, how).unwrap();
                let mut found = Vec::new();
                volume.read(handle, 0, 1 << 20, &mut found).unwrap();
                volume.release(handle).unwrap();
                assert!(found == file_content(name, number), "{when}: {name}/{number}");
            }
        }
        volume.close().unwrap();
        drop(volume);
        fs::remove_dir_all(self.site.path("copy")).unwrap();
    }

    /// Nearly every chunk is damaged; the location has all of them.
    fn damage(&self) {
        self.site.run("backup run usb --store store", None).ok();
        for pack in fs::read_dir(self.site.path("store/packs")).unwrap() {
            let path = pack.unwrap().path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            for at in (1000..file.metadata().unwrap().len()).step_by(DAMAGE_BYTES) {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[!byte[0]], at).unwrap();
            }
        }
    }
}

fn steps(prefix: &str) -> BTreeSet<String> {
    let steps: BTreeSet<String> =
        failpoints::all().into_iter().filter(|name| name.starts_with(prefix)).collect();
    assert!(steps.len() > 2, "{steps:?}");
    steps
}

fn killed_at_each_step(encrypted: bool) {
    let mut drive = Drive::new(encrypted);
    assert!(!drive.dies(BACK_UP, "prune-before-manifests"), "no backup does that");
    for step in steps("backup-") {
        assert!(drive.dies(BACK_UP, &step), "{step} is not come by");
        assert!(drive.dies(FULL, &step), "{step} of a full one is not come by");
    }
    for step in steps("prune-") {
        assert!(drive.dies(PRUNE, &step), "{step} is not come by");
        // What has to go at the next one.
        (0..2).for_each(|_| drive.site.run("backup run usb --store store --full", None).ok());
    }
    drive.expect_restored("pruned");
    for step in steps("scrub-") {
        drive.damage();
        assert!(drive.dies(SCRUB, &step), "{step} is not come by");
    }
    drive.expect_restored("scrubbed");
}

#[test]
fn a_daemon_of_a_plain_store() {
    if crate::failpoints::are_built() {
        killed_at_each_step(false);
    }
}

#[test]
fn a_daemon_of_an_encrypted_store() {
    if crate::failpoints::are_built() {
        killed_at_each_step(true);
    }
}
