//! Folders and files that survive a crash, and that nobody can lead astray.
//!
//! Every folder is held open and every name is looked up in it without following links, so that a symbolic link planted by
//! somebody who may write into the spool leads nowhere. A rename never replaces. Nothing is durable until the file *and* its
//! folder were synced; the functions here say which of the two they do.
//!
//! Everything blocks: callers run it apart from the event loop.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::job::{FileName, Folder};
use crate::world::{self, At};

mod copy;

/// Mode of folders that are made: the group may enter and write, as the umask allows.
const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RWXG);

/// Mode of files that are made: the group may read, as the umask allows.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

/// Numbers of the errors of a link where a file is wanted, and of our own refusal of what is no regular file.
const LOOP: i32 = Errno::LOOP.raw_os_error();
const INVALID: i32 = Errno::INVAL.raw_os_error();

/// A file operation that failed, with what was being done to what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct FileError {
    /// Such as `rename` or `sync`.
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// What a failed file operation means for the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No space, no inodes, or no quota left: goes on when there is some.
    DiskFull,
    /// The mount is read-only: goes on when it is not.
    ReadOnly,
    /// A folder is not there: goes on when it is back.
    Vanished,
    /// Not allowed.
    Forbidden,
    /// Anything else, such as a failing disk.
    Failing,
}

impl FileError {
    fn new(doing: &'static str, path: impl Into<PathBuf>, errno: impl Into<io::Error>) -> Self {
        Self { doing, path: path.into(), source: errno.into() }
    }

    /// What it means for the work.
    pub fn trouble(&self) -> Trouble {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            // A rename to another mount means that a folder was replaced, as by a disk that is mounted over it or gone.
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::CrossesDevices => Trouble::Vanished,
            io::ErrorKind::PermissionDenied => Trouble::Forbidden,
            _ => Trouble::Failing,
        }
    }
}

/// How a rename ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renamed {
    /// The file has its new name.
    Moved,
    /// The new name is taken; nothing was changed.
    Taken,
    /// There is no file of the old name.
    Gone,
    /// The new name is on another mount; nothing was changed.
    OtherMount,
}

