use super::*;
use crate::backup::{Location, LocationSpec};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

fn at(path: &Path) -> Location {
    let uri = path.to_str().unwrap().to_owned();
    Location::open(&LocationSpec { name: "disk".into(), uri, options: BTreeMap::new() }).unwrap()
}

fn left(root: &Path) -> usize {
    fs::read_dir(root.join(".partial")).unwrap().count()
}

#[test]
fn an_upload_is_there_when_it_is_finished_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(dir.path());
    location.put("a/b", b"old".to_vec()).unwrap();
    let mut upload = location.writer("a/b").unwrap();
    upload.write_all(b"new ").unwrap();
    upload.write_all(b"and longer").unwrap();
    upload.flush().unwrap();
    assert_eq!(location.get("a/b").unwrap(), b"old");
    assert_eq!(location.list("").unwrap().len(), 1);
    assert_eq!(left(dir.path()), 1);
    assert_eq!(upload.finish().unwrap(), 14);
    assert_eq!(location.get("a/b").unwrap(), b"new and longer");
    assert_eq!(location.writer("empty").unwrap().finish().unwrap(), 0);
    assert_eq!(location.stat("empty").unwrap(), Some(0));
    assert_eq!(left(dir.path()), 0);
    for key in ["", "../x", "a//b"] {
        assert!(matches!(location.writer(key).map(drop), Err(Error::Location { .. })), "{key}");
    }
}

#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(dir.path());
    let mut upload = location.writer("a/b").unwrap();
    upload.write_all(&[7; 100_000]).unwrap();
    drop(upload);
    assert!(location.list("").unwrap().is_empty());
    assert_eq!(left(dir.path()), 0);
}

#[test]
fn an_upload_that_was_cut_is_not_taken_for_whole() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(dir.path());
    let mut upload = location.writer("a").unwrap();
    upload.write_all(&[7; 1000]).unwrap();
    let temporary = fs::read_dir(dir.path().join(".partial")).unwrap().next().unwrap().unwrap();
    fs::File::options().write(true).open(temporary.path()).unwrap().set_len(999).unwrap();
    let error = upload.finish().unwrap_err().to_string();
    assert!(error.contains("of 1000 bytes") && error.contains("999"), "{error}");
    assert_eq!(location.stat("a").unwrap(), None);
    assert_eq!(left(dir.path()), 0);
}

#[test]
fn a_download_is_what_was_put() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(dir.path());
    for len in [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1] {
        let body: Vec<u8> = (0..len).map(|at: usize| (at / 1000) as u8).collect();
        location.put("a", body.clone()).unwrap();
        let mut read = Vec::new();
        location.reader("a").unwrap().read_to_end(&mut read).unwrap();
        assert!(read == body, "{len}");
    }
    assert!(matches!(location.reader("b").map(drop), Err(Error::NotFound { .. })));
    let mut download = location.reader("a").unwrap();
    download.read_exact(&mut [0]).unwrap();
    location.delete(&["a".into()]).unwrap();
    let error = download.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
