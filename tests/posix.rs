//! What programs rely on, through a real mount: contents and sizes. Names and permissions are in
//! `posix_names.rs` and `posix_users.rs`.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use support::{Mount, os};
use versofs::fuse::MountOptions;

fn read_write() -> OpenOptions {
    let mut how = OpenOptions::new();
    how.read(true).write(true).create(true);
    how
}

fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn appending_goes_to_the_end_whoever_else_writes() {
    let mount = Mount::new();
    let path = mount.at("log");
    let append = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let (mut one, mut two) = (append(), append());
    one.write_all(b"one ").unwrap();
    two.write_all(b"two ").unwrap();
    one.seek(SeekFrom::Start(0)).unwrap();
    one.write_all(b"three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one two three");
}

#[test]
fn opening_with_truncation_empties_a_file_for_everybody() {
    let mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [7; 10_000]).unwrap();
    let mut reader = File::open(&path).unwrap();
    let mut head = [0; 10];
    reader.read_exact(&mut head).unwrap();
    drop(OpenOptions::new().write(true).truncate(true).open(&path).unwrap());
    assert_eq!(reader.metadata().unwrap().len(), 0);
    assert_eq!(reader.read(&mut head).unwrap(), 0);
}

#[test]
fn a_shared_mapping_writes_to_the_file() {
    let mut mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [b'.'; 10_000]).unwrap();
    assert!(os::in_child(|| {
        let file = read_write().open(&path)?;
        let mut mapping = os::Mapping::new(&file, 10_000, libc::MAP_SHARED)?;
        mapping.bytes()[5_000..5_004].copy_from_slice(b"here");
        let mut shown = [0; 6];
        file.read_exact_at(&mut shown, 4_999)?;
        mapping.sync()?;
        // Written after the last descriptor is closed: it reaches the store with the mapping.
        drop(file);
        mapping.bytes()[9_999] = b'!';
        Ok(shown == *b".here.")
    }));
    mount.reopen();
    let content = fs::read(&path).unwrap();
    assert_eq!((&content[4_999..5_005], content[9_999]), (&b".here."[..], b'!'));
}

/// The kernel says where an append goes; what it writes back of a mapping goes where it lies.
#[test]
fn a_mapping_of_a_file_that_is_appended_to_writes_in_its_place() {
    let mut mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [b'.'; 10_000]).unwrap();
    assert!(os::in_child(|| {
        let file = read_write().append(true).open(&path)?;
        let mut mapping = os::Mapping::new(&file, 10_000, libc::MAP_SHARED)?;
        mapping.bytes()[5_000] = b'!';
        mapping.sync()?;
        (&file).write_all(b"end")?;
        Ok(true)
    }));
    mount.reopen();
    let content = fs::read(&path).unwrap();
    assert_eq!((content.len(), content[5_000], &content[10_000..]), (10_003, b'!', &b"end"[..]));
}

#[test]
fn a_private_mapping_does_not() {
    let mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [b'.'; 5_000]).unwrap();
    assert!(os::in_child(|| {
        let file = read_write().open(&path)?;
        let mut mapping = os::Mapping::new(&file, 5_000, libc::MAP_PRIVATE)?;
        mapping.bytes()[100] = b'!';
        Ok(mapping.bytes()[99..102] == *b".!.")
    }));
    assert_eq!(fs::read(&path).unwrap(), [b'.'; 5_000]);
}

#[test]
fn a_write_shows_in_a_mapping() {
    let mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [b'.'; 5_000]).unwrap();
    assert!(os::in_child(|| {
        let file = read_write().open(&path)?;
        let mut mapping = os::Mapping::new(&file, 5_000, libc::MAP_SHARED)?;
        let before = mapping.bytes()[4_100];
        file.write_all_at(b"x", 4_100)?;
        Ok((before, mapping.bytes()[4_100]) == (b'.', b'x'))
    }));
}

