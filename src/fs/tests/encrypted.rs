//! Encrypted stores: what unlocks them, and that nothing else does.

use super::*;
use crate::crypt::{RecoveryKey, SlotKind};
use crate::sys::Unattended;
use std::path::{Path, PathBuf};

fn typed(text: &str) -> Arc<Secret> {
    Arc::new(Secret::read(SecretKind::Typed, text.as_bytes()).unwrap())
}

fn key_file(byte: u8) -> Arc<Secret> {
    Arc::new(Secret::read(SecretKind::KeyFile, &[byte; 32][..]).unwrap())
}

pub(super) fn new_key(secret: &Arc<Secret>) -> NewKey {
    NewKey { secret: Arc::clone(secret), label: "test".into(), unlock_time: Duration::ZERO }
}

/// An encrypted store that is closed.
struct Locker {
    dir: TempDir,
    clock: Arc<ManualClock>,
}

impl Locker {
    fn new(secret: &Arc<Secret>) -> Locker {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_790_000_000_000_000_000)));
        let encryption = Some(new_key(secret));
        let options = CreateOptions { encryption, ..CreateOptions::default() };
        create_store(&dir.path().join("store"), &options, &*clock).unwrap();
        Locker { dir, clock }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn try_open(&self, secret: &Arc<Secret>) -> std::result::Result<Arc<Volume>, StoreError> {
        let options = VolumeOptions { secret: Some(Arc::clone(secret)), ..options() };
        Volume::open_store(&self.store(), options, self.clock.clone())
    }

    fn open(self, secret: &Arc<Secret>) -> Drive {
        let volume = self.try_open(secret).unwrap();
        Drive { dir: self.dir, clock: self.clock, volume }
    }

    fn opens(&self, secret: &Arc<Secret>) -> bool {
        unlock(&self.store(), secret).is_ok()
    }

    fn add(&self, have: &Secret, new: &Arc<Secret>) -> u32 {
        add_key(&self.store(), have, &new_key(new), &*self.clock).unwrap()
    }

    fn rotate(&self, secrets: &[Arc<Secret>], drop: &[u32]) -> std::result::Result<(), StoreError> {
        rotate(&self.store(), secrets, drop, options(), self.clock.clone())
    }
}

