//! How programs save: after ten saves by any of them a name has those ten contents as its versions, in order,
//! once each.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;
mod history_support;

use history_support::Place;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const SAVES: usize = 10;
/// A picture of which each run makes another one; `$N` is the number of the save.
const PICTURE: &str = "convert -size 90x60 -seed 7 plasma:red-blue";

/// Makes a first content with `first`, saves with `save` until there have been ten, with `$N` as the number of the
/// save; then the versions of `file` must be what it held after each.
#[track_caller]
fn ten_saves(place: &Place, file: &str, first: &str, save: &str) {
    let mut contents: Vec<Vec<u8>> = Vec::new();
    for number in 0..SAVES {
        let script = if number == 0 { first } else { save };
        place.shell(&format!("N={number}; {script}"));
        let content = fs::read(place.root().join(file)).unwrap();
        assert!(contents.last() != Some(&content), "save {number} changed nothing: {script}");
        contents.push(content);
    }
    assert_versions(place, file, &contents);
}

/// Compares by number and length first: the bytes of pictures tell a reader nothing.
#[track_caller]
fn assert_versions(place: &Place, file: &str, contents: &[Vec<u8>]) {
    let shown = place.versions(file);
    let position = |bytes: &Vec<u8>| contents.iter().position(|content| content == bytes);
    let order: Vec<_> = shown.iter().map(position).collect();
    let expected: Vec<_> = contents.iter().map(position).collect();
    assert_eq!(order, expected, "which save each version of {file} shows");
}

#[test]
fn editors() {
    let Some(place) = Place::new("editors", &["sed", "vim"]) else { return };
    ten_saves(&place, "sed", "echo save 0 > sed", "sed -i \"s/save .*/save $N/\" sed");
    for (file, settings) in [
        ("vim-yes", "backupcopy=yes writebackup"),
        ("vim-no", "backupcopy=no writebackup"),
        ("vim-bare", "nobackup nowritebackup"),
        ("vim-kept", "backupskip= backup backupdir=. backupcopy=auto"),
    ] {
        let edit =
            format!("vim -es -u NONE -i NONE -c 'set {settings}' -c '%s/save .*/save '$N'/' -c wq");
        let first = format!("(seq 3000; echo save 0) | cat > {file}");
        ten_saves(&place, file, &first, &format!("{edit} {file} </dev/null"));
    }
    place.finish();
}

#[test]
fn pictures() {
    let Some(place) = Place::new("pictures", &["convert", "mogrify", "exiftool"]) else { return };
    for file in ["m.jpg", "m.png", "m.tif"] {
        let first = format!("{PICTURE} {file}");
        ten_saves(&place, file, &first, &format!("mogrify -fill red -draw \"point $N,$N\" {file}"));
    }
    for (file, way) in [
        ("e.jpg", "-overwrite_original"),
        ("i.jpg", "-overwrite_original_in_place"),
        ("p.jpg", "-overwrite_original -P"),
    ] {
        let save = format!("exiftool -q {way} -Artist=\"Artist $N\" {file}");
        ten_saves(&place, file, &format!("{PICTURE} {file}"), &save);
    }
    // It keeps the first state as `k.jpg_original`; some people delete that each time.
    ten_saves(
        &place,
        "k.jpg",
        &format!("{PICTURE} k.jpg"),
        "exiftool -q -Artist=\"Artist $N\" k.jpg",
    );
    let again = "exiftool -q -Artist=\"Artist $N\" d.jpg; rm d.jpg_original";
    ten_saves(&place, "d.jpg", &format!("{PICTURE} d.jpg"), again);
    place.finish();
}

#[test]
fn copying_tools() {
    let Some(place) = Place::new("copying", &["rsync", "cp", "install", "dd", "tar"]) else {
        return;
    };
    let source = "head -c 300000 /dev/zero | tr '\\0' $N > $OUTSIDE/$F";
    for (file, tool) in [
        ("rsync", "rsync -a"),
        ("rsync-inplace", "rsync -a --inplace"),
        ("rsync-delta", "rsync -a --inplace --no-whole-file"),
        ("rsync-partial", "rsync -a --partial-dir=.partial --delay-updates"),
        ("rsync-backup", "rsync -a --backup"),
        ("cp", "cp"),
        ("cp-p", "cp -p"),
        ("cp-remove", "cp --remove-destination"),
        ("cp-backup", "cp --backup=numbered"),
        ("install", "install -m 644"),
    ] {
        // rsync tells by time and size, and the size stays.
        let save = format!(
            "F={file}; {source}; touch -d \"2026-01-01 $N seconds\" $OUTSIDE/$F; {tool} $OUTSIDE/$F ."
        );
        ten_saves(&place, file, &save, &save);
    }
    let save = format!("F=dd; {source}; dd if=$OUTSIDE/dd of=dd conv=notrunc bs=64k status=none");
    ten_saves(&place, "dd", &save, &save);
    let save = format!("F=tar; {source}; tar -C $OUTSIDE -cf - tar | tar --overwrite -xf -");
    ten_saves(&place, "tar", &save, &save);
    place.finish();
}

