//! What goes wrong around a drive, each with what must happen: the disk fills or fails, bytes rot, files of the store
//! vanish, a second daemon comes, the mount point is a bad one.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;

use crash_support::drive::{Drive, Options, check, check_clean, is_mounted, verso};
use crash_support::image::{Image, Kind};
use crash_support::load::close;
use crash_support::{Rng, Scratch, is_root_or_skip, run};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const PIECE_BYTES: usize = 256 << 10;

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// A file of `pieces` incompressible pieces, closed with its error reported.
fn write_file(path: &Path, pieces: usize, rng: &mut Rng) -> io::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..pieces {
        file.write_all(&rng.bytes(PIECE_BYTES))?;
    }
    close(file)
}

fn drop_caches() {
    run(Command::new("sync").arg("-f").arg("."));
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let test = "a_full_disk_refuses_writes_and_nothing_else";
    if !is_root_or_skip(test) {
        return;
    }
    let (scratch, mut rng) = (Scratch::new("full"), Rng::announced(test));
    let image = Image::create(Kind::Ext4, 64, &scratch.path("image"), &scratch.path("disk"));
    let (store, mountpoint) = (image.mountpoint.join("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let dir = mountpoint.join("shared");

    let written = fill(&dir, &mut rng);
    assert!(written.len() > 20, "full after {} files", written.len());
    read_back(&dir, &written);
    drop_caches();
    read_back(&dir, &written);
    let more = write_file(&dir.join("more"), 64, &mut rng).expect_err("the disk is full");
    assert_eq!(more.raw_os_error(), Some(libc::ENOSPC));

    fs::rename(dir.join(&written[0].0), dir.join("renamed")).expect("a name can change");
    fs::rename(dir.join("renamed"), dir.join(&written[0].0)).unwrap();
    for (name, _) in &written {
        fs::remove_file(dir.join(name)).expect("deleting needs no space");
    }
    // History still holds what was deleted; room comes from outside, and no restart is needed.
    fs::remove_file(image.mountpoint.join("ballast")).unwrap();
    let seed = rng.next();
    fs::write(dir.join("after"), Rng::seeded(seed).bytes(1 << 20)).expect("there is room again");
    let _ = fs::remove_file(dir.join("more"));
    drive.stop();
    let drive = Drive::start(&store, &mountpoint);
    assert_eq!(fs::read(dir.join("after")).unwrap(), Rng::seeded(seed).bytes(1 << 20));
    drive.stop();
    check_clean(&store);
}

/// Writes until the first error, which must be ENOSPC at a write; gives the files that were closed without one.
/// A file beside the store takes part of the disk first, so that room can come back later.
fn fill(dir: &Path, rng: &mut Rng) -> Vec<(String, u64)> {
    let disk = dir.parent().unwrap().with_file_name("disk");
    fs::write(disk.join("ballast"), rng.bytes(8 << 20)).unwrap();
    let mut written = Vec::new();
    for n in 0..1000 {
        let (name, seed) = (format!("file-{n}"), rng.next());
        match create_and_write(&dir.join(&name), &Rng::seeded(seed).bytes(PIECE_BYTES)) {
            Ok(file) => close(file).expect("ENOSPC comes at the write, not at the close"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
                match fs::remove_file(dir.join(&name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
                    _ => return written,
                }
            }
        }
        written.push((name, seed));
    }
    panic!("64 MiB never got full");
}

fn create_and_write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn read_back(dir: &Path, written: &[(String, u64)]) {
    for (name, seed) in written {
        let bytes = fs::read(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(bytes == Rng::seeded(*seed).bytes(PIECE_BYTES), "{name} holds other bytes");
    }
}

#[test]
fn a_failing_disk_is_reported_and_survived() {
    let test = "a_failing_disk_is_reported_and_survived";
    if !is_root_or_skip(test) {
        return;
    }
    let (scratch, mut rng) = (Scratch::new("failing"), Rng::announced(test));
    let image = Image::create(Kind::Ext4, 512, &scratch.path("image"), &scratch.path("disk"));
    let (store, mountpoint) = (image.mountpoint.join("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let dir = mountpoint.join("shared");
    write_file(&dir.join("good"), 8, &mut rng).unwrap();
    let good = fs::read(dir.join("good")).unwrap();
    File::open(dir.join("good")).unwrap().sync_all().unwrap();

    image.power_switch().cut();
    let failed = (0..3).any(|n| save_synced(&dir.join(format!("bad-{n}")), &mut rng).is_err());
    assert!(failed, "the disk fails, and fsync said all is well");
    assert!(fs::metadata(&mountpoint).is_ok(), "the mount must answer on");
    // After a failed write nothing is taken until the store was checked.
    assert!(save_synced(&dir.join("later"), &mut rng).is_err());
    drive.kill();

    let _image = image.power_on();
    let drive = Drive::start(&store, &mountpoint);
    assert_eq!(fs::read(dir.join("good")).unwrap(), good);
    write_file(&dir.join("new"), 2, &mut rng).unwrap();
    drive.stop();
    check_clean(&store);
}

fn save_synced(path: &Path, rng: &mut Rng) -> io::Result<()> {
    save_bytes(path, &rng.bytes(PIECE_BYTES))
}

/// libfiu makes one in ten of the daemon's writes and syncs fail, as a dying disk does.
#[test]
fn scattered_io_errors_lose_nothing_acknowledged() {
    let test = "scattered_io_errors_lose_nothing_acknowledged";
    if !is_root_or_skip(test) {
        return;
    }
    let (scratch, mut rng) = (Scratch::new("scattered"), Rng::announced(test));
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let fifo = scratch.path("fiu").display().to_string();
    let wrapper = ["fiu-run", "-x", "-f", &fifo].map(str::to_owned).to_vec();
    let options = Options { wrapper, ..Options::default() };
    let drive = Drive::start_with(&store, &mountpoint, &options).unwrap();
    let dir = mountpoint.join("shared");
    let (mut acknowledged, healthy) = save_many(&dir, "before", 30, &mut rng);
    assert_eq!(healthy, 0, "saves failed on a healthy disk");
    for call in ["rw/pwrite", "rw/pwritev", "rw/write", "sync/fdatasync", "sync/fsync"] {
        let fault = format!("enable_random name=posix/io/{call},probability=0.1");
        let pid = drive.pid().to_string();
        run(Command::new("fiu-ctrl").args(["-f", &fifo, "-c", &fault, &pid]));
    }
    let (during, failed) = save_many(&dir, "during", 100, &mut rng);
    assert!(failed > 0, "{} saves, and no failure reached the program", during.len());
    acknowledged.extend(during);
    assert!(fs::read_dir(&mountpoint).is_ok(), "the mount must answer on");
    drive.kill();
    let drive = Drive::start(&store, &mountpoint);
    read_back(&mountpoint.join("shared"), &acknowledged);
    drive.stop();
    check_clean(&store);
    println!("{} saves acknowledged, {failed} failed", acknowledged.len());
}

/// Saves `count` files with fsync; gives those that were acknowledged, and how many were not.
fn save_many(dir: &Path, name: &str, count: usize, rng: &mut Rng) -> (Vec<(String, u64)>, usize) {
    let files: Vec<_> = (0..count).map(|n| (format!("{name}-{n}"), rng.next())).collect();
    let saved: Vec<_> = files
        .into_iter()
        .filter(|(name, seed)| {
            save_bytes(&dir.join(name), &Rng::seeded(*seed).bytes(PIECE_BYTES)).is_ok()
        })
        .collect();
    let failed = count - saved.len();
    (saved, failed)
}

fn save_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    close(file)
}

/// A store with some files of several chunks each, not mounted; gives their names and seeds.
fn filled_store(scratch: &Scratch, rng: &mut Rng) -> (PathBuf, PathBuf, Vec<(String, u64)>) {
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let mut written = Vec::new();
    for n in 0..40 {
        let (name, seed) = (format!("file-{n}"), rng.next());
        fs::write(mountpoint.join("shared").join(&name), Rng::seeded(seed).bytes(PIECE_BYTES))
            .unwrap();
        written.push((name, seed));
    }
    drive.stop();
    (store, mountpoint, written)
}

fn largest_pack(store: &Path) -> PathBuf {
    fn walk(dir: &Path, into: &mut Vec<(u64, PathBuf)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.metadata().unwrap() {
                meta if meta.is_dir() => walk(&entry.path(), into),
                meta => into.push((meta.len(), entry.path())),
            }
        }
    }
    let mut files = Vec::new();
    walk(&store.join("packs"), &mut files);
    files.into_iter().max().expect("the store has a pack").1
}

/// Reads every file: each must hold its bytes or fail with EIO, never anything else. Gives the names that failed.
fn read_some_damaged(dir: &Path, written: &[(String, u64)]) -> Vec<String> {
    let mut damaged = Vec::new();
    for (name, seed) in written {
        match fs::read(dir.join(name)) {
            Ok(bytes) => assert!(
                bytes == Rng::seeded(*seed).bytes(PIECE_BYTES),
                "{name}: wrong bytes were served"
            ),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
                damaged.push(name.clone());
            }
        }
    }
    damaged
}

/// The exit code of a check that found damage.
const EXIT_DAMAGE: i32 = 4;

/// `check` must fail, and name exactly the damaged files.
fn check_names(store: &Path, damaged: &[String], all: &[(String, u64)]) {
    let output = check(store);
    assert_eq!(output.status.code(), Some(EXIT_DAMAGE), "{}", text(&output));
    let said = text(&output);
    let names = |name: &str| {
        said.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|w| w == name)
    };
    for (name, _) in all {
        assert_eq!(names(name), damaged.contains(name), "{name} in what check said:\n{said}");
    }
}

#[test]
fn a_flipped_byte_costs_one_file_and_is_named() {
    let test = "a_flipped_byte_costs_one_file_and_is_named";
    if !is_root_or_skip(test) {
        return;
    }
    let (scratch, mut rng) = (Scratch::new("flipped"), Rng::announced(test));
    let (store, mountpoint, written) = filled_store(&scratch, &mut rng);
    flip_middle_byte(&largest_pack(&store));
    let drive = Drive::start(&store, &mountpoint);
    let damaged = read_some_damaged(&mountpoint.join("shared"), &written);
    assert_eq!(damaged.len(), 1, "damaged: {damaged:?}");
    write_file(&mountpoint.join("shared/new"), 2, &mut rng).expect("the rest goes on");
    drive.stop();
    check_names(&store, &damaged, &written);
}

/// Flips a byte of some chunk's content: not of what stands before it (header and table of parts, less than
/// 1 KiB), which a read of the whole chunk can do without.
fn flip_middle_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let begins_within = |bytes: &[u8]| bytes.windows(4).any(|window| window == b"VREC");
    let mut at = bytes.len() / 2;
    while begins_within(&bytes[at - 1024..at + 4]) {
        at += 1024;
    }
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_cut_off_pack_costs_what_it_held() {
    let test = "a_cut_off_pack_costs_what_it_held";
    if !is_root_or_skip(test) {
        return;
    }
    let (scratch, mut rng) = (Scratch::new("cut-off"), Rng::announced(test));
    let (store, mountpoint, written) = filled_store(&scratch, &mut rng);
    let pack = OpenOptions::new().write(true).open(largest_pack(&store)).unwrap();
    pack.set_len(pack.metadata().unwrap().len() / 2).unwrap();
    let drive = Drive::start(&store, &mountpoint);
    let damaged = read_some_damaged(&mountpoint.join("shared"), &written);
    assert!(!damaged.is_empty() && damaged.len() < written.len(), "damaged: {damaged:?}");
    write_file(&mountpoint.join("shared/new"), 2, &mut rng).expect("the rest goes on");
    drive.stop();
    check_names(&store, &damaged, &written);
}

#[test]
fn a_lost_database_log_costs_only_what_was_new() {
    with_damaged_log("a_lost_database_log_costs_only_what_was_new", |store| {
        fs::remove_file(store.join("meta.db-wal")).unwrap();
        let _ = fs::remove_file(store.join("meta.db-shm"));
    });
}

#[test]
fn an_old_database_log_costs_only_what_was_new() {
    with_damaged_log("an_old_database_log_costs_only_what_was_new", |store| {
        fs::copy(store.join("old-wal"), store.join("meta.db-wal")).unwrap();
        let _ = fs::remove_file(store.join("meta.db-shm"));
        fs::remove_file(store.join("old-wal")).unwrap();
    });
}

#[test]
fn a_database_log_of_garbage_costs_only_what_was_new() {
    with_damaged_log("a_database_log_of_garbage_costs_only_what_was_new", |store| {
        fs::write(store.join("meta.db-wal"), Rng::seeded(3).bytes(70_000)).unwrap();
        let _ = fs::remove_file(store.join("meta.db-shm"));
    });
}

/// Files from before a clean stop must be there, later ones whole or not at all, after `damage` to a killed store.
fn with_damaged_log(test: &str, damage: impl Fn(&Path)) {
    if !is_root_or_skip(test) {
        return;
    }
    let (scratch, mut rng) = (Scratch::new("log"), Rng::announced(test));
    let (store, mountpoint, written) = filled_store(&scratch, &mut rng);
    let drive = Drive::start(&store, &mountpoint);
    let dir = mountpoint.join("shared");
    let mut later = Vec::new();
    for n in 0..20 {
        let (name, seed) = (format!("later-{n}"), rng.next());
        fs::write(dir.join(&name), Rng::seeded(seed).bytes(PIECE_BYTES)).unwrap();
        later.push((name, seed));
        if n == 5 {
            fs::copy(store.join("meta.db-wal"), store.join("old-wal")).unwrap();
        }
    }
    drive.kill();
    damage(&store);
    let _ = fs::remove_file(store.join("old-wal"));
    let drive = Drive::start(&store, &mountpoint);
    read_back(&dir, &written);
    later.retain(|(name, _)| dir.join(name).exists());
    read_back(&dir, &later);
    write_file(&dir.join("new"), 2, &mut rng).expect("the drive goes on");
    drive.stop();
    check_clean(&store);
}

#[test]
fn a_second_daemon_is_refused_with_the_owners_pid() {
    let test = "a_second_daemon_is_refused_with_the_owners_pid";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("second");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let second = Drive::start_with(&store, &scratch.dir("other"), &Options::default());
    let why = second.err().expect("two daemons on one store");
    assert!(why.contains(&drive.pid().to_string()), "the owner's pid is missing: {why}");
    fs::write(mountpoint.join("shared/a"), "still here").unwrap();
    drive.stop();
}

/// A start that must fail, saying `path` and leaving nothing mounted.
fn assert_refused(store: &Path, mountpoint: &Path, path: &Path) {
    let options = Options::default();
    let why = Drive::start_with(store, mountpoint, &options).err();
    let why = why.unwrap_or_else(|| panic!("{} was mounted", mountpoint.display()));
    assert!(why.contains(&path.display().to_string()), "{} is not named: {why}", path.display());
    assert!(!why.contains("panicked"), "{why}");
}

#[test]
fn bad_mount_points_are_refused_by_name() {
    let test = "bad_mount_points_are_refused_by_name";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("points");
    let store = scratch.path("store");
    run(verso().arg("init").arg(&store));
    let file = scratch.path("file");
    fs::write(&file, "").unwrap();
    let missing = scratch.path("missing");
    assert_refused(&store, &missing, &missing);
    assert_refused(&store, &file, &file);
    assert_refused(&store, &store, &store);
    let inside = store.join("packs");
    assert_refused(&store, &inside, &inside);
    check_clean(&store);
}

#[test]
fn a_dead_mount_point_is_used_again_or_refused_by_name() {
    let test = "a_dead_mount_point_is_used_again_or_refused_by_name";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("dead");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    run(Command::new("kill").arg("-9").arg(drive.pid().to_string()));
    let mut drive = drive;
    assert!(drive.has_died(Duration::from_secs(10)));
    // Not `metadata`: the kernel may still know the root's attributes.
    let dead = fs::read_dir(&mountpoint).expect_err("the mount is dead");
    assert_eq!(dead.raw_os_error(), Some(libc::ENOTCONN));
    match Drive::start_with(&store, &mountpoint, &Options::default()) {
        Ok(again) => again.stop(),
        Err(why) => assert!(why.contains(&mountpoint.display().to_string()), "{why}"),
    }
}

#[test]
fn a_busy_mount_is_unmounted_on_request() {
    let test = "a_busy_mount_is_unmounted_on_request";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("busy");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let mut drive = Drive::start(&store, &mountpoint);
    let mut open = File::create(mountpoint.join("shared/open")).unwrap();
    open.write_all(b"before").unwrap();
    let polite = verso().arg("umount").arg(&mountpoint).output().unwrap();
    assert!(!polite.status.success(), "unmounted under an open file without being asked twice");
    assert!(text(&polite).contains(&mountpoint.display().to_string()), "{}", text(&polite));
    open.write_all(b" after").expect("a refused unmount changes nothing");
    run(verso().arg("umount").arg("--lazy").arg(&mountpoint));
    drop(open);
    assert!(drive.has_died(Duration::from_secs(30)) && !is_mounted(&mountpoint));
    let drive = Drive::start(&store, &mountpoint);
    assert_eq!(fs::read(mountpoint.join("shared/open")).unwrap(), b"before after");
    drive.stop();
}

#[test]
fn an_unwritable_store_is_refused_by_name() {
    let test = "an_unwritable_store_is_refused_by_name";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("unwritable");
    let image = Image::create(Kind::Ext4, 128, &scratch.path("image"), &scratch.path("disk"));
    let (store, mountpoint) = (image.mountpoint.join("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    fs::write(mountpoint.join("shared/a"), "a").unwrap();
    drive.stop();
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(&image.mountpoint));
    assert_refused(&store, &mountpoint, &store);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let test = "a_store_of_a_newer_version_is_refused";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("newer");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    run(verso().arg("init").arg(&store));
    let header = fs::read_to_string(store.join("store.toml")).unwrap();
    let (line, rest) = header
        .lines()
        .find_map(|line| line.split_once('=').filter(|(key, _)| key.contains("format")))
        .expect("store.toml names its format");
    let newer = header.replace(&format!("{line}={rest}"), &format!("{line}= 99"));
    assert_ne!(newer, header);
    fs::set_permissions(store.join("store.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(store.join("store.toml"), newer).unwrap();
    let why = Drive::start_with(&store, &mountpoint, &Options::default()).err().unwrap();
    assert!(why.contains("99") && why.contains(&store.display().to_string()), "{why}");
}

/// Mounts a store whose daemon panics once at `failpoint`, lets `work` meet that, and expects that the drive went on and that
/// the log tells of it. Needs the feature `failpoints`.
fn with_panic(test: &str, failpoint: &str, work: impl FnOnce(&Path)) {
    if !is_root_or_skip(test) {
        return;
    }
    if !cfg!(feature = "failpoints") {
        eprintln!("SKIPPED {test}: built without the feature failpoints");
        return;
    }
    let scratch = Scratch::new("panic");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    run(verso().arg("init").arg(&store));
    // The timer must not be the one that gets there.
    let wrapper = ["env", "VERSO_STORE__SYNC_INTERVAL=1h"].map(str::to_owned).to_vec();
    let failpoint = Some(format!("panic:{failpoint}"));
    let options = Options { failpoint, wrapper, ..Options::default() };
    let drive = Drive::start_with(&store, &mountpoint, &options).unwrap();
    let dir = mountpoint.join("shared");
    work(&dir);
    fs::write(dir.join("after"), "the drive goes on").unwrap();
    assert_eq!(fs::read(dir.join("after")).unwrap(), b"the drive goes on");
    // The answer is sent while the stack unwinds, the line is written afterwards.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !drive.log().contains(" panicked\n") {
        assert!(std::time::Instant::now() < deadline, "the log is silent:\n{}", drive.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(
        drive.log().contains("failpoint"),
        "what the panic said is not logged:\n{}",
        drive.log()
    );
    drive.stop();
    check_clean(&store);
}

#[test]
fn a_panic_costs_one_operation_and_is_logged() {
    let test = "a_panic_costs_one_operation_and_is_logged";
    with_panic(test, "mkdir:2", |dir| {
        fs::create_dir(dir.join("first")).unwrap();
        let error = fs::create_dir(dir.join("second")).expect_err("its handler panicked");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        fs::create_dir(dir.join("second")).expect("the drive goes on");
    });
}

#[test]
fn a_panic_in_a_sync_lets_the_next_one_through() {
    let test = "a_panic_in_a_sync_lets_the_next_one_through";
    with_panic(test, "sync-before-packs", |dir| {
        let mut file = File::create(dir.join("file")).unwrap();
        file.write_all(b"contents").unwrap();
        let error = file.sync_all().expect_err("its handler panicked");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        file.sync_all().expect("the next one is not kept waiting");
    });
}

#[test]
fn sigterm_with_open_files_keeps_what_was_written() {
    let test = "sigterm_with_open_files_keeps_what_was_written";
    if !is_root_or_skip(test) {
        return;
    }
    let scratch = Scratch::new("sigterm");
    let (store, mountpoint) = (scratch.path("store"), scratch.dir("mnt"));
    let drive = Drive::start(&store, &mountpoint);
    let mut open = File::create(mountpoint.join("shared/open")).unwrap();
    open.write_all(b"written, not closed").unwrap();
    let deleted = File::create(mountpoint.join("shared/deleted")).unwrap();
    fs::remove_file(mountpoint.join("shared/deleted")).unwrap();
    let status = drive.signal("TERM");
    assert!(status.success(), "SIGTERM: {status}");
    assert!(!is_mounted(&mountpoint));
    drop((open, deleted));
    let drive = Drive::start(&store, &mountpoint);
    assert_eq!(fs::read(mountpoint.join("shared/open")).unwrap(), b"written, not closed");
    assert!(!mountpoint.join("shared/deleted").exists());
    drive.stop();
    check_clean(&store);
}
