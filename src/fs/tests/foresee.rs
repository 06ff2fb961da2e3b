//! What is foreseen is what happens then: previews, and what comes free when, against upkeep itself.

use super::rewind::{Choices, change};
use super::upkeep::DAY;
use super::*;
use crate::meta::{Period, Place, View};
use crate::model::{FileKind, Keep, Moment, Policy, Step};
use crate::sys::Unattended;
use std::collections::{BTreeMap, BTreeSet};

const HOUR: Duration = Duration::from_secs(3600);

fn policy() -> Policy {
    let weekly = Step { age_max: Some(DAY * 60), keep: Keep::LastOf(DAY * 7) };
    Policy { floor: DAY * 20, thinning: vec![weekly], versions_max: None, bytes_max: None }
}

/// A random life of some months, in folders that come and go, with `tidied` so many times in between.
fn lived(seed: u64, retention: Policy, tidied: u64) -> Drive {
    let drive = Drive::with(VolumeOptions {
        retention,
        coalesce: Duration::ZERO,
        pack_bytes: 1 << 20,
        ..options()
    });
    let mut choices = Choices(seed);
    let mut directories = vec![Ino::ROOT];
    for step in 0..160 {
        drive.clock.advance(HOUR * choices.below(30) as u32);
        change(&drive.volume, &mut choices, &directories);
        let parent = directories[choices.below(directories.len() as u64) as usize];
        if let Ok(found) = drive.volume.lookup(parent, &[b'A' + choices.below(3) as u8]) {
            directories.push(found.ino);
        }
        directories.retain(|dir| drive.volume.getattr(*dir).is_ok_and(|attr| attr.nlink > 0));
        if tidied > 0 && step % (160 / tidied) == 60 {
            drive.tidy();
        }
    }
    drive.volume.commit_deferred().unwrap();
    drive
}

/// A content that a name showed: folder, name, inode, when the name got it, and when the content began.
type Version = (Ino, Vec<u8>, Ino, Moment, Moment);

/// Every version that a name shows or showed.
fn versions(volume: &Volume) -> BTreeSet<Version> {
    volume.meta.snapshot(|view| -> Result<_> { Ok(versions_in(view)) }).unwrap()
}

fn versions_in(view: &View<'_>) -> BTreeSet<Version> {
    let first = Place { parent: Ino(0), slot: i64::MIN };
    let mut holdings = view.past_holdings(first, 100_000).unwrap();
    holdings.extend(view.living_holdings(first, 100_000).unwrap());
    let places: BTreeSet<Place> = holdings.iter().map(|holding| holding.place).collect();
    let mut found = BTreeSet::new();
    for place in places {
        for name in view.names_at_place(place).unwrap() {
            for period in view.name_periods(place.parent, &name).unwrap() {
                let since = contents(view, &period).into_iter();
                found.extend(since.map(|content| {
                    (place.parent, name.clone(), period.ino, period.since, content)
                }));
            }
        }
    }
    found
}

/// When the contents began that a name showed while it held an inode.
fn contents(view: &View<'_>, period: &Period) -> Vec<Moment> {
    if period.kind != FileKind::File {
        return vec![period.since];
    }
    let end = period.until.unwrap_or(Moment(i64::MAX));
    let states = view.content_states(period.ino).unwrap();
    let shown = states.iter().enumerate().filter(|(at, state)| {
        let began = if *at == 0 { period.since } else { state.since.max(period.since) };
        let is_version = state.inode.saved.is_cut || state.until.is_none();
        is_version && began < state.until.unwrap_or(end).min(end)
    });
    shown.map(|(_, state)| state.since).collect()
}

