//! Whether what the ledger holds can still be believed.
//!
//! SQLite finds damage only where it looks, so the structure of the whole file is looked through once at each start, by a thread of its
//! own. That is `PRAGMA quick_check`: it reads every page, and compares no index with its table; SQLite keeps no checksums.
//!
//! A start waits for that, unless the file is large. Of a large one it waits for the tables that it reads itself; the rest is looked
//! through while what is under way goes on, and only what costs money waits for it: nothing is sent by a memory that may be damaged.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use super::OpenError;
use super::sqlite::BUSY;

/// A ledger of no more bytes is looked through before the start goes on. It holds a hundred thousand jobs, and takes a quarter of a
/// second.
pub(super) const CHECKED_AT_ONCE_BYTES: u64 = 128 << 20;

/// For so long nothing is sent before a large ledger was looked through. Of one that takes longer than this it is told when it is
/// found, while the daemon works.
const CHECK_WAIT: Duration = Duration::from_secs(30);

/// What `quick_check` takes for the whole file: it ends with the first thing that is wrong.
const EVERYTHING: &str = "1";

/// What is read at a start as a whole, and never grows large. Of the jobs only the few that are not final are read, and damage shows as
/// they are.
const SMALL_TABLES: [&str; 4] = ["sqlite_schema", "spending", "duration", "fact"];

/// Where it is told that what the ledger holds is damaged, and how.
pub(super) type Damage = watch::Sender<Option<String>>;

/// What SQLite says of damage, if that is what the error is about: nothing that is tried again would go well.
pub fn of(error: &rusqlite::Error) -> Option<String> {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Some(error.to_string()),
        Some(_) | None => None,
    }
}

/// The first that was found stands.
pub(super) fn tell(damage: &Damage, what: String) {
    damage.send_if_modified(|known| {
        let is_news = known.is_none();
        known.get_or_insert(what);
        is_news
    });
}

/// How far the ledger was looked through.
#[derive(Clone, Debug)]
pub(super) struct LookedThrough {
    /// `true`: it has ended, and no damage was found; a look that failed for another reason has found none.
    done: watch::Receiver<bool>,
    began: Instant,
}

impl LookedThrough {
    /// Returns once no damage was found, or none for so long that nobody waits any more. Never, if some was. Cancel-safe.
    pub(super) async fn ends_well(&self, damage: &Damage) {
        if *self.done.borrow() {
            return;
        }
        let mut done = self.done.clone();
        // However it ended, or did not: what counts is whether damage was found.
        let ended = tokio::time::timeout_at((self.began + CHECK_WAIT).into(), done.wait_for(|done| *done));
        drop(ended.await);
        let is_damaged = damage.borrow().is_some();
        if is_damaged {
            std::future::pending().await
        }
    }
}

/// Has everything in the ledger looked at by a thread of its own, and waits for its word unless the file is larger than
/// `at_once_bytes`.
pub(super) fn check(path: &Path, damage: &Damage, at_once_bytes: u64) -> Result<LookedThrough, OpenError> {
    let began = Instant::now();
    let (says, done) = watch::channel(false);
    let (looked_at, found) = (path.to_owned(), damage.clone());
    let looking = std::thread::Builder::new()
        .name("ledger-check".to_owned())
        .spawn(move || {
            if judge(look_through(&looked_at, &[EVERYTHING]), &found) {
                says.send_replace(true);
            }
        })
        .map_err(OpenError::Thread)?;
    // What cannot be asked for its size is looked through.
    if std::fs::metadata(path).map_or(0, |facts| facts.len()) <= at_once_bytes {
        if looking.join().is_err() {
            tracing::warn!("looking through the ledger ended in a bug");
        }
    } else {
        judge(look_through(path, &SMALL_TABLES), damage);
        tracing::info!(
            "the ledger is large: it is looked through while the work begins, and nothing is sent before that, for {} s at most",
            CHECK_WAIT.as_secs()
        );
    }
    match damage.borrow().clone() {
        Some(what) => Err(OpenError::Corrupt { path: path.to_owned(), what }),
        None => Ok(LookedThrough { done, began }),
    }
}

/// Tells of damage; whether there is none. A look that fails for another reason says nothing of it.
fn judge(looked: rusqlite::Result<Option<String>>, damage: &Damage) -> bool {
    let what = match looked {
        Ok(found) => found,
        Err(error) => {
            let what = of(&error);
            if what.is_none() {
                tracing::warn!("cannot look through the ledger: {error}");
            }
            what
        }
    };
    let is_well = what.is_none();
    if let Some(what) = what {
        tell(damage, what);
    }
    is_well
}

/// The first thing that is wrong with the pages of these tables, if any is.
fn look_through(path: &Path, tables: &[&str]) -> rusqlite::Result<Option<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    for table in tables {
        let said: String = connection.query_row(&format!("PRAGMA quick_check({table})"), [], |row| row.get(0))?;
        if said != "ok" {
            return Ok(Some(said.replace('\n', " ")));
        }
    }
    Ok(None)
}
