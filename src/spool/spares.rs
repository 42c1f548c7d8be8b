//! Empty folders of jobs that have ended, kept for the next claim while many jobs are under way.
//!
//! A file system that has just deleted thousands of files looks past each of them for every file that it makes (ext4 for some minutes), and
//! a job's folder and its note are two to make and two to delete. So while there is a crowd they are handed on: the note is written
//! over and synced while the folder has a name that nobody reads, and the rename to the job's own is what makes it a job's. It is
//! as whole as one that was made anew. After a crash a folder may still have the name of the job that has ended: no file of the next
//! job is moved before `work/` is synced, so nothing lies in it.
//!
//! When the crowd is gone, so are they; what a crash leaves, or a disk that refuses, is taken away at the next start.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::claim::NOTE;
use super::durable::{Dir, FileError, Renamed, Trouble, own_name};
use crate::job::FileName;

/// What their names begin with; a dot, so that nobody takes one for a job's.
const BEGIN: &str = ".spare-";

/// A folder is kept when so many other jobs were claimed and have not ended: a note that is written over is cheaper to sync than a new
/// one in a new folder.
const CROWD: usize = 2;

/// Folders that are kept at most.
const KEPT_MAX: usize = 256;

/// Folders that are kept at most for each job that is left: with the last one the last go.
const KEPT_A_JOB: usize = 8;

/// The folders that are kept.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    names: Vec<FileName>,
    /// Counts the names that were given.
    given: u64,
    /// Jobs that were claimed by this run and have not ended.
    jobs: HashSet<FileName>,
}

impl Kept {
    /// So many may be kept.
    fn room(&self) -> usize {
        (self.jobs.len() * KEPT_A_JOB).min(KEPT_MAX)
    }
}

impl Spares {
    /// A kept folder under the name `new`, with a note that holds `text` and is synced; `None` if there is none. `work` is not synced.
    ///
    /// # Errors
    /// The note cannot be written, or the folder not be renamed; it is kept on.
    pub(super) fn take(&self, work: &Dir, new: &FileName, text: &[u8]) -> Result<Option<Dir>, FileError> {
        let name = {
            let mut kept = self.kept();
            kept.jobs.insert(new.clone());
            kept.names.pop()
        };
        let Some(name) = name else { return Ok(None) };
        let renewed = work.child(&name).and_then(|dir| dir.overwrite(&own_name(NOTE), text));
        match renewed.and_then(|()| work.rename(&name, work, new)) {
            Ok(Renamed::Moved) => work.child(new).map(Some),
            Ok(Renamed::Taken | Renamed::Gone | Renamed::OtherMount) => Ok(None),
            // Somebody has tidied up.
            Err(error) if error.trouble() == Trouble::Vanished => Ok(None),
            Err(error) => {
                // Its note may be half written, which is no worse than the old one.
                self.kept().names.push(name);
                Err(error)
            }
        }
    }

    /// Keeps the folder `dir` of a job that has ended, whose name in `work` is `name`, if there is a crowd and nothing but the note
    /// lies in it; false if it is to be removed. `work` is not synced.
    ///
    /// # Errors
    /// It cannot be looked at or renamed.
    pub(super) fn put(&self, work: &Dir, name: &FileName, dir: &Dir) -> Result<bool, FileError> {
        let spare = {
            let mut kept = self.kept();
            kept.jobs.remove(name);
            (kept.jobs.len() >= CROWD && kept.names.len() < kept.room()).then(|| {
                kept.given += 1;
                own_name(&format!("{BEGIN}{}", kept.given))
            })
        };
        self.tidy(work);
        let Some(spare) = spare else { return Ok(false) };
        if dir.names()? != [own_name(NOTE)] || work.rename(name, work, &spare)? != Renamed::Moved {
            return Ok(false);
        }
        self.kept().names.push(spare);
        // The last of the others may have ended meanwhile.
        self.tidy(work);
        Ok(true)
    }

    /// The job of that name has ended without a folder, or keeps it.
    pub(super) fn forget(&self, work: &Dir, name: &FileName) {
        self.kept().jobs.remove(name);
        self.tidy(work);
    }