/// Closes the drive; the store stays.
fn shut(drive: Drive) -> Locker {
    drive.volume.close().unwrap();
    let Drive { dir, clock, volume } = drive;
    let weak = Arc::downgrade(&volume);
    drop(volume);
    while weak.strong_count() > 0 {
        std::thread::yield_now();
    }
    Locker { dir, clock }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn what_was_written_comes_back_with_the_right_secret_only() {
    let secret = typed("correct horse");
    let drive = Locker::new(&secret).open(&secret);
    let content = noise(1, 300_000);
    drive.save(Ino::ROOT, "hero.psd", &content);
    let locker = shut(drive);
    for wrong in [typed("correct horses"), key_file(1), typed(&RecoveryKey::generate().text())] {
        assert!(matches!(locker.try_open(&wrong), Err(StoreError::WrongKey(_))));
    }
    let no_secret = VolumeOptions { secret: None, ..options() };
    let without = Volume::open_store(&locker.store(), no_secret, locker.clock.clone());
    assert!(matches!(without, Err(StoreError::KeyNeeded(_))));
    let drive = locker.open(&secret);
    assert!(drive.load(Ino::ROOT, "hero.psd") == content);
    assert!(drive.volume.status().unwrap().encryption.is_some());
}

#[test]
fn no_file_of_the_store_shows_a_name_or_a_content() {
    let secret = typed("correct horse");
    let drive = Locker::new(&secret).open(&secret);
    let text = b"a client's unpublished words, again and again. ".repeat(2000);
    let raw = noise(7, 50_000);
    drive.save(Ino::ROOT, "unpublished-client.txt", &text);
    drive.save(Ino::ROOT, "unpublished-client.raw", &raw);
    let identity = *blake3::hash(&raw).as_bytes();
    let known: [&[u8]; 6] = [
        b"unpublished-client",
        b"a client's unpublished words",
        &raw[1000..1016],
        &zstd::bulk::compress(&text[..16 << 10], 3).unwrap()[12..28],
        &identity[..16],
        b"correct horse",
    ];
    let look = |store: &Path, when: &str| {
        for file in files_below(store) {
            let bytes = std::fs::read(&file).unwrap();
            for (number, secret) in known.iter().enumerate() {
                let shows = bytes.windows(secret.len()).any(|window| window == *secret);
                assert!(!shows, "{} shows {number} {when}", file.display());
            }
        }
    };
    look(&drive.dir.path().join("store"), "while it is open");
    drive.volume.meta.checkpoint().unwrap();
    look(&drive.dir.path().join("store"), "after a checkpoint");
    let locker = shut(drive);
    look(&locker.store(), "when it is closed");
}

#[test]
fn each_key_opens_until_it_is_removed() {
    let (first, second) = (typed("correct horse"), key_file(9));
    let locker = Locker::new(&first);
    let id = locker.add(&first, &second);
    let (_, recovery) = add_recovery_key(&locker.store(), &second, "safe", &*locker.clock).unwrap();
    let recovery = typed(&recovery.text());
    assert!(locker.opens(&first) && locker.opens(&second) && locker.opens(&recovery));
    let kinds: Vec<SlotKind> = keys(&locker.store()).unwrap().iter().map(|key| key.kind).collect();
    assert_eq!(kinds, [SlotKind::Passphrase, SlotKind::KeyFile, SlotKind::Recovery]);

    remove_key(&locker.store(), &recovery, id).unwrap();
    assert!(locker.opens(&first) && !locker.opens(&second));
    remove_key(&locker.store(), &recovery, 1).unwrap();
    let last = remove_key(&locker.store(), &recovery, 3);
    assert!(matches!(last, Err(StoreError::LastKey(_))));
    let drive = locker.open(&recovery);
    drive.save(Ino::ROOT, "a", b"a");
}

#[test]
fn a_changed_key_takes_the_place_of_the_one_that_opened() {
    let (first, second, third) = (typed("correct horse"), key_file(9), typed("battery staple"));
    let locker = Locker::new(&first);
    locker.add(&first, &second);
    let id = change_key(&locker.store(), &first, &new_key(&third), &*locker.clock).unwrap();
    assert!(!locker.opens(&first) && locker.opens(&second) && locker.opens(&third));
    assert_eq!(
        keys(&locker.store()).unwrap().iter().map(|key| key.id).collect::<Vec<_>>(),
        [2, id]
    );
    let weak = change_key(&locker.store(), &third, &new_key(&typed("short")), &*locker.clock);
    assert!(matches!(weak, Err(StoreError::WeakKey(_))) && locker.opens(&third));
    for label in ["two\nlines".to_owned(), "l".repeat(101)] {
        let new = NewKey { label, ..new_key(&first) };
        let refused = add_key(&locker.store(), &third, &new, &*locker.clock);
        assert!(matches!(refused, Err(StoreError::BadLabel)));
    }
    let unknown = remove_key(&locker.store(), &third, 77);
    assert!(matches!(unknown, Err(StoreError::NoSuchKey { id: 77, .. })));
}

#[test]
fn a_mistyped_recovery_key_is_told_from_a_wrong_one() {
    let secret = typed("correct horse");
    let locker = Locker::new(&secret);
    let (_, key) = add_recovery_key(&locker.store(), &secret, "", &*locker.clock).unwrap();
    let mut text = key.text().to_string();
    let other = if text.starts_with('A') { "B" } else { "A" };
    text.replace_range(0..1, other);
    let mistyped = unlock(&locker.store(), &typed(&text));
    assert!(matches!(mistyped, Err(StoreError::Mistyped { group: 1, .. })));
}

#[test]
fn a_header_put_back_from_yesterday_is_refused() {
    let (leaver, stays) = (typed("correct horse"), key_file(9));
    let locker = Locker::new(&leaver);
    locker.add(&leaver, &stays);
    let names = ["store.toml", "store.copy.toml"];
    let read = |name| std::fs::read(locker.store().join(name)).unwrap();
    let yesterday = names.map(read);
    remove_key(&locker.store(), &stays, 1).unwrap();
    let locker = shut(locker.open(&stays));
    let today = names.map(|name| std::fs::read(locker.store().join(name)).unwrap());
    for (name, text) in names.iter().zip(&yesterday) {
        std::fs::write(locker.store().join(name), text).unwrap();
    }
    for secret in [&leaver, &stays] {
        let refused = locker.try_open(secret);
        assert!(matches!(refused, Err(StoreError::OldHeader { .. })));
    }
    std::fs::write(locker.store().join(names[1]), &today[1]).unwrap();
    assert!(!locker.opens(&leaver));
    let locker = shut(locker.open(&stays));
    let mended = std::fs::read(locker.store().join(names[0])).unwrap();
    assert!(mended == today[0], "the newer copy counts, and mends the other one");
}

#[test]
fn an_old_header_is_accepted_by_who_says_so_and_has_a_key_of_it() {
    let (secret, other) = (typed("correct horse"), key_file(9));
    let locker = shut(Locker::new(&secret).open(&secret));
    let yesterday = std::fs::read(locker.store().join("store.toml")).unwrap();
    locker.add(&secret, &other);
    locker.add(&secret, &other);
    let drive = locker.open(&other);
    drive.save(Ino::ROOT, "a", b"kept");
    let locker = shut(drive);
    let accept = |secret| accept_header(&locker.store(), secret, &*locker.clock);
    assert!(!accept(&secret).unwrap(), "this is no old one");
    for name in ["store.toml", "store.copy.toml"] {
        std::fs::write(locker.store().join(name), &yesterday).unwrap();
    }
    assert!(matches!(locker.try_open(&secret), Err(StoreError::OldHeader { .. })));
    assert!(matches!(accept(&other), Err(StoreError::WrongKey(_))));
    assert!(accept(&secret).unwrap());
    let drive = locker.open(&secret);
    assert_eq!(drive.load(Ino::ROOT, "a"), b"kept");
    drop(shut(drive).open(&secret));
}

#[test]
fn a_header_whose_keys_somebody_else_changed_is_refused() {
    let secret = typed("correct horse");
    let (ours, theirs) = (Locker::new(&secret), Locker::new(&secret));
    for name in ["store.toml", "store.copy.toml"] {
        std::fs::copy(theirs.store().join(name), ours.store().join(name)).unwrap();
    }
    // It is a header of another store, and what is here doesn't open with its keys.
    assert!(ours.try_open(&secret).is_err());
    let drive = theirs.open(&secret);
    drive.save(Ino::ROOT, "a", b"a");
}

#[test]
fn a_new_master_key_leaves_every_version_readable_at_each_step() {
    let (secret, file, gone) = (typed("correct horse"), key_file(9), typed("somebody who left"));
    let locker = Locker::new(&secret);
    locker.add(&secret, &file);
    locker.add(&secret, &gone);
    let drive = locker.open(&secret);
    let contents: Vec<Vec<u8>> = (1..6).map(|seed| noise(seed, 90_000)).collect();
    for (number, content) in contents.iter().enumerate() {
        drive.save(Ino::ROOT, &format!("file {number}"), content);
    }
    let locker = shut(drive);
    let left = locker.rotate(&[Arc::clone(&secret), Arc::clone(&file)], &[]);
    assert!(matches!(left, Err(StoreError::SlotsLeft { ids, .. }) if ids == [3]));
    assert!(locker.opens(&gone));
    locker.rotate(&[Arc::clone(&secret), Arc::clone(&file)], &[3]).unwrap();
    assert!(locker.opens(&secret) && locker.opens(&file) && !locker.opens(&gone));

    let drive = locker.open(&file);
    let verify = |drive: &Drive| {
        for (number, content) in contents.iter().enumerate() {
            assert!(drive.load(Ino::ROOT, &format!("file {number}")) == *content);
        }
    };
    let encryption = |drive: &Drive| drive.volume.status().unwrap().encryption.unwrap();
    assert_eq!((encryption(&drive).epoch, encryption(&drive).old_keys_in_use), (2, true));
    verify(&drive);
    drive.save(Ino::ROOT, "after", b"sealed with the new key");
    while encryption(&drive).old_keys_in_use {
        drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
        verify(&drive);
    }
    drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    let locker = shut(drive);
    let header = std::fs::read_to_string(locker.store().join("store.toml")).unwrap();
    assert!(!header.contains("encryption.old"), "{header}");
    let drive = locker.open(&secret);
    verify(&drive);
    assert_eq!(drive.load(Ino::ROOT, "after"), b"sealed with the new key");
}

const HEADERS: [&str; 2] = ["store.toml", "store.copy.toml"];

fn headers(store: &Path) -> [String; 2] {
    HEADERS.map(|name| std::fs::read_to_string(store.join(name)).unwrap())
}

fn put_headers(store: &Path, texts: &[String; 2]) {
    for (name, text) in HEADERS.iter().zip(texts) {
        std::fs::write(store.join(name), text).unwrap();
    }
}

/// Upkeep until no pack has an old key, and once more.
fn renew(drive: &Drive) {
    for _ in 0..20 {
        drive.volume.upkeep(None, Duration::ZERO, &Unattended).unwrap();
    }
}

#[test]
fn metadata_that_cannot_be_encrypted_anew_opens_and_keeps_its_keys() {
    let secret = typed("correct horse");
    let drive = Locker::new(&secret).open(&secret);
    drive.save(Ino::ROOT, "a", b"content");
    let locker = shut(drive);
    // As good as a full disk.
    let in_the_way = locker.store().join("meta.db.rekey");
    std::fs::create_dir(&in_the_way).unwrap();
    locker.rotate(&[Arc::clone(&secret)], &[]).unwrap();
    let drive = locker.open(&secret);
    renew(&drive);
    assert_eq!(drive.load(Ino::ROOT, "a"), b"content");
    assert!(drive.volume.old_keys_in_use().unwrap());
    let locker = shut(drive);
    assert!(headers(&locker.store())[0].contains("encryption.old"));
    std::fs::remove_dir(&in_the_way).unwrap();
    let drive = locker.open(&secret);
    renew(&drive);
    assert!(!drive.volume.old_keys_in_use().unwrap());
    let locker = shut(drive);
    assert!(!headers(&locker.store())[0].contains("encryption.old"));
    assert_eq!(locker.open(&secret).load(Ino::ROOT, "a"), b"content");
}

#[test]
fn an_open_store_does_not_make_an_old_header_new() {
    let (leaver, stays) = (typed("correct horse"), key_file(9));
    let locker = Locker::new(&leaver);
    locker.add(&leaver, &stays);
    let locker = shut({
        let drive = locker.open(&stays);
        drive.save(Ino::ROOT, "a", b"content");
        drive
    });
    locker.rotate(&[Arc::clone(&leaver), Arc::clone(&stays)], &[]).unwrap();
    let yesterday = headers(&locker.store());
    remove_key(&locker.store(), &stays, 1).unwrap();
    let drive = locker.open(&stays);
    let today = headers(&drive.dir.path().join("store"));
    put_headers(&drive.dir.path().join("store"), &yesterday);
    renew(&drive);
    assert!(!drive.volume.old_keys_in_use().unwrap());
    let locker = shut(drive);
    assert!(headers(&locker.store()) == yesterday);
    assert!(locker.try_open(&leaver).is_err());
    put_headers(&locker.store(), &today);
    assert_eq!(locker.open(&stays).load(Ino::ROOT, "a"), b"content");
}

#[test]
fn a_forged_header_beside_an_open_store_is_not_noted() {
    let secret = typed("correct horse");
    let drive = Locker::new(&secret).open(&secret);
    let store = drive.dir.path().join("store");
    let ours = headers(&store);
    let forged = ours[0].replace("generation = 1", "generation = 999");
    let (text, _) = forged.rsplit_once("\n[seal]\n").unwrap();
    let mac = "00".repeat(32);
    let blake3 = crate::crypt::digest(text.as_bytes());
    let forged = format!("{text}\n[seal]\nmac = \"{mac}\"\nblake3 = \"{blake3}\"\n");
    put_headers(&store, &[forged.clone(), forged]);
    drive.volume.note_header();
    put_headers(&store, &ours);
    drop(shut(shut(drive).open(&secret)));
}

#[test]
fn a_header_of_which_there_is_one_copy_may_still_be_lost() {
    let secret = typed("correct horse");
    let locker = Locker::new(&secret);
    let [before, _] = headers(&locker.store());
    locker.add(&secret, &key_file(9));
    // As a kill between the two leaves it, and nothing can be written.
    std::fs::write(locker.store().join(HEADERS[1]), &before).unwrap();
    let in_the_way = locker.store().join(".store.copy.toml.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    let drive = locker.open(&secret);
    drive.save(Ino::ROOT, "a", b"content");
    let locker = shut(drive);
    put_headers(&locker.store(), &[before.clone(), before]);
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(locker.open(&secret).load(Ino::ROOT, "a"), b"content");
}

#[test]
fn a_key_is_changed_as_soon_as_one_copy_says_so() {
    let (old, new) = (typed("correct horse"), typed("battery staple"));
    let locker = Locker::new(&old);
    let in_the_way = locker.store().join(".store.copy.toml.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    change_key(&locker.store(), &old, &new_key(&new), &*locker.clock).unwrap();
    assert!(locker.opens(&new) && !locker.opens(&old));
    std::fs::remove_dir(&in_the_way).unwrap();
    let locker = shut(locker.open(&new));
    let [first, second] = headers(&locker.store());
    assert!(first == second);
}

#[test]
fn a_removed_key_cannot_be_put_after_the_seal() {
    let (leaver, stays) = (typed("correct horse"), key_file(9));
    let locker = Locker::new(&leaver);
    locker.add(&leaver, &stays);
    let yesterday = headers(&locker.store()).map(|text| {
        let begin = text.find("[[encryption.key]]").unwrap();
        let len = text[begin + 1..].find("[[encryption.key]]").unwrap();
        text[begin..=begin + len].to_owned()
    });
    remove_key(&locker.store(), &stays, 1).unwrap();
    let [main, copy] = headers(&locker.store());
    let [slot, _] = yesterday;
    put_headers(&locker.store(), &[format!("{main}\n{slot}"), format!("{copy}\n{slot}")]);
    assert!(!locker.opens(&leaver));
}

#[test]
fn a_plain_store_has_no_keys() {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(1_790_000_000_000_000_000)));
    create_store(dir.path(), &CreateOptions::default(), &*clock).unwrap();
    assert!(!is_encrypted(dir.path()).unwrap());
    assert!(matches!(keys(dir.path()), Err(StoreError::NotEncrypted(_))));
    // A key that isn't needed is no mistake: a server may have one for several stores.
    let options = VolumeOptions { secret: Some(key_file(1)), ..options() };
    let volume = Volume::open_store(dir.path(), options, clock).unwrap();
    assert!(volume.status().unwrap().encryption.is_none());
    volume.close().unwrap();
}
