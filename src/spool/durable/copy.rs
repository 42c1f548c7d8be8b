//! A move that has to cross mounts: copy, sync, rename, sync, unlink.
//!
//! Nothing is taken away here before the same bytes are durable there, and nothing there is replaced. What a crash leaves is
//! either a hidden beginning, which is made anew, or the copy beside its source, which is recognised and not made twice.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::super::scan::Identity;
use super::{Dir, FILE_MODE, FileError, Renamed, hidden};
use crate::job::FileName;
use crate::world;

/// How often a file that changes while it is copied is copied anew before it is left for later.
const COPIES_MAX: usize = 8;

/// Bytes copied at once where a move has to cross mounts.
const COPY_BYTES: usize = 256 * 1024;

impl Dir {
    /// The copy keeps the time of the last change. Together with the bytes that tells a copy of ours, which a crash left on
    /// both sides, from somebody else's file of the same name and content.
    pub(super) fn copy_over(&self, name: &FileName, to: &Dir, new: &FileName) -> Result<Renamed, FileError> {
        // Named after the folder that it comes from, which is the job's: two jobs may want the same new name at once, and
        // neither must get the other's half.
        let from = self.path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let beside = [from, b".", name.as_bytes(), b".part"].concat();
        let beside = hidden(&FileName::new(beside).unwrap_or_else(|| name.clone()));
        for _ in 0..COPIES_MAX {
            let Some(mut source) = self.open_file(name)? else { return Ok(Renamed::Gone) };
            let look = |file: &File| {
                rustix::fs::fstat(file)
                    .map(|stat| (Identity::of(&stat), stat))
                    .map_err(|e| FileError::new("look at", self.path_of(name), e))
            };
            let (before, stat) = look(&source)?;
            if to.holds(new)? {
                if !to.is_copy(new, &mut source, &before)? {
                    return Ok(Renamed::Taken);
                }
            } else {
                to.unlink(&beside)?;
                let target = world::make(to.at(&beside), FILE_MODE)
                    .map_err(|e| FileError::new("make", to.path_of(&beside), e))?;
                let copied = copy(&mut source, &target)
                    .and_then(|()| keep_times(&target, &stat))
                    .and_then(|()| Ok(world::sync(&target)?));
                if let Err(e) = copied {
                    let error = FileError::new("copy to", to.path_of(&beside), e);
                    to.clear_away(&beside);
                    return Err(error);
                }
                if look(&source)?.0 != before {
                    continue;
                }
                match to.rename(&beside, to, new)? {
                    Renamed::Moved => {}
                    Renamed::Taken => {
                        to.unlink(&beside)?;
                        return Ok(Renamed::Taken);
                    }
                    // Somebody takes hidden files away while we write them: begin again.
                    Renamed::Gone | Renamed::OtherMount => continue,
                }
            }
            to.sync()?;
            if look(&source)?.0 != before {
                // Written to while it was moved: the copy is stale.
                to.unlink(new)?;
                continue;
            }
            self.unlink(name)?;
            return Ok(Renamed::Moved);
        }
        Err(FileError::new("copy (it changes all the time)", self.path_of(name), Errno::BUSY))
    }

    /// Whether the file `name` here is the copy that [`Dir::copy_over`] makes of `source`.
    fn is_copy(&self, name: &FileName, source: &mut File, identity: &Identity) -> Result<bool, FileError> {
        let Some(mut target) = self.open_regular(name)? else { return Ok(false) };
        let stat = rustix::fs::fstat(&target).map_err(|e| FileError::new("look at", self.path_of(name), e))?;
        let copied = Identity::of(&stat);
        if (copied.size, copied.mtime_ns) != (identity.size, identity.mtime_ns) {
            return Ok(false);
        }
        let failed = |e| FileError::new("compare", self.path_of(name), e);
        let same = same_bytes(source, &mut target).map_err(failed)?;
        source.rewind().map_err(failed)?;
        Ok(same)
    }
}

fn copy(source: &mut File, target: &File) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            n => world::write(target, &buffer[..n])?,
        }
    }
}

/// Gives a copy the times of its source, cut to what the mount of the copy can hold.
fn keep_times(target: &File, source: &Stat) -> io::Result<()> {
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps {
        last_access: time(source.st_atime as _, source.st_atime_nsec as _),
        last_modification: time(source.st_mtime as _, source.st_mtime_nsec as _),
    };
    Ok(world::set_times(target, &times)?)
}

fn same_bytes(a: &mut File, b: &mut File) -> io::Result<bool> {
    let (mut from_a, mut from_b) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
    loop {
        let (n, m) = (fill(a, &mut from_a)?, fill(b, &mut from_b)?);
        if from_a[..n] != from_b[..m] {
            return Ok(false);
        }
        if n < COPY_BYTES {
            return Ok(true);
        }
    }
}

/// Reads until `buffer` is full or the file ends; returns how much there was.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}
