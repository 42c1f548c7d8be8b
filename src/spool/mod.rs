//! The spool: the five folders, what lies in them, and how files get from one to the other.
//!
//! The folders are the operator's interface, so everything here can be understood, and mended, with `ls` and `mv`. A rename
//! is the commit. Each effect can be done again: what was done already is recognised by name, size and hash, and what is
//! somebody else's is never touched.
//!
//! - [`scan`], [`pairing`], [`settle`], [`watch`] and [`judge`] tell what lies in the inbox and whether it is complete.
//! - [`claim`] takes a pair into `work/`, or gives it back.
//! - [`finish`] publishes a video, or rejects a pair.
//! - [`keep`] forgets what has been archived for long enough.
//! - [`intents`] is the witness beside the ledger.
//! - [`suspects`] remembers what was being read when the daemon died.
//! - [`durable`] is what all of it is made of.
//!
//! When an effect is done, and in which order with the ledger's records, is decided in [`crate::daemon`].

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::job::{FileName, Folder, JobId};
use crate::world;

mod access;
pub mod claim;
pub mod durable;
pub mod finish;
pub mod intents;
pub mod judge;
pub mod keep;
pub mod pairing;
pub mod scan;
pub mod settle;
mod spares;
pub mod suspects;
pub mod watch;

use durable::{Dir, FileError, Renamed, own_name};
use spares::Spares;

/// The lock that makes one daemon a root.
const LOCK: &str = ".lock";

/// How often a lock that is held is tried before it counts as another daemon's, and how long in between.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file that is renamed from `work/` to the inbox to see that they are on one mount.
const PROBE: &str = ".jimengd-probe";

/// Where the folders are and what becomes of delivered pairs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where pairs are dropped.
    pub inbox: PathBuf,
    /// What is being made.
    pub work: PathBuf,
    /// Where videos appear.
    pub outbox: PathBuf,
    /// What failed.
    pub error: PathBuf,
    /// The pairs of delivered videos.
    pub archive: PathBuf,
    /// Whether a receipt is written beside each video.
    pub receipt: bool,
    /// Whether the pair of a delivered video is deleted instead of archived.
    pub delete_on_success: bool,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses it.
    #[error("another jimengd already works in {}; one root has one daemon", .0.display())]
    Busy(PathBuf),
    /// The inbox and `work/` are on different mounts.
    #[error(
        "{} and {} are on different mounts, so a pair cannot be claimed by a rename; put both below one folder that is mounted as a whole (under systemd each ReadWritePaths= is a mount of its own: name their common parent there)",
        inbox.display(), work.display()
    )]
    OtherMount {
        /// The inbox.
        inbox: PathBuf,
        /// The work folder.
        work: PathBuf,
    },
    /// One folder lies in another, so that a result would be taken for input.
    #[error("{} lies inside {}; the five folders must lie beside each other", inner.display(), outer.display())]
    Nested {
        /// The one inside.
        inner: PathBuf,
        /// The one around it.
        outer: PathBuf,
    },
    /// A folder cannot be made or used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The root holds the ledger, so its group may enter and no more: who could write there could put another ledger in its place.
pub const ROOT_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);

/// What is under way is the daemon's alone.
const WORK_MODE: Mode = Mode::RWXU;

/// The spool, locked for this process.
#[derive(Debug)]
pub struct Spool {
    settings: Settings,
    work: Arc<Dir>,
    /// Held for as long as the spool is: closing it gives the lock back.
    lock: Arc<File>,
    spares: Arc<Spares>,
}

impl Spool {
    /// Makes what is missing, locks `work/`, and proves by a real rename that a pair can be claimed. Blocks.
    ///
    /// The inbox is made only if `first_time`: afterwards a missing inbox may be a disk that is not mounted.
    ///
    /// # Errors
    /// [`OpenError`]; nothing but folders was made.
    pub fn open(settings: Settings, first_time: bool) -> Result<Self, OpenError> {
        make_folder_as(&settings.work, WORK_MODE)?;
        if first_time {
            make_folder(&settings.inbox)?;
        }
        for folder in [&settings.outbox, &settings.error, &settings.archive] {
            make_folder(folder)?;
        }
        for folder in [&settings.inbox, &settings.outbox, &settings.error, &settings.archive] {
            share(folder);
        }
        refuse_nested(&settings)?;
        let work = Dir::open(&settings.work)?;
        let lock = lock(&work)?;
        spares::clear(&work);
        let spool = Self { settings, work: Arc::new(work), lock: Arc::new(lock), spares: Arc::default() };
        spool.probe()?;
        Ok(spool)
    }

