//! A store with a million files: how long it takes to mount, and how much memory the daemon takes.

use crate::Failure;
use crate::peers::{Daemon, start_verso};
use crate::report::{machine, mark};
use crate::work::MIB;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const FILES_PER_DIRECTORY: usize = 1000;
/// Files are made by this many threads at once.
const WRITERS: usize = 2;
const MOUNT_MAX: Duration = Duration::from_secs(1);
const MEMORY_BYTES_MAX: u64 = 256 * MIB as u64;

/// Fills a store with `files` small files, mounts it anew with cold caches, walks it, and prints what was seen.
pub(crate) fn measure(base: &Path, verso: &Path, files: usize) -> Result<(), Failure> {
    let (store, mountpoint) = (base.join("store"), base.join("mnt"));
    fs::create_dir(&mountpoint)?;
    let daemon = start_verso(verso, &store, &mountpoint)?;
    let begun = Instant::now();
    fill(&mountpoint.join("million"), files)?;
    let filled = begun.elapsed();
    let filling = daemon.memory("VmHWM:");
    drop(daemon);

    drop_caches()?;
    let begun = Instant::now();
    let daemon = start_verso(verso, &store, &mountpoint)?;
    fs::metadata(mountpoint.join("million"))?;
    let mounted = begun.elapsed();
    let idle = daemon.memory("VmRSS:");
    let begun = Instant::now();
    let seen = walk(&mountpoint.join("million"))?;
    let walked = begun.elapsed();
    println!("{}\n", machine(base, 1));
    println!(
        "- filled with {files} files in {:.0} s ({:.0} /s), peak memory {} MiB",
        filled.as_secs_f64(),
        files as f64 / filled.as_secs_f64(),
        mib(filling)
    );
    println!(
        "- {}: mounted in {:.3} s (< 1), caches cold, {} MiB resident",
        mark(mounted < MOUNT_MAX),
        mounted.as_secs_f64(),
        mib(idle)
    );
    println!(
        "- {}: walked {seen} entries with stat in {:.1} s, peak memory {} MiB (≤ 256)",
        mark(peak_kept(&daemon)),
        walked.as_secs_f64(),
        mib(daemon.memory("VmHWM:"))
    );
    if seen < files {
        return Err(Failure(format!("{seen} of {files} files were there after mounting again")));
    }
    Ok(())
}

fn peak_kept(daemon: &Daemon) -> bool {
    daemon.memory("VmHWM:").is_some_and(|bytes| bytes <= MEMORY_BYTES_MAX)
}

fn mib(bytes: Option<u64>) -> u64 {
    bytes.unwrap_or(0) / MIB as u64
}

fn fill(root: &Path, files: usize) -> Result<(), Failure> {
    fs::create_dir(root)?;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || fill_share(root, files, writer)))
            .collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|_| Err(Failure("a writer panicked".into())))
        })
    })
}

/// Every `WRITERS`-th directory; each file holds a few bytes of its own.
fn fill_share(root: &Path, files: usize, writer: usize) -> Result<(), Failure> {
    let directories = files.div_ceil(FILES_PER_DIRECTORY);
    for directory in (writer..directories).step_by(WRITERS) {
        let path = root.join(format!("{directory:05}"));
        fs::create_dir(&path)?;
        let first = directory * FILES_PER_DIRECTORY;
        for n in first..files.min(first + FILES_PER_DIRECTORY) {
            fs::write(path.join(format!("picture-{n:07}.txt")), format!("picture {n}\n"))?;
        }
    }
    Ok(())
}

fn walk(root: &Path) -> Result<usize, Failure> {
    let mut files = 0;
    for directory in fs::read_dir(root)? {
        for entry in fs::read_dir(directory?.path())? {
            entry?.metadata()?;
            files += 1;
        }
    }
    Ok(files)
}

fn drop_caches() -> Result<(), Failure> {
    Command::new("sync").status()?;
    fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|error| Failure(format!("/proc/sys/vm/drop_caches (needs root): {error}")))
}
