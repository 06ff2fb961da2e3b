//! Programs that people use, on a mounted drive. Whatever they leave there is the same after mounting again.

#![allow(clippy::unwrap_used)] // all of it is test code

mod crash_support;

use crash_support::drive::{Drive, check_clean};
use crash_support::{Scratch, is_root_or_skip, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A drive that is mounted for one program.
struct Workplace {
    // Dropped in this order: the scratch directory goes when nothing is mounted in it any more.
    drive: Drive,
    scratch: Scratch,
}

impl Workplace {
    /// None where the test cannot run and may be skipped.
    fn new(test: &str) -> Option<Workplace> {
        if !is_root_or_skip(test) {
            return None;
        }
        let scratch = Scratch::new(test);
        let drive = Drive::start(&scratch.path("store"), &scratch.dir("mnt"));
        Some(Workplace { drive, scratch })
    }

    fn root(&self) -> PathBuf {
        self.drive.mountpoint.join("shared")
    }

    /// A shell script with the drive's `shared/` as its working directory; each command must succeed.
    fn shell(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.root());
        command.env("HOME", self.scratch.dir("home")).env("OUTSIDE", self.scratch.dir("outside"));
        if let Some(home) = cargo_home() {
            command.env("CARGO_HOME", home);
        }
        if let Some(home) = std::env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(rustup_home)
        {
            command.env("RUSTUP_HOME", home);
        }
        run(&mut command)
    }

    /// Unmounts, mounts again, and compares every name, mode, time and byte.
    fn finish(self) {
        let before = self.fingerprint();
        let Workplace { drive, scratch } = self;
        let (store, mountpoint) = (drive.store.clone(), drive.mountpoint.clone());
        drive.stop();
        check_clean(&store);
        let again = Workplace { drive: Drive::start(&store, &mountpoint), scratch };
        let after = again.fingerprint();
        assert!(before.lines().count() > 1, "the program left nothing to compare");
        assert_eq!(before, after);
        again.drive.stop();
    }

    fn fingerprint(&self) -> String {
        self.shell(
            "find . -printf '%p %y %m %n %s %T@ %l\\n' | sort; \
             find . -type f -print0 | sort -z | xargs -0 -r sha256sum",
        )
    }
}

fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

fn rustup_home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup"))
}

#[test]
fn git_clones_collects_and_checks() {
    let Some(place) = Workplace::new("git") else { return };
    place.shell(
        "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
         git init -q origin; cd origin
         for n in $(seq 60); do
             mkdir -p d$((n % 7)); seq $((n * 37)) > d$((n % 7))/f$n; head -c 3000 /dev/urandom > bin$n
             git add -A; git commit -q -m \"commit $n\"
         done
         git branch side HEAD~20; cd ..
         git clone -q origin copy; cd copy
         git checkout -q -b work origin/side; echo more > new; git add new; git commit -q -m new
         git merge -q --no-edit origin/HEAD; git gc -q --aggressive --prune=now; git fsck --full --strict
         test -z \"$(git status --porcelain)\"; cd ../origin; git gc -q; git fsck --full --strict",
    );
    place.finish();
}

#[test]
fn sqlite_keeps_a_wal_database_under_load() {
    let Some(place) = Workplace::new("sqlite") else { return };
    place.shell(
        "sqlite3 a.db 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, w INT, v BLOB)' >/dev/null
         load() { for n in $(seq 40); do
             echo \"BEGIN IMMEDIATE; INSERT INTO t(w, v) SELECT $1, randomblob(700) FROM generate_series(1,25); COMMIT;\"
             done | sqlite3 -cmd '.timeout 60000' a.db; }
         load 1 & one=$!; load 2 & two=$!; load 3 & three=$!
         for n in $(seq 20); do sqlite3 -cmd '.timeout 60000' a.db 'SELECT count(*) FROM t' >/dev/null; done
         wait $one; wait $two; wait $three
         test \"$(sqlite3 a.db 'PRAGMA integrity_check')\" = ok
         test \"$(sqlite3 a.db 'SELECT count(*) FROM t')\" = 3000
         sqlite3 a.db 'DELETE FROM t WHERE id % 3 = 0; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
         test \"$(sqlite3 a.db 'PRAGMA integrity_check')\" = ok
         sqlite3 b.db 'PRAGMA journal_mode=DELETE; CREATE TABLE t(v); INSERT INTO t SELECT randomblob(9000) FROM generate_series(1,300)' >/dev/null
         sqlite3 b.db 'UPDATE t SET v = randomblob(8000) WHERE rowid % 2 = 0'
         test \"$(sqlite3 b.db 'PRAGMA integrity_check')\" = ok",
    );
    place.finish();
}

/// A tree with what makes copying hard: links, modes, times, xattrs, ACLs, holes, odd names.
const ODD_TREE: &str = "
    mkdir -p \"$OUTSIDE/tree/deep/er\"; cd \"$OUTSIDE/tree\"
    for n in $(seq 200); do head -c $((n * 531)) /dev/urandom > deep/f$n; done
    ln deep/f1 hard; ln -s deep/f2 soft; ln -s nowhere dangling; mkfifo pipe
    chmod 4755 deep/f3; chmod 000 deep/f4; touch -d '1999-12-31 23:59:59.123456789' deep/f5
    setfattr -n user.note -v hello deep/f6; setfacl -m u:nobody:rw deep/f7; setfacl -d -m g:nogroup:rx deep/er
    truncate -s 3M holes; echo end >> holes; touch $'new\\nline' $'\\xff\\xfe' ' space '
    cd \"$OUTSIDE/..\"";