    /// Whether a daemon holds the lock of `work`. Makes nothing, so that an operator who looks as root leaves no file behind
    /// that the daemon may not open. Blocks.
    ///
    /// # Errors
    /// The folder or its lock cannot be opened.
    pub fn is_locked(work: &Path) -> Result<bool, FileError> {
        let work = Dir::open(work)?;
        match open_lock(&work, OFlags::empty()) {
            Ok(file) => try_lock(&work, &file).map(|free| !free),
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same spool with other settings; the folders must be the same.
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self { settings, work: self.work.clone(), lock: self.lock.clone(), spares: self.spares.clone() }
    }

    /// The folders.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The folder `work/`.
    pub fn work(&self) -> &Dir {
        &self.work
    }

    /// The folder of a job in `work/`.
    pub fn job_path(&self, job: JobId) -> PathBuf {
        self.settings.work.join(job.to_string())
    }

    /// The folder `work/`, opened by its path: a disk that was taken away and came back is another mount, and nothing can be
    /// renamed between that and what was opened on the former one. What is another folder by now is not ours.
    fn work_now(&self) -> Result<Arc<Dir>, FileError> {
        match Dir::open(&self.settings.work) {
            Ok(work) if work.identity()? == self.work.identity()? => Ok(Arc::new(work)),
            Ok(_) | Err(_) => Ok(self.work.clone()),
        }
    }

    fn job_dir(&self, job: JobId) -> Result<Option<Dir>, FileError> {
        let (work, name) = (self.work_now()?, job_name(job));
        if work.holds(&name)? { work.child(&name).map(Some) } else { Ok(None) }
    }

    /// The jobs that have a folder in `work/`. Blocks.
    ///
    /// # Errors
    /// `work/` cannot be read.
    pub fn jobs_in_work(&self) -> Result<Vec<JobId>, FileError> {
        let names = Dir::open(&self.settings.work)?.names()?;
        let parse = |name: &FileName| JobId::parse(std::str::from_utf8(name.as_bytes()).ok()?);
        // Only under the name that we give it: a UUID may be written in other ways.
        Ok(names.iter().filter_map(|name| parse(name).filter(|job| job_name(*job) == *name)).collect())
    }

    /// Takes a job's folder away, once its files are elsewhere. Blocks.
    ///
    /// # Errors
    /// It cannot be removed. A folder that still holds somebody's file is left, and logged.
    pub fn clear_work(&self, job: JobId) -> Result<(), FileError> {
        let work = self.work_now()?;
        let name = job_name(job);
        if !work.holds(&name)? {
            self.spares.forget(&work, &name);
            return Ok(());
        }
        let dir = work.child(&name)?;
        if dir.holds(&own_name(claim::PICTURE))? || dir.holds(&own_name(claim::SIDECAR))? {
            // The note says where they belong, so it stays with them.
            self.spares.forget(&work, &name);
            tracing::warn!(job_id = %job, "left {} in place: it still holds the pair", dir.path().display());
            return Ok(());
        }
        if self.spares.put(&work, &name, &dir)? {
            return work.sync();
        }
        dir.unlink(&own_name(claim::NOTE))?;
        dir.unlink(&own_name(claim::NOTE_BESIDE))?;
        if !work.remove_child(&name)? {
            tracing::warn!(job_id = %job, "left {} in place: it holds files that are not ours", dir.path().display());
        }
        work.sync()
    }

    fn probe(&self) -> Result<(), OpenError> {
        let Ok(inbox) = Dir::open(&self.settings.inbox) else {
            // Not there now; the watch says so, and a claim will find out.
            return Ok(());
        };
        let name = own_name(PROBE);
        self.work.unlink(&name)?;
        inbox.unlink(&name)?;
        self.work.write_new(&name, b"")?;
        let renamed = self.work.rename(&name, &inbox, &name);
        self.work.unlink(&name)?;
        inbox.unlink(&name)?;
        match renamed? {
            Renamed::OtherMount => {
                Err(OpenError::OtherMount { inbox: self.settings.inbox.clone(), work: self.settings.work.clone() })
            }
            Renamed::Moved | Renamed::Taken | Renamed::Gone => Ok(()),
        }
    }
}

/// Makes a folder and those above it; what was made is synced. Blocks.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    // Links on the way that the administrator set are followed by opening what exists.
    let existing = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new(""));
    let missing = path.strip_prefix(existing).unwrap_or(path);
    let folder = missing.components().try_fold(Folder::root(), |folder, part| match part {
        Component::Normal(name) => FileName::new(name.as_bytes()).map(|name| folder.join(&name)),
        Component::CurDir => Some(folder),
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let Some(folder) = folder else {
        let source = std::io::ErrorKind::InvalidInput.into();
        return Err(FileError { doing: "make (its path leads upwards)", path: path.to_owned(), source });
    };
    let start = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    Dir::open(start)?.make(&folder).map(drop)
}

/// Makes a folder with this mode, if it is not there, and those above it; what was made is synced. Blocks.
///
/// # Errors
/// It cannot be made.
pub fn make_folder_as(path: &Path, mode: Mode) -> Result<(), FileError> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return make_folder(path) };
    let Some(name) = FileName::new(name.as_encoded_bytes()).filter(|_| !path.is_dir()) else {
        return make_folder(path);
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    if !above.is_dir() {
        // Who may write there may put another folder in its place.
        make_folder_as(above, ROOT_MODE)?;
    }
    let above = Dir::open(above)?;
    above.make_child_as(&name, mode)?;
    above.sync()
}