/// What the preview says goes, and nothing else does.
fn preview_and_tidy(drive: &Drive, floor: Option<Duration>) -> Preview {
    let volume = &drive.volume;
    let (preview, before) = (volume.preview(floor, 100_000).unwrap(), versions(volume));
    let used = volume.bytes_in_use_of_all();
    assert_eq!(volume.preview(floor, 100_000).unwrap(), preview, "nothing was changed");
    let report = volume.upkeep(floor, Duration::ZERO, &Unattended).unwrap();
    let left = versions(volume);
    let gone: Vec<&Version> = before.difference(&left).collect();
    assert_eq!(preview.versions, gone.len() as u64, "{preview:#?} {gone:?}");
    let names: BTreeSet<_> = gone.iter().map(|version| (version.0, &version.1)).collect();
    assert!(preview.names >= names.len() as u64, "{preview:#?} {names:?}");
    assert_eq!((preview.rows, preview.chunks), (report.rows_dropped, report.chunks_removed));
    assert_eq!(preview.bytes, used - volume.bytes_in_use_of_all());
    let told: (u64, u64) = (
        preview.going.iter().map(|going| going.versions).sum(),
        preview.going.iter().map(|going| going.bytes).sum(),
    );
    assert_eq!((told.0, preview.left_out), (preview.versions, 0));
    assert_eq!(told.1, preview.by_rule.iter().map(|sum| sum.bytes).sum::<u64>());
    assert!(told.1 + preview.unused_bytes <= preview.bytes, "{preview:#?}");
    preview
}

#[test]
fn what_the_preview_says_goes_and_nothing_else() {
    let mut rules: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..8 {
        let drive = lived(seed, policy(), seed % 4);
        let mut tidy = |floor| {
            let preview = preview_and_tidy(&drive, floor);
            for sum in preview.by_rule {
                *rules.entry(sum.rule).or_default() += sum.bytes;
            }
        };
        tidy(None);
        drive.clock.advance(DAY * 9);
        tidy(None);
        tidy(Some(DAY * 3));
        tidy(Some(Duration::ZERO));
        let again = drive.volume.preview(None, 10).unwrap();
        assert_eq!((again.bytes, again.versions), (0, 0), "{again:#?}");
        drive.tidy();
    }
    assert!(rules["beyond every rule"] > 1 << 20, "{rules:?}");
}

/// It would be the newest of its week, but no way leads to it any more.
#[test]
fn what_was_in_a_folder_goes_with_it() {
    let weekly = Step { age_max: None, keep: Keep::LastOf(DAY * 7) };
    let drive = Drive::with(VolumeOptions {
        retention: Policy { thinning: vec![weekly], ..policy() },
        ..options()
    });
    for n in 0..2 {
        let dir = drive.volume.mkdir(&ROOT, Ino::ROOT, b"d", 0o755).unwrap().ino;
        drive.clock.advance(HOUR);
        drive.save(dir, "f", &noise(n, 100_000));
        drive.clock.advance(HOUR);
        drive.volume.unlink(dir, b"f").unwrap();
        drive.volume.rmdir(Ino::ROOT, b"d").unwrap();
    }
    drive.clock.advance(DAY * 21);
    let preview = preview_and_tidy(&drive, None);
    let told = preview.going.iter().map(|going| (&*going.path, &*going.rule, &going.numbers[..]));
    let expected = [("d/f", "its folder is gone", &[1][..]), ("d", "beyond every rule", &[])];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert!(preview.going[0].bytes > 100_000, "{preview:?}");
}

#[test]
fn limits_are_foreseen_too() {
    for seed in 20..22 {
        let limited = Policy { versions_max: Some(2), floor: DAY * 2, ..policy() };
        let preview = preview_and_tidy(&lived(seed, limited, 1), None);
        let rules: Vec<&str> = preview.by_rule.iter().map(|sum| &*sum.rule).collect();
        assert!(rules.contains(&"over the limit of 2 versions"), "{rules:?}");
    }
}

#[test]
fn the_largest_are_told_and_the_sums_are_whole() {
    let drive = lived(3, policy(), 0);
    let all = drive.volume.preview(Some(DAY), 100_000).unwrap();
    let some = drive.volume.preview(Some(DAY), 3).unwrap();
    assert_eq!(some.going, all.going[..3]);
    assert!(all.going.is_sorted_by(|a, b| a.bytes >= b.bytes) && all.going[0].bytes > 0);
    assert_eq!(some.left_out, all.going.len() as u64 - 3);
    assert_eq!((&some.by_rule, some.bytes), (&all.by_rule, all.bytes));
    assert_eq!(drive.volume.preview(Some(DAY), 0).unwrap().going, []);
}

