//! A store with a long past is backed up to each kind of place, lost, and made again: live and at ten past moments it is what it was. So it is
//! with locations that fail in the midst of it.
//!
//! What it was is known from pictures that were taken of the living tree at each of the moments, and not from what the
//! original's own history says of them.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "support/flaky.rs"]
mod flaky;
#[path = "support/picture.rs"]
mod picture;
#[path = "support/servers.rs"]
mod servers;
#[path = "../src/sys/testing.rs"]
mod testing;

use flaky::{Flaky, Mood};
use picture::Picture;
use servers::{Kind, Server, spec};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testing::noise;
use versofs::backup::{self, Error, Location, LocationSpec, MakeOptions, Patience, verify};
use versofs::crypt::{Secret, SecretKind};
use versofs::fs::{
    Caller, CreateOptions, NewKey, OpenMode, RenameMode, Volume, VolumeOptions, XattrMode,
    create_store,
};
use versofs::model::{Ino, Moment, Timestamp};
use versofs::sys::{Clock, ManualClock, Unattended};

const ROOT: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };
const DIRECTORIES: u64 = 12;
const FILES_EACH: u64 = 180;
/// Of all that the store holds at the end, at least.
const FILES_MIN: usize = 2000;
const MOMENTS: u64 = 10;
/// For servers that are all right, on a machine that is busy.
const CALM: Patience = Patience {
    total: Duration::from_secs(60),
    pause_min: Duration::from_millis(20),
    pause_max: Duration::from_millis(500),
    step: Duration::from_secs(60),
    bytes_per_second_min: 1 << 20,
};

struct Site {
    dir: TempDir,
    clock: Arc<ManualClock>,
    volume: Arc<Volume>,
    secret: Option<Arc<Secret>>,
    /// How the living tree looked when these moments were now.
    moments: Vec<(Moment, Picture)>,
}

fn options(secret: &Option<Arc<Secret>>) -> VolumeOptions {
    VolumeOptions {
        sync_interval: Duration::from_secs(3600),
        reserve_bytes: 0,
        pack_bytes: 4 << 20,
        secret: secret.clone(),
        ..VolumeOptions::default()
    }
}

/// The plain one, which tests that run at the same time share: nobody changes it any more.
fn plain_site() -> Arc<Site> {
    static SITE: Mutex<Weak<Site>> = Mutex::new(Weak::new());
    let mut shared = SITE.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let site = Arc::new(Site::new(false));
        *shared = Arc::downgrade(&site);
        site
    })
}

