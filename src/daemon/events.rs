//! What can happen to a running daemon, from signals and from the control socket.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

/// Something to act on.
#[derive(Debug)]
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: somebody may have moved the log away.
    ReopenLog,
    /// The drive is to be taken out of the tree; whoever asked waits for the outcome.
    Unmount {
        /// Also when it is busy.
        lazy: bool,
        /// Where the outcome goes.
        reply: SyncSender<io::Result<()>>,
    },
}

/// Turns signals into events from now on. A stop that is asked for again is one more event, never
/// the end of the process: what is written must get into the store.
pub(super) fn listen() -> io::Result<(Sender<Event>, Receiver<Event>)> {
    let (sender, receiver) = channel();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let events = sender.clone();
    let forward = move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::ReopenLog } else { Event::Stop };
            if events.send(event).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("verso-signals".to_owned()).spawn(forward)?;
    Ok((sender, receiver))
}
