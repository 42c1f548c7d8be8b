//! jimengd turns picture and YAML pairs in a folder into videos, through a paid, slow, forgetful HTTP API.
//!
//! Nobody watches it, so it must be right when it is alone: **it never pays twice, never loses a file, never leaves a
//! half-written one under a final name, and always says why.**
//!
//! # Code map
//!
//! Imports go downward only, and never sideways; a test checks it.
//!
//! | row | module | what it is |
//! | --- | --- | --- |
//! | 6 | [`cli`] | the commands, one file each, and the exit codes |
//! | 5 | [`daemon`] | the loop where core and shells meet: intake, driver, steps, recovery |
//! | 4 | [`config`] | what the operator wants, in layers, every mistake at once |
//! | 2 | [`spool`], [`api`], [`ledger`] | the shells: folders, the vendor, the memory |
//! | 1 | [`job`], [`throttle`] | the core: pure, no I/O, no async, no clock |
//! | aside | [`logging`], [`systemd`], [`simulator`], [`world`] | import nothing of ours |
//!
//! - **job** stands apart because the money is decided there: it can be read without a runtime and tested by the thousand.
//! - **spool** and **ledger** know nothing of each other: the operator's interface and the memory can each be mended alone. Only
//!   the daemon knows the order of their writes.
//! - **api** is where the vendor's words stop. What comes out are our answers.
//! - **simulator** plays the vendor and shares no code with `api`: a wrong field name would else be wrong on both sides, and every
//!   test green.
//! - **world** is the one way in which spool, api and ledger change anything outside. Each such effect has a number, so that tests can
//!   stop the program dead at the n-th, or let it fail, until there is no n-th.
//!
//! # The life of a job
//!
//! ```text
//!  (inbox) ──claim──▶ Queued ──intent──▶ Submitting ──task id──▶ Submitted ──done──▶ Ready ──▶ Fetched ──▶ Delivered
//!      ▲                │ ▲ ▲                │  │                   │   ▲              │
//!      └────release─────┘ │ └─provably unsent, throttled, account───┘   └──stale link──┘
//!                         └──── output refused, attempts left ────── │     (Submitting ──unknowable──▶ InDoubt)
//!      any terminal code, InDoubt, task gone ─▶ Failing ─▶ Failed ─▶ error/
//! ```
//!
//! One transition function ([`job::state::Job::on`]), used live and in recovery. A record is made **before** an effect that cannot
//! be repeated, and **after** one that can:
//!
//! | step | order |
//! | --- | --- |
//! | read | line in `work/.suspects`, not synced; the files; line cleared: who dies over a pair finds it there |
//! | claim | note in `work/<job>/`, synced; both files renamed in, synced; judged again; row: *queued*, or *submitting* where it is sent at once |
//! | submit | row *submitting*, line in `work/.intents`, both synced; request; row *submitted* with the task id |
//! | poll | request; row only if something has changed |
//! | download | `outbox/.<job>.part`, checked, synced; row *fetched* |
//! | publish | receipt, then the video by a rename that replaces nothing; archive; row *delivered* |
//! | reject | row *failing*; pair into `error/`, then its report; row *failed* |
//!
//! # What is absent
//!
//! There is no second submission of a job whose first one may have been accepted, no rename that replaces, no file written under
//! its final name, no local deadline that gives up a paid task, no retry inside the API client, no sleep as scheduling, no fourth
//! crash over one pair.

#![forbid(unsafe_code)]

pub mod job;
pub mod throttle;
pub mod spool;
pub mod api;
pub mod ledger;
pub mod config;
pub mod daemon;
pub mod cli;
pub mod simulator;
pub mod logging;
pub mod world;
pub mod systemd;
