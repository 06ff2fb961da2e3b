//! Backup locations of every kind against real servers, on good days and on bad ones.

#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "support/flaky.rs"]
mod flaky;
#[path = "support/servers.rs"]
mod servers;
#[path = "../src/sys/testing.rs"]
mod testing;

use flaky::{Flaky, Mood};
use servers::{Kind, Server, free_port, spec};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use testing::noise;
use versofs::backup::{Error, Location, LocationSpec, Patience, location_options};

/// For servers that are all right, on a machine that is busy.
const CALM: Patience = Patience {
    total: Duration::from_secs(60),
    pause_min: Duration::from_millis(20),
    pause_max: Duration::from_millis(500),
    step: Duration::from_secs(60),
    bytes_per_second_min: 1 << 20,
};
/// For those that are not: few attempts.
const SHORT: Patience = Patience {
    total: Duration::from_secs(3),
    pause_min: Duration::from_millis(50),
    pause_max: Duration::from_millis(200),
    step: Duration::from_secs(1),
    bytes_per_second_min: 64 << 20,
};

fn open(spec: &LocationSpec) -> Location {
    Location::open_with(spec, CALM).unwrap()
}

fn keys(location: &Location, prefix: &str) -> Vec<String> {
    location.list(prefix).unwrap().into_iter().map(|object| object.key).collect()
}

/// What every location can do.
fn holds_what_is_put(location: &Location) {
    assert!(location.list("").unwrap().is_empty());
    assert!(location.list("no/such/").unwrap().is_empty());
    assert_eq!(location.stat("no/such").unwrap(), None);
    assert!(matches!(location.get("no/such"), Err(Error::NotFound { .. })));
    assert!(matches!(location.get_range("no/such", 0, 1), Err(Error::NotFound { .. })));
    location.delete(&["no/such".into(), "none".into()]).unwrap();

    let first = noise(1, 70_000);
    location.put("s/x/packs/00000001-a", first.clone()).unwrap();
    assert_eq!(location.get("s/x/packs/00000001-a").unwrap(), first);
    let second = noise(2, 60_000);
    location.put("s/x/packs/00000001-a", second.clone()).unwrap();
    assert_eq!(location.get("s/x/packs/00000001-a").unwrap(), second);
    assert_eq!(location.stat("s/x/packs/00000001-a").unwrap(), Some(60_000));
    assert_eq!(location.stat("s/x/packs").unwrap(), None);
    let range = |offset, len| location.get_range("s/x/packs/00000001-a", offset, len);
    assert_eq!(range(0, 1).unwrap(), second[..1]);
    assert_eq!(range(59_000, 1000).unwrap(), second[59_000..]);
    assert_eq!(range(12_345, 4321).unwrap(), second[12_345..16_666]);
    assert!(range(10, 0).unwrap().is_empty());
    for (offset, len) in [(59_000, 1001), (60_000, 1), (1 << 40, 10)] {
        let error = range(offset, len).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{offset} {len}: {error:?}");
    }
    location.put("s/x/manifests/1", vec![7; 300]).unwrap();
    location.put("s/xy/one", vec![8]).unwrap();
    let all = ["s/x/manifests/1", "s/x/packs/00000001-a", "s/xy/one"];
    assert_eq!(keys(location, ""), all);
    assert_eq!(keys(location, "s/"), all);
    assert_eq!(keys(location, "s/x/"), all[..2]);
    assert_eq!(keys(location, "s/x/packs/"), all[1..2]);
    let lens: Vec<u64> = location.list("s/").unwrap().iter().map(|object| object.len).collect();
    assert_eq!(lens, [300, 60_000, 1]);
    location.delete(&[all[0].into(), "s/x/none".into(), all[2].into()]).unwrap();
    assert_eq!(keys(location, ""), all[1..2]);
    assert_eq!(location.stat(all[0]).unwrap(), None);
    location.delete(&[all[1].into()]).unwrap();
    assert!(location.list("").unwrap().is_empty());
}

