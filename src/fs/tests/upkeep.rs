//! Retention and collection: what the contract keeps stays exactly as it was, what it doesn't keep comes free, and nobody
//! who works meanwhile notices.

use super::history_oracle::{Life, Recorded, changed, directories, lives_to_lead};
use super::rewind::Choices;
use super::*;
use crate::model::{Keep, Moment, Policy, Step};
use crate::sys::{Unattended, Until};
use std::sync::atomic::{AtomicBool, Ordering};

/// Random lives that each test of them leads.
const LIVES: u64 = 4;
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keeps everything for `floor`, and beyond it what `thinning` says.
pub(super) fn drive_with(floor: Duration, thinning: Vec<Step>) -> Drive {
    drive_with_slot(floor, thinning, Duration::ZERO)
}

pub(super) fn drive_with_slot(floor: Duration, thinning: Vec<Step>, coalesce: Duration) -> Drive {
    let retention = Policy { floor, thinning, versions_max: None, bytes_max: None };
    Drive::with(VolumeOptions { retention, coalesce, pack_bytes: 1 << 20, ..options() })
}

impl Drive {
    pub(super) fn tidy(&self) -> UpkeepReport {
        let report = self.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
        let options = CheckOptions { read_data: true, repair: false };
        let checked = self.volume.check(options, &CheckProgress::default()).unwrap();
        assert!(checked.is_clean(), "{checked:?}");
        report
    }

    fn stored(&self) -> u64 {
        self.volume.ingest.packs().stored_bytes()
    }

    fn version_count(&self, name: &str) -> usize {
        let lookup = |dir, name: &[u8]| self.volume.lookup(dir, name).map(|attr| attr.ino);
        let versions = lookup(Ino::ROOT, b".versions").unwrap();
        match lookup(versions, name.as_bytes()) {
            Ok(dir) => super::history_oracle::names(&self.volume, dir).len(),
            Err(_) => 0,
        }
    }

    fn remove(&self, name: &str) {
        self.volume.unlink(Ino::ROOT, name.as_bytes()).unwrap();
    }
}

#[test]
fn what_was_deleted_comes_free_after_the_floor_and_not_before() {
    let drive = drive_with(DAY * 30, vec![]);
    let content = noise(1, 6 << 20);
    drive.save(Ino::ROOT, "gone", &content);
    drive.save(Ino::ROOT, "stays", &content[..3 << 20]);
    drive.clock.advance(DAY);
    drive.remove("gone");
    drive.clock.advance(DAY * 30 - Duration::from_secs(1));
    let before = drive.stored();
    drive.tidy();
    assert_eq!((drive.version_count("gone"), drive.stored() >= before), (1, true));
    drive.clock.advance(Duration::from_secs(2));
    let report = drive.tidy();
    assert_eq!(drive.version_count("gone"), 0);
    assert!(report.bytes_freed > 2 << 20, "{report:?}");
    assert!(drive.stored() < before - (2 << 20), "{report:?}: {} of {before}", drive.stored());
    assert!(drive.load(Ino::ROOT, "stays") == content[..3 << 20]);
    // Once more, with a store that was opened anew: there is nothing left to do.
    let drive = drive.reopen();
    assert_eq!(drive.tidy(), UpkeepReport::default());
    assert!(drive.load(Ino::ROOT, "stays") == content[..3 << 20]);
}

#[test]
fn a_folder_goes_with_everything_in_it() {
    let drive = drive_with(DAY, vec![]);
    let volume = &drive.volume;
    let a = volume.mkdir(&ROOT, Ino::ROOT, b"a", 0o755).unwrap().ino;
    let b = volume.mkdir(&ROOT, a, b"b", 0o755).unwrap().ino;
    drive.save(b, "f", &noise(1, 2 << 20));
    volume.setxattr(&ROOT, b, b"user.x", b"y", XattrMode::Set).unwrap();
    volume.symlink(&ROOT, b, b"link", b"target").unwrap();
    drive.clock.advance(Duration::from_secs(5));
    volume.unlink(b, b"f").unwrap();
    volume.unlink(b, b"link").unwrap();
    volume.rmdir(a, b"b").unwrap();
    volume.rmdir(Ino::ROOT, b"a").unwrap();
    drive.clock.advance(DAY * 2);
    drive.tidy();
    for table in ["dentry_past", "inode_past", "extent_past", "extent", "xattr", "symlink", "chunk"]
    {
        let rows = drive.volume.meta.count(table);
        // The root lost a name, which is no state of its own.
        assert_eq!(rows, 0, "{table}");
    }
}

