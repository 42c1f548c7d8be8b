//! File systems of our own, and how their power is cut.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::rig::LOOK_EVERY;

/// How long a file system may take to let go of what a killed program had open.
const BUSY_MAX: Duration = Duration::from_secs(20);

/// Which file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ext4,
    Xfs,
}

/// What happens to the journal at the moment of the cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is written out, the data is not: names may be there without their content.
    LogFlushed,
    /// Nothing is written any more.
    Sudden,
}

/// Every way in which power is cut here.
pub const CUTS: [(Kind, Mode); 4] = [
    (Kind::Ext4, Mode::LogFlushed),
    (Kind::Ext4, Mode::Sudden),
    (Kind::Xfs, Mode::LogFlushed),
    (Kind::Xfs, Mode::Sudden),
];

impl Kind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The smallest that mkfs makes without complaint, and ample.
    fn size_bytes(self) -> u64 {
        match self {
            Self::Ext4 => 128 << 20,
            Self::Xfs => 320 << 20,
        }
    }
}

impl Mode {
    pub fn label(self) -> &'static str {
        match self {
            Self::LogFlushed => "log flushed",
            Self::Sudden => "sudden",
        }
    }
}

/// A file system in a file.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Makes and mounts it.
    pub fn new(kind: Kind) -> Self {
        let disk = Self { folder: TempDir::with_prefix("jimengd-disk-").unwrap() };
        File::create(disk.image()).unwrap().set_len(kind.size_bytes()).unwrap();
        match kind {
            Kind::Ext4 => run(Command::new("mkfs.ext4").arg("-qF").arg(disk.image())),
            Kind::Xfs => run(Command::new("mkfs.xfs").arg("-qf").arg(disk.image())),
        }
        std::fs::create_dir(disk.path()).unwrap();
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.path()));
    }

    /// Cuts the power: from now on nothing reaches the disk.
    pub fn cut(&self, mode: Mode) {
        let shutdown = match mode {
            Mode::LogFlushed => "shutdown -f",
            Mode::Sudden => "shutdown",
        };
        run(Command::new("xfs_io").args(["-x", "-c", shutdown]).arg(self.path()));
    }

    /// Power is back: the journal is replayed. Nobody may have anything open there.
    pub fn mount_again(&self) {
        let start = Instant::now();
        while !succeeds(Command::new("umount").arg(self.path())) {
            assert!(start.elapsed() < BUSY_MAX, "{} stays busy", self.path().display());
            std::thread::sleep(LOOK_EVERY);
        }
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a program that did not end may still be there.
        succeeds(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// A file system in memory, as small as one likes.
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    /// Mounts it over a folder, with these options.
    pub fn new(path: &Path, options: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path));
        Self { path: path.to_owned() }
    }

    /// Changes its options.
    pub fn remount(&self, options: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.path));
    }
}

/// Takes all the room that is left; dropped, it gives it back.
pub struct Filler(PathBuf);

/// What a file system can be short of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    Bytes,
    Inodes,
}

impl Filler {
    /// Fills the file system that a folder is on.
    pub fn new(folder: &Path, room: Room) -> Self {
        let own = folder.join(".filler");
        std::fs::create_dir(&own).unwrap();
        let mut block = vec![1; 1 << 16];
        for number in 0.. {
            let path = own.join(number.to_string());
            let written = match room {
                Room::Bytes => std::fs::write(path, &block),
                Room::Inodes => File::create(path).map(drop),
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() != std::io::ErrorKind::StorageFull => panic!("{}: {error}", own.display()),
                // What is left is filled in ever smaller pieces.
                Err(_) if room == Room::Bytes && block.len() > 1 => block.truncate(block.len() / 2),
                Err(_) => break,
            }
        }
        Self(own)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg("-l").arg(&self.path));
    }
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