    /// Takes away what is more than the jobs that are left need.
    fn tidy(&self, work: &Dir) {
        let surplus = {
            let mut kept = self.kept();
            let room = kept.room().min(kept.names.len());
            kept.names.split_off(room)
        };
        for name in surplus {
            remove(work, &name);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change of it is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes away what an earlier run has kept. What cannot be removed does no harm.
pub(super) fn clear(work: &Dir) {
    match work.names() {
        Ok(names) => {
            names
                .iter()
                .filter(|name| name.as_bytes().starts_with(BEGIN.as_bytes()))
                .for_each(|name| remove(work, name));
        }
        Err(error) => tracing::debug!("cannot look for folders to tidy up: {error}: {}", error.source),
    }
}

fn remove(work: &Dir, name: &FileName) {
    let removed = work.child(name).and_then(|dir| dir.unlink(&own_name(NOTE))).and_then(|_| work.remove_child(name));
    if let Err(error) = removed {
        tracing::debug!("left an empty folder behind: {error}: {}", error.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> FileName {
        own_name(&format!("job-{number}"))
    }

    struct Bench {
        _root: tempfile::TempDir,
        work: Dir,
        spares: Spares,
    }

    impl Bench {
        /// So many jobs were claimed.
        fn new(jobs: usize) -> Self {
            let root = tempfile::tempdir().unwrap();
            let bench = Self { work: Dir::open(root.path()).unwrap(), _root: root, spares: Spares::default() };
            for number in 0..jobs {
                assert!(bench.take(number).is_none());
                bench.work.make_child(&job(number)).unwrap();
                bench.folder(number).write_new(&own_name(NOTE), b"a note that is longer").unwrap();
            }
            bench
        }

        fn take(&self, number: usize) -> Option<Dir> {
            self.spares.take(&self.work, &job(number), b"a new note").unwrap()
        }

        fn put(&self, number: usize) -> bool {
            self.spares.put(&self.work, &job(number), &self.folder(number)).unwrap()
        }

        fn folder(&self, number: usize) -> Dir {
            self.work.child(&job(number)).unwrap()
        }

        fn kept(&self) -> usize {
            self.work.names().unwrap().iter().filter(|name| name.as_bytes().starts_with(BEGIN.as_bytes())).count()
        }
    }

    #[test]
    fn in_a_crowd_a_folder_is_handed_on_with_a_new_note() {
        let bench = Bench::new(CROWD + 1);
        assert!(bench.put(0));
        assert!(!bench.work.holds(&job(0)).unwrap());
        let dir = bench.take(100).expect("one was kept");
        assert_eq!(dir.read(&own_name(NOTE), 1000).unwrap().unwrap(), b"a new note");
        assert!(bench.work.holds(&job(100)).unwrap());
        assert_eq!(bench.kept(), 0);
    }

    #[test]
    fn when_the_crowd_is_gone_none_is_kept() {
        let bench = Bench::new(CROWD + 2 * KEPT_MAX);
        for number in 0..CROWD + 2 * KEPT_MAX {
            assert_eq!(bench.put(number), number < KEPT_MAX, "{number}");
        }
        assert_eq!(bench.kept(), 0);
    }

    #[test]
    fn jobs_that_end_without_a_folder_leave_none_either() {
        let bench = Bench::new(CROWD + 1);
        assert!(bench.put(0));
        assert_eq!(bench.kept(), 1);
        (1..=CROWD).for_each(|number| bench.spares.forget(&bench.work, &job(number)));
        assert_eq!(bench.kept(), 0);
    }

    #[test]
    fn a_folder_with_anything_else_in_it_is_not_kept() {
        let bench = Bench::new(CROWD + 1);
        bench.folder(0).write_new(&own_name("somebody's"), b"").unwrap();
        assert!(!bench.put(0));
        assert!(bench.work.holds(&job(0)).unwrap());
    }

    #[test]
    fn one_that_somebody_has_tidied_up_is_not_missed() {
        let bench = Bench::new(CROWD + 1);
        assert!(bench.put(0));
        clear(&bench.work);
        assert_eq!(bench.kept(), 0, "as at the next start");
        assert!(bench.take(100).is_none());
    }
}
