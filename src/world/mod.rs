//! Every effect on the world outside, numbered.
//!
//! Each call here that makes, writes, syncs, renames, links or removes something does just that, and passes a fail point first. So
//! do the ledger's commits and the requests, which lie with their own libraries: they call [`failpoint::before`]. In a build
//! without the feature `failpoints` a point is nothing at all. With it, the project's own tests stop the program dead at the n-th
//! effect, or let it fail, for n = 1, 2, 3 … until a run has no n-th effect any more.
//!
//! What only looks (opens, lists, judges) passes a point, too, but is numbered only where a plan asks for that: stopping between two
//! looks shows nothing that stopping at the next effect does not. Notes of what is being read are the same to that: they tell of looks.
//!
//! `spool`, `api`, `daemon` and `ledger` change files by no other means, a test checks it; the ledger's own files are SQLite's to write.
//! A signal that comes in between ends no call: it is made again.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timestamps, XattrFlags};
use rustix::io::{Errno, retry_on_intr};

pub mod failpoint;
mod shared;

use failpoint::{Effect, pass};

/// A name in an open folder.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The folder.
    pub dir: BorrowedFd<'a>,
    /// The name, one component.
    pub name: &'a Path,
}

impl<'a> At<'a> {
    /// The name in the folder.
    pub fn new(dir: &'a impl AsFd, name: &'a Path) -> Self {
        Self { dir: dir.as_fd(), name }
    }
}

/// Opens a file or folder to look at it.
///
/// # Errors
/// What the kernel says.
pub fn open(at: At<'_>, flags: OFlags) -> Result<File, Errno> {
    pass(
        Effect::Open,
        || failpoint::path(at),
        || retry_on_intr(|| rustix::fs::openat(at.dir, at.name, flags, Mode::empty())),
    )
    .map(File::from)
}

/// Makes a file that must not be there, for writing.
///
/// # Errors
/// What the kernel says.
pub fn make(at: At<'_>, mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    make_as(at, flags, mode)
}

/// Makes a file, or opens it where `flags` let it be there already.
///
/// # Errors
/// What the kernel says.
pub fn make_as(at: At<'_>, flags: OFlags, mode: Mode) -> Result<File, Errno> {
    pass(Effect::Make, || failpoint::path(at), || retry_on_intr(|| rustix::fs::openat(at.dir, at.name, flags, mode)))
        .map(File::from)
}

/// Makes a folder.
///
/// # Errors
/// What the kernel says.
pub fn make_folder(at: At<'_>, mode: Mode) -> Result<(), Errno> {
    pass(Effect::MakeFolder, || failpoint::path(at), || rustix::fs::mkdirat(at.dir, at.name, mode))
}

/// Writes all of `bytes` where the file stands.
///
/// # Errors
/// What the kernel says; some of the bytes may have been written.
pub fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    failpoint::torn(|| failpoint::path_of(file), bytes, |bytes| file.write_all(bytes))
}

/// Opens a file of notes, made if it is not there.
///
/// # Errors
/// What the kernel says.
pub fn open_notes(at: At<'_>, flags: OFlags, mode: Mode) -> Result<File, Errno> {
    pass(Effect::Jot, || failpoint::path(at), || retry_on_intr(|| rustix::fs::openat(at.dir, at.name, flags, mode)))
        .map(File::from)
}

/// Writes `bytes` at a place of a file of notes. They are for the next process on this machine, so nothing syncs them.
///
/// # Errors
/// What the kernel says; some of the bytes may have been written.
pub fn jot(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    pass(Effect::Jot, || failpoint::path_of(file), || file.write_all_at(bytes, offset))
}

/// Tells that what lies at `path` is about to be judged, which may be the end of the program, and can have no error.
pub fn about_to_judge(path: impl FnOnce() -> PathBuf) {
    match failpoint::before(Effect::Judge, path) {
        // A plan that has an error happen here has nobody to give it to.
        Ok(()) | Err(_) => {}
    }
}

