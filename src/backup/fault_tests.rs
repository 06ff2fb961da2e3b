//! What must not make a backup one that can't be restored, nor a restore one that loses something.

use super::*;
use std::os::unix::fs::FileExt;

#[test]
fn a_restore_that_was_done_does_not_touch_the_store_that_is_used_since() {
    both(|mut site| {
        site.live(1);
        site.back_up(false);
        let store = site.restore(None, "copy");
        let manifest = newest(&site.location).unwrap().unwrap();
        // Killed after the header was there, and before the note went that says so.
        let note =
            format!(r#"{{"store":"{}","generation":"{}"}}"#, manifest.store, manifest.generation);
        std::fs::write(store.join("restoring.json"), note).unwrap();
        site.volume.close().unwrap();
        site.volume =
            Volume::open_store(&store, options(&site.secret), site.clock.clone()).unwrap();
        site.live(2);
        site.volume.close().unwrap();
        // Gives the lock back.
        site.volume = Site::new(false).volume;
        let packs = || -> BTreeMap<PathBuf, Vec<u8>> {
            let packs = std::fs::read_dir(store.join("packs")).unwrap();
            let paths = packs.map(|pack| pack.unwrap().path());
            paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
        };
        let before = packs();
        let again = restore(&site.location, &manifest, &store, 2, &Unattended).unwrap();
        assert_eq!(again.fetched_bytes, 0);
        assert!(before == packs());
        let used = Volume::open_store(&store, options(&site.secret), site.clock.clone()).unwrap();
        let thorough = crate::fs::CheckOptions { read_data: true, repair: false };
        assert!(used.check(thorough, &Default::default()).unwrap().is_clean());
    });
}

#[test]
fn a_restore_that_was_killed_while_it_took_the_directory_goes_on() {
    let mut site = Site::new(false);
    site.live(1);
    site.back_up(false);
    let manifest = newest(&site.location).unwrap().unwrap();
    let store = site.dir.path().join("copy");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join(".restoring.json.tmp"), "{").unwrap();
    restore(&site.location, &manifest, &store, 2, &Unattended).unwrap();
    let store = site.dir.path().join("other");
    std::fs::create_dir(&store).unwrap();
    let note =
        format!(r#"{{"store":"{}","generation":"{}"}}"#, manifest.store, manifest.generation);
    std::fs::write(store.join("restoring.json"), note).unwrap();
    restore(&site.location, &manifest, &store, 2, &Unattended).unwrap();
    site.expect_whole(&store, &site.moments.clone());
}

#[test]
fn blocks_that_a_location_lost_are_sent_once_more() {
    both(|mut site| {
        site.live(1);
        site.back_up(false);
        let manifest = newest(&site.location).unwrap().unwrap();
        let series = site.shelf().join("series").join(&manifest.series);
        let lost = series.join("metadata").join(&manifest.objects[0]);
        let short = std::fs::metadata(&lost).unwrap().len() / 2;
        std::fs::File::options().write(true).open(&lost).unwrap().set_len(short).unwrap();
        let found = verify(&site.location, false, false, &Unattended).unwrap();
        // The list of packs may lie in the half that is gone: then that is told too.
        let is_told = |fault: &Fault| fault.object.ends_with(&manifest.objects[0]);
        assert!(found.faults.iter().any(is_told), "{:?}", found.faults);
        assert_eq!(found.newest_whole, None);
        site.live(2);
        site.back_up(false);
        std::fs::remove_file(&lost).unwrap();
        let made = site.back_up(false);
        let found = verify(&site.location, false, false, &Unattended).unwrap();
        assert_eq!(found.newest_whole, Some(made.generation));
        let store = site.restore(None, "copy");
        site.expect_whole(&store, &site.moments.clone());
    });
}

#[test]
fn what_is_known_of_a_pack_that_is_gone_is_not_believed_of_the_next_one() {
    both(|mut site| {
        site.live(1);
        site.back_up(false);
        let last = *site.volume.durable_packs().unwrap().last().unwrap();
        let next = crate::model::PackId(last.id.0 + 1);
        // As a pack leaves it that was removed at a start, and whose number is given once more.
        let part = crate::meta::PackPart { start: 0, len: 64, hash: [7; 32] };
        site.volume.note_pack_parts(next, &[part]).unwrap();
        site.volume
            .note_pack_parts(last.id, &[crate::meta::PackPart { len: last.len + 1, ..part }])
            .unwrap();
        site.volume.close().unwrap();
        let store = site.volume.store_path().to_owned();
        site.volume =
            Volume::open_store(&site.copy_of(&store), options(&site.secret), site.clock.clone())
                .unwrap();
        let known = site.volume.pack_parts().unwrap();
        assert!(known.iter().all(|(pack, _)| *pack < last.id), "{known:?}");
        site.live(2);
        site.back_up(false);
        let store = site.restore(None, "copy");
        site.expect_whole(&store, &site.moments.clone());
    });
}

#[test]
fn a_manifest_that_is_listed_and_not_found_stops_pruning() {
    let mut site = Site::new(false);
    for round in 1..=6 {
        site.live(round);
        site.back_up(false);
        site.clock.advance(DAY);
    }
    let newest = newest(&site.location).unwrap().unwrap();
    let path = site.shelf().join("generations").join(format!("{}.json", newest.generation));
    // There by name, and for this moment nothing behind it.
    let aside = site.dir.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    let listed = Catalog { vanished: vec![newest.generation], ..Catalog::default() };
    assert!(prune::refuse_unknown(&site.location, &listed).is_err());
    std::fs::rename(&aside, &path).unwrap();
    let catalog = Catalog::read(&site.location).unwrap();
    assert!(catalog.vanished.is_empty() && prune::refuse_unknown(&site.location, &catalog).is_ok());
}

#[test]
fn no_manifest_chooses_what_a_restore_writes() {
    let mut site = Site::new(false);
    site.live(1);
    let made = site.back_up(false);
    let manifest = newest(&site.location).unwrap().unwrap();
    for name in ["../../etc/cron.d/x", "/etc/cron.d/x", "verso.toml", "lock"] {
        let mut hostile = manifest.clone();
        hostile.files.last_mut().unwrap().name = name.into();
        site.location.put(&hostile.key(), hostile.to_bytes()).unwrap();
        let refused = find(&site.location, Some(&made.generation)).unwrap_err();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    }
}

#[test]
fn a_full_generation_is_whole_where_a_pack_is_damaged_by_now() {
    both(|mut site| {
        site.live(1);
        site.back_up(false);
        let pack = site.volume.durable_packs().unwrap()[0];
        assert!(pack.sealed);
        let path = site.volume.store_path().join(format!("packs/{}.pack", pack.id));
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 5000).unwrap();
        site.back_up(true);
        file.write_all_at(&byte, 5000).unwrap();
        let found = verify(&site.location, false, true, &Unattended).unwrap();
        assert_eq!(found.faults_total, 0, "{:?}", found.faults);
        let store = site.restore(None, "copy");
        site.expect_whole(&store, &site.moments.clone());
    });
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn metadata_that_was_found_damaged_is_not_built_upon() {
    both(|mut site| {
        site.live(1);
        site.back_up(false);
        let manifest = newest(&site.location).unwrap().unwrap();
        let series = site.shelf().join("series").join(&manifest.series);
        for object in &manifest.objects {
            let path = series.join("metadata").join(object);
            let len = std::fs::metadata(&path).unwrap().len() as usize;
            std::fs::write(path, vec![0; len]).unwrap();
        }
        site.back_up(false);
        let found = verify(&site.location, true, true, &Unattended).unwrap();
        assert_eq!(found.newest_whole, None, "nobody had looked, so it was built upon");
        let made = site.back_up(false);
        let found = verify(&site.location, true, true, &Unattended).unwrap();
        assert_eq!(found.newest_whole, Some(made.generation), "{:?}", found.faults);
        let store = site.restore(None, "copy");
        site.expect_whole(&store, &site.moments.clone());
    });
}

#[test]
fn what_is_damaged_here_and_there_keeps_the_rest_from_nothing() {
    let mut site = Site::new(false);
    site.live(1);
    site.back_up(false);
    let manifest = newest(&site.location).unwrap().unwrap();
    let series = site.shelf().join("series").join(&manifest.series);
    let pack = catalog::PackLists::new(&site.location).packs(&manifest).unwrap().remove(0);
    flip(&series.join("packs").join(pack.parts[0].name(pack.id())));
    flip(&site.volume.store_path().join("packs").join(format!("{}.pack", pack.id())));
    assert_eq!(verify(&site.location, true, true, &Unattended).unwrap().faults_total, 1);
    site.live(2);
    let made = site.back_up(false);
    assert!(made.sent_bytes > 0);
    let found = verify(&site.location, true, true, &Unattended).unwrap();
    assert_eq!(found.faults_total, 1, "what both have lost: {:?}", found.faults);
}