/// One of a million saves of the same file: what each of them leaves must go, or the store grows for ever.
#[test]
fn saves_in_place_and_by_replacing_are_thinned_alike() {
    let weekly = Step { age_max: None, keep: Keep::LastOf(DAY * 7) };
    let drive = drive_with(DAY * 30, vec![weekly]);
    for day in 0..120_u64 {
        drive.save(Ino::ROOT, "in-place", &noise(day, 5000));
        drive.save(Ino::ROOT, "tmp", &noise(1000 + day, 5000));
        let (from, to) = (b"tmp".as_slice(), b"replaced".as_slice());
        drive.volume.rename(Ino::ROOT, from, Ino::ROOT, to, RenameMode::Replace).unwrap();
        drive.clock.advance(DAY);
        if day % 17 == 0 {
            drive.tidy();
        }
    }
    drive.tidy();
    let (in_place, replaced) = (drive.version_count("in-place"), drive.version_count("replaced"));
    // Thirty days of all, and a week's last of the thirteen weeks before.
    assert!((42..=45).contains(&in_place), "{in_place}");
    assert_eq!(in_place, replaced);
    assert!(drive.load(Ino::ROOT, "replaced") == noise(1119, 5000));
}

/// A random life with upkeep in the middle of it; every moment that the policy keeps is as it was. Answers how many
/// moments there were, and how often one was compared.
fn live(seed: u64, floor: Duration, period: Option<Duration>, slot: Duration) -> (usize, usize) {
    let step = |period| Step { age_max: None, keep: Keep::LastOf(period) };
    let drive = drive_with_slot(floor, period.map(step).into_iter().collect(), slot);
    let mut choices = Choices(seed);
    let directories = directories(&drive.volume);
    let mut recorded: Vec<Recorded> = Vec::new();
    let (mut dropped, mut compared) = (0, 0);
    for at in 0..300 {
        drive.clock.advance(Duration::from_secs(choices.below(40)));
        recorded.push(changed(&drive.volume, &mut choices, &directories));
        if at % 29 == 28 {
            dropped += drive.tidy().rows_dropped;
            let kept = kept(&drive, &recorded, floor, period);
            let life = Life { recorded: &recorded, slot };
            compared += life.compare(&drive.volume, &kept, 2, &format!("seed {seed}, tidied"));
        }
    }
    assert!(dropped > 5, "{dropped}");
    let promised = kept(&drive, &recorded, floor, period);
    assert!(promised.len() > 10 && promised.len() < recorded.len(), "{}", promised.len());
    let life = Life { recorded: &recorded, slot };
    let drive = drive.crash();
    compared += life.compare(&drive.volume, &promised, 3, "after a crash");
    let drive = drive.reopen();
    compared += life.compare(&drive.volume, &promised, 3, "opened again");
    (recorded.len(), compared)
}

/// Several lives. Each slot is tried; the numbers may not shrink unnoticed.
fn lives(first_seed: u64, floor: Duration, period: Option<Duration>) {
    let (mut moments, mut compared) = (0, 0);
    let count = lives_to_lead(LIVES);
    for seed in first_seed..first_seed + count {
        let slot = Duration::from_secs(if seed % 2 == 0 { 0 } else { 10 });
        let (more, times) = live(seed, floor, period, slot);
        (moments, compared) = (moments + more, compared + times);
    }
    println!("{moments} moments, compared {compared} times");
    assert!(count < LIVES || (moments >= 1200 && compared >= 600), "{moments}, {compared}");
}

/// The moments that can still be opened: all within the floor, and the end of each period.
fn kept(
    drive: &Drive,
    recorded: &[Recorded],
    floor: Duration,
    period: Option<Duration>,
) -> Vec<Recorded> {
    let from = drive.volume.now().0 - floor.as_nanos() as i64;
    let mut kept: Vec<_> = recorded.iter().filter(|(moment, _)| moment.0 > from).cloned().collect();
    for pair in recorded.windows(2) {
        let Some(period) = period.map(|period| period.as_nanos() as i64) else { break };
        // What holds at the last instant of a period.
        let end = (pair[0].0.0 / period + 1) * period - 1;
        if end < pair[1].0.0 {
            kept.push((Moment(end), pair[0].1.clone()));
        }
    }
    kept
}

