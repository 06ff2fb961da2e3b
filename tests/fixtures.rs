//! Stores of every format, made by the version that introduced it, are read as they were: `tests/fixtures/format-N`. Each has the
//! same files: `shared/{raw,text,img,link}`, an earlier content of `text` and `img` (stored as a difference), the deleted `gone`, an attribute.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use versofs::crypt::{Secret, SecretKind};
use versofs::fs::{
    CheckOptions, CheckProgress, Handle, OpenMode, StoreError, Volume, VolumeOptions, is_encrypted,
};
use versofs::model::{Ino, Timestamp};
use versofs::sys::ManualClock;

const READ: OpenMode =
    OpenMode { read: true, write: false, truncate: false, exclusive: false, by: 0 };
/// The beginnings of BLAKE3 of the contents: of each path, its versions from the oldest to the present one.
const CONTENTS: [(&str, &[&str]); 4] = [
    ("raw", &["773808d1037ce29e"]),
    ("text", &["7fcc0a453184acb6", "7df2cb40d995eeb2"]),
    ("img", &["3c69b887a0fdf5ca", "ba5c6fa027ff727e"]),
    ("gone", &["7fcc0a453184acb6"]),
];
/// What opens the encrypted one.
const PASSPHRASE: &str = "fixture passphrase";
const RECOVERY_KEY: &str = "VSG9G-961NJ-GA1AX-VWJ76-PT28P-JM6K7-TB3ED";

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// A copy of the store of a format, opened.
struct Fixture {
    volume: Arc<Volume>,
    _dir: TempDir,
}

impl Fixture {
    fn open(format: u32, secret: Option<&str>) -> Result<Fixture, StoreError> {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        copy_all(&fixtures.join(format!("format-{format}")), &store);
        assert_eq!(is_encrypted(&store).unwrap(), format == 2);
        let secret = secret.map(|text| Secret::read(SecretKind::Typed, text.as_bytes()).unwrap());
        let secret = secret.map(Arc::new);
        let options = VolumeOptions { secret, reserve_bytes: 0, ..Default::default() };
        // Shortly after they were made: years later less would be promised.
        let clock = ManualClock::new(Timestamp(1_795_280_000_000_000_000));
        let volume = Volume::open_store(&store, options, Arc::new(clock))?;
        Ok(Fixture { volume, _dir: dir })
    }

    fn at(&self, path: &str) -> Ino {
        path.split('/')
            .fold(Ino::ROOT, |dir, name| self.volume.lookup(dir, name.as_bytes()).unwrap().ino)
    }

    /// The beginning of the hash of a file's content.
    fn hash(&self, ino: Ino) -> String {
        let handle = self.volume.open(ino, READ).unwrap();
        let mut content = Vec::new();
        self.volume.read(handle, 0, 1 << 20, &mut content).unwrap();
        self.volume.release(handle).unwrap();
        blake3::hash(&content).to_string()[..16].to_owned()
    }

    /// The hashes of all versions of a name, the oldest first.
    fn versions(&self, name: &str) -> Vec<String> {
        let dir = self.at(&format!("shared/.versions/{name}"));
        let mut names = Vec::new();
        let mut take = |entry: versofs::fs::DirEntry| {
            names.push(entry.name.to_vec());
            true
        };
        self.volume.readdir(Handle(dir.0), 0, false, &mut take).unwrap();
        names.retain(|name| !name.starts_with(b"."));
        names.sort();
        names.iter().map(|name| self.hash(self.volume.lookup(dir, name).unwrap().ino)).collect()
    }

    fn verify(self) {
        for (name, hashes) in CONTENTS {
            assert_eq!(self.versions(name), hashes, "{name}");
        }
        for (name, hashes) in &CONTENTS[..3] {
            assert_eq!(self.hash(self.at(&format!("shared/{name}"))), *hashes.last().unwrap());
        }
        assert_eq!(self.hash(self.at("shared/.versions/@deleted/gone")), CONTENTS[3].1[0]);
        assert_eq!(self.volume.readlink(self.at("shared/link")).unwrap(), b"text");
        let note = self.volume.getxattr(self.at("shared/raw"), b"user.note").unwrap();
        assert_eq!(note, b"a note");
        self.at("projects/spring/final");
        let options = CheckOptions { read_data: true, repair: false };
        let report = self.volume.check(options, &CheckProgress::default()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        self.volume.close().unwrap();
    }
}

#[test]
fn format_1_is_read_as_it_was() {
    Fixture::open(1, None).unwrap().verify();
}

#[test]
fn format_2_is_read_with_either_key() {
    for secret in [PASSPHRASE, RECOVERY_KEY] {
        Fixture::open(2, Some(secret)).unwrap().verify();
    }
    assert!(matches!(Fixture::open(2, Some("another phrase")), Err(StoreError::WrongKey(_))));
    assert!(matches!(Fixture::open(2, None), Err(StoreError::KeyNeeded(_))));
}