#[test]
fn an_open_file_lives_without_a_name() {
    let mount = Mount::new();
    let path = mount.at("f");
    let file = read_write().open(&path).unwrap();
    file.write_all_at(b"before", 0).unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all_at(b" and after", 6).unwrap();
    let mut content = vec![0; 16];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(content, b"before and after");
    assert_eq!((file.metadata().unwrap().nlink(), file.metadata().unwrap().len()), (0, 16));
    file.set_len(3).unwrap();
    fs::write(&path, b"another").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
    assert_ne!(file.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
}

#[test]
fn a_file_can_end_at_the_last_byte_there_is() {
    let mut mount = Mount::new();
    let path = mount.at("sparse");
    let last = i64::MAX as u64 - 1;
    let file = read_write().open(&path).unwrap();
    file.write_all_at(b"x", last).unwrap();
    assert_eq!(file.metadata().unwrap().len(), last + 1);
    assert!(file.metadata().unwrap().blocks() < 100);
    assert_eq!(errno(file.write_at(b"yz", last)), libc::EINVAL, "the kernel's answer");
    drop(file);
    mount.reopen();
    let file = File::open(&path).unwrap();
    let mut end = [9; 3];
    file.read_exact_at(&mut end, last - 2).unwrap();
    assert_eq!(end, [0, 0, b'x']);
    assert_eq!(os::seek(&file, 5, libc::SEEK_HOLE).unwrap(), 5);
    let data = os::seek(&file, 5, libc::SEEK_DATA).unwrap();
    assert!(data > last - 1_000_000 && data <= last, "{data}");
}

#[test]
fn holes_and_data_are_told_apart() {
    const MIB: u64 = 1 << 20;
    let mount = Mount::new();
    let file = read_write().open(mount.at("f")).unwrap();
    file.write_all_at(&vec![1; MIB as usize], MIB).unwrap();
    file.set_len(4 * MIB).unwrap();
    for synced in [false, true] {
        assert_eq!(os::seek(&file, 0, libc::SEEK_DATA).unwrap(), MIB, "synced: {synced}");
        assert_eq!(os::seek(&file, MIB, libc::SEEK_HOLE).unwrap(), 2 * MIB);
        assert_eq!(os::seek(&file, 0, libc::SEEK_HOLE).unwrap(), 0);
        assert_eq!(errno(os::seek(&file, 2 * MIB, libc::SEEK_DATA)), libc::ENXIO);
        assert_eq!(errno(os::seek(&file, 4 * MIB, libc::SEEK_HOLE)), libc::ENXIO);
        file.sync_all().unwrap();
    }
    assert_eq!(file.metadata().unwrap().blocks(), MIB / 512);
}

#[test]
fn the_space_of_a_file_shows_before_and_after_it_is_saved() {
    let mut mount = Mount::new();
    let path = mount.at("f");
    let file = read_write().open(&path).unwrap();
    file.write_all_at(&[1; 100_000], 0).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 196);
    // As `cp -p` does: the answer to this must not be believed for ever.
    os::set_times(&path, 5, 5).unwrap();
    file.set_len(50_000).unwrap();
    drop(file);
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 98);
    mount.reopen();
    assert_eq!(fs::metadata(&path).unwrap().blocks(), 98);
}

#[test]
fn fallocate_reserves_punches_and_zeroes() {
    let mount = Mount::new();
    let file = read_write().open(mount.at("f")).unwrap();
    file.write_all_at(&[1; 30_000], 0).unwrap();
    let (keep, punch) = (libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_PUNCH_HOLE);
    os::fallocate(&file, keep, 0, 100_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 30_000);
    os::fallocate(&file, 0, 0, 40_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 40_000);
    os::fallocate(&file, punch | keep, 5_000, 5_000).unwrap();
    os::fallocate(&file, libc::FALLOC_FL_ZERO_RANGE, 20_000, 1_000).unwrap();
    let mut content = vec![9; 40_000];
    file.read_exact_at(&mut content, 0).unwrap();
    let zero =
        |at: usize| (5_000..10_000).contains(&at) || (20_000..21_000).contains(&at) || at >= 30_000;
    let wrong = content.iter().enumerate().find(|(at, byte)| (**byte == 0) != zero(*at));
    assert_eq!(wrong, None);
    assert_eq!(
        errno(os::fallocate(&file, libc::FALLOC_FL_COLLAPSE_RANGE, 0, 4096)),
        libc::EOPNOTSUPP
    );
}

