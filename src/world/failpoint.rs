//! Fail points: where the project's own tests stop the program dead, or let an effect fail.
//!
//! Without the feature `failpoints` everything here is empty and costs nothing. With it, the environment variable
//! `FAILPOINTS` may hold a plan, `key=value` joined by `;`:
//!
//! | key | says |
//! | --- | --- |
//! | `log` | file to which each numbered point is appended as a line `<number> <effect> <path>` (of a rename or link: `<new path> < <old path>`) before it is passed; then `<number>! …` if the plan refused it, `<number>- …` if the system did |
//! | `looks` | `1`: what only looks (`open`, `judge`, `jot`, `turn`) is numbered, too |
//! | `syncs` | `0`: syncs are not numbered. To the next process it is all the same whether the last one was killed before a sync or after it |
//! | `at` | the number of the point where something happens |
//! | `on`, `nth` | or: the `nth` (default 1) point whose `<effect> <path>` contains the text `on`; one that begins with `judge`, `jot` or `turn` needs no `looks` |
//! | `after` | points count for `on` only once one has been passed whose `<effect> <path>` contains this text |
//! | `do` | `kill`: SIGKILL, in the middle of a write or else before the effect; `stop`: SIGSTOP before it; `panic`, or `wait` until the file of `until` is there: at this one and at all that match after it; a name of an error: the effect fails, a write in its middle; that name and `!`: it is done and then said to have failed (not so commits, requests and answers: they have no such end) |
//! | `durable` | `0`: nothing is durable. Every sync succeeds without being had, and the ledger commits without syncs: for benchmarks, to see what durability costs |
//! | `until` | the error is for good, for this effect at this place, until this file is there |
//!
//! A place is a folder, or all folders of jobs below it. A read-only mount (EROFS) and a full disk (ENOSPC, EDQUOT) refuse every
//! effect at their place that they would refuse in reality.

#[cfg(not(feature = "failpoints"))]
mod off;
#[cfg(feature = "failpoints")]
mod on;

#[cfg(feature = "failpoints")]
pub use on::{before, is_durable, path, path_from, path_of};
#[cfg(feature = "failpoints")]
pub(super) use on::{pass, torn};

#[cfg(not(feature = "failpoints"))]
pub use off::{before, is_durable, path, path_from, path_of};
#[cfg(not(feature = "failpoints"))]
pub(super) use off::{pass, torn};

/// What is done to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A file or folder is opened to look at it. Changes nothing.
    Open,
    /// A pair is about to be judged. Changes nothing.
    Judge,
    /// It is noted what is being judged. Nothing that was promised stands on it.
    Jot,
    /// The daemon's loop takes a turn. Changes nothing.
    Turn,
    /// A file is made.
    Make,
    /// A folder is made.
    MakeFolder,
    /// Bytes are written.
    Write,
    /// A file's length is set.
    Cut,
    /// A file's times are set.
    Times,
    /// A folder gets an access list.
    Rights,
    /// A file or folder is synced.
    Sync,
    /// A file gets another name.
    Rename,
    /// A file gets a second name.
    Link,
    /// A name is taken away.
    Unlink,
    /// A folder is taken away.
    RemoveFolder,
    /// The ledger commits.
    Commit,
    /// A request is about to leave.
    Request,
    /// An answer, or the lack of one, is about to be taken in.
    Answer,
}

impl Effect {
    /// Whether it only looks, or tells of looks: the world is the same after it as before.
    #[cfg(feature = "failpoints")]
    fn is_look(self) -> bool {
        matches!(self, Self::Open | Self::Judge | Self::Jot | Self::Turn)
    }

    /// The word for logs and plans.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Judge => "judge",
            Self::Jot => "jot",
            Self::Turn => "turn",
            Self::Make => "make",
            Self::MakeFolder => "make-folder",
            Self::Write => "write",
            Self::Cut => "cut",
            Self::Times => "times",
            Self::Rights => "rights",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::RemoveFolder => "remove-folder",
            Self::Commit => "commit",
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}
