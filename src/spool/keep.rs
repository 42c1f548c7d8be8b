//! Forgetting what has been archived for long enough.
//!
//! The age of a file is told by its ctime, the last change of anything about it, which the move into the archive sets. Its
//! mtime is the user's and came along: a picture taken years ago would be gone the day it was archived.
//!
//! Only regular files are removed, no link is followed, and what cannot be removed does not keep the rest.

use std::time::{Duration, SystemTime};

use rustix::fs::FileType;

use super::Spool;
use super::durable::{Dir, FileError};
use super::scan::Identity;

/// Folders below the archive that are entered, one in another. Pairs come from no deeper.
const DEPTH_MAX: usize = 128;

impl Spool {
    /// Removes the files that were archived longer than `older_than` ago, and the folders left empty by that; returns how many
    /// files. Not synced: what a crash brings back is removed the next time. Blocks.
    ///
    /// # Errors
    /// The first file or folder that could not be looked at or removed; the others are gone all the same.
    pub fn prune_archive(&self, older_than: Duration) -> Result<usize, FileError> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Some(before) = since_1970.checked_sub(older_than) else { return Ok(0) };
        let mut pruning =
            Pruning { before_ns: i64::try_from(before.as_nanos()).unwrap_or(i64::MAX), removed: 0, trouble: None };
        pruning.prune(&Dir::open(&self.settings.archive)?, 0)?;
        match pruning.trouble {
            Some(error) => Err(error),
            None => Ok(pruning.removed),
        }
    }
}

struct Pruning {
    before_ns: i64,
    removed: usize,
    trouble: Option<FileError>,
}

impl Pruning {
    /// Prunes one folder; whether something was removed from it.
    fn prune(&mut self, dir: &Dir, depth: usize) -> Result<bool, FileError> {
        let mut any = false;
        for name in dir.names()? {
            let removed = self.prune_entry(dir, &name, depth);
            any |= removed.unwrap_or_else(|error| {
                self.trouble.get_or_insert(error);
                false
            });
        }
        Ok(any)
    }

    fn prune_entry(&mut self, dir: &Dir, name: &crate::job::FileName, depth: usize) -> Result<bool, FileError> {
        let Some(stat) = dir.stat(name)? else { return Ok(false) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if Identity::of(&stat).ctime_ns <= self.before_ns => {
                let removed = dir.unlink(name)?;
                self.removed += usize::from(removed);
                Ok(removed)
            }
            // A folder that was empty before may be waiting for a file that is just being archived.
            FileType::Directory if depth < DEPTH_MAX && self.prune(&dir.child(name)?, depth + 1)? => {
                dir.remove_child(name)
            }
            FileType::RegularFile
            | FileType::Directory
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Ok(false),
        }
    }
}