#[test]
fn a_copy_inside_the_drive_takes_no_space() {
    let mount = Mount::new();
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let content: Vec<u8> = (0..8 << 20).map(|_| next()).collect();
    fs::write(mount.at("a"), &content).unwrap();
    let stored = || mount.volume().status().unwrap().stored_bytes;
    let before = stored();
    let from = File::open(mount.at("a")).unwrap();
    let to = read_write().open(mount.at("b")).unwrap();
    let mut copied = 0;
    while copied < content.len() as u64 {
        copied += os::copy_range(&from, copied, &to, copied, content.len() as u64).unwrap();
    }
    to.sync_all().unwrap();
    drop(to);
    assert_eq!(stored(), before);
    assert!(fs::read(mount.at("b")).unwrap() == content);
}

#[test]
fn direct_io_sees_what_buffered_io_wrote_and_the_other_way() {
    let mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [1; 16_384]).unwrap();
    let direct = read_write().custom_flags(libc::O_DIRECT).open(&path).unwrap();
    direct.write_all_at(&[2; 4096], 4096).unwrap();
    let content = fs::read(&path).unwrap();
    assert_eq!((content[4095], content[4096], content[8191], content[8192]), (1, 2, 2, 1));
    File::options().write(true).open(&path).unwrap().write_all_at(&[3; 4096], 0).unwrap();
    let mut seen = [0; 8192];
    direct.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!((seen[0], seen[4095], seen[4096]), (3, 3, 2));
}

#[test]
fn times_have_nanoseconds_on_both_sides_of_1970() {
    let mut mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, b"x").unwrap();
    for (atime, mtime) in
        [(1_234_567_890_123_456_789, 987_654_321_000_000_001), (-1, -1_800_000_001)]
    {
        os::set_times(&path, atime, mtime).unwrap();
        for reopened in [false, true] {
            let meta = fs::metadata(&path).unwrap();
            let full = |seconds: i64, nanos: i64| seconds * 1_000_000_000 + nanos;
            assert_eq!(full(meta.atime(), meta.atime_nsec()), atime, "reopened: {reopened}");
            assert_eq!(full(meta.mtime(), meta.mtime_nsec()), mtime, "reopened: {reopened}");
            mount.reopen();
        }
    }
}

#[test]
fn times_that_no_clock_shows_do_no_harm() {
    let mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, b"x").unwrap();
    for (tv_sec, tv_nsec) in [(i64::MIN, 999_999_999), (i64::MIN + 1, 1), (i64::MAX, 999_999_999)] {
        let time = libc::timespec { tv_sec, tv_nsec };
        // Whether such a time is taken is not said anywhere; what counts is that the drive lives on.
        let _ = os::set_times_raw(&path, [time, time]);
        fs::metadata(&path).unwrap();
    }
    for round in 0..20 {
        fs::write(mount.at(format!("after-{round}")), b"alive").unwrap();
    }
}

#[test]
fn the_time_of_the_last_read_is_relative() {
    let mount = Mount::new();
    let path = mount.at("f");
    fs::write(&path, [1; 10_000]).unwrap();
    let read = || {
        let mut file = File::open(&path).unwrap();
        os::drop_cache(&file);
        file.read_to_end(&mut Vec::new()).unwrap();
        drop(file);
        let meta = fs::metadata(&path).unwrap();
        meta.atime() * 1_000_000_000 + meta.atime_nsec()
    };
    let written = fs::metadata(&path).unwrap();
    let first = read();
    assert!(first > written.mtime() * 1_000_000_000 + written.mtime_nsec());
    assert_eq!(read(), first, "a second read within a day is not noted");
    os::set_times(&path, first - 2 * 86_400_000_000_000, first - 3 * 86_400_000_000_000).unwrap();
    assert!(read() >= first, "after a day it is");
}