#[test]
fn every_moment_within_the_floor_stays_as_it_was() {
    lives(0, Duration::from_secs(600), None);
}

#[test]
fn beyond_it_the_end_of_each_period_does() {
    lives(1000, Duration::from_secs(300), Some(Duration::from_secs(200)));
}

#[test]
fn why_tells_the_rule_and_until_when() {
    let weekly = Step { age_max: Some(DAY * 365), keep: Keep::LastOf(DAY * 7) };
    let drive = drive_with(DAY * 30, vec![weekly]);
    let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    for n in 0..3 {
        drive.save(dir, "f", &noise(n, 1000));
        drive.clock.advance(Duration::from_secs(600));
    }
    drive.volume.unlink(dir, b"f").unwrap();
    let why = |path: &[u8]| drive.volume.why(path).unwrap();
    let reasons = why(b"d/f");
    assert_eq!(
        reasons.iter().map(|r| (r.number, r.bytes)).collect::<Vec<_>>(),
        [(1, 1000), (2, 1000), (3, 1000)]
    );
    assert_eq!(reasons[0].rules, ["within the floor of 30 days"]);
    assert_eq!(reasons[0].until.unwrap() - reasons[0].ended.unwrap(), (DAY * 30).as_nanos() as i64);
    assert_eq!(reasons[2].rules, ["within the floor of 30 days", "newest of its week"]);
    drive.volume.rmdir(Ino::ROOT, b"d").unwrap();
    drive.clock.advance(DAY * 31);
    let kept: Vec<bool> = why(b"/d/f").iter().map(|reason| reason.kept).collect();
    assert_eq!(kept, [false, false, true], "also where the folder is gone");
    assert_eq!(why(b"/d/f")[0].rules, ["beyond every rule"]);
    drive.tidy();
    assert_eq!(why(b"d/f").len(), 1, "as it said");
    assert!(matches!(drive.volume.why(b"d/never"), Err(Error::NotFound)));
    assert_eq!(why(b"projects")[0].rules, ["live"]);
}

#[test]
fn what_space_promises_comes_free() {
    let drive = drive_with(Duration::ZERO, vec![]);
    let volume = &drive.volume;
    let dir = volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
    let (shared, own) = (noise(1, 900_000), noise(2, 900_000));
    drive.save(Ino::ROOT, "elsewhere", &shared);
    drive.save(dir, "shared", &shared);
    drive.save(dir, "own", &own);
    drive.save(dir, "own", &own[..400_000]);
    drive.save(dir, "deleted", &noise(3, 500_000));
    volume.unlink(dir, b"deleted").unwrap();
    drive.save(dir, "linked", &noise(4, 300_000));
    let linked = volume.lookup(dir, b"linked").unwrap().ino;
    volume.link(linked, Ino::ROOT, b"linked").unwrap();
    drive.clock.advance(DAY);
    let bytes = || volume.bytes_in_use_of_all();
    let space = volume.space_of(b"d").unwrap();
    assert_eq!(space.logical_bytes, 900_000 + 400_000);
    assert!((900_000..1_100_000).contains(&space.history_bytes), "{space:?}");
    assert!((1_300_000..1_600_000).contains(&space.freed_bytes), "{space:?}");
    let before = bytes();
    drive.tidy();
    assert_eq!(before - bytes(), space.history_bytes);
    for name in ["shared", "own", "linked"] {
        volume.unlink(dir, name.as_bytes()).unwrap();
    }
    volume.rmdir(Ino::ROOT, b"d").unwrap();
    drive.clock.advance(DAY);
    // Of what is deleted all is history.
    let gone = volume.space_of(b"/d/").unwrap();
    let rest = space.freed_bytes - space.history_bytes;
    assert_eq!((gone.logical_bytes, gone.freed_bytes, gone.history_bytes), (0, rest, rest));
    drive.tidy();
    assert_eq!(before - bytes(), space.freed_bytes);
}

