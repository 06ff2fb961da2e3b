//! The filesystem in process, without a mount.

mod basics;
mod check;
mod differences;
mod encrypted;
mod foresee;
mod history;
mod history_access;
mod history_moved;
mod history_oracle;
mod history_pins;
mod history_told;
mod history_undelete;
mod jobs;
mod new_keys;
mod races;
mod rewind;
mod rules;
mod rules_oracle;
mod saving;
mod scrub;
mod upkeep;
mod upkeep_pins;
mod versions;

use super::*;
use crate::crypt::{Secret, SecretKind};
use crate::model::{Attr, Ino, Timestamp};
use crate::sys::ManualClock;
use crate::sys::testing::noise;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Root, as a caller.
const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };
/// Opens for reading and writing.
const READ_WRITE: OpenMode =
    OpenMode { read: true, write: true, truncate: false, exclusive: false, by: 0 };

/// A store in a temporary directory, open as a volume whose clock stands still unless told.
struct Drive {
    dir: TempDir,
    clock: Arc<ManualClock>,
    volume: Arc<Volume>,
}

/// Options without a timer that would save behind a test's back.
fn options() -> VolumeOptions {
    VolumeOptions {
        sync_interval: Duration::from_secs(3600),
        reserve_bytes: 0,
        secret: test_key(),
        ..VolumeOptions::default()
    }
}

/// The key of the stores, where all of these tests are to run on encrypted ones.
fn test_key() -> Option<Arc<Secret>> {
    let file = std::fs::File::open(std::env::var_os("VERSO_TESTS_KEY_FILE")?).unwrap();
    Some(Arc::new(Secret::read(SecretKind::KeyFile, file).unwrap()))
}

impl Drive {
    fn new() -> Drive {
        Drive::with(options())
    }

    fn with(options: VolumeOptions) -> Drive {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_790_000_000_000_000_000)));
        let store = dir.path().join("store");
        let encryption = test_key().map(|secret| encrypted::new_key(&secret));
        let create = CreateOptions { encryption, ..CreateOptions::default() };
        create_store(&store, &create, &*clock).unwrap();
        let volume = Volume::open_store(&store, options, clock.clone()).unwrap();
        Drive { dir, clock, volume }
    }

    /// Stops in order and opens again.
    fn reopen(self) -> Drive {
        self.volume.close().unwrap();
        self.reopen_after(drop)
    }

    /// Drops the volume without closing it, as a killed process would, and opens again.
    fn crash(self) -> Drive {
        self.reopen_after(|volume| {
            volume.stop_timer();
            volume.workers.stop();
        })
    }

    fn reopen_after(self, end: impl FnOnce(Arc<Volume>)) -> Drive {
        let Drive { dir, clock, volume } = self;
        let weak = Arc::downgrade(&volume);
        volume.stop_timer();
        volume.workers.stop();
        end(volume);
        while weak.strong_count() > 0 {
            std::thread::yield_now();
        }
        let volume =
            Volume::open_store(&dir.path().join("store"), options(), clock.clone()).unwrap();
        Drive { dir, clock, volume }
    }

    fn create(&self, parent: Ino, name: &str) -> (Attr, Handle) {
        self.volume.create(&ROOT, parent, name.as_bytes(), 0o644, READ_WRITE).unwrap()
    }

    /// Writes a whole file and closes it.
    fn save(&self, parent: Ino, name: &str, content: &[u8]) -> Attr {
        let how = OpenMode { truncate: true, ..READ_WRITE };
        let (attr, handle) =
            self.volume.create(&ROOT, parent, name.as_bytes(), 0o644, how).unwrap();
        self.volume.write(handle, 0, content).unwrap();
        self.volume.flush(handle).unwrap();
        self.volume.release(handle).unwrap();
        self.volume.getattr(attr.ino).unwrap()
    }

    /// Writes over the beginning of a file of the root, which is made if there is none, and closes it.
    fn overwrite(&self, name: &str, content: &[u8]) {
        let (_, handle) = self.create(Ino::ROOT, name);
        self.volume.write(handle, 0, content).unwrap();
        self.volume.flush(handle).unwrap();
        self.volume.release(handle).unwrap();
    }

    fn load(&self, parent: Ino, name: &str) -> Vec<u8> {
        let attr = self.volume.lookup(parent, name.as_bytes()).unwrap();
        let handle = self.volume.open(attr.ino, READ_WRITE).unwrap();
        let mut content = Vec::new();
        self.volume.read(handle, 0, attr.size as usize + 1, &mut content).unwrap();
        self.volume.release(handle).unwrap();
        content
    }
}