impl Site {
    /// A store with thousands of files, and ten moments.
    fn new(encrypted: bool) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let secret = encrypted.then(|| key(dir.path()));
        let clock = Arc::new(ManualClock::new(Timestamp(1_790_000_000_000_000_000)));
        let new_key = |secret: &Arc<Secret>| NewKey {
            secret: Arc::clone(secret),
            label: String::new(),
            unlock_time: Duration::from_millis(10),
        };
        let encryption = secret.as_ref().map(new_key);
        let create = CreateOptions { encryption, ..CreateOptions::default() };
        let store = dir.path().join("store");
        create_store(&store, &create, &*clock).unwrap();
        let volume = Volume::open_store(&store, options(&secret), clock.clone()).unwrap();
        let mut site = Site { dir, clock, volume, secret, moments: Vec::new() };
        for number in 0..DIRECTORIES {
            let name = format!("dir-{number:02}");
            let made = site.volume.mkdir(&ROOT, Ino::ROOT, name.as_bytes(), 0o750).unwrap();
            for file in 0..FILES_EACH {
                site.save(made.ino, &format!("{file:03}.dat"), &noise(number * 1000 + file, 2000));
            }
        }
        site.special();
        (0..MOMENTS).for_each(|round| site.change(round));
        site
    }

    fn save(&self, parent: Ino, name: &str, content: &[u8]) -> Ino {
        let how = OpenMode { read: true, write: true, truncate: true, ..OpenMode::default() };
        let made = self.volume.create(&ROOT, parent, name.as_bytes(), 0o640, how);
        let (attr, handle) = made.unwrap();
        self.volume.write(handle, 0, content).unwrap();
        self.volume.flush(handle).unwrap();
        self.volume.release(handle).unwrap();
        attr.ino
    }

    fn dir(&self, number: u64) -> Ino {
        let name = format!("dir-{:02}", number % DIRECTORIES);
        self.volume.lookup(Ino::ROOT, name.as_bytes()).unwrap().ino
    }

    /// Links, attributes, holes, and names that are no text.
    fn special(&self) {
        let how = OpenMode { read: true, write: true, ..OpenMode::default() };
        let (sparse, handle) = self.volume.create(&ROOT, Ino::ROOT, b"sparse", 0o600, how).unwrap();
        self.volume.write(handle, 3 << 30, b"beyond three gigabytes").unwrap();
        self.volume.flush(handle).unwrap();
        self.volume.release(handle).unwrap();
        self.volume.link(sparse.ino, self.dir(1), b"other name").unwrap();
        self.volume.symlink(&ROOT, Ino::ROOT, b"link", b"dir-03/007.dat").unwrap();
        self.volume.symlink(&ROOT, Ino::ROOT, b"\xff\xfe\n odd", b"nowhere").unwrap();
        let ino = self.save(Ino::ROOT, "tagged", b"with attributes");
        for (name, value) in [("user.xdg.tags", vec![b'x'; 300]), ("user.empty", Vec::new())] {
            let set = XattrMode::Set;
            self.volume.setxattr(&ROOT, ino, name.as_bytes(), &value, set).unwrap();
        }
        self.save(Ino::ROOT, "picture.tif", &noise(9, 9_000_000));
    }

    /// Saves, moves, deletes; then a moment to be remembered.
    fn change(&mut self, round: u64) {
        let (here, there) = (self.dir(round), self.dir(round + 7));
        for file in 0..30 {
            let content = noise(round * 77 + file, 3000);
            self.save(here, &format!("{:03}.dat", file * 3), &content);
        }
        for file in 30..40 {
            let name = format!("{:03}.dat", file + 1);
            let replace = RenameMode::Replace;
            let new = format!("moved-{round}-{file}");
            let moved = self.volume.rename(here, name.as_bytes(), there, new.as_bytes(), replace);
            assert!(moved.is_ok() || round >= DIRECTORIES, "{moved:?}");
            self.volume.unlink(here, format!("{:03}.dat", file + 20).as_bytes()).unwrap();
        }
        let mut picture = noise(9, 9_000_000);
        let at = round as usize * 800_000;
        picture[at..at + 1000].fill(round as u8);
        self.save(Ino::ROOT, "picture.tif", &picture);
        self.clock.advance(Duration::from_secs(3600));
        let looks = picture::as_past(&picture::live(&self.volume));
        self.moments.push((Moment(self.clock.now().0 - 1_000_000_000), looks));
    }

    fn back_up(&self, location: &Location) -> backup::Result<backup::Made> {
        let options = MakeOptions { full: false, connections: 4 };
        backup::make(&self.volume, location, &options, self.clock.now(), &Unattended)
    }

    /// Makes the store again from nothing but the location, and compares: live, and at all of the moments.
    fn expect_restored(&self, spec: &LocationSpec, name: &str) {
        let location = Location::open_with(spec, CALM).unwrap();
        let store = self.dir.path().join(name);
        let manifest = backup::find(&location, None).unwrap();
        backup::restore(&location, &manifest, &store, 4, &Unattended).unwrap();
        let copy = Volume::open_store(&store, options(&self.secret), self.clock.clone()).unwrap();
        let expect = |when: &str, wanted: &Picture, found: &Picture| {
            let differences = picture::differences(wanted, found);
            assert!(differences.is_empty(), "{name} {when}: {differences:#?}");
            assert!(found.len() > FILES_MIN, "{name} {when}: {}", found.len());
        };
        expect("now", &picture::live(&self.volume), &picture::live(&copy));
        for (moment, wanted) in &self.moments {
            expect(&format!("at {moment:?}"), wanted, &picture::at(&copy, *moment));
        }
        let report = copy.check(Default::default(), &Default::default()).unwrap();
        assert!(report.is_clean(), "{name}: {report:?}");
        copy.close().unwrap();
        drop(copy);
        std::fs::remove_dir_all(store).unwrap();
    }
}