/// Sizes around those at which uploads change their way.
fn takes_every_size(location: &Location, can_be_empty: bool) {
    for len in [1, (5 << 20) + 1, 40 << 20] {
        let body = noise(len as u64, len);
        location.put("sizes/one", body.clone()).unwrap();
        assert_eq!(location.stat("sizes/one").unwrap(), Some(len as u64));
        assert!(location.get("sizes/one").unwrap() == body, "{len}");
        let (offset, part) = (len as u64 / 2, (len as u64).div_ceil(3));
        let range = location.get_range("sizes/one", offset, part).unwrap();
        assert!(range == body[offset as usize..][..part as usize], "{len}");
    }
    let put = location.put("sizes/empty", Vec::new());
    if can_be_empty {
        put.unwrap();
        assert!(location.get("sizes/empty").unwrap().is_empty());
    } else {
        put.unwrap_err();
        assert_eq!(location.stat("sizes/empty").unwrap(), None);
    }
    location.delete(&["sizes/one".into(), "sizes/empty".into()]).unwrap();
}

/// What is longer than memory should hold: several parts to an object store, a stream to a server of files.
const STREAM_BYTES: usize = 35 << 20;

fn stream(location: &Location, key: &str, body: &[u8]) -> Result<u64, Error> {
    let mut upload = location.writer(key)?;
    for piece in body.chunks(300_000) {
        if upload.write_all(piece).is_err() {
            return Err(upload.take_failure().unwrap());
        }
    }
    upload.finish()
}

fn takes_streams(location: &Location, can_be_empty: bool) {
    let long = noise(9, STREAM_BYTES);
    for body in [&long[..], &long[..1], &[]] {
        if body.is_empty() && !can_be_empty {
            stream(location, "x/one", body).unwrap_err();
            continue;
        }
        assert_eq!(stream(location, "x/one", body).unwrap(), body.len() as u64);
        let mut read = Vec::new();
        location.reader("x/one").unwrap().read_to_end(&mut read).unwrap();
        assert!(read == body, "{}", body.len());
        assert_eq!(keys(location, ""), ["x/one"]);
    }
    let kept = location.get("x/one").unwrap();
    let mut upload = location.writer("x/one").unwrap();
    upload.write_all(&long).unwrap();
    drop(upload);
    assert!(location.get("x/one").unwrap() == kept);
    assert_eq!(keys(location, ""), ["x/one"]);
    location.delete(&["x/one".into()]).unwrap();
}

/// Eight at a time, into directories that aren't there yet.
fn takes_many_at_once(location: &Location, each: usize) {
    let key = |thread: usize, n: usize| format!("many/{thread}/{n:04}");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..each {
                    let body = noise((thread * each + n) as u64, 100 + n);
                    location.put(&key(thread, n), body.clone()).unwrap();
                    if n % 16 == 0 {
                        assert_eq!(location.get(&key(thread, n)).unwrap(), body);
                    }
                }
            });
        }
    });
    let wanted: Vec<String> =
        (0..8).flat_map(|thread| (0..each).map(move |n| key(thread, n))).collect();
    assert_eq!(keys(location, "many/"), wanted);
    location.delete(&wanted).unwrap();
    assert!(location.list("many/").unwrap().is_empty());
}

