//! The ledger: the daemon's memory, one SQLite file.
//!
//! One thread writes. It commits everything that waits for it in one transaction, so a thousand jobs cost a few syncs and a
//! caller goes on only when its own record is on disk. Readers open their own read-only connections.
//!
//! SQLite finds damage only where it looks, so its pages are looked through at each start; damage that shows later ends the daemon,
//! for nothing can be sent without a memory, and nothing that is tried again would mend it.
//!
//! The ledger stores and decides nothing. A row that is not there, or is there twice, is a bug and is reported as one. A file
//! that cannot be read, or that a newer version wrote, is never replaced by an empty one: [`OpenError`] says what to do.
//!
//! The shapes in which jobs are kept are in [`record`], apart from the core, so that the core can change its mind about names
//! without an old ledger becoming unreadable.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::job::{Job, JobId, TaskId};
use crate::throttle::durations::Took;

mod damage;
mod record;
mod sqlite;

pub use damage::of as damage;
pub use sqlite::{Ledger, Reader, SPENDING_KEPT};

/// Task durations that are remembered.
pub const DURATIONS_MAX: u32 = 256;

/// One thing to write. All changes of one call are committed together or not at all.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A new job.
    Insert(Box<Job>),
    /// A job after a transition; its row must exist.
    Update(Box<Job>),
    /// A job that was released: its files are the user's again.
    Delete(JobId),
    /// Nothing to write but a condition: no other job of the ledger has this task, or the call ends as [`WriteError::Held`]. It is
    /// asked here, where one thread commits, so that of two acceptances with one task the later one is told apart for certain.
    Unshared {
        /// The job that may have it.
        job: JobId,
        /// The task.
        task_id: TaskId,
        /// Of the API at this address.
        base_url: String,
    },
    /// Money set aside for an intent.
    Reserve {
        /// The job.
        job: JobId,
        /// The number of the intent.
        send: u32,
        /// When.
        at: Timestamp,
    },
    /// Money given back: nothing was accepted.
    GiveBack {
        /// The job.
        job: JobId,
        /// The number of the intent.
        send: u32,
    },
    /// The wall clock was set: reservations keep their distance from now, and none lies ahead of it.
    ShiftSpending {
        /// How far; negative: back. Then only those move that lie ahead of now.
        by: SignedDuration,
        /// What it says since.
        now: Timestamp,
    },
    /// A task took this long.
    Took {
        /// How long, as far as it was seen.
        took: Took,
        /// When it was seen done.
        at: Timestamp,
    },
    /// A small fact that survives a restart.
    Remember {
        /// Its name.
        name: &'static str,
        /// Its value, JSON.
        value: String,
    },
    /// Forget finished jobs, and reservations of no more use, from before an instant.
    Prune {
        /// Finished jobs older than this.
        jobs_before: Option<Timestamp>,
        /// Reservations older than this.
        spending_before: Timestamp,
    },
}

/// What is read at the start.
#[derive(Debug, Default)]
pub struct Memory {
    /// Every job that is not final.
    pub live: Vec<Job>,
    /// Reservations of the last day, oldest first.
    pub spending: Vec<(JobId, u32, Timestamp)>,
    /// Durations of tasks, oldest first.
    pub durations: Vec<Took>,
}

/// How many jobs are in which state, by label.
pub type Counts = std::collections::BTreeMap<String, u64>;

/// Why the ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer version of the program wrote it.
    #[error(
        "{path} was written by a newer version (schema {found}, this program knows {known}); install that version again, or move the file away together with {path}-wal after all jobs in work/ have ended"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It cannot be opened or read.
    #[error(
        "cannot open the ledger {path}; it is not replaced by an empty one, because it knows what was paid: mend the rights (its own and those of {path}-wal and {path}-shm) or the disk, or restore it from a backup"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// It can be neither made nor looked for.
    #[error("cannot make or reach the ledger {path}: mend the rights or the disk")]
    Unmakeable {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
    },
    /// What it holds is damaged: found at the start, or by a look or a record later.
    #[error(
        "the ledger {path} is damaged ({what}); nothing more is sent, and it is not replaced by an empty one, because it knows what was paid: restore it from a backup, or move it away together with {path}-wal; then what lies in work/ and may have been sent goes to error/ as in doubt, and nothing of it is sent again"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// It is another program's database.
    #[error("{path} is a database, but not a ledger of this program; nothing was written to it")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A row makes no sense.
    #[error(
        "the ledger {path} holds a job that this program cannot read ({what}); it is not replaced by an empty one: restore it from a backup or ask for help"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        what: String,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the ledger's thread")]
    Thread(#[source] std::io::Error),
}

/// Why a record was not written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full, read-only or failing: the same may succeed later.
    #[error("cannot commit to the ledger: {0}")]
    Disk(String),
    /// What the ledger holds is damaged: nothing more can be written.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// A row was not as it must be: a bug, or another program writes to the ledger.
    #[error("the ledger contradicts the daemon: {0}")]
    Contradiction(String),
    /// The task is another job's: see [`Change::Unshared`].
    #[error("the task is that of job {0}")]
    Held(JobId),
    /// The thread that writes has ended.
    #[error("the ledger is closed")]
    Closed,
}
