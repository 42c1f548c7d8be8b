//! Hints from the kernel: which names in the inbox are worth a look.
//!
//! Events are hints, the scan is the truth. What arrives is reduced to one [`Hint`] a name and kept until it is taken; too many
//! names, an overflow of the kernel's queue or any error become "scan everything". The watcher's thread never waits for us:
//! it holds one short lock and goes back to reading, for a reader that lags is how the queue overflows.
//!
//! A canary file outside the inbox is touched from time to time: while its event comes back the watcher lives. What inotify
//! never tells, an unmounted inbox, is found by the scan.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use std::os::unix::ffi::OsStrExt;
use tokio::sync::Notify;

use super::settle::Hint;
use crate::job::{FileName, Folder};
use crate::world::{self, At};

/// The canary's name in `work/`.
pub const CANARY: &str = ".jimengd-canary";
/// Names kept until they are taken; more, and everything is scanned instead.
const NAMES_MAX: usize = 65_536;
/// Folders kept until they are taken; more, and everything is scanned instead.
const FOLDERS_MAX: usize = 1_024;
/// Times that the watch is set again when a folder vanishes while it is being set.
const SET_TRIES_MAX: u32 = 3;

/// Why there is no watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel allows no more watches or instances.
    #[error(
        "the kernel's limit of watched folders is reached; raise {sysctl} with sysctl to be told of changes at once"
    )]
    Limit {
        /// The setting to raise.
        sysctl: &'static str,
    },
    /// Anything else.
    #[error("cannot watch {}: {why}", path.display())]
    Other {
        /// The inbox.
        path: PathBuf,
        /// What the watcher said.
        why: String,
    },
}

impl WatchError {
    fn from_notify(path: &Path, error: &notify::Error) -> Self {
        match &error.kind {
            notify::ErrorKind::MaxFilesWatch => Self::Limit { sysctl: "fs.inotify.max_user_watches" },
            notify::ErrorKind::Io(source) if is_out_of_instances(source) => {
                Self::Limit { sysctl: "fs.inotify.max_user_instances" }
            }
            notify::ErrorKind::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
                Self::Limit { sysctl: "fs.inotify.max_user_watches" }
            }
            notify::ErrorKind::Generic(_)
            | notify::ErrorKind::Io(_)
            | notify::ErrorKind::PathNotFound
            | notify::ErrorKind::WatchNotFound
            | notify::ErrorKind::InvalidConfig(_) => {
                let path = error.paths.first().map_or(path, PathBuf::as_path).to_owned();
                let why = match &error.kind {
                    notify::ErrorKind::Io(source) => source.to_string(),
                    _ => error.to_string(),
                };
                Self::Other { path, why }
            }
        }
    }
}

/// Whether a folder cannot be watched because it may not be read, or lies too deep. A scan tells of it, and all others can be.
fn is_closed(error: &notify::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, PermissionDenied};
    matches!(&error.kind, notify::ErrorKind::Io(source) if [PermissionDenied, InvalidFilename].contains(&source.kind()))
}

/// Watches `folder` and everything beneath it but for the folders that are closed to us.
fn watch_open(watcher: &mut RecommendedWatcher, folder: &Path) -> notify::Result<()> {
    match watcher.watch(folder, RecursiveMode::Recursive) {
        Err(error) if is_closed(&error) && !error.paths.iter().any(|path| path == folder) => {}
        watched => return watched,
    }
    // The folder itself is watched by now, with what is made in it later. Of those in it, all before the closed one are.
    for entry in std::fs::read_dir(folder).map_err(notify::Error::io)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            match watch_open(watcher, &entry.path()) {
                Err(error) if is_closed(&error) => {}
                watched => watched?,
            }
        }
    }
    Ok(())
}

fn is_out_of_instances(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
}

/// What has been heard of since the last time.
#[derive(Debug, Default)]
pub struct Batch {
    /// Names worth a look, each with what was told last and when.
    pub names: HashMap<(Folder, FileName), (Hint, Instant)>,
    /// Folders to go through: new ones, whose first files make no event.
    pub folders: BTreeSet<Folder>,
    /// Events were lost: everything is to be scanned.
    pub rescan: bool,
    /// The inbox itself was removed or renamed.
    pub root_gone: bool,
    /// The watch no longer covers everything, for this reason.
    pub broken: Option<String>,
    /// The canary's event came.
    pub canary: bool,
}

