//! What the README tells people to type does what it says.

use crate::support::Bench;
use std::path::Path;
use std::process::Command;

/// The first block of shell commands after a heading.
fn commands(heading: &str) -> &'static str {
    let section = include_str!("../../README.md").split_once(heading).unwrap().1;
    let block = section.split_once("```sh\n").unwrap().1;
    block.split_once("```").unwrap().0
}

#[test]
fn three_minutes_bring_the_picture_and_the_folder_back() {
    let mut bench = Bench::new();
    let home = bench.path("").canonicalize().unwrap();
    (bench.store, bench.drive) = (home.join("verso-store"), home.join("Verso"));
    std::fs::create_dir(home.join("Pictures")).unwrap();
    let pictures = [("hero.jpg", vec![1; 300_000]), ("sink.jpg", vec![2; 70_000])];
    for (name, bytes) in &pictures {
        std::fs::write(home.join("Pictures").join(name), bytes).unwrap();
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_verso")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let script = format!("set -eux\n{}", commands("## Three minutes"));
    let ran =
        Command::new("sh").args(["-c", &script]).env("HOME", &home).env("PATH", path).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let staged = bench.drive.join("projects/spring/staged");
    for folder in [staged.clone(), staged.join("kitchen")] {
        for (name, bytes) in &pictures {
            let found = std::fs::read(folder.join(name)).unwrap();
            assert!(found == *bytes, "{name} is not back in {folder:?}: {ran:?}");
        }
    }
    bench.unmount();
}
