//! Threads that work for the volume in the background: they seal what is being written.

use super::node::Node;
use super::volume::Volume;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Arc<Node>>,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Shared {
    /// A node is in the queue at most once (`NodeState::sealing`), so open files bound its length.
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The threads and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts `count` threads that work for `volume`.
    pub(super) fn start(&self, volume: &Weak<Volume>, count: usize) {
        let mut threads = self.threads.lock();
        for number in 0..count {
            let volume = Weak::clone(volume);
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name(format!("seal-{number}"))
                .spawn(move || run(&volume, &shared))
                .expect("the system has a thread for us");
            threads.push(thread);
        }
    }

    /// Puts a node in the queue; whether somebody will see to it.
    pub(super) fn submit(&self, node: Arc<Node>) -> bool {
        let mut queue = self.shared.queue.lock();
        if queue.stopped {
            return false;
        }
        queue.jobs.push_back(node);
        self.shared.changed.notify_one();
        true
    }

    /// Lets the threads finish what is queued and waits for them.
    pub(super) fn stop(&self) {
        self.shared.queue.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                log::error!("a sealing thread panicked");
            }
        }
    }
}

fn run(volume: &Weak<Volume>, shared: &Shared) {
    while let Some(node) = next(shared) {
        let Some(volume) = volume.upgrade() else { return };
        // Whoever saves the node next meets what made it panic, and is told.
        if catch_unwind(AssertUnwindSafe(|| volume.seal_job(&node))).is_err() {
            log::error!("sealing inode {} panicked", node.ino);
        }
    }
}

fn next(shared: &Shared) -> Option<Arc<Node>> {
    let mut queue = shared.queue.lock();
    loop {
        if let Some(node) = queue.jobs.pop_front() {
            return Some(node);
        }
        if queue.stopped {
            return None;
        }
        shared.changed.wait(&mut queue);
    }
}