#[test]
fn what_comes_free_within_some_days_is_what_upkeep_frees_then() {
    for (seed, tidied) in [(7, 0), (8, 1)] {
        for n in 0..4 {
            let drive = lived(seed, policy(), tidied);
            let volume = &drive.volume;
            let room = volume.room().unwrap();
            let used = volume.bytes_in_use_of_all();
            assert_eq!(room.living_bytes + room.history_bytes + room.unused_bytes, used);
            let coming = room.coming[n];
            drive.clock.advance(DAY * coming.days);
            let report = drive.tidy();
            assert_eq!(report.chunks_removed, coming.chunks, "{room:?}");
            assert_eq!(used - volume.bytes_in_use_of_all(), coming.bytes, "{room:?}");
            assert!(room.coming.is_sorted_by_key(|coming| coming.bytes));
            let last = room.coming[3].bytes;
            assert_eq!(last + room.lasting_bytes, room.history_bytes + room.unused_bytes);
        }
    }
}

#[test]
fn what_the_room_is_for() {
    let drive = Drive::with(VolumeOptions { retention: policy(), ..options() });
    let volume = &drive.volume;
    drive.save(Ino::ROOT, "lives", &noise(1, 300_000));
    drive.save(Ino::ROOT, "copy", &noise(1, 300_000));
    drive.save(Ino::ROOT, "gone", &noise(2, 200_000));
    drive.save(Ino::ROOT, "pinned", &noise(3, 100_000));
    let pin = b"user.verso.pin.kept".as_slice();
    volume.setxattr(&ROOT, Ino::ROOT, pin, b"", XattrMode::Set).unwrap();
    drive.clock.advance(DAY);
    drive.save(Ino::ROOT, "later", &noise(4, 50_000));
    drive.clock.advance(DAY);
    ["gone", "pinned", "copy", "later"]
        .iter()
        .for_each(|name| volume.unlink(Ino::ROOT, name.as_bytes()).unwrap());
    let about = |bytes: u64, of: u64| assert!((of..of + of / 50).contains(&bytes), "{bytes}");
    let room = volume.room().unwrap();
    about(room.living_bytes, 300_000);
    about(room.history_bytes, 350_000);
    about(room.lasting_bytes, 300_000);
    assert_eq!(room.coming.iter().map(|coming| coming.days).collect::<Vec<_>>(), [0, 7, 30, 365]);
    assert_eq!((room.coming[1].bytes, room.unused_bytes), (0, 0));
    // Of what was not pinned the end of its week stays for 60 days.
    assert_eq!(room.coming[2].bytes, 0);
    about(room.coming[3].bytes, 50_000);
}

/// A picture that is painted over: its saves are differences, and of the last one left the base goes as well.
#[test]
fn what_is_stored_as_a_difference_is_counted_as_it_will_be() {
    let drive = Drive::with(VolumeOptions {
        retention: Policy { thinning: vec![], ..policy() },
        coalesce: Duration::ZERO,
        pack_bytes: 1 << 20,
        ..options()
    });
    let mut content = noise(1, 1 << 20);
    for n in 0..4 {
        drive.save(Ino::ROOT, "picture", &content);
        drive.clock.advance(DAY);
        for (row, bytes) in content.chunks_mut(9000).enumerate().skip(20).take(60) {
            bytes[2000..2500].copy_from_slice(&noise(100 * n + row as u64, 500));
        }
    }
    let bases = |volume: &Volume| {
        let mut bases = BTreeSet::new();
        let each = &mut |_, base| {
            bases.insert(base);
        };
        volume.meta.read(|view| view.each_difference(each)).unwrap();
        bases.len()
    };
    assert!(bases(&drive.volume) > 3);
    let (used, coming) = (drive.volume.bytes_in_use_of_all(), drive.volume.room().unwrap().coming);
    // The first goes, and is the base of others; then these, but for the last.
    drive.clock.advance(DAY * 17 + HOUR);
    let mut freed = preview_and_tidy(&drive, None).bytes;
    assert!(bases(&drive.volume) > 3);
    for _ in 0..2 {
        drive.clock.advance(DAY);
        freed += preview_and_tidy(&drive, None).bytes;
    }
    assert_eq!(bases(&drive.volume), 0);
    assert_eq!(used - drive.volume.bytes_in_use_of_all(), freed);
    assert!(freed > 50_000 && coming[1].bytes == 0, "{freed}, {coming:?}");
    assert_eq!(coming[2].bytes, freed);
}