/// A folder, held open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the folder at `path`, following links as the administrator set them.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be entered.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = world::open(At::new(&rustix::fs::CWD, path), flags);
        let fd = opened.map_err(|e| FileError::new("open", path, e))?.into();
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it, for messages.
    pub fn path_of(&self, name: &FileName) -> PathBuf {
        self.path.join(name.as_path())
    }

    /// A name in it, for calls to the world.
    pub(super) fn at<'a>(&'a self, name: &'a FileName) -> At<'a> {
        At::new(&self.fd, name.as_path())
    }

    /// The folder's descriptor, for calls that this module does not have.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Device and inode of the folder itself.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn identity(&self) -> Result<(u64, u64), FileError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| FileError::new("look at", &self.path, e))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The folder `name` in this one. A link is not followed.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be entered.
    pub fn child(&self, name: &FileName) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = world::open(self.at(name), flags).map_err(|e| FileError::new("open", self.path_of(name), e))?.into();
        Ok(Self { fd, path: self.path_of(name) })
    }

    /// The subfolder `folder`, one component after the other, no link followed.
    ///
    /// # Errors
    /// As [`Dir::child`].
    pub fn descend(self, folder: &Folder) -> Result<Self, FileError> {
        folder.parts().try_fold(self, |dir, name| dir.child(&name))
    }

    /// The subfolder `folder`, made where it is missing; what was made is synced.
    ///
    /// # Errors
    /// As [`Dir::child`], and what making can fail of.
    pub fn make(self, folder: &Folder) -> Result<Self, FileError> {
        folder.parts().try_fold(self, |dir, name| {
            if dir.make_child(&name)? {
                dir.sync()?;
            }
            dir.child(&name)
        })
    }

    /// Makes the folder `name`; false if something of that name is there already. Does not sync.
    ///
    /// # Errors
    /// What making can fail of.
    pub fn make_child(&self, name: &FileName) -> Result<bool, FileError> {
        self.make_child_as(name, FOLDER_MODE)
    }

    /// As [`Dir::make_child`], with this mode, as far as the umask lets it.
    ///
    /// # Errors
    /// What making can fail of.
    pub fn make_child_as(&self, name: &FileName, mode: Mode) -> Result<bool, FileError> {
        match world::make_folder(self.at(name), mode) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(FileError::new("make", self.path_of(name), e)),
        }
    }

    /// Makes names that were added, changed or taken away durable.
    ///
    /// # Errors
    /// The disk fails; what was done may be lost.
    pub fn sync(&self) -> Result<(), FileError> {
        world::sync_names(&self.fd).map_err(|e| FileError::new("sync", &self.path, e))
    }

    /// What the kernel says of `name`, no link followed; `None` if there is nothing.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn stat(&self, name: &FileName) -> Result<Option<Stat>, FileError> {
        match rustix::fs::statat(&self.fd, name.as_path(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(FileError::new("look at", self.path_of(name), e)),
        }
    }

    /// Whether anything has this name.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn holds(&self, name: &FileName) -> Result<bool, FileError> {
        Ok(self.stat(name)?.is_some())
    }

    /// Opens the regular file `name` for reading; `None` if there is nothing. Never blocks on a FIFO or a device.
    ///
    /// # Errors
    /// It is not a regular file, or may not be read.
    pub fn open_file(&self, name: &FileName) -> Result<Option<File>, FileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match world::open(self.at(name), flags) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(FileError::new("open", self.path_of(name), e)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| FileError::new("look at", self.path_of(name), e))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            Ok(Some(file))
        } else {
            Err(FileError::new("read (it is not a regular file)", self.path_of(name), Errno::INVAL))
        }
    }

    /// The content of the regular file `name`, at most `bytes_max` bytes of it; `None` if there is nothing.
    ///
    /// # Errors
    /// As [`Dir::open_file`], and reading.
    pub fn read(&self, name: &FileName, bytes_max: usize) -> Result<Option<Vec<u8>>, FileError> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes).map_err(|e| FileError::new("read", self.path_of(name), e))?;
        Ok(Some(bytes))
    }

    /// Makes the file `name`, which must not be there, writes `bytes` and syncs the file. The folder is left to the caller.
    ///
    /// # Errors
    /// Making, writing or syncing; a file that was begun is taken away again.
    pub fn write_new(&self, name: &FileName, bytes: &[u8]) -> Result<(), FileError> {
        let file = world::make(self.at(name), FILE_MODE).map_err(|e| FileError::new("make", self.path_of(name), e))?;
        let written = world::write(&file, bytes).and_then(|()| Ok(world::sync_content(&file)?));
        written.map_err(|e| {
            let error = FileError::new("write", self.path_of(name), e);
            self.clear_away(name);
            error
        })
    }

    /// Makes the file `name` of ours, which must be there, hold `bytes`, and syncs its content. A crash may leave it half old, half new.
    ///
    /// # Errors
    /// It is not there or is no regular file, or the disk fails.
    pub fn overwrite(&self, name: &FileName, bytes: &[u8]) -> Result<(), FileError> {
        let failed = |e: io::Error| FileError::new("write", self.path_of(name), e);
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = world::open(self.at(name), flags).map_err(|e| failed(e.into()))?;
        world::write(&file, bytes).map_err(failed)?;
        world::set_length(&file, bytes.len() as u64).map_err(failed)?;
        world::sync_content(&file).map_err(|e| failed(e.into()))
    }

    /// Makes `name` hold `bytes`, whatever it held before, at one instant: written beside, synced, renamed over, synced.
    ///
    /// # Errors
    /// As [`Dir::write_new`]; `name` is then as it was.
    pub fn replace(&self, name: &FileName, beside: &FileName, bytes: &[u8]) -> Result<(), FileError> {
        self.unlink(beside)?;
        self.write_new(beside, bytes)?;
        world::rename_over(self.at(beside), self.at(name))
            .map_err(|e| FileError::new("rename", self.path_of(beside), e))?;
        self.sync()
    }

    /// Syncs the content of the file `name`; nothing to do if it is not there.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync_file(&self, name: &FileName) -> Result<(), FileError> {
        self.open_file(name)?.map_or(Ok(()), |file| self.sync_open(name, &file))
    }

    /// Syncs the content of `file`, which is called `name`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync_open(&self, name: &FileName, file: &File) -> Result<(), FileError> {
        world::sync_content(file).map_err(|e| FileError::new("sync", self.path_of(name), e))
    }

    /// Gives `name` the name `new` in `to`, unless that is taken. Syncs nothing.
    ///
    /// # Errors
    /// What a rename can fail of, but for what [`Renamed`] says.
    pub fn rename(&self, name: &FileName, to: &Dir, new: &FileName) -> Result<Renamed, FileError> {
        match world::rename(self.at(name), to.at(new)) {
            Ok(()) => Ok(Renamed::Moved),
            Err(Errno::EXIST) => self.taken_by_itself(name, to, new),
            Err(Errno::NOENT) if !self.holds(name)? => Ok(Renamed::Gone),
            Err(Errno::XDEV) => Ok(Renamed::OtherMount),
            // The file system has no rename without replacing: a link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS) => self.link_and_unlink(name, to, new),
            Err(e) => Err(FileError::new("rename", self.path_of(name), e)),
        }
    }

    fn link_and_unlink(&self, name: &FileName, to: &Dir, new: &FileName) -> Result<Renamed, FileError> {
        match world::link(self.at(name), to.at(new)) {
            Ok(()) => {
                self.unlink(name)?;
                Ok(Renamed::Moved)
            }
            Err(Errno::EXIST) => self.taken_by_itself(name, to, new),
            Err(Errno::NOENT) if !self.holds(name)? => Ok(Renamed::Gone),
            Err(e) => Err(FileError::new("link", self.path_of(name), e)),
        }
    }

    /// A crash between a link and its unlink leaves the file under both names: then what is left to do is done. Whatever else
    /// has the new name is not ours.
    fn taken_by_itself(&self, name: &FileName, to: &Dir, new: &FileName) -> Result<Renamed, FileError> {
        if !self.is_other_name(name, to, new)? {
            return Ok(Renamed::Taken);
        }
        self.unlink(name)?;
        Ok(Renamed::Moved)
    }

    /// Whether `name` and `new` in `to` are two names of one file.
    pub(super) fn is_other_name(&self, name: &FileName, to: &Dir, new: &FileName) -> Result<bool, FileError> {
        let same_entry = name == new && self.identity()? == to.identity()?;
        Ok(match (self.stat(name)?, to.stat(new)?) {
            (Some(a), Some(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) && !same_entry,
            (None, _) | (_, None) => false,
        })
    }

    /// Takes the file `name` away; false if it was not there. Does not sync.
    ///
    /// # Errors
    /// What unlinking can fail of.
    pub fn unlink(&self, name: &FileName) -> Result<bool, FileError> {
        match world::unlink(self.at(name)) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(FileError::new("remove", self.path_of(name), e)),
        }
    }

    /// Takes the empty folder `name` away; false if it was not there or is not empty. Does not sync.
    ///
    /// # Errors
    /// What removing can fail of.
    pub fn remove_child(&self, name: &FileName) -> Result<bool, FileError> {
        match world::remove_folder(self.at(name)) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(e) => Err(FileError::new("remove", self.path_of(name), e)),
        }
    }

    /// The names in the folder, but for `.` and `..`, in no order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self) -> Result<Vec<FileName>, FileError> {
        let broken = |e| FileError::new("list", &self.path, e);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            names.extend(FileName::new(entry.file_name().to_bytes()));
        }
        Ok(names)
    }

    /// Moves the file `name` to `new` in `to`, over mounts if it must be. After a mere rename both folders are the caller's to sync.
    ///
    /// Over mounts: copied beside under a hidden name, synced, given its name, synced, and only then taken away here, if it
    /// has not changed in between (if it has, it is copied again).
    ///
    /// # Errors
    /// As its parts.
    pub fn move_to(&self, name: &FileName, to: &Dir, new: &FileName) -> Result<Renamed, FileError> {
        match self.rename(name, to, new)? {
            Renamed::OtherMount => {
                let moved = self.copy_over(name, to, new)?;
                if moved == Renamed::Moved {
                    // Its copy is durable; that it is gone here is so before the next file is touched.
                    self.sync()?;
                }
                Ok(moved)
            }
            renamed @ (Renamed::Moved | Renamed::Taken | Renamed::Gone) => Ok(renamed),
        }
    }

    /// Opens `name` if it is a regular file that we may read; `None` if it is not there or anything else, as what somebody
    /// else has put there may be.
    ///
    /// # Errors
    /// The folder or the disk fails.
    pub fn open_regular(&self, name: &FileName) -> Result<Option<File>, FileError> {
        match self.stat(name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
            Some(_) | None => return Ok(None),
        }
        match self.open_file(name) {
            Err(error) if error.trouble() == Trouble::Forbidden => Ok(None),
            // It became something else since.
            Err(error) if matches!(error.source.raw_os_error(), Some(LOOP | INVALID)) => Ok(None),
            opened => opened,
        }
    }

    /// Takes away what we began ourselves after something else failed; that failure is the one to tell.
    fn clear_away(&self, name: &FileName) {
        if let Err(error) = self.unlink(name) {
            tracing::debug!(error = %error, "left a temporary file behind");
        }
    }
}

/// `name` with a dot before it, so that nobody takes it for finished.
pub fn hidden(name: &FileName) -> FileName {
    let mut bytes = vec![b'.'];
    bytes.extend_from_slice(name.as_bytes());
    bytes.truncate(crate::job::name::NAME_BYTES_MAX);
    FileName::new(bytes).expect("a dot and a name are a name")
}

/// Bytes that are free to us where `path` is.
///
/// # Errors
/// It cannot be asked.
pub fn free_bytes(path: &Path) -> Result<u64, FileError> {
    let stat = rustix::fs::statvfs(path).map_err(|e| FileError::new("ask for free space of", path, e))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The name made of `text`, for names that this program makes up.
pub fn own_name(text: &str) -> FileName {
    FileName::new(OsStr::new(text).as_bytes()).expect("a name that this program makes up is a name")
}
