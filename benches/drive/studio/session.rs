//! What happens in the session: who saves what, and in which way.

use super::Stage;
use super::picture::Picture;
use crate::Failure;
use crate::data::SplitMix64;
use std::fs;
use std::path::Path;
use std::process::Command;

const PHOTOS: usize = 12;
/// Pictures that are worked on, and how often each is saved after it was painted on.
pub(crate) const TIFFS: usize = 3;
pub(crate) const PAINTED_SAVES: usize = 4;
/// Where it all is, below the top of the drive.
pub(super) const PROJECT: &str = "work/house";
const COPY: &str = "work/house-copy";

/// Runs the whole session on `stage`.
pub(super) fn play(stage: &mut Stage, seed: u64) -> Result<(), Failure> {
    let mut random = SplitMix64(seed);
    let outside = stage.outside("camera")?;
    photograph(&outside, &mut random)?;
    stage.prepare(|root| Ok(make_stages(&root.join(PROJECT))?))?;
    copy_in(stage, &outside)?;
    edit_tags(stage)?;
    retouch(stage, &mut random)?;
    export(stage)?;
    copy_project(stage)
}

fn make_stages(project: &Path) -> std::io::Result<()> {
    ["original", "staged", "drafts", "final"]
        .iter()
        .try_for_each(|stage| fs::create_dir_all(project.join(stage)))
}

fn photo(n: usize) -> String {
    format!("IMG_{:04}.jpg", n + 4711)
}

/// The card of a camera: JPEG files with the tags that a camera gives.
fn photograph(card: &Path, random: &mut SplitMix64) -> Result<(), Failure> {
    for n in 0..PHOTOS {
        eprintln!("photo {} of {PHOTOS}", n + 1);
        let raw = card.join("raw.ppm");
        fs::write(&raw, Picture::new(random.next()).ppm())?;
        run(card, "convert", &["raw.ppm", "-quality", "92", &photo(n)])?;
        fs::remove_file(raw)?;
        let taken = format!("-DateTimeOriginal=2026:03:14 10:{n:02}:00");
        let tags = ["-q", "-overwrite_original", "-Make=Verso", "-Model=V1", "-ISO=400", &taken];
        run(card, "exiftool", &[&tags[..], &[&photo(n)]].concat())?;
    }
    Ok(())
}

fn copy_in(stage: &mut Stage, card: &Path) -> Result<(), Failure> {
    for n in 0..PHOTOS {
        let to = format!("{PROJECT}/original/{}", photo(n));
        let from = card.join(photo(n)).to_string_lossy().into_owned();
        stage.save("copy in", &[&to], |root| run(root, "cp", &[&from, &to]))?;
    }
    Ok(())
}

/// exiftool writes a file of its own and renames it over: more tags, and all the rest moved on.
fn edit_tags(stage: &mut Stage) -> Result<(), Failure> {
    for n in 0..PHOTOS {
        let file = format!("{PROJECT}/original/{}", photo(n));
        let title = format!("-XMP:Title=The house from side {n}");
        let tags = ["-Artist=A. Photographer", "-Copyright=All of it", "-Keywords=house", &title];
        let args = [&["-q", "-overwrite_original"], &tags[..], &[&file]].concat();
        stage.save("edit tags", &[&file], |root| run(root, "exiftool", &args))?;
    }
    Ok(())
}

fn tiff(n: usize) -> String {
    format!("{PROJECT}/staged/room-{n}.tif")
}

/// The pictures stay open, as in a program: they are saved, painted on and saved again.
fn retouch(stage: &mut Stage, random: &mut SplitMix64) -> Result<(), Failure> {
    let mut pictures: Vec<Picture> = (0..TIFFS).map(|_| Picture::new(random.next())).collect();
    for round in 0..=PAINTED_SAVES {
        for (n, picture) in pictures.iter_mut().enumerate() {
            if round > 0 {
                stage.painted_bytes += picture.paint(random.next()) as u64;
            }
            let (file, bytes) = (tiff(n), picture.tiff());
            let way = WAYS[n % WAYS.len()];
            stage.save("save TIFF", &[&file], |root| Ok(way(&root.join(&file), &bytes)?))?;
        }
    }
    Ok(())
}

type Way = fn(&Path, &[u8]) -> std::io::Result<()>;

/// The ways in which programs save.
const WAYS: [Way; 3] = [in_place, rename_over, set_aside];

/// Empties the file and writes it anew, as GIMP does.
fn in_place(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::write(file, bytes)
}

/// Writes beside it and renames over, as Photoshop does.
fn rename_over(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = file.with_extension("tmp");
    fs::write(&beside, bytes)?;
    fs::rename(beside, file)
}

/// Moves the old one away, writes anew, and then removes the old one, as vim does.
fn set_aside(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = file.with_extension("tif~");
    let is_there = file.exists();
    if is_there {
        fs::rename(file, &aside)?;
    }
    fs::write(file, bytes)?;
    if is_there { fs::remove_file(aside) } else { Ok(()) }
}

fn export(stage: &mut Stage) -> Result<(), Failure> {
    for n in 0..TIFFS {
        let (from, to) = (tiff(n), format!("{PROJECT}/final/room-{n}.jpg"));
        let args = [from.as_str(), "-quality", "92", to.as_str()];
        stage.save("export", &[&to], |root| run(root, "convert", &args))?;
    }
    Ok(())
}

fn copy_project(stage: &mut Stage) -> Result<(), Failure> {
    let project = stage.names();
    let copies: Vec<String> = project.iter().map(|name| name.replacen(PROJECT, COPY, 1)).collect();
    let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
    stage.save("copy the project", &copies, |root| run(root, "cp", &["-r", PROJECT, COPY]))
}

fn run(dir: &Path, program: &str, args: &[&str]) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .map_err(|error| Failure(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure(format!("{program} {args:?}: {}: {said}", output.status)))
}
