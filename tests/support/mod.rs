//! What the tests of semantics share: a store that goes away, a mount that goes away, random work and a
//! model of what it should do.
#![allow(dead_code)] // each test uses its part

pub(crate) mod drive;
pub(crate) mod encryption;
pub(crate) mod os;
pub(crate) mod reference;
pub(crate) mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use versofs::fs::{CreateOptions, StoreError, Volume, VolumeOptions, create_store};
use versofs::fuse::{MountOptions, Mounted, mount};
use versofs::sys::SystemClock;

/// How long a mount may take to go away after it was detached.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(30);

/// A store in a directory of its own, gone when dropped.
pub(crate) struct TestStore {
    dir: TempDir,
}

impl TestStore {
    pub(crate) fn new() -> TestStore {
        let dir = tempfile::tempdir().unwrap();
        let store = TestStore { dir };
        let options = CreateOptions { encryption: encryption::new_key(), ..Default::default() };
        create_store(&store.path(), &options, &SystemClock).unwrap();
        store
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A directory to mount at.
    pub(crate) fn mountpoint(&self) -> PathBuf {
        let path = self.dir.path().join("mnt");
        if !path.is_dir() {
            std::fs::create_dir(&path).unwrap();
        }
        path
    }

    pub(crate) fn open(&self) -> Arc<Volume> {
        self.open_with(VolumeOptions::default())
    }

    pub(crate) fn open_with(&self, options: VolumeOptions) -> Arc<Volume> {
        // Small, so that many stores at a time fit on a small disk.
        let secret = encryption::secret();
        let options = VolumeOptions { reserve_bytes: 1 << 20, secret, ..options };
        loop {
            match Volume::open_store(&self.path(), options.clone(), Arc::new(SystemClock)) {
                // A child that another test has just started holds our files until it runs its program.
                Err(StoreError::Locked { pid, .. }) if pid == Some(std::process::id()) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                outcome => return outcome.unwrap(),
            }
        }
    }
}

/// A store that is mounted, in this process. Dropping it unmounts and closes, also when a test panics.
pub(crate) struct Mount {
    mounted: Option<Mounted>,
    volume: Option<Arc<Volume>>,
    root: PathBuf,
    store: TestStore,
}

impl Mount {
    /// As root with everything allowed; as anybody else with what they may.
    pub(crate) fn new() -> Mount {
        let root = os::is_root();
        Mount::with(MountOptions { allow_other: root, dev: root, suid: root, ..Default::default() })
    }

    pub(crate) fn with(options: MountOptions) -> Mount {
        let store = TestStore::new();
        let root = store.mountpoint();
        Mount::at_root(store, root, options)
    }

    /// Over another mount.
    pub(crate) fn over(root: &Path) -> Mount {
        Mount::at_root(TestStore::new(), root.to_owned(), MountOptions::default())
    }

    fn at_root(store: TestStore, root: PathBuf, options: MountOptions) -> Mount {
        let read_only = options.read_only;
        let volume = store.open_with(VolumeOptions { read_only, ..Default::default() });
        let options = MountOptions { source: store.path(), ..options };
        let mounted = mount(Arc::clone(&volume), &root, &options).unwrap();
        if options.allow_other {
            os::chmod(&root, 0o755).unwrap();
            os::chmod(store.dir.path(), 0o755).unwrap();
        }
        Mount { mounted: Some(mounted), volume: Some(volume), root, store }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the mount.
    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn volume(&self) -> &Volume {
        self.volume.as_ref().unwrap()
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.store.path()
    }

    pub(crate) fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }

    /// Unmounts, closes the store, opens it and mounts again.
    pub(crate) fn reopen(&mut self) {
        self.end();
        let volume = self.store.open();
        let options = MountOptions { source: self.store.path(), ..Default::default() };
        self.mounted = Some(mount(Arc::clone(&volume), &self.root, &options).unwrap());
        self.volume = Some(volume);
    }

    fn end(&mut self) {
        let Some(mounted) = self.mounted.take() else { return };
        if let Err(error) = mounted.unmount(true) {
            eprintln!("unmounting {}: {error}", self.root.display());
        }
        let ended = mounted.wait(UNMOUNT_TIMEOUT);
        if let Some(volume) = self.volume.take().filter(|_| ended) {
            let closed = volume.close();
            if !std::thread::panicking() {
                closed.unwrap();
            }
            wait_for_last(volume);
        }
        assert!(ended || std::thread::panicking(), "the mount did not end");
    }
}

/// Waits until nothing else has the volume: its own threads may hold it, and with it the store's lock, for
/// a moment.
pub(crate) fn wait_for_last(volume: Arc<Volume>) {
    let last = Arc::downgrade(&volume);
    drop(volume);
    while last.strong_count() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.end();
    }
}
