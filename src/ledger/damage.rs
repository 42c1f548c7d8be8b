//! Whether what the ledger holds can still be believed.
//!
//! SQLite finds damage only where it looks, so the structure of the whole file is looked through once at each start, by a thread of its
//! own. That is `PRAGMA quick_check`: it reads every page, and compares no index with its table; SQLite keeps no checksums.

use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use super::OpenError;
use super::sqlite::BUSY;

/// How long a start waits for that: nothing is sent by a memory that may be damaged. A ledger of a hundred thousand jobs takes a quarter
/// of a second; of one that takes longer than this it is told when it is found, while the daemon works.
const CHECK_WAIT: Duration = Duration::from_secs(30);

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

/// Has everything in the ledger looked at by a thread of its own, and waits for its word for a while.
pub(super) fn check(path: &Path, damage: &Damage) -> Result<(), OpenError> {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let (looked_at, found) = (path.to_owned(), damage.clone());
    std::thread::Builder::new()
        .name("ledger-check".to_owned())
        .spawn(move || {
            match look_through(&looked_at) {
                Ok(None) => {}
                Ok(Some(what)) => tell(&found, what),
                Err(error) => match of(&error) {
                    Some(what) => tell(&found, what),
                    None => tracing::warn!("cannot look through the ledger: {error}"),
                },
            }
            // Whoever does not wait any more is told by the damage alone.
            drop(done);
        })
        .map_err(OpenError::Thread)?;
    match ended.recv_timeout(CHECK_WAIT) {
        // It sends nothing: its end is what is waited for.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        Err(RecvTimeoutError::Timeout) => {
            tracing::debug!("the ledger is large; it is looked through while the work begins")
        }
    }
    match damage.borrow().clone() {
        Some(what) => Err(OpenError::Corrupt { path: path.to_owned(), what }),
        None => Ok(()),
    }
}

/// The first thing that is wrong with the file's pages, if any is.
fn look_through(path: &Path) -> rusqlite::Result<Option<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((said != "ok").then(|| said.replace('\n', " ")))
}
