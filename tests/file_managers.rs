//! What file managers and other programs that walk through folders do, in and around `.versions`: GIO is the
//! engine of those of GNOME, Xfce and MATE.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;
mod history_support;

use history_support::Place;
use std::fs;
use std::path::Path;

/// Three versions of a picture, one of a text, and a folder below.
const PROJECT: &str = "mkdir -p p/sub; echo text > p/sub/notes.txt
    for size in 40 50 60; do
        convert -size ${size}x40 -seed 3 plasma: $OUTSIDE/a.png; cp $OUTSIDE/a.png p/a.png
    done";

/// A drive with [`PROJECT`] in it.
fn project(test: &str, programs: &[&str]) -> Option<Place> {
    let place = Place::new(test, &[programs, &["convert"]].concat())?;
    place.shell(PROJECT);
    Some(place)
}

/// Whether a line of shell succeeds.
fn works(place: &Place, line: &str) -> bool {
    place.shell(&format!("if {{ {line}; }} >/dev/null 2>&1; then echo yes; else echo no; fi"))
        == "yes\n"
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn gio_lists_the_past_where_it_is_asked_to() {
    let Some(place) = project("gio-list", &["gio"]) else { return };
    assert_eq!(lines(&place.shell("gio list -h p")), ["a.png", "sub"]);
    assert!(!place.shell("gio tree -h .").contains(".versions"));
    let names = place.shell("gio list p/.versions");
    assert!(
        ["@at", "@deleted", "a.png"].iter().all(|name| lines(&names).contains(name)),
        "{names}"
    );
    let listed = place.shell("gio list -l p/.versions/a.png");
    assert_eq!(listed.lines().count(), 3);
    // Name, size and kind of each, as they are.
    for file in place.version_files("p/a.png") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let line = format!("{name}\t{}\t(regular)", fs::metadata(&file).unwrap().len());
        assert!(listed.lines().any(|listed| listed == line), "{line} in\n{listed}");
    }
    let uris = place.shell("gio list -u p/.versions/@at");
    assert!(uris.lines().count() >= 1);
    for uri in uris.lines() {
        place.shell(&format!("gio info '{uri}'; gio list '{uri}'"));
    }
    place.finish();
}

#[test]
fn gio_copies_out_and_changes_nothing() {
    let Some(place) = project("gio-copy", &["gio"]) else { return };
    let before = place.versions("p/a.png");
    place.shell("gio copy -p p/.versions/a.png/*~v1.png p/back.png");
    assert_eq!(fs::read(place.root().join("p/back.png")).unwrap(), before[0]);
    // A person may work on what was copied back.
    place.shell("test -w p/back.png; convert p/back.png -negate p/back.png");
    assert!(works(&place, "gio rename p/back.png copy.png && gio rename p/copy.png back.png"));
    for line in [
        "gio move p/.versions/a.png/*~v1.png p/moved.png",
        "gio move p/back.png p/.versions/a.png/",
        "gio copy p/back.png p/.versions/a.png/",
        "gio copy p/back.png p/.versions/a.png/*~v1.png",
        "gio trash p/.versions/a.png/*~v1.png",
        "gio trash p/.versions",
        "gio remove p/.versions/a.png/*~v1.png",
        "gio remove -f p/.versions/a.png/*~v1.png && ! test -e p/.versions/a.png/*~v1.png",
        "gio rename p/.versions/a.png/*~v1.png b.png",
        "gio mkdir p/.versions/new",
        "gio mkdir p/sub/.versions",
        "gio save p/.versions/a.png/*~v1.png < p/back.png",
        "gio set p/.versions/a.png/*~v1.png unix::mode 511",
    ] {
        assert!(!works(&place, line), "{line}");
    }
    assert!(!place.root().join("p/moved.png").exists());
    assert_eq!(place.versions("p/a.png"), before);
    place.finish();
}

#[test]
fn what_goes_to_the_trash_and_back_keeps_its_history() {
    let Some(place) = project("gio-trash", &["gio"]) else { return };
    let before = place.versions("p/a.png");
    place.shell("gio trash p/a.png p/sub");
    let trash = place.mountpoint().join(".Trash-0/files");
    assert!(trash.join("a.png").is_file() && trash.join("sub/notes.txt").is_file());
    // It was moved, not deleted; its versions are at both places.
    assert_eq!(place.shell("ls p/.versions/@deleted"), "");
    assert_eq!(place.versions("p/a.png"), before);
    assert_eq!(place.versions("../.Trash-0/files/a.png"), before);
    // "Restore" moves it back.
    place.shell("mv ../.Trash-0/files/a.png p/; rm ../.Trash-0/info/a.png.trashinfo");
    let mut after = place.versions("p/a.png");
    after.dedup();
    assert_eq!(after, before);
    // Once the trash is emptied, it says what was in it.
    place.shell("rm -r ../.Trash-0/files/sub ../.Trash-0/info/sub.trashinfo");
    assert_eq!(place.shell("cat ../.Trash-0/files/.versions/@deleted/sub/notes.txt"), "text\n");
    place.finish();
}