#[test]
fn an_open_version_that_ends_is_an_error_and_not_zeros() {
    let drive = drive_with(DAY, vec![]);
    drive.save(Ino::ROOT, "f", &noise(1, 3 << 20));
    drive.clock.advance(Duration::from_secs(60));
    drive.save(Ino::ROOT, "f", b"new");
    let volume = &drive.volume;
    let mut dir = Ino::ROOT;
    for name in [b".versions".as_slice(), b"f"] {
        dir = volume.lookup(dir, name).unwrap().ino;
    }
    let old = super::history_oracle::names(volume, dir).swap_remove(0);
    let old = volume.lookup(dir, &old.0).unwrap();
    assert_eq!(old.size, 3 << 20);
    let handle = volume.open(old.ino, OpenMode { read: true, ..OpenMode::default() }).unwrap();
    let mut bytes = Vec::new();
    volume.read(handle, 0, 1000, &mut bytes).unwrap();
    drive.clock.advance(DAY * 2);
    drive.tidy();
    for offset in [0, 2 << 20] {
        assert!(matches!(volume.read(handle, offset, 1000, &mut bytes), Err(Error::Gone)));
    }
    let (_, to) = drive.create(Ino::ROOT, "to");
    assert!(matches!(volume.copy_range(handle, 0, to, 0, 1000), Err(Error::Gone)));
    assert_eq!(bytes.len(), 1000);
}

#[test]
fn what_was_saved_under_a_name_that_is_over_can_be_read_under_the_new_one() {
    let drive = drive_with(DAY * 30, vec![]);
    let attr = drive.save(Ino::ROOT, "old", b"content");
    drive.clock.advance(DAY);
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    drive.volume.setattr(attr.ino, &mode).unwrap();
    drive.clock.advance(DAY);
    let (from, to) = (b"old".as_slice(), b"new".as_slice());
    drive.volume.rename(Ino::ROOT, from, Ino::ROOT, to, RenameMode::Replace).unwrap();
    drive.clock.advance(DAY * 20);
    drive.save(Ino::ROOT, "new", b"other");
    drive.clock.advance(DAY * 20);
    assert!(drive.tidy().rows_dropped > 0);
    let mut dir = Ino::ROOT;
    for name in [b".versions".as_slice(), b"new"] {
        dir = drive.volume.lookup(dir, name).unwrap().ino;
    }
    let mut contents: Vec<Vec<u8>> = super::history_oracle::names(&drive.volume, dir)
        .iter()
        .map(|(name, ..)| drive.volume.lookup(dir, name).unwrap().ino)
        .map(|ino| super::history_oracle::content(&drive.volume, ino))
        .collect();
    contents.sort();
    assert_eq!(contents, [b"content".to_vec(), b"other".to_vec()]);
}

#[test]
fn a_pause_of_years_takes_nothing_that_lives() {
    let drive = Drive::with(VolumeOptions { pack_bytes: 1 << 20, ..options() });
    let contents = noise(3, 3 << 20);
    drive.save(Ino::ROOT, "old", &contents);
    drive.save(Ino::ROOT, "old", &contents[1..]);
    drive.clock.advance(DAY * 3650);
    drive.tidy();
    assert!(drive.load(Ino::ROOT, "old") == contents[1..]);
    let clock = Arc::clone(&drive.clock);
    let drive = drive.reopen_after(move |volume| {
        volume.close().unwrap();
        clock.advance(DAY * 100);
    });
    let idle = drive.volume.idle_before_open();
    assert!((DAY * 99..=DAY * 100).contains(&idle), "{idle:?}");
    // And back: nothing is younger than it was.
    drive.clock.set(Timestamp(1_790_000_000_000_000_000));
    drive.tidy();
    assert!(drive.load(Ino::ROOT, "old") == contents[1..]);
}