fn key(dir: &Path) -> Arc<Secret> {
    let path = dir.join("key");
    std::fs::write(&path, [42; 64]).unwrap();
    let file = std::fs::File::open(path).unwrap();
    Arc::new(Secret::read(SecretKind::KeyFile, file).unwrap())
}

/// Two places at a time.
fn from_each_kind(site: &Site) {
    let places = [None].into_iter().chain(Kind::ALL.map(Some));
    let places = Mutex::new(places);
    let work = || {
        loop {
            let place = places.lock().unwrap().next();
            match place {
                Some(place) => from(site, place),
                None => break,
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

/// From a server of this kind, or else a directory.
fn from(site: &Site, kind: Option<Kind>) {
    let shelf = site.dir.path().join("shelf").to_str().unwrap().to_owned();
    let server = kind.map(Server::start);
    let spec = match &server {
        None => spec(shelf, &[]),
        Some(Some(server)) => server.spec("verso/one"),
        Some(None) => return,
    };
    let name = kind.map_or("directory".to_owned(), |kind| format!("{kind:?}"));
    let begun = Instant::now();
    let location = Location::open_with(&spec, CALM).unwrap();
    let made = site.back_up(&location).unwrap();
    assert!(made.full, "{name}");
    let found = verify(&location, false, true, &Unattended).unwrap();
    assert_eq!(found.faults_total, 0, "{name}: {:?}", found.faults);
    site.expect_restored(&spec, &name);
    eprintln!("{name}: lost, made again and compared in {:.1} s", begun.elapsed().as_secs_f64());
    drop(server);
}

#[test]
fn a_plain_store_from_each_kind_of_place() {
    from_each_kind(&plain_site());
}

#[test]
fn an_encrypted_store_from_each_kind_of_place() {
    from_each_kind(&Site::new(true));
}

/// Few attempts, for places that are not all right.
const SHORT: Patience = Patience {
    total: Duration::from_secs(5),
    pause_min: Duration::from_millis(50),
    pause_max: Duration::from_millis(200),
    step: Duration::from_secs(5),
    bytes_per_second_min: 1 << 20,
};

#[test]
fn a_place_that_fails_is_no_success_and_is_gone_on_with() {
    let Some(mut server) = Server::start(Kind::S3) else { return };
    let site = plain_site();
    let flaky = Flaky::before(server.port);
    let through = server.through(flaky.port, "verso/one");
    let straight = server.spec("verso/one");
    let bad_days = Location::open_with(&through, SHORT).unwrap();
    let many = usize::MAX;
    let bad =
        [Mood::Answers(503, many), Mood::Answers(500, many), Mood::CutsUploads(200_000, many)];
    for mood in bad {
        flaky.turns(mood);
        let failed = site.back_up(&bad_days).unwrap_err();
        assert!(matches!(failed, Error::Unreachable { .. }), "{mood:?}: {failed}");
        let location = Location::open_with(&straight, CALM).unwrap();
        assert!(backup::newest(&location).unwrap().is_none(), "{mood:?} made a backup");
    }
    // A few mishaps are got over.
    flaky.turns(Mood::CutsUploads(50_000, 2));
    site.back_up(&bad_days).unwrap();
    site.expect_restored(&straight, "after bad days");
    server.kill();
    let failed = site.back_up(&bad_days).unwrap_err();
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    server.start_again();
}
