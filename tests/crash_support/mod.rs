//! What the crash, power-cut and fault tests share: a drive that is started and killed through the command
//! line, disk images that can lose their power, and loads that remember what was acknowledged.
//!
//! Everything here goes through the binary `verso` and the kernel, never through the library.
#![allow(dead_code, clippy::unwrap_used)] // each test program uses its part; all of it is test code

pub(crate) mod drive;
#[path = "../support/encryption.rs"]
#[allow(clippy::duplicate_mod)] // a test may use both supports
pub(crate) mod encryption;
pub(crate) mod erasing;
pub(crate) mod image;
pub(crate) mod load;
pub(crate) mod power;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Ten seconds' worth.
const UNMOUNT_TRIES: u32 = 200;

/// Where files are in memory, on most machines.
const MEMORY: &str = "/dev/shm";
/// What must be free there: tests of a kind go on side by side.
const MEMORY_BYTES_MIN: u64 = 2 << 30;

/// A directory for one test; removed when dropped, unless something is still mounted below.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Below cargo's directory for tests.
    pub(crate) fn new(test: &str) -> Scratch {
        Scratch::below(Path::new(env!("CARGO_TARGET_TMPDIR")), test)
    }

    /// In memory, where there is room: for daemons that die while the machine lives, since what a disk does is no matter then.
    pub(crate) fn in_memory(test: &str) -> Scratch {
        let free = rustix::fs::statvfs(MEMORY).map_or(0, |found| found.f_bavail * found.f_frsize);
        match free >= MEMORY_BYTES_MIN {
            true => Scratch::below(Path::new(MEMORY), test),
            false => Scratch::new(test),
        }
    }

    fn below(parent: &Path, test: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique =
            format!("verso-{test}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(unique);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path.canonicalize().unwrap())
    }

    /// An empty directory called `name` in it.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = format!(" {}/", self.0.display());
        let mut left: Vec<&str> = mounts
            .lines()
            .filter(|line| line.contains(&below))
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        left.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for mountpoint in left {
            eprintln!("left mounted: {mountpoint}");
            let _ = Command::new("umount").arg("-l").arg(mountpoint).status();
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a test that needs root may run. Under CI, or with `VERSO_TESTS_COMPLETE` set, not being root is a failure.
pub(crate) fn is_root_or_skip(test: &str) -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout == b"0\n" {
        return true;
    }
    let complete =
        ["CI", "VERSO_TESTS_COMPLETE"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!complete, "{test} needs root (loop devices, mounts) and cannot run");
    eprintln!("SKIPPED {test}: needs root (loop devices, mounts)");
    false
}

/// Runs a command to its end and fails with its output when it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Unmounts. What another test starts at this moment holds every descriptor of this process until it runs its
/// program, so that a mount is busy for a moment that nobody here can know of.
pub(crate) fn unmount(mountpoint: &Path) {
    let mut command = Command::new("umount");
    command.arg(mountpoint);
    for _ in 0..UNMOUNT_TRIES {
        if command.output().unwrap().status.success() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    run(&mut command);
}

/// How often a repeated test goes round: `VERSO_TEST_ROUNDS` where it is set, as a long soak does.
pub(crate) fn rounds(usual: usize) -> usize {
    std::env::var("VERSO_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// SplitMix64: repeatable from its seed.
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Seeded from `VERSO_TEST_SEED`, or from the clock; says which, so that a failure can be run again.
    pub(crate) fn announced(test: &str) -> Rng {
        let given = std::env::var("VERSO_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.unwrap().as_nanos() as u64
        });
        eprintln!("{test}: VERSO_TEST_SEED={seed}");
        Rng(seed)
    }

    pub(crate) fn seeded(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Another generator, independent of this one's further numbers.
    pub(crate) fn fork(&mut self) -> Rng {
        Rng(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Contents of a file, remembered as where its bytes come from instead of the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content(Vec<(u64, usize)>);

impl Content {
    /// Bytes of a length that ranges from one byte to several chunks. As often as not most of them are what other files hold:
    /// known chunks, and such as differ a little from known ones.
    pub(crate) fn random(rng: &mut Rng) -> Content {
        let len = match rng.below(10) {
            0..=5 => 1 + rng.below(8 << 10),
            6..=8 => 1 + rng.below(200 << 10),
            _ => 1 + rng.below(1 << 20),
        };
        if rng.below(2) == 0 {
            return Content(vec![(rng.next(), len as usize)]);
        }
        let front = rng.below(len + 1);
        let common = |rng: &mut Rng, len: u64| (1 + rng.below(3), len as usize);
        let edit = (rng.next(), 1 + rng.below(3000) as usize);
        let mut parts = vec![common(rng, front), edit, common(rng, len - front)];
        parts.retain(|part| part.1 > 0);
        Content(parts)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|&(stream, len)| Rng(stream).bytes(len)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|part| part.1).sum()
    }

    /// These bytes, then those of `more`.
    pub(crate) fn and(&self, more: &Content) -> Content {
        Content([self.0.as_slice(), more.0.as_slice()].concat())
    }

    /// The first `len` bytes.
    pub(crate) fn cut(&self, mut len: usize) -> Content {
        let mut parts = Vec::new();
        for &(stream, part) in &self.0 {
            parts.push((stream, part.min(len)));
            len -= part.min(len);
        }
        parts.retain(|part| part.1 > 0);
        Content(parts)
    }
}