#[test]
fn what_comes_into_use_again_is_spared() {
    let drive = drive_with(Duration::ZERO, vec![]);
    let contents: Vec<Vec<u8>> = (1..=3).map(|n| noise(n, 700_000)).collect();
    for (name, content) in ["written", "copied", "gone"].iter().zip(&contents) {
        drive.save(Ino::ROOT, name, content);
    }
    let ino = drive.volume.lookup(Ino::ROOT, b"copied").unwrap().ino;
    let from = drive.volume.open(ino, READ_WRITE).unwrap();
    let (_, to) = drive.create(Ino::ROOT, "copy");
    ["written", "copied", "gone"].iter().for_each(|name| drive.remove(name));
    drive.clock.advance(DAY);
    // Condemned, and waiting.
    let grace = DAY * 2;
    assert_eq!(drive.volume.upkeep(None, grace, &Unattended).unwrap().chunks_removed, 0);
    let copied = drive.volume.copy_range(from, 0, to, 0, 700_000).unwrap();
    assert_eq!(copied, 700_000);
    drive.volume.release(from).unwrap();
    let (_, again) = drive.create(Ino::ROOT, "again");
    drive.volume.write(again, 0, &contents[0]).unwrap();
    drive.volume.seal_all(&drive.volume.nodes.all()[0]).unwrap();
    drive.volume.seal_all(&drive.volume.nodes.all()[1]).unwrap();
    drive.clock.advance(DAY * 3);
    let report = drive.volume.upkeep(None, grace, &Unattended).unwrap();
    assert!(report.chunks_removed > 3, "{report:?}");
    for handle in [again, to] {
        drive.volume.flush(handle).unwrap();
        drive.volume.release(handle).unwrap();
    }
    assert!(drive.load(Ino::ROOT, "again") == contents[0]);
    assert!(drive.load(Ino::ROOT, "copy") == contents[1]);
    let drive = drive.crash();
    assert!(drive.load(Ino::ROOT, "again") == contents[0]);
    drive.tidy();
}

/// Writers who bring the same few contents again and again, while all that is deleted goes at once.
#[test]
fn nobody_loses_a_chunk_to_upkeep() {
    let drive = drive_with(Duration::ZERO, vec![]);
    let (over, has_removed) = (AtomicBool::new(false), AtomicBool::new(false));
    let contents: Vec<Vec<u8>> = (1..=4).map(|n| noise(n, 300_000)).collect();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|n| {
                let (drive, contents, has_removed) = (&drive, &contents, &has_removed);
                scope.spawn(move || {
                    let mut choices = Choices(n);
                    let name = format!("f{n}");
                    // On a busy machine its turn may come late.
                    for _ in
                        (0..10_000).take_while(|&r| r < 60 || !has_removed.load(Ordering::SeqCst))
                    {
                        let content = &contents[choices.below(4) as usize];
                        drive.save(Ino::ROOT, &name, content);
                        assert!(drive.load(Ino::ROOT, &name) == *content);
                        drive.clock.advance(Duration::from_millis(5));
                        drive.remove(&name);
                    }
                    drive.save(Ino::ROOT, &name, &contents[n as usize]);
                })
            })
            .collect();
        let tidier = scope.spawn(|| {
            let mut total = UpkeepReport::default();
            while !over.load(Ordering::SeqCst) {
                let report = drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
                total.chunks_removed += report.chunks_removed;
                total.chunks_moved += report.chunks_moved;
                total.packs_removed += report.packs_removed;
                has_removed.store(total.packs_removed > 0, Ordering::SeqCst);
            }
            total
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        over.store(true, Ordering::SeqCst);
        let total = tidier.join().unwrap();
        drive.clock.advance(Duration::from_secs(1));
        let rest = drive.tidy();
        assert!(total.chunks_removed > 0 && total.packs_removed > 0, "{total:?}, {rest:?}");
    });
    let drive = drive.crash();
    for (n, content) in contents.iter().enumerate().take(3) {
        assert!(drive.load(Ino::ROOT, &format!("f{n}")) == *content);
    }
}

/// Between a look and what follows from it somebody may bring a file back, or delete one only just now.
#[test]
fn what_lives_or_ended_later_keeps_its_content() {
    let drive = drive_with(DAY, vec![]);
    let volume = &drive.volume;
    let content = noise(1, 200_000);
    let living = drive.save(Ino::ROOT, "living", &content).ino;
    let ended = drive.save(Ino::ROOT, "ended", &content).ino;
    let horizon = volume.meta.last_moment();
    drive.remove("ended");
    let drop_both = |tx: &crate::meta::Tx<'_>| -> Result<()> {
        tx.drop_history(living, Moment(i64::MAX), &[])?;
        tx.drop_history(ended, horizon, &[])?;
        Ok(())
    };
    volume.meta.write(volume.now(), drop_both).unwrap();
    assert!(drive.load(Ino::ROOT, "living") == content);
    let mut at = Ino::ROOT;
    for name in [b".versions".as_slice(), b"@deleted", b"ended"] {
        at = volume.lookup(at, name).unwrap().ino;
    }
    assert!(super::history_oracle::content(volume, at) == content);
}

