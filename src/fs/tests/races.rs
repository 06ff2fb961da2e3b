//! What happens at the same time, or in an order that programs rarely choose.

use super::*;
use crate::fs::node::Sealing;

const READ_ONLY: OpenMode = OpenMode { write: false, ..READ_WRITE };

impl Drive {
    fn read(&self, handle: Handle, offset: u64, len: usize) -> Vec<u8> {
        let mut content = Vec::new();
        self.volume.read(handle, offset, len, &mut content).unwrap();
        content
    }

    fn reopened(&self, name: &str) -> (Attr, Handle) {
        let attr = self.volume.lookup(Ino::ROOT, name.as_bytes()).unwrap();
        (attr, self.volume.open(attr.ino, READ_WRITE).unwrap())
    }
}

#[test]
fn a_file_cut_by_its_path_stays_cut_after_a_reader_closed_it() {
    let drive = Drive::new();
    let attr = drive.save(Ino::ROOT, "f", b"0123456789");
    let reader = drive.volume.open(attr.ino, READ_ONLY).unwrap();
    let cut = SetAttr { size: Some(4), ..SetAttr::default() };
    drive.volume.setattr(attr.ino, &cut).unwrap();
    drive.volume.release(reader).unwrap();
    assert_eq!(drive.load(Ino::ROOT, "f"), b"0123");
}

#[test]
fn chunks_without_a_commit_are_durable_when_they_are_called_so() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.sync_all().unwrap();
    drive.volume.write(handle, 0, &noise(1, 6 << 20)).unwrap();
    let node = &drive.volume.handles.get(handle).unwrap().node;
    drop(node.lock_unsealing());
    // What a tick does when there is nothing to commit.
    drive.volume.sync_commits().unwrap();
    drive.volume.settle().unwrap();
    let meta = &drive.volume.meta;
    let durable = meta.read(|view| view.durable_chunk()).unwrap();
    let chunks = meta.read(|view| view.chunks_after(crate::model::ChunkId(0), 1000)).unwrap();
    assert!(chunks.iter().any(|chunk| chunk.id <= durable));
    let ends = drive.volume.ingest.packs().durable_ends();
    for chunk in chunks.iter().filter(|chunk| chunk.id <= durable) {
        let end = ends.iter().find(|(pack, _)| *pack == chunk.at.pack).unwrap().1;
        assert!(chunk.at.offset + u64::from(chunk.at.stored_len) <= end, "{chunk:?}");
    }
}

/// Reads a part of `f` as sealing does, lets `meanwhile` happen, and lays the part over the file.
fn lay_stale(meanwhile: impl FnOnce(&Drive, Handle)) -> (Drive, Handle, bool) {
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", &[1; 1000]);
    let (_, handle) = drive.reopened("f");
    let node = Arc::clone(&drive.volume.handles.get(handle).unwrap().node);
    let before = node.lock().overlay.resolve(100, 300);
    let bytes = drive.read(handle, 100, 200);
    meanwhile(&drive, handle);
    let laid = drive.volume.lay_loaded(&node, 100, bytes, &before).is_some();
    (drive, handle, laid)
}

#[test]
fn what_changed_while_it_was_read_for_sealing_is_not_laid_over() {
    assert!(lay_stale(|_, _| ()).2);
    assert!(lay_stale(|drive, handle| drive.volume.write(handle, 500, b"beside").unwrap()).2);
    let (drive, handle, laid) = lay_stale(|drive, handle| {
        drive.volume.fallocate(handle, 150, 50, Allocate::PunchHole).unwrap();
    });
    assert!(!laid);
    assert_eq!(drive.read(handle, 150, 50), [0; 50]);
    let (drive, handle, laid) = lay_stale(|drive, handle| {
        for size in [200, 1000] {
            let cut = SetAttr { size: Some(size), ..SetAttr::default() };
            drive.volume.setattr(drive.reopened("f").0.ino, &cut).unwrap();
        }
        let _ = handle;
    });
    assert!(!laid);
    assert_eq!(drive.read(handle, 200, 100), [0; 100]);
    let (drive, handle, laid) = lay_stale(|drive, handle| {
        drive.save(Ino::ROOT, "g", &[7; 50]);
        let (_, from) = drive.reopened("g");
        drive.volume.copy_range(from, 0, handle, 150, 50).unwrap();
    });
    assert!(!laid);
    assert_eq!(drive.read(handle, 150, 50), [7; 50]);
}

#[test]
fn a_worker_that_panicked_or_failed_leaves_the_file_to_others() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.write(handle, 0, b"content").unwrap();
    let node = Arc::clone(&drive.volume.handles.get(handle).unwrap().node);
    node.lock().sealing = true;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _turn = Sealing::taken(&node);
        panic!("as a worker may");
    }));
    assert!(outcome.is_err());
    node.lock().deferred_error = Some(libc::EIO);
    // What waits in memory is as good as ever: saving it makes the error moot.
    drive.volume.flush(handle).unwrap();
    let drive = drive.crash();
    assert_eq!(drive.load(Ino::ROOT, "f"), b"content");
}

#[test]
fn large_writes_after_the_workers_stopped_can_still_be_saved() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.workers.stop();
    let content = noise(2, 6 << 20);
    drive.volume.write(handle, 0, &content).unwrap();
    drive.volume.flush(handle).unwrap();
    let drive = drive.crash();
    assert!(drive.load(Ino::ROOT, "f") == content);
}

