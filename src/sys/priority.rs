//! Letting others go first.

use std::io;

/// How nice background work is, from 0 to 19. At 10 a thread gets about a tenth of what a thread of ordinary priority gets
/// when both want the same processor, and all of it when nobody else does. Not 19: background work holds locks for moments
/// (the metadata's writer, the places of chunks) for which the live drive waits, and a thread that hardly ever runs would hold them long.
/// Threads that wait for such a lock sleep, so that its holder has the processor to itself, unless other programs want it as well.
const NICE: i32 = 10;

/// The lowest of the ordinary classes for the disk: `IOPRIO_CLASS_BE`, level 7. Not the idle class, in which a request may
/// wait for as long as anybody else reads or writes, also while its thread holds a lock.
const DISK_PRIORITY: i32 = (2 << 13) | 7;

/// `IOPRIO_WHO_PROCESS`, which with 0 stands for the calling thread.
const THIS_THREAD: i32 = 1;

/// From now on the calling thread lets all others go first, on the processor and on the disk. It cannot be taken back.
pub fn lower_priority() -> io::Result<()> {
    // Linux has priorities of threads: no process stands for the calling one.
    rustix::process::setpriority_process(None, NICE)?;
    lower_disk_priority()
}

#[allow(unsafe_code)]
fn lower_disk_priority() -> io::Result<()> {
    // SAFETY: the call takes three numbers and touches no memory.
    let outcome = unsafe { libc::syscall(libc::SYS_ioprio_set, THIS_THREAD, 0, DISK_PRIORITY) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills a process that was started as the leader of a group of its own, and everything that it started.
pub fn kill_group(leader: u32) -> io::Result<()> {
    let pid = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn only_the_calling_thread_lets_others_go_first() {
        let before = niceness();
        let lowered = std::thread::spawn(|| {
            lower_priority().unwrap();
            niceness()
        });
        assert_eq!(lowered.join().unwrap(), NICE);
        assert_eq!(niceness(), before);
    }
}