/// As the README tells administrators: each user gets a directory in it.
#[test]
fn ordinary_users_have_their_trash_in_a_common_one() {
    let Some(place) = project("gio-trash-users", &["gio", "setpriv"]) else { return };
    place.shell("mkdir u $OUTSIDE/anna; echo text > u/f; chown -R 61001:61001 u $OUTSIDE/anna");
    let trash =
        "HOME=$OUTSIDE/anna setpriv --reuid 61001 --regid 61001 --clear-groups gio trash u/f";
    assert!(!works(&place, trash));
    place.shell(&format!("mkdir -m 1777 ../.Trash; {trash}; rm -r ../.Trash/61001/files/f"));
    assert_eq!(place.shell("cat ../.Trash/61001/files/.versions/@deleted/f"), "text\n");
    assert_eq!(place.versions("u/f"), [b"text\n"]);
    place.finish();
}

/// A thumbnailer asks what each file is, and reads all of it.
#[test]
fn thumbnails_of_versions_can_be_drawn() {
    let Some(place) = project("thumbnails", &["gio", "gdk-pixbuf-thumbnailer"]) else { return };
    let widths: Vec<_> =
        place.version_files("p/a.png").iter().map(|file| thumbnail(&place, file)).collect();
    assert_eq!(widths, ["40", "50", "60"]);
    // Looking leaves no trace: no further version, and nothing that lies about.
    assert_eq!(place.versions("p/a.png").len(), 3);
    assert_eq!(lines(&place.shell("ls -A p")), ["a.png", "sub"]);
    place.finish();
}

/// Draws one; answers how wide the picture is.
fn thumbnail(place: &Place, file: &Path) -> String {
    let file = file.display();
    let info =
        place.shell(&format!("gio info -a 'standard::*,thumbnail::*,time::*,access::*' '{file}'"));
    assert!(info.contains("standard::content-type: image/png"), "{info}");
    assert!(info.contains("access::can-read: TRUE"), "{info}");
    place.shell(&format!(
        "gio cat '{file}' | cmp - '{file}'
         gdk-pixbuf-thumbnailer -s 32 '{file}' $OUTSIDE/thumbnail.png; test -s $OUTSIDE/thumbnail.png
         rm $OUTSIDE/thumbnail.png; identify -format %w '{file}'"
    ))
}

#[test]
fn what_walks_through_folders_does_not_walk_into_the_past() {
    let Some(place) = project("walkers", &["rsync", "updatedb", "plocate"]) else { return };
    place.shell("ls p/.versions/a.png p/.versions/@at p/.versions/@deleted p/sub/.versions .versions >/dev/null");
    let seen = [
        "rsync -a --list-only p/",
        "du -a p",
        "grep -rl '' p",
        "(shopt -s dotglob globstar; printf '%s\\n' p/**)",
        "tar -cf - p | tar -tf -",
    ];
    for walk in seen {
        let seen = place.shell(walk);
        assert!(seen.contains("a.png") && seen.contains("notes.txt"), "{walk}: {seen}");
        assert!(!seen.contains(".versions"), "{walk}: {seen}");
    }
    // As if nobody had added it to PRUNEFS.
    let index = "updatedb --require-visibility no --output $OUTSIDE/db --database-root $PWD \
                 --prunefs '' --prunepaths '' --prunenames ''";
    let indexed = place.shell(&format!("{index}; plocate --database $OUTSIDE/db ''"));
    assert!(indexed.contains("sub/notes.txt") && !indexed.contains(".versions"), "{indexed}");
    // A copy of the whole is not larger for its past, and what is removed is gone.
    place.shell("rsync -a --delete p/ $OUTSIDE/copy/; diff -r p $OUTSIDE/copy; rsync -a --delete $OUTSIDE/copy/ p2/");
    assert_eq!(
        place.shell("du -sb --apparent-size p | cut -f1"),
        place.shell("du -sb --apparent-size p2 | cut -f1")
    );
    place.finish();
}