#[test]
fn rsync_copies_and_finds_nothing_more_to_do() {
    let Some(place) = Workplace::new("rsync") else { return };
    place.shell(&format!("({ODD_TREE}); rsync -aHAXS \"$OUTSIDE/tree/\" tree/"));
    let more = place.shell("rsync -aHAXni --checksum \"$OUTSIDE/tree/\" tree/");
    assert_eq!(more, "", "rsync found differences in what it had just copied");
    place.shell("echo changed >> \"$OUTSIDE/tree/deep/f9\"; rm \"$OUTSIDE/tree/deep/f10\"; rsync -aHAX --delete \"$OUTSIDE/tree/\" tree/; cmp \"$OUTSIDE/tree/deep/f9\" tree/deep/f9; test ! -e tree/deep/f10");
    place.shell("rsync -aHAX --inplace --no-whole-file tree/ again/; diff -r --no-dereference --exclude=pipe tree again");
    place.finish();
}

#[test]
fn projects_are_copied_like_any_folder() {
    let Some(place) = Workplace::new("projects_are_copied_like_any_folder") else { return };
    place.shell(
        "umask 022; cd ../projects; mkdir first; ls first/drafts; echo hello > first/original/a
         for how in -r -a -rp; do cp $how first copy$how; diff -r first copy$how; done
         tar cf - first | (mkdir ../shared/t; cd ../shared/t; tar xf -); cp -r ../shared/t/first from-elsewhere
         diff -r first from-elsewhere
         rsync -a first/ synced; diff -r first synced
         tar cf - -C ../shared/t first --transform s/first/unpacked/ | tar xf -; diff -r first unpacked",
    );
    place.finish();
}

#[test]
fn tar_packs_and_unpacks() {
    let Some(place) = Workplace::new("tar") else { return };
    place.shell(&format!(
        "({ODD_TREE}); tar -C \"$OUTSIDE\" --format=posix --xattrs --acls -cSf tree.tar tree; tar --xattrs --acls -xpSf tree.tar
         tar --xattrs --acls -dSf tree.tar; tar -czf tree.tgz tree; mkdir other; tar -C other -xzpf tree.tgz
         diff -r --no-dereference --exclude=pipe tree other/tree"
    ));
    place.shell("test \"$(getfattr --only-values -n user.note tree/deep/f6)\" = hello; getfacl -c tree/deep/f7 | grep -q user:nobody:rw-");
    place.finish();
}

#[test]
fn vim_saves_in_its_ways() {
    let Some(place) = Workplace::new("vim") else { return };
    for (way, settings) in [
        ("rename", "set backupcopy=no writebackup"),
        ("in-place", "set backupcopy=yes writebackup"),
        ("kept", "set backupskip= backup backupdir=."),
        ("undo", "set undofile undodir=."),
    ] {
        let file = format!("{way}.txt");
        place.shell(&format!(
            "seq 5000 > {file}; chmod 640 {file}
             vim -es -u NONE -i NONE -c '{settings}' -c '%s/7/seven/g' -c 'wq' {file} </dev/null
             test \"$(seq 5000 | sed 's/7/seven/g' | sha256sum)\" = \"$(sha256sum < {file})\"
             test \"$(stat -c %a {file})\" = 640"
        ));
    }
    place.shell("test -f kept.txt~; test -z \"$(find . -name '*.swp')\"");
    place.finish();
}

#[test]
fn imagemagick_converts() {
    let Some(place) = Workplace::new("imagemagick") else { return };
    place.shell(
        "convert -size 900x700 -seed 5 plasma:red-blue a.png; convert a.png -resize 50% -quality 92 a.jpg
         convert a.png -rotate 90 a.tif; convert a.tif -rotate -90 b.png
         test \"$(compare -metric AE a.png b.png null: 2>&1)\" = 0
         mogrify -modulate 110 a.jpg; test \"$(identify -format %w a.jpg)\" = 450
         convert a.png a.tif \"$OUTSIDE/many.pdf\" 2>/dev/null || true; convert a.png -crop 3x3@ tile-%d.png
         montage tile-?.png -tile 3x3 -geometry +0+0 joined.png; identify joined.png",
    );
    place.finish();
}

#[test]
fn exiftool_rewrites_pictures() {
    let Some(place) = Workplace::new("exiftool") else { return };
    place.shell(
        "convert -size 640x480 -seed 3 plasma: a.jpg; cp a.jpg b.jpg; cp a.jpg c.jpg
         exiftool -q -Artist=Someone a.jpg; test -f a.jpg_original; cmp a.jpg_original b.jpg
         exiftool -q -overwrite_original -Artist=Other b.jpg
         exiftool -q -overwrite_original_in_place -Artist=Third -XMP:Rating=4 c.jpg
         test \"$(exiftool -s3 -Artist a.jpg)\" = Someone; test \"$(exiftool -s3 -Artist b.jpg)\" = Other
         test \"$(exiftool -s3 -Rating c.jpg)\" = 4; identify a.jpg b.jpg c.jpg",
    );
    place.finish();
}

#[test]
fn cargo_builds_and_builds_again() {
    let Some(place) = Workplace::new("cargo") else { return };
    place.shell(
        "cargo init -q --offline --vcs none --name tiny tiny; cd tiny
         for n in $(seq 20); do echo \"pub fn f$n() -> u32 {{ $n }}\" | sed 's/{{/{/;s/}}/}/' > src/m$n.rs; echo \"mod m$n;\" >> src/main.rs; done
         sed -i 's/Hello, world!/{}\", m7::f7() + m9::f9()); print!(\"/' src/main.rs
         export CARGO_TARGET_DIR=target; cargo build -q --offline; test \"$(./target/debug/tiny | head -1)\" = 16
         sed -i 's/{ 9/{ 90/' src/m9.rs; cargo build -q --offline; ./target/debug/tiny",
    );
    place.finish();
}