/// Tells that the daemon's loop takes a turn.
pub fn about_to_turn() {
    match failpoint::before(Effect::Turn, PathBuf::new) {
        // Nor has a plan anybody to give an error to here.
        Ok(()) | Err(_) => {}
    }
}

/// Cuts the file, or lengthens it by zeros.
///
/// # Errors
/// What the kernel says.
pub fn set_length(file: &File, bytes: u64) -> io::Result<()> {
    pass(Effect::Cut, || failpoint::path_of(file), || file.set_len(bytes))
}

/// Gives the file these times.
///
/// # Errors
/// What the kernel says.
pub fn set_times(file: &File, times: &Timestamps) -> Result<(), Errno> {
    pass(Effect::Times, || failpoint::path_of(file), || rustix::fs::futimens(file, times))
}

/// Gives a file or folder a list that the kernel calls `name`, such as an access list, whatever it had.
///
/// # Errors
/// What the kernel says.
pub fn set_list(file: &impl AsFd, name: &str, list: &[u8]) -> Result<(), Errno> {
    pass(Effect::Rights, || failpoint::path_of(file), || rustix::fs::fsetxattr(file, name, list, XattrFlags::empty()))
}

/// Makes a file's content, or the names in a folder, durable.
///
/// # Errors
/// What the kernel says; what was written may be lost.
pub fn sync(file: &impl AsFd) -> Result<(), Errno> {
    pass(Effect::Sync, || failpoint::path_of(file), || sync_if_durable(|| rustix::fs::fsync(file)))
}

/// Makes the names in a folder durable, together with others who want that of the same folder at this moment.
///
/// # Errors
/// What the kernel says; what was done may be lost.
pub fn sync_names(folder: &impl AsFd) -> Result<(), Errno> {
    pass(Effect::Sync, || failpoint::path_of(folder), || sync_if_durable(|| shared::sync(folder)))
}

/// Makes a file's content and length durable, not its times.
///
/// # Errors
/// What the kernel says; what was written may be lost.
pub fn sync_content(file: &impl AsFd) -> Result<(), Errno> {
    pass(Effect::Sync, || failpoint::path_of(file), || sync_if_durable(|| rustix::fs::fdatasync(file)))
}

fn sync_if_durable(sync: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    if failpoint::is_durable() { retry_on_intr(sync) } else { Ok(()) }
}

/// Gives a file another name, unless that is taken.
///
/// # Errors
/// What the kernel says.
pub fn rename(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    let act = || rustix::fs::renameat_with(from.dir, from.name, to.dir, to.name, RenameFlags::NOREPLACE);
    pass(Effect::Rename, || failpoint::path_from(to, from), act)
}

/// Gives a file another name, whatever has that name.
///
/// # Errors
/// What the kernel says.
pub fn rename_over(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    let act = || rustix::fs::renameat(from.dir, from.name, to.dir, to.name);
    pass(Effect::Rename, || failpoint::path_from(to, from), act)
}

/// Gives a file a second name, unless that is taken.
///
/// # Errors
/// What the kernel says.
pub fn link(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    let act = || rustix::fs::linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty());
    pass(Effect::Link, || failpoint::path_from(to, from), act)
}

/// Takes a file's name away.
///
/// # Errors
/// What the kernel says.
pub fn unlink(at: At<'_>) -> Result<(), Errno> {
    pass(Effect::Unlink, || failpoint::path(at), || rustix::fs::unlinkat(at.dir, at.name, AtFlags::empty()))
}

/// Takes an empty folder away.
///
/// # Errors
/// What the kernel says.
pub fn remove_folder(at: At<'_>) -> Result<(), Errno> {
    pass(Effect::RemoveFolder, || failpoint::path(at), || rustix::fs::unlinkat(at.dir, at.name, AtFlags::REMOVEDIR))
}