/// Files of the store that hold `needle`.
fn holding(drive: &Drive, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![drive.dir.path().join("store")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(needle.len()).any(|window| window == needle)
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn what_is_erased_is_nowhere() {
    let drive = drive_with(DAY * 30, vec![]);
    let volume = &drive.volume;
    let dir = volume.mkdir(&ROOT, Ino::ROOT, b"a folder of Anna", 0o755).unwrap().ino;
    let (secret, other) = (noise(1, 300_000), noise(2, 900_000));
    drive.save(Ino::ROOT, "stays", &other);
    drive.save(dir, "secret plan.txt", &secret);
    drive.save(dir, "secret plan.txt", &other[..500_000]);
    volume.setxattr(&ROOT, dir, b"user.verso.pin.kept", b"", XattrMode::Set).unwrap();
    volume.unlink(dir, b"secret plan.txt").unwrap();
    let path = b"a folder of Anna/secret plan.txt";
    volume.sync_all().unwrap();
    assert_ne!(holding(&drive, b"secret plan").is_empty(), test_key().is_none());
    assert_ne!(holding(&drive, &secret[100_000..100_032]).is_empty(), test_key().is_none());
    let report = volume.erase_history(path, &Unattended).unwrap();
    assert!(report.erased == 1 && report.packs_left == 0 && report.bytes_freed > 0, "{report:?}");
    assert_eq!(holding(&drive, b"secret plan"), Vec::<std::path::PathBuf>::new());
    assert_eq!(holding(&drive, &secret[100_000..100_032]), Vec::<std::path::PathBuf>::new());
    assert_eq!(volume.meta.count("erasure"), 1);
    drive.tidy();
    assert!(drive.load(Ino::ROOT, "stays") == other);
    // A folder, with everything that was in it; and the past of what lives.
    drive.save(dir, "second secret", &secret);
    drive.save(Ino::ROOT, "stays", b"anew");
    volume.unlink(dir, b"second secret").unwrap();
    volume.rmdir(Ino::ROOT, b"a folder of Anna").unwrap();
    volume.erase_history(b"a folder of Anna", &Unattended).unwrap();
    volume.erase_history(b"stays", &Unattended).unwrap();
    for needle in
        [&b"folder of Anna"[..], b"second secret", &secret[9000..9032], &other[9000..9032]]
    {
        assert_eq!(holding(&drive, needle), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(drive.version_count("stays"), 1);
    assert!(matches!(volume.erase_history(b"a folder of Anna", &Unattended), Err(Error::NotFound)));
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "stays"), b"anew");
    drive.tidy();
}

/// A stop of the daemon, for example. Nothing of the name is left then that would lead to the rest.
#[test]
fn an_erase_that_was_stopped_is_finished_by_the_next_one_or_by_upkeep() {
    for by_upkeep in [false, true] {
        let drive = drive_with(DAY * 30, vec![]);
        let (secret, other) = (noise(1, 50_000), noise(2, 900_000));
        // Of its pack most is needed: it is not emptied for its own sake.
        drive.save(Ino::ROOT, "stays", &other);
        drive.save(Ino::ROOT, "secret plan", &secret);
        drive.remove("secret plan");
        let stopped = drive.volume.erase_history(b"secret plan", &Until(|| true)).unwrap();
        assert!(stopped.erased == 1 && stopped.packs_left > 0, "{stopped:?}");
        let needle = &secret[20_000..20_032];
        assert_ne!(holding(&drive, needle).is_empty(), test_key().is_none());
        let drive = drive.crash();
        let again = |path: &[u8]| drive.volume.erase_history(path, &Unattended);
        if by_upkeep {
            drive.volume.upkeep(None, DAY, &Unattended).unwrap();
        } else {
            assert_eq!(again(b"secret plan").unwrap().packs_left, 0);
        }
        for needle in [b"secret plan", needle] {
            assert_eq!(holding(&drive, needle), Vec::<std::path::PathBuf>::new());
        }
        assert!(matches!(again(b"secret plan"), Err(Error::NotFound)));
        assert!(drive.load(Ino::ROOT, "stays") == other);
        drive.tidy();
    }
}