#[test]
fn git_checks_out() {
    let Some(place) = Place::new("git", &["git"]) else { return };
    place.shell(
        "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
         git init -q -b main .; echo one > f; git add f; git commit -q -m one; git branch one
         echo two > f; echo new > g; git add f g; git commit -q -m two; git branch two",
    );
    let mut contents = vec!["one\n", "two\n"];
    for save in 2..SAVES {
        let (branch, content) = [("one", "one\n"), ("two", "two\n")][save % 2];
        place.shell(&format!("git checkout -q {branch}; test -z \"$(git status --porcelain)\""));
        contents.push(content);
    }
    let shown = place.versions("f");
    assert_eq!(
        shown.iter().map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>(),
        contents
    );
    // `g` came and went with each: nothing but one content, each time it came.
    assert!(place.versions("g").iter().all(|text| text == b"new\n"));
    place.finish();
}

/// GIMP in batch mode, one process that saves ten times, as a person who presses Ctrl-S does.
#[test]
fn gimp_saves() {
    let Some(place) = Place::new("gimp", &["gimp", "convert"]) else { return };
    place.shell(
        r#"convert -size 60x40 xc:red png24:$OUTSIDE/f.png
        cat > $OUTSIDE/ten.scm <<END
        (let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "$OUTSIDE/f.png" "f.png")))
               (layer (car (gimp-image-get-active-drawable image))))
          (let loop ((n 0)) (if (< n 10) (begin
            (gimp-context-set-foreground (list (* n 20) 0 0))
            (gimp-drawable-fill layer FILL-FOREGROUND)
            (gimp-item-set-name layer (string-append "save " (number->string n)))
            (gimp-file-save RUN-NONINTERACTIVE image layer "$PWD/f.xcf" "f.xcf")
            (gimp-file-save RUN-NONINTERACTIVE image layer "$PWD/f.png" "f.png")
            (loop (+ n 1))))))
        (gimp-quit 0)
END
        gimp -i -d -f -s -b - < $OUTSIDE/ten.scm > $OUTSIDE/log 2>&1; test -s f.xcf -a -s f.png || { cat $OUTSIDE/log; false; }"#,
    );
    // The layer's name, as the file has it.
    let is_save = |(save, bytes): (usize, &Vec<u8>)| {
        let name = format!("save {save}\0");
        bytes.windows(name.len()).any(|part| part == name.as_bytes())
    };
    let shown = place.versions("f.xcf");
    assert!(shown.len() == SAVES && shown.iter().enumerate().all(is_save));
    let red = |file: &PathBuf| {
        let file = file.display();
        place.shell(&format!("convert '{file}' -format '%[fx:round(255*p{{0,0}}.r)]' info:"))
    };
    let expected: Vec<_> = (0..SAVES).map(|save| (20 * save).to_string()).collect();
    // An export writes the picture, closes it, and writes it again with its metadata.
    let mut shown: Vec<_> = place.version_files("f.png").iter().map(red).collect();
    assert!(shown.len() <= 2 * SAVES);
    shown.dedup();
    assert_eq!(shown, expected);
    place.finish();
}

#[test]
fn libreoffice_saves() {
    let Some(place) = Place::new("libreoffice", &["soffice"]) else { return };
    let save = "echo save $N > $OUTSIDE/f.txt
        soffice --headless --convert-to odt --outdir . $OUTSIDE/f.txt >$OUTSIDE/log 2>&1";
    ten_saves(&place, "f.odt", save, save);
    assert_eq!(
        place.shell("ls -A | grep -v '^f.odt$' || true"),
        "",
        "its lock and temporary files are gone"
    );
    place.finish();
}

/// Servers of files (Samba, NFS) change attributes of a file between emptying and writing it. The version that it
/// replaces keeps its own time: by that people know it.
#[test]
fn a_version_has_the_time_of_its_own_save() {
    let Some(place) = Place::new("times", &[]) else { return };
    let path = place.root().join("f");
    let given = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::write(&path, "one").unwrap();
    let one = fs::metadata(&path).unwrap();
    let mut file = File::options().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    place.shell(
        "setfattr -n user.DOSATTRIB -v x f; chmod 600 f; chmod 644 f; setfacl -m u:nobody:r f",
    );
    file.write_all(b"two").unwrap();
    file.set_times(FileTimes::new().set_modified(given)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), given, "while it is open");
    drop(file);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), given, "when it is closed");
    let files = place.version_files("f");
    assert_eq!(place.versions("f"), [b"one", b"two"]);
    let times = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec());
    assert_eq!(times(&fs::metadata(&files[0]).unwrap()), times(&one));
    assert_eq!(fs::metadata(&files[1]).unwrap().modified().unwrap(), given);
    place.finish();
}

/// Programs that unpack or install make a file with few rights, write it, and give it its rights before they close it.
#[test]
fn a_new_file_has_no_empty_version_before_its_first_content() {
    let Some(place) = Place::new("first-content", &["tar"]) else { return };
    for number in 0..3 {
        place.shell(&format!(
            "echo save {number} > $OUTSIDE/f; tar -C $OUTSIDE -cf - f | tar -xf -"
        ));
    }
    let shown = place.versions("f");
    assert_eq!(shown, [b"save 0\n", b"save 1\n", b"save 2\n"]);
    place.finish();
}
