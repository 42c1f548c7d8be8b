//! Syncs of a folder that many want at once share one.
//!
//! A sync makes durable what was done before it began. Whoever comes while one is under way waits for its end and for the next, which
//! one of those who wait begins for all of them: a thousand jobs that move through one folder cost it a few syncs. A sync that fails
//! fails for all who share it. An error that the kernel told to an earlier one is not told again to a folder that was opened since.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::{Errno, retry_on_intr};

/// Folders by device and inode.
type Folders = HashMap<(u64, u64), Arc<Folder>>;

/// Those that are being synced.
static FOLDERS: Mutex<Option<Folders>> = Mutex::new(None);

#[derive(Default)]
struct Folder {
    turns: Mutex<Turns>,
    ended: Condvar,
}

#[derive(Default)]
struct Turns {
    begun: u64,
    ended: u64,
    /// Who wait for one to end.
    waiting: usize,
    /// The latest that failed.
    failed: Option<(u64, Errno)>,
}

/// Syncs a folder, perhaps together with others who want the same.
pub(super) fn sync(folder: &impl AsFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(folder)?;
    let key = (stat.st_dev, stat.st_ino);
    let shared = lock(&FOLDERS).get_or_insert_default().entry(key).or_default().clone();
    let synced = shared.sync(|| retry_on_intr(|| rustix::fs::fsync(folder)));
    let mut folders = lock(&FOLDERS);
    drop(shared);
    // The map's own alone: nobody else is there, nor can come before the map is let go.
    if let Some(folders) = folders.as_mut()
        && folders.get(&key).is_some_and(|folder| Arc::strong_count(folder) == 1)
    {
        folders.remove(&key);
    }
    synced
}

impl Folder {
    fn sync(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut turns = lock(&self.turns);
        // What is under way may have begun before we changed the folder.
        let wanted = turns.begun + 1;
        loop {
            if turns.ended >= wanted {
                // One that failed later says more than it must; what is tried again does no harm.
                return match turns.failed {
                    Some((turn, errno)) if turn >= wanted => Err(errno),
                    Some(_) | None => Ok(()),
                };
            }
            if turns.begun == turns.ended {
                break;
            }
            turns.waiting += 1;
            turns = self.ended.wait(turns).unwrap_or_else(PoisonError::into_inner);
            turns.waiting -= 1;
        }
        turns.begun += 1;
        let turn = turns.begun;
        drop(turns);
        let synced = sync();
        let mut turns = lock(&self.turns);
        turns.ended = turn;
        if let Err(errno) = synced {
            turns.failed = Some((turn, errno));
        }
        self.ended.notify_all();
        synced
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under them can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn who_comes_while_one_is_under_way_waits_for_the_next_and_shares_it() {
        const OTHERS: usize = 8;
        let (folder, syncs) = (Arc::new(Folder::default()), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..OTHERS)
            .map(|_| {
                let (folder, syncs) = (folder.clone(), syncs.clone());
                // Made ready before the first sync begins, and let go by it.
                thread::spawn(move || {
                    while syncs.load(Ordering::SeqCst) == 0 {
                        thread::yield_now();
                    }
                    folder.sync(|| {
                        syncs.fetch_add(1, Ordering::SeqCst);
                        Err(Errno::IO)
                    })
                })
            })
            .collect();
        let first = folder.sync(|| {
            syncs.fetch_add(1, Ordering::SeqCst);
            while lock(&folder.turns).waiting < OTHERS {
                thread::yield_now();
            }
            Ok(())
        });
        assert_eq!(first, Ok(()));
        for other in threads {
            assert_eq!(other.join().expect("no panic"), Err(Errno::IO), "what failed for one failed for all");
        }
        assert_eq!(syncs.load(Ordering::SeqCst), 2, "they share");
    }

    #[test]
    fn one_after_the_other_each_has_its_own() {
        let folder = Folder::default();
        assert_eq!(folder.sync(|| Err(Errno::IO)), Err(Errno::IO));
        assert_eq!(folder.sync(|| Ok(())), Ok(()));
    }

    #[test]
    fn a_folder_is_forgotten_when_nobody_syncs_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::File::open(folder.path()).expect("open");
        assert_eq!(sync(&open), Ok(()));
        let stat = rustix::fs::fstat(&open).expect("stat");
        assert!(!lock(&FOLDERS).as_ref().is_some_and(|folders| folders.contains_key(&(stat.st_dev, stat.st_ino))));
    }
}
