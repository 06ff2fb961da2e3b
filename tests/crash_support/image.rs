//! Disk images on loop devices whose power can be cut.

use super::{run, unmount};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`, the same number: `_IOR('X', 125, __u32)`.
const SHUTDOWN: libc::c_ulong = 0x8004_587D;
/// Neither data nor the journal are flushed any more.
const SHUTDOWN_NO_LOG_FLUSH: u32 = 2;

/// The filesystem on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

/// An image file with a filesystem, mounted through a loop device; unmounted when dropped.
pub(crate) struct Image {
    file: PathBuf,
    pub(crate) mountpoint: PathBuf,
    power: Option<File>,
}

impl Image {
    /// Makes a sparse image of `mebibytes` at `file`, formats and mounts it.
    pub(crate) fn create(kind: Kind, mebibytes: u64, file: &Path, mountpoint: &Path) -> Image {
        File::create(file).unwrap().set_len(mebibytes << 20).unwrap();
        match kind {
            Kind::Ext4 => run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(file)),
            Kind::Xfs => run(Command::new("mkfs.xfs").args(["-q", "-f"]).arg(file)),
        };
        Image::mount(file, mountpoint)
    }

    /// Mounts an image that is there, as a machine does after it got its power back.
    pub(crate) fn mount(file: &Path, mountpoint: &Path) -> Image {
        std::fs::create_dir_all(mountpoint).unwrap();
        // nouuid for xfs, whose clones carry their origin's number.
        let options = if is_xfs(file) { "loop,nouuid" } else { "loop" };
        run(Command::new("mount").args(["-o", options]).arg(file).arg(mountpoint));
        let power = Some(File::open(mountpoint).unwrap());
        Image { file: file.to_owned(), mountpoint: mountpoint.to_owned(), power }
    }

    /// A handle that can cut the power from any thread.
    pub(crate) fn power_switch(&self) -> PowerSwitch {
        PowerSwitch(self.power.as_ref().unwrap().try_clone().unwrap())
    }

    /// Unmounts and mounts again, which replays the filesystem's journal. All handles on it must be closed.
    pub(crate) fn power_on(mut self) -> Image {
        self.unmount();
        Image::mount(&self.file, &self.mountpoint)
    }

    fn unmount(&mut self) {
        if self.power.take().is_some() {
            unmount(&self.mountpoint);
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.power.take().is_some() {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(&self.mountpoint)
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn is_xfs(file: &Path) -> bool {
    let mut magic = [0; 4];
    let mut file = File::open(file).unwrap();
    std::io::Read::read_exact(&mut file, &mut magic).unwrap();
    magic == *b"XFSB"
}

/// Cuts the power of one image.
pub(crate) struct PowerSwitch(File);

impl PowerSwitch {
    /// From here on nothing more reaches the image: neither dirty pages nor the filesystem's journal.
    #[allow(unsafe_code)]
    pub(crate) fn cut(&self) {
        let flags = SHUTDOWN_NO_LOG_FLUSH;
        // SAFETY: the descriptor is open and the argument points to a u32 that outlives the call, as this ioctl wants.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), SHUTDOWN as _, &raw const flags) };
        assert_eq!(result, 0, "shutdown ioctl: {}", std::io::Error::last_os_error());
    }
}

/// Clones an image that may be in use, at one instant; both files must lie on one xfs.
pub(crate) fn clone_image(image: &Path, clone: &Path) {
    run(Command::new("cp").arg("--reflink=always").arg(image).arg(clone));
}
