//! The operating system behind safe names: the clock, the store lock, durable publication of files,
//! and the system calls that the standard library doesn't offer. The only room with `unsafe` code.

mod clock;
mod disk;
pub mod failpoint;
mod identity;
mod inherited;
mod lock;
mod memory;
pub mod mount;
pub mod mounts;
mod priority;
mod process;
mod processors;
mod publish;
mod task;
mod terminal;
#[cfg(test)]
pub(crate) mod testing;
mod vectored;

pub use clock::{Clock, ManualClock, SystemClock, thread_cpu_time};
pub use disk::{
    DiskSpace, disk_space, expect_random_reads, forget_cached, is_no_space, preallocate,
    read_ahead, start_writeback,
};
pub use identity::{current_user, random_bytes};
pub use inherited::{take_descriptors, take_stdin, take_variable};
pub use lock::{DirectoryLock, LockError, StoreLock};
pub use memory::{Locked, forbid_core_dumps, give_memory_back, machine_memory};
pub use priority::{kill_group, lower_priority};
pub use process::{
    leave_terminal, make_private_files, process_of, redirect_stderr, sync_filesystem,
};
pub use processors::ProcessorTime;
pub use publish::{publish, sync_dir};
pub use task::{Task, Unattended, Until};
pub use terminal::Terminal;
pub use vectored::{read_around, write_slices_at};