impl Batch {
    /// Whether nothing was heard.
    pub fn is_empty(&self) -> bool {
        let Self { names, folders, rescan, root_gone, broken, canary } = self;
        names.is_empty() && folders.is_empty() && broken.is_none() && !rescan && !root_gone && !canary
    }
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Batch>,
    bell: Notify,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Batch> {
        // Nothing panics while it holds the lock, and half a batch would be a batch of hints all the same.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hints of one watch, for the one who takes them.
#[derive(Clone, Debug, Default)]
pub struct Hints(Arc<Shared>);

impl Hints {
    /// Hints that nobody gives, for an inbox that is polled.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Returns once there may be something to take. Cancel-safe: what was heard is not lost.
    pub async fn wait(&self) {
        self.0.bell.notified().await;
    }

    /// Takes everything heard so far.
    pub fn take(&self) -> Batch {
        std::mem::take(&mut *self.0.pending())
    }

    /// Whether there is something to take.
    pub fn any(&self) -> bool {
        !self.0.pending().is_empty()
    }

    fn add(&self, change: impl FnOnce(&mut Batch)) {
        change(&mut self.0.pending());
        self.0.bell.notify_one();
    }
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    _watcher: RecommendedWatcher,
    hints: Hints,
    canary: PathBuf,
}

impl Watch {
    /// Watches `inbox` and everything beneath it, and the canary in `work`, which is made if it is not there. From the return
    /// on, every change is heard of, but for files in folders that are just being made.
    ///
    /// # Errors
    /// [`WatchError`] says which limit was reached, or what else failed. Nothing is watched then.
    pub fn start(inbox: &Path, work: &Path) -> Result<Self, WatchError> {
        let hints = Hints::default();
        let canary = work.join(CANARY);
        let mut ear = Ear { inbox: inbox.to_owned(), canary: canary.clone(), hints: hints.clone() };
        let failed = |error: &notify::Error| WatchError::from_notify(inbox, error);
        // A link in the inbox must not make us watch what lies behind it.
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher =
            RecommendedWatcher::new(move |heard| ear.hear(heard), config).map_err(|error| failed(&error))?;
        let mut tries = 1;
        while let Err(error) = watch_open(&mut watcher, inbox) {
            let vanished = match &error.kind {
                notify::ErrorKind::PathNotFound => true,
                notify::ErrorKind::Io(source) => source.kind() == io::ErrorKind::NotFound,
                notify::ErrorKind::Generic(_)
                | notify::ErrorKind::WatchNotFound
                | notify::ErrorKind::InvalidConfig(_)
                | notify::ErrorKind::MaxFilesWatch => false,
            };
            if !vanished || tries >= SET_TRIES_MAX {
                return Err(failed(&error));
            }
            tries += 1;
        }
        let watch = Self { _watcher: watcher, hints, canary };
        watch.watch_canary()
    }

    fn watch_canary(mut self) -> Result<Self, WatchError> {
        let failed = |why: String| WatchError::Other { path: self.canary.clone(), why };
        open_canary(&self.canary).map_err(|error| failed(format!("the canary file cannot be made: {error}")))?;
        match self._watcher.watch(&self.canary, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(self),
            Err(error) => Err(WatchError::from_notify(&self.canary, &error)),
        }
    }

    /// What this watch hears.
    pub fn hints(&self) -> Hints {
        self.hints.clone()
    }

    /// The canary's path.
    pub fn canary(&self) -> &Path {
        &self.canary
    }
}

/// Touches the canary; [`Batch::canary`] tells when its event has come. A canary that was removed is made anew but not heard,
/// so that the watch is taken for dead and set again.
///
/// # Errors
/// The file cannot be touched, which says nothing about the watch.
pub fn touch(canary: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(world::set_times(&open_canary(canary)?, &Timestamps { last_access: now, last_modification: now })?)
}

fn open_canary(canary: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    Ok(world::make_as(At::new(&CWD, canary), flags, mode)?)
}

/// The watcher's side: turns events into hints.
struct Ear {
    inbox: PathBuf,
    canary: PathBuf,
    hints: Hints,
}

impl Ear {
    fn hear(&mut self, heard: notify::Result<Event>) {
        let event = match heard {
            Ok(event) => event,
            Err(error) if is_closed(&error) => {
                self.hints.add(|batch| batch.rescan = true);
                return;
            }
            Err(error) => {
                let why = WatchError::from_notify(&self.inbox, &error).to_string();
                self.hints.add(|batch| {
                    batch.rescan = true;
                    batch.broken = Some(why);
                });
                return;
            }
        };
        if event.need_rescan() {
            self.hints.add(|batch| batch.rescan = true);
            return;
        }
        let now = Instant::now();
        match (told(event.kind), event.paths.as_slice()) {
            (None, _) | (_, []) => {}
            (Some(Told::Renamed), [from, to, ..]) => {
                self.tell(from, Told::Name(Hint::Gone), now);
                self.tell(to, Told::Name(Hint::MovedIn), now);
            }
            (Some(told), [path, ..]) => self.tell(path, told, now),
        }
    }

    fn tell(&self, path: &Path, told: Told, now: Instant) {
        if path == self.canary {
            self.hints.add(|batch| batch.canary = true);
            return;
        }
        let Ok(below) = path.strip_prefix(&self.inbox) else { return };
        let place = split(below);
        self.hints.add(|batch| match (place, told) {
            (None, Told::Name(Hint::Gone)) => batch.root_gone = true,
            // A change of the root itself, such as its rights, may change everything beneath.
            (None, Told::Name(Hint::Touched) | Told::Folder) => batch.rescan = true,
            (None, Told::Name(Hint::MovedIn | Hint::Closed | Hint::Wrote | Hint::Created) | Told::Renamed) => {}
            (Some((folder, name)), Told::Folder) => {
                if batch.folders.len() < FOLDERS_MAX {
                    batch.folders.insert(folder.join(&name));
                } else {
                    batch.rescan = true;
                }
            }
            (Some(place), Told::Name(hint)) => add_name(batch, place, hint, now),
            (Some(place), Told::Renamed) => add_name(batch, place, Hint::Touched, now),
        });
    }
}

fn add_name(batch: &mut Batch, place: (Folder, FileName), hint: Hint, now: Instant) {
    let full = batch.names.len() >= NAMES_MAX;
    match batch.names.get_mut(&place) {
        Some(known) => *known = (known.0.then(hint), now),
        None if full => batch.rescan = true,
        None => {
            batch.names.insert(place, (hint, now));
        }
    }
}

/// The folder and the name of a path below the inbox; `None` for the inbox itself.
fn split(below: &Path) -> Option<(Folder, FileName)> {
    let name = FileName::new(below.file_name()?.as_bytes())?;
    let folder = Folder::new(below.parent()?.as_os_str().as_bytes())?;
    Some((folder, name))
}

/// What an event says.
#[derive(Clone, Copy)]
enum Told {
    /// Something about one name.
    Name(Hint),
    /// A folder is new.
    Folder,
    /// The first path became the second.
    Renamed,
}

/// Reads an event; `None` for those that say nothing, such as that somebody, perhaps we, opened a file for reading.
fn told(kind: EventKind) -> Option<Told> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Told::Name(Hint::Closed)),
        EventKind::Access(_) => None,
        EventKind::Create(CreateKind::Folder) => Some(Told::Folder),
        EventKind::Create(CreateKind::File | CreateKind::Any | CreateKind::Other) => Some(Told::Name(Hint::Created)),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Told::Name(Hint::MovedIn)),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(Told::Name(Hint::Gone)),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => Some(Told::Renamed),
        EventKind::Modify(ModifyKind::Name(RenameMode::Any | RenameMode::Other) | ModifyKind::Metadata(_)) => {
            Some(Told::Name(Hint::Touched))
        }
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => Some(Told::Name(Hint::Wrote)),
        EventKind::Remove(RemoveKind::File | RemoveKind::Folder | RemoveKind::Any | RemoveKind::Other) => {
            Some(Told::Name(Hint::Gone))
        }
        EventKind::Any | EventKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    struct Bench {
        dir: tempfile::TempDir,
        watch: Watch,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("tempdir");
            for folder in ["inbox", "work", "elsewhere"] {
                std::fs::create_dir(dir.path().join(folder)).expect("mkdir");
            }
            let watch = Watch::start(&dir.path().join("inbox"), &dir.path().join("work")).expect("watch");
            Self { dir, watch }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        /// Collects hints until `done` is content with all of them together.
        async fn until(&self, done: impl Fn(&Batch) -> bool) -> Batch {
            let hints = self.watch.hints();
            let mut all = Batch::default();
            let collected = tokio::time::timeout(DEADLINE, async {
                while !done(&all) {
                    hints.wait().await;
                    let batch = hints.take();
                    for (place, (hint, at)) in batch.names {
                        add_name(&mut all, place, hint, at);
                    }
                    all.folders.extend(batch.folders);
                    all.rescan |= batch.rescan;
                    all.root_gone |= batch.root_gone;
                    all.canary |= batch.canary;
                }
            });
            collected.await.expect("the hint did not come");
            all
        }
    }

    fn hint(batch: &Batch, folder: &str, name: &str) -> Option<Hint> {
        let place = (Folder::new(folder)?, FileName::new(name)?);
        batch.names.get(&place).map(|(hint, _)| *hint)
    }

    #[tokio::test]
    async fn a_move_a_copy_and_a_link_tell_different_things() {
        let bench = Bench::new();
        std::fs::write(bench.path("elsewhere/moved.jpg"), b"1").expect("write");
        std::fs::rename(bench.path("elsewhere/moved.jpg"), bench.path("inbox/moved.jpg")).expect("rename");
        std::fs::write(bench.path("inbox/copied.jpg"), b"1").expect("write");
        std::fs::hard_link(bench.path("inbox/moved.jpg"), bench.path("inbox/linked.jpg")).expect("link");
        let batch = bench.until(|batch| hint(batch, "", "linked.jpg").is_some()).await;
        assert_eq!(hint(&batch, "", "moved.jpg"), Some(Hint::MovedIn));
        assert_eq!(hint(&batch, "", "copied.jpg"), Some(Hint::Closed));
        assert_eq!(hint(&batch, "", "linked.jpg"), Some(Hint::Created));
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_told_apart_from_a_closed_one() {
        use std::io::Write;
        let bench = Bench::new();
        let mut file = File::create(bench.path("inbox/slow.jpg")).expect("create");
        file.write_all(b"1").expect("write");
        bench.until(|batch| hint(batch, "", "slow.jpg") == Some(Hint::Wrote)).await;
        drop(file);
        bench.until(|batch| hint(batch, "", "slow.jpg") == Some(Hint::Closed)).await;
        std::fs::remove_file(bench.path("inbox/slow.jpg")).expect("remove");
        bench.until(|batch| hint(batch, "", "slow.jpg") == Some(Hint::Gone)).await;
    }

    #[tokio::test]
    async fn a_new_folder_is_told_and_then_watched() {
        let bench = Bench::new();
        std::fs::create_dir(bench.path("inbox/shoes")).expect("mkdir");
        let shoes = Folder::new("shoes").expect("a folder");
        bench.until(|batch| batch.folders.contains(&shoes)).await;
        // The watch of the new folder is set after its event was told, so a file may go unheard for a moment.
        let mut number = 0;
        let hints = bench.watch.hints();
        let heard = async {
            loop {
                number += 1;
                std::fs::write(bench.path(&format!("inbox/shoes/{number}.jpg")), b"1").expect("write");
                let waited = tokio::time::timeout(Duration::from_millis(50), hints.wait()).await;
                if waited.is_ok() && hints.take().names.keys().any(|(folder, _)| *folder == shoes) {
                    break;
                }
            }
        };
        tokio::time::timeout(DEADLINE, heard).await.expect("the new folder is not watched");
    }

    #[tokio::test]
    async fn the_canary_sings() {
        let bench = Bench::new();
        touch(bench.watch.canary()).expect("touch");
        let batch = bench.until(|batch| batch.canary).await;
        assert!(batch.names.is_empty(), "the canary is no file of the inbox");
    }

    #[tokio::test]
    async fn a_renamed_inbox_is_told() {
        let bench = Bench::new();
        std::fs::rename(bench.path("inbox"), bench.path("inbox.old")).expect("rename");
        bench.until(|batch| batch.root_gone).await;
    }

    #[tokio::test]
    async fn what_lies_behind_a_link_is_not_watched() {
        let bench = Bench::new();
        std::os::unix::fs::symlink(bench.path("elsewhere"), bench.path("inbox/link")).expect("symlink");
        std::fs::write(bench.path("elsewhere/secret.jpg"), b"1").expect("write");
        std::fs::write(bench.path("inbox/last.jpg"), b"1").expect("write");
        let batch = bench.until(|batch| hint(batch, "", "last.jpg") == Some(Hint::Closed)).await;
        assert_eq!(hint(&batch, "link", "secret.jpg"), None);
    }

    #[test]
    fn too_many_names_become_a_rescan() {
        let mut batch = Batch::default();
        for number in 0..=NAMES_MAX {
            let name = FileName::new(format!("{number}.jpg")).expect("a name");
            add_name(&mut batch, (Folder::root(), name), Hint::Closed, Instant::now());
        }
        assert_eq!(batch.names.len(), NAMES_MAX);
        assert!(batch.rescan);
    }

    #[test]
    fn reading_a_file_is_no_news() {
        for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read), AccessKind::Read] {
            assert!(told(EventKind::Access(kind)).is_none());
        }
    }
}