#[test]
fn a_stopped_drive_takes_no_more_work() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "f");
    drive.volume.write(handle, 0, b"saved by the stop").unwrap();
    drive.volume.close().unwrap();
    assert!(drive.volume.write(handle, 0, b"too late").is_err());
    assert!(drive.volume.unlink(Ino::ROOT, b"f").is_err());
    drive.volume.release(handle).unwrap();
    let drive = drive.reopen_after(drop);
    assert_eq!(drive.load(Ino::ROOT, "f"), b"saved by the stop");
    assert!(drive.volume.meta.integrity_faults().unwrap().is_empty());
}

#[test]
fn many_threads_on_one_file_and_the_timer_agree_on_what_it_holds() {
    // Each thread owns every fourth kilobyte, so that each byte has one last writer.
    const THREADS: usize = 4;
    const BLOCK: usize = 1 << 10;
    const BLOCKS: usize = 256;
    let drive = Drive::new();
    drive.save(Ino::ROOT, "f", &noise(3, BLOCK * BLOCKS));
    let (_, handle) = drive.reopened("f");
    let volume = &drive.volume;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let written = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(relaxed) {
                volume.sync_all().unwrap();
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|own| {
                scope.spawn(move || {
                    let mut last = vec![None; BLOCKS];
                    for round in 0..150_usize {
                        let block = (round * 37 % (BLOCKS / THREADS)) * THREADS + own;
                        let at = (block * BLOCK) as u64;
                        let value = (round % 250) as u8 + 1;
                        match round % 5 {
                            0 => {
                                let len = BLOCK as u64;
                                volume.fallocate(handle, at, len, Allocate::PunchHole).unwrap();
                                last[block] = Some(0);
                            }
                            1 => volume.flush(handle).unwrap(),
                            _ => {
                                volume.write(handle, at, &[value; BLOCK]).unwrap();
                                last[block] = Some(value);
                            }
                        }
                    }
                    last
                })
            })
            .collect();
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        stop.store(true, relaxed);
        written
    });
    drive.volume.flush(handle).unwrap();
    let mut expected = noise(3, BLOCK * BLOCKS);
    for (block, value) in written.iter().flat_map(|last| last.iter().enumerate()) {
        if let Some(value) = value {
            expected[block * BLOCK..(block + 1) * BLOCK].fill(*value);
        }
    }
    assert_eq!(drive.volume.space.dirty_bytes(), 0);
    let drive = drive.crash();
    assert!(drive.load(Ino::ROOT, "f") == expected);
}

#[test]
fn a_panic_in_a_transaction_undoes_it_and_no_more() {
    let drive = Drive::new();
    let meta = &drive.volume.meta;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        meta.write(Timestamp(0), |tx| -> Result<()> {
            tx.end_inode(Ino::ROOT)?;
            panic!("as a bug may");
        })
    }));
    assert!(panicked.is_err());
    assert!(meta.read(|view| view.inode(Ino::ROOT)).unwrap().is_some());
    drive.save(Ino::ROOT, "f", b"goes on");
    assert_eq!(drive.crash().load(Ino::ROOT, "f"), b"goes on");
}

#[test]
fn an_extent_without_its_chunk_is_an_error_and_no_zeros() {
    let drive = Drive::new();
    let attr = drive.save(Ino::ROOT, "f", b"content");
    let meta = &drive.volume.meta;
    let found = meta.read(|view| view.extents_and_chunks(attr.ino, 0, 10)).unwrap();
    meta.write(Timestamp(0), |tx| tx.remove_chunk(found[0].1.id)).unwrap();
    let (_, handle) = drive.reopened("f");
    let mut content = Vec::new();
    let outcome = drive.volume.read(handle, 0, 10, &mut content);
    assert_eq!((outcome.map_err(|error| error.errno()), content), (Err(libc::EIO), vec![]));
}

#[test]
fn numbers_are_not_handed_out_twice_after_a_commit_that_undid_itself() {
    let drive = Drive::new();
    let first = drive.save(Ino::ROOT, "f", b"1");
    drive.clock.advance(Duration::from_secs(60));
    // What SQLite does by itself when the disk is full at the worst time.
    let undone = drive.volume.meta.write(drive.volume.now(), |tx| -> Result<()> {
        tx.keep_counters_and_undo().unwrap();
        Err(Error::NoSpace)
    });
    assert!(undone.is_err());
    drive.save(Ino::ROOT, "g", b"2");
    let last = drive.volume.meta.last_moment();
    let drive = drive.crash();
    assert!(drive.volume.meta.last_moment() >= last);
    assert!(drive.save(Ino::ROOT, "h", b"3").ino > first.ino);
}

#[test]
fn a_file_can_be_saved_while_it_is_written_without_end() {
    let drive = Drive::new();
    let (_, handle) = drive.create(Ino::ROOT, "f");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let block = noise(9, 1 << 20);
            let offsets = (0..64).cycle().map(|number| number << 20);
            for offset in offsets.take_while(|_| !stop.load(relaxed)) {
                drive.volume.write(handle, offset, &block).unwrap();
            }
        });
        // Returns although the writer doesn't stop before it did.
        for _ in 0..3 {
            drive.volume.sync_all().unwrap();
        }
        stop.store(true, relaxed);
    });
    drive.volume.flush(handle).unwrap();
    assert_eq!(drive.volume.space.dirty_bytes(), 0);
}