/// Who has no right is told so, at once and without what was tried.
fn refuses_strangers(server: &Server) {
    let stranger = open(&server.with_wrong_credentials("p"));
    let errors =
        [stranger.put("a", vec![1]).unwrap_err(), stranger.list("").map(drop).unwrap_err()];
    for error in errors {
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(server.secrets().iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

fn nobody_is_there(server: &Server) {
    let port = free_port();
    let location = Location::open_with(&server.through(port, "p"), SHORT).unwrap();
    for error in [location.put("a", vec![1]).unwrap_err(), location.list("").map(drop).unwrap_err()]
    {
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(server.secrets().iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

/// The server, for what only its kind can do.
fn whole_matrix(kind: Kind, each: usize) -> Option<Server> {
    let server = Server::start(kind)?;
    let location = open(&server.spec("deep/prefix"));
    holds_what_is_put(&location);
    takes_every_size(&location, kind != Kind::Ftp);
    takes_streams(&location, kind != Kind::Ftp);
    takes_many_at_once(&location, each);
    location.put("stays", vec![5; 10]).unwrap();
    assert_eq!(open(&server.spec("deep/prefix")).get("stays").unwrap(), [5; 10]);
    assert!(open(&server.spec("deep/other")).list("").unwrap().is_empty());
    refuses_strangers(&server);
    nobody_is_there(&server);
    Some(server)
}

#[test]
fn a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let location = open(&spec(format!("file://{}/deep", dir.path().display()), &[]));
    holds_what_is_put(&location);
    takes_every_size(&location, true);
    takes_streams(&location, true);
    takes_many_at_once(&location, 20);
}

#[test]
fn s3() {
    // More than one page of a listing, and more than one batch of deletions.
    let Some(server) = whole_matrix(Kind::S3, 130) else { return };
    who_may_only_append_is_refused_to_delete(&server);
    a_missing_bucket_is_not_an_empty_one(&server);
}

#[test]
fn sftp() {
    let Some(server) = Server::start(Kind::Sftp) else { return };
    an_unknown_host_key_is_refused(&server);
    drop(whole_matrix(Kind::Sftp, 12));
}

#[test]
fn ftp() {
    let Some(server) = whole_matrix(Kind::Ftp, 6) else { return };
    who_may_only_append_is_refused_to_delete(&server);
}

#[test]
fn webdav() {
    drop(whole_matrix(Kind::Webdav, 6));
}

#[test]
fn azure_blob() {
    drop(whole_matrix(Kind::Azure, 20));
}

#[test]
fn google_cloud_storage() {
    // More than one page of a listing, and more than one batch of deletions.
    let Some(server) = whole_matrix(Kind::Gcs, 130) else { return };
    who_may_only_append_is_refused_to_delete(&server);
}

fn who_may_only_append_is_refused_to_delete(server: &Server) {
    let location = open(&server.append_only("p"));
    location.put("a/b", vec![1, 2]).unwrap();
    for keys in [vec!["a/b".to_owned()], vec!["a/b".to_owned(), "a/c".to_owned()]] {
        let error = location.delete(&keys).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    }
    assert_eq!(location.get("a/b").unwrap(), [1, 2]);
}

fn a_missing_bucket_is_not_an_empty_one(server: &Server) {
    let mut spec = server.spec("p");
    spec.uri = spec.uri.replace("s3://backups", "s3://backup");
    let error = Location::open_with(&spec, SHORT).unwrap().list("").unwrap_err();
    assert!(matches!(error, Error::Location { .. }), "{error:?}");
}

fn an_unknown_host_key_is_refused(server: &Server) {
    let mut spec = server.spec("p");
    spec.uri = spec.uri.replace("=accept", "=strict");
    let error = open(&spec).list("").unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

/// What a put leaves behind, or what was there before: never anything else.
fn is_whole(location: &Location, key: &str, bodies: &[&[u8]]) {
    match location.get(key) {
        Ok(body) => assert!(bodies.contains(&body.as_slice()), "{} bytes", body.len()),
        Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error:?}"),
    }
}

/// Bad days that pass, and bad days that don't.
fn survives(server: &Server, moods: &[Mood]) {
    let proxy = Flaky::before(server.port);
    let location = open(&server.through(proxy.port, "p"));
    let direct = open(&server.spec("p"));
    let (old, new) = (noise(1, 3 << 20), noise(2, 4 << 20));
    for mood in moods {
        location.put("a/b", old.clone()).unwrap();
        proxy.turns(*mood);
        location.put("a/b", new.clone()).unwrap();
        assert!(proxy.harmed() > 0 || *mood == Mood::Slow, "{mood:?} did nothing");
        assert!(direct.get("a/b").unwrap() == new, "{mood:?}");
        proxy.turns(*mood);
        assert!(location.get("a/b").unwrap() == new, "{mood:?}");
        proxy.turns(*mood);
        assert_eq!(keys(&location, "a/"), ["a/b"], "{mood:?}");
        proxy.turns(*mood);
        location.delete(&["a/b".into()]).unwrap();
        proxy.turns(Mood::Fine);
    }
}

/// Parts are sent again; a stream is not, and leaves nothing.
fn streams_survive(server: &Server, moods: &[Mood]) {
    let proxy = Flaky::before(server.port);
    let location = open(&server.through(proxy.port, "p"));
    let body = noise(3, STREAM_BYTES);
    for mood in moods {
        proxy.turns(*mood);
        assert_eq!(stream(&location, "a/b", &body).unwrap(), body.len() as u64, "{mood:?}");
        assert!(proxy.harmed() > 0, "{mood:?} did nothing");
        proxy.turns(Mood::Fine);
        assert!(location.get("a/b").unwrap() == body, "{mood:?}");
        location.delete(&["a/b".into()]).unwrap();
    }
}

fn streams_give_up(server: &Server, moods: &[Mood]) {
    let proxy = Flaky::before(server.port);
    let location = Location::open_with(&server.through(proxy.port, "p"), SHORT).unwrap();
    let direct = open(&server.spec("p"));
    let body = noise(3, STREAM_BYTES);
    for mood in moods {
        proxy.turns(*mood);
        let error = stream(&location, "stream/one", &body).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{mood:?}: {error:?}");
        assert!(proxy.harmed() > 0, "{mood:?} did nothing");
        proxy.turns(Mood::Fine);
        assert!(direct.list("stream/").unwrap().is_empty(), "{mood:?}");
    }
}

/// A location that stays as it is: a clear end, and nothing half-way.
fn gives_up(server: &Server, moods: &[Mood]) {
    let proxy = Flaky::before(server.port);
    let location = Location::open_with(&server.through(proxy.port, "p"), SHORT).unwrap();
    let direct = open(&server.spec("p"));
    let (old, new) = (noise(1, 3 << 20), noise(2, 4 << 20));
    for mood in moods {
        direct.put("a/b", old.clone()).unwrap();
        proxy.turns(*mood);
        let error = location.put("a/b", new.clone()).unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{mood:?}: {error:?}");
        assert!(proxy.harmed() > 1, "{mood:?}: no second attempt");
        is_whole(&direct, "a/b", &[&old, &new]);
        assert_eq!(keys(&direct, ""), ["a/b"], "{mood:?}");
        proxy.turns(Mood::Fine);
    }
}

#[test]
fn s3_has_bad_days() {
    let Some(server) = Server::start(Kind::S3) else { return };
    let half = 2 << 20;
    let moods = [
        Mood::Answers(500, 2),
        Mood::Answers(503, 2),
        Mood::Answers(429, 1),
        Mood::CutsUploads(half, 2),
        Mood::CutsAnswers(0, 1),
        Mood::Slow,
    ];
    survives(&server, &moods);
    let moods = [
        Mood::Answers(503, usize::MAX),
        Mood::CutsUploads(half, usize::MAX),
        Mood::CutsAnswers(0, usize::MAX),
        Mood::Gone,
        Mood::Silent,
    ];
    gives_up(&server, &moods);
    // The beginning of an upload, and a part.
    streams_survive(&server, &[Mood::Answers(503, 2), Mood::CutsUploads(half, 2)]);
    streams_give_up(&server, &[Mood::CutsUploads(half, usize::MAX)]);
    what_is_stopped_ends_at_once(&server);
}

#[test]
fn webdav_has_bad_days() {
    let Some(server) = Server::start(Kind::Webdav) else { return };
    let half = 2 << 20;
    survives(
        &server,
        &[Mood::Answers(503, 2), Mood::CutsUploads(half, 1), Mood::CutsAnswers(0, 1)],
    );
    gives_up(&server, &[Mood::Answers(500, usize::MAX), Mood::CutsUploads(half, usize::MAX)]);
}

#[test]
fn sftp_has_bad_days() {
    let Some(server) = Server::start(Kind::Sftp) else { return };
    let half = 2 << 20;
    survives(&server, &[Mood::CutsUploads(half, 1)]);
    gives_up(&server, &[Mood::CutsUploads(half, usize::MAX), Mood::Gone]);
    streams_give_up(&server, &[Mood::CutsUploads(half, 1)]);
}

fn what_is_stopped_ends_at_once(server: &Server) {
    let proxy = Flaky::before(server.port);
    proxy.turns(Mood::Silent);
    let location = open(&server.through(proxy.port, "p"));
    std::thread::scope(|scope| {
        let put = scope.spawn(|| location.put("a", vec![1]));
        while proxy.harmed() == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        location.stop();
        assert!(matches!(put.join().unwrap(), Err(Error::Stopped)));
    });
    assert!(matches!(location.list(""), Err(Error::Stopped)));
}

/// The longest file below `dir`.
fn longest(dir: &Path) -> u64 {
    let mut longest = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let len = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => self::longest(&entry.path()),
            Ok(metadata) => metadata.len(),
            // Renamed since the directory was read.
            Err(_) => 0,
        };
        longest = longest.max(len);
    }
    longest
}

#[test]
fn a_server_that_dies_under_an_upload_has_the_old_object_and_then_the_new_one() {
    for kind in [Kind::Ftp, Kind::Webdav] {
        let Some(mut server) = Server::start(kind) else { continue };
        let location = open(&server.spec("p"));
        let (old, new) = (noise(1, 1000), noise(3, 64 << 20));
        location.put("a/b", old.clone()).unwrap();
        std::thread::scope(|scope| {
            let put = scope.spawn(|| location.put("a/b", new.clone()));
            while longest(&server.files()) < 1 << 20 {
                std::thread::yield_now();
            }
            server.kill();
            let there = fs::read(server.files().join("p/a/b")).unwrap();
            assert!(there == old || there == new, "{kind:?}: {} bytes", there.len());
            server.start_again();
            put.join().unwrap().unwrap();
        });
        assert!(location.get("a/b").unwrap() == new, "{kind:?}");
        assert_eq!(keys(&location, ""), ["a/b"]);
    }
}

#[test]
fn a_full_disk_is_told_as_such() {
    let scratch = tempfile::tempdir().unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
    let at = scratch.path().to_str().unwrap();
    let mounted = std::process::Command::new("mount").args(mount).arg(at).output().unwrap();
    if !mounted.status.success() {
        let complete =
            ["CI", "VERSO_TESTS_COMPLETE"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!complete, "mounting a tmpfs needs root");
        eprintln!("SKIPPED a_full_disk_is_told_as_such: needs root");
        return;
    }
    let location = open(&spec(format!("{at}/verso"), &[]));
    let whole = noise(4, 1 << 20);
    location.put("a/b", whole.clone()).unwrap();
    let error = location.put("a/b", noise(5, 8 << 20));
    let streamed = stream(&location, "a/c", &noise(5, 8 << 20));
    let (there, left) = (location.get("a/b"), fs::read_dir(format!("{at}/verso/.partial")));
    let left = left.map(Iterator::count);
    let unmounted = std::process::Command::new("umount").arg(at).status().unwrap();
    for error in [error.map(drop), streamed.map(drop)] {
        assert!(matches!(error, Err(Error::Full { .. })), "{error:?}");
    }
    assert!(there.unwrap() == whole);
    assert_eq!(left.unwrap(), 0);
    assert!(unmounted.success());
}

#[test]
fn the_documentation_has_every_kind_and_every_option() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/LOCATIONS.md");
    let text = fs::read_to_string(path).unwrap();
    for (scheme, name, _) in location_options() {
        assert!(text.contains(&format!("{scheme}://")), "{scheme}");
        assert!(text.contains(&format!("`{name}`")), "{scheme}: {name}");
    }
}