/// What people put into a folder must be ours to move.
fn share(folder: &Path) {
    if !folder.is_dir() {
        // The inbox is away; the watch says so.
        return;
    }
    if let Err(error) = access::share(folder) {
        // People then need the right umask, and what is not ours to move waits and says so.
        tracing::warn!(
            "people of the daemon's group may put files there that it cannot move: {error}: {}",
            error.source
        );
    }
}

/// Locks `work/`, which is given up when the file is closed. A `status` that looks at the same instant holds the lock for a
/// moment, so a lock that is held is tried again before it counts as another daemon's.
fn lock(work: &Dir) -> Result<File, OpenError> {
    let file = open_lock(work, OFlags::CREATE)?;
    for _ in 0..LOCK_TRIES {
        if try_lock(work, &file)? {
            return Ok(file);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(OpenError::Busy(work.path().to_owned()))
}

fn open_lock(work: &Dir, create: OFlags) -> Result<File, FileError> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | create;
    let name = own_name(LOCK);
    world::make_as(work.at(&name), flags, Mode::RUSR | Mode::WUSR).map_err(|e| FileError {
        doing: "open",
        path: work.path().join(LOCK),
        source: e.into(),
    })
}

/// False if somebody else holds it.
fn try_lock(work: &Dir, file: &File) -> Result<bool, FileError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(FileError { doing: "lock", path: work.path().join(LOCK), source: e.into() }),
    }
}

/// Compares the folders as the kernel sees them, so that links and `..` hide nothing.
fn refuse_nested(settings: &Settings) -> Result<(), OpenError> {
    let folders = [&settings.inbox, &settings.work, &settings.outbox, &settings.error, &settings.archive];
    let real: Vec<PathBuf> =
        folders.iter().map(|path| path.canonicalize().unwrap_or_else(|_| (*path).clone())).collect();
    for (i, inner) in real.iter().enumerate() {
        for (j, outer) in real.iter().enumerate() {
            if i != j && inner.starts_with(outer) {
                return Err(OpenError::Nested { inner: folders[i].clone(), outer: folders[j].clone() });
            }
        }
    }
    Ok(())
}

fn job_name(job: JobId) -> FileName {
    own_name(&job.to_string())
}

#[cfg(test)]
mod tests;