#[test]
fn flock_and_ranges_exclude_each_other_as_they_should() {
    let mount = Mount::new();
    let path = mount.at("f");
    let (one, two) = (read_write().open(&path).unwrap(), read_write().open(&path).unwrap());
    os::flock(&one, libc::LOCK_EX | libc::LOCK_NB).unwrap();
    assert_eq!(errno(os::flock(&two, libc::LOCK_EX | libc::LOCK_NB)), libc::EWOULDBLOCK);
    os::flock(&one, libc::LOCK_UN).unwrap();
    os::flock(&two, libc::LOCK_EX | libc::LOCK_NB).unwrap();

    os::lock(&one, libc::F_OFD_SETLK, libc::F_WRLCK, 0, 10).unwrap();
    assert_eq!(errno(os::lock(&two, libc::F_OFD_SETLK, libc::F_RDLCK, 5, 1)), libc::EAGAIN);
    os::lock(&two, libc::F_OFD_SETLK, libc::F_RDLCK, 10, 1).unwrap();
    drop(one);
    os::lock(&two, libc::F_OFD_SETLK, libc::F_WRLCK, 0, 10).unwrap();
    // A lock of the process, not of the description, meets those of descriptions.
    let third = read_write().open(&path).unwrap();
    assert_eq!(errno(os::lock(&third, libc::F_SETLK, libc::F_WRLCK, 0, 1)), libc::EAGAIN);
    os::lock(&third, libc::F_SETLK, libc::F_WRLCK, 20, 1).unwrap();
}

#[test]
fn a_lock_of_one_process_keeps_another_out() {
    let mount = Mount::new();
    let path = mount.at("f");
    let file = read_write().open(&path).unwrap();
    os::flock(&file, libc::LOCK_EX).unwrap();
    let refused = std::process::Command::new("flock").arg("-n").arg(&path).arg("true").status();
    assert!(!refused.unwrap().success());
    os::flock(&file, libc::LOCK_UN).unwrap();
    let taken = std::process::Command::new("flock").arg("-n").arg(&path).arg("true").status();
    assert!(taken.unwrap().success());
}

#[test]
fn a_synchronous_file_is_synced_by_its_writes() {
    let mount = Mount::new();
    let unsaved = || mount.volume().status().unwrap().dirty_bytes;
    let plain = read_write().open(mount.at("plain")).unwrap();
    plain.write_all_at(b"later", 0).unwrap();
    assert!(unsaved() > 0, "without a sync, a written byte waits");
    drop(plain);
    for flag in [libc::O_SYNC, libc::O_DSYNC] {
        let file = read_write().custom_flags(flag).open(mount.at("f")).unwrap();
        file.write_all_at(b"now", 0).unwrap();
        assert_eq!(unsaved(), 0, "flag {flag:#o}");
    }
}

#[test]
fn statfs_tells_the_disk_under_the_store() {
    let mount = Mount::new();
    let shown = os::statvfs(mount.root()).unwrap();
    let disk = os::statvfs(&mount.store_path()).unwrap();
    assert_eq!(shown.f_namemax, 255);
    assert_eq!(shown.f_blocks * shown.f_frsize, disk.f_blocks * disk.f_frsize);
    assert!(shown.f_bavail * shown.f_frsize <= disk.f_blocks * disk.f_frsize);
    assert!(shown.f_bavail > 0 && shown.f_ffree > 0 && shown.f_files >= shown.f_ffree);
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let mount = Mount::with(MountOptions { read_only: true, ..Default::default() });
    assert_eq!(errno(fs::write(mount.at("f"), b"x")), libc::EROFS);
    assert_eq!(errno(fs::create_dir(mount.at("d"))), libc::EROFS);
    assert!(fs::metadata(mount.at("projects")).unwrap().is_dir());
}

#[test]
fn a_busy_mount_goes_only_when_it_is_told_to() {
    let mount = Mount::new();
    let file = read_write().open(mount.at("f")).unwrap();
    let refused = mount.mounted().unmount(false).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ResourceBusy);
    mount.mounted().unmount(true).unwrap();
    assert!(!mount.at("f").exists());
    (&file).write_all(b"still there").unwrap();
    assert!(!mount.mounted().wait(std::time::Duration::ZERO));
    drop(file);
    assert!(mount.mounted().wait(std::time::Duration::from_secs(30)));
    mount.mounted().unmount(false).unwrap();
}

#[test]
fn what_is_mounted_over_us_is_left_alone() {
    if !os::is_root() {
        return;
    }
    let lower = Mount::new();
    let over = Mount::over(lower.root());
    let refused = lower.mounted().unmount(true).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ResourceBusy);
    fs::write(over.at("f"), b"upper").unwrap();
    drop(over);
    assert!(!lower.at("f").exists());
}
