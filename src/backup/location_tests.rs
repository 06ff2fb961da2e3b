use super::*;
use crate::sys::Clock as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn at(path: &Path) -> Location {
    let uri = path.to_str().unwrap().to_owned();
    let spec = LocationSpec { name: "disk".into(), uri, options: BTreeMap::new() };
    Location::open(&spec).unwrap()
}

fn keys(location: &Location, prefix: &str) -> Vec<String> {
    location.list(prefix).unwrap().into_iter().map(|object| object.key).collect()
}

#[test]
fn a_directory_holds_what_was_put_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(&dir.path().join("verso"));
    assert!(location.list("a/").unwrap().is_empty());
    location.put("a/b/one", b"first and long".to_vec()).unwrap();
    location.put("a/b/one", b"second".to_vec()).unwrap();
    location.put("a/two", Vec::new()).unwrap();
    location.put("ab/three", vec![3; 10]).unwrap();
    assert_eq!(location.get("a/b/one").unwrap(), b"second");
    assert_eq!(location.get_range("a/b/one", 2, 3).unwrap(), b"con");
    assert_eq!(location.stat("a/two").unwrap(), Some(0));
    assert_eq!(location.stat("a/b").unwrap(), None);
    assert_eq!(location.stat("a/two/under").unwrap(), None);
    assert_eq!(keys(&location, "a/"), ["a/b/one", "a/two"]);
    assert_eq!(keys(&location, ""), ["a/b/one", "a/two", "ab/three"]);
    assert_eq!(location.list("ab/").unwrap()[0].len, 10);
    location.delete(&["a/two".into(), "a/none".into(), "no/where".into()]).unwrap();
    assert_eq!(keys(&location, ""), ["a/b/one", "ab/three"]);
    assert!(matches!(location.get("a/two"), Err(Error::NotFound { .. })));
    assert!(matches!(location.get_range("a/b/one", 4, 3), Err(Error::Damaged { .. })));
    assert_eq!(fs::read_dir(dir.path().join("verso").join(PARTIAL)).unwrap().count(), 0);
}

#[test]
fn a_directory_is_made_below_one_that_is_there_only() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(&dir.path().join("mount/verso"));
    let gone = |result: Result<()>| {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("mount is missing"), "{text}");
    };
    gone(location.put("a", vec![1]));
    gone(location.list("x/").map(drop));
    gone(location.stat("a").map(drop));
    gone(location.delete(&["a".into()]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::create_dir(dir.path().join("mount")).unwrap();
    assert!(location.list("x/").unwrap().is_empty());
    assert!(!dir.path().join("mount/verso").exists());
    location.put("a", vec![1]).unwrap();
    assert_eq!(location.get("a").unwrap(), [1]);
}

#[test]
fn keys_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(&dir.path().join("verso"));
    for key in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b"] {
        assert!(matches!(location.put(key, vec![]), Err(Error::Location { .. })), "{key}");
        assert!(matches!(location.delete(&[key.into()]), Err(Error::Location { .. })), "{key}");
    }
    assert!(location.list("a").is_err());
    assert!(location.list("../").is_err());
}

#[test]
fn what_broken_uploads_left_is_removed_once_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let location = at(dir.path());
    location.put("a", vec![1]).unwrap();
    fs::write(dir.path().join(PARTIAL).join("left"), b"x").unwrap();
    assert_eq!(keys(&location, ""), ["a"]);
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(location.remove_leftovers(day, &sys::SystemClock).unwrap(), 0);
    let later =
        sys::ManualClock::new(Timestamp(sys::SystemClock.now().0 + 2 * day.as_nanos() as i64));
    assert_eq!(location.remove_leftovers(day, &later).unwrap(), 1);
    assert_eq!(fs::read_dir(dir.path().join(PARTIAL)).unwrap().count(), 0);
    assert_eq!(keys(&location, ""), ["a"]);
}
