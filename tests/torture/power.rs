//! The power is cut: at random moments of a stream of jobs, and before each effect on the world.
//!
//! Inbox, work, outbox, error, archive and ledger lie on one file system that is shut down beneath the daemon. What it had not
//! synced by then is gone, as it is when the power goes. Files that are dropped are synced before the cut.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use fastrand::Rng;

use crate::Calls;
use crate::disk::{Disk, Kind, Mode};
use crate::pairs;
use crate::rig::{LOOK_EVERY, vendor};
use crate::rounds::some_time;
use crate::spool::{ENDING_MAX, Living, Spool, misbehaving};
use crate::tally::{Breach, Tally};

/// Cuts that one spool goes through.
const CUTS_PER_SPOOL: u64 = 5;

/// The course of one pair that is interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Course {
    Delivery,
    Rejection,
}

impl Course {
    pub const ALL: [Self; 2] = [Self::Delivery, Self::Rejection];

    pub fn label(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Rejection => "rejection",
        }
    }

    /// Drops its pair.
    pub fn begin(self, spool: &Spool) {
        match self {
            Self::Delivery => pairs::drop_good(&spool.rig, "cat"),
            Self::Rejection => pairs::drop_refused(&spool.rig, "cat"),
        }
    }
}

/// Cuts at random moments.
pub async fn at_random(kind: Kind, mode: Mode, cuts: u64, seed: u64, program: Option<PathBuf>) -> Tally {
    let mut chance = Rng::with_seed(seed);
    let disk = Disk::new(kind);
    let mut sum = Tally::default();
    let mut left = cuts;
    while left > 0 {
        let now = left.min(CUTS_PER_SPOOL);
        left -= now;
        let root = disk.path().join(format!("spool-{left}"));
        let mut spool = Spool::new(Some(&root), misbehaving(&mut chance), program.as_deref());
        (0..4).for_each(|_| pairs::drop_some(&spool.rig, &mut chance));
        for _ in 0..now {
            let living = spool.start(&[]);
            (0..chance.u32(1..4)).for_each(|_| pairs::drop_some(&spool.rig, &mut chance));
            some_time(&spool, &mut chance).await;
            cut(&mut spool, &disk, mode, living).await;
        }
        let what = format!("{} {} at random, seed {seed}", kind.label(), mode.label());
        let mut tally = spool.close(&what).await;
        tally.rounds = now;
        sum += tally;
        fs::remove_dir_all(&root).unwrap();
    }
    sum
}

/// Cuts before some effects, or before every one, each of a fresh spool. Some cuts are followed by another during the recovery.
pub async fn at_points(
    (kind, mode): (Kind, Mode),
    course: Course,
    places: Calls,
    seed: u64,
    program: Option<PathBuf>,
) -> Tally {
    let mut chance = Rng::with_seed(seed);
    let disk = Disk::new(kind);
    let mut sum = Tally::default();
    let last = count_points(course, program.clone()).await;
    for point in places.draw(last, &mut chance) {
        let root = disk.path().join(format!("spool-{point}"));
        let mut spool = Spool::new(Some(&root), vendor(), program.as_deref());
        course.begin(&spool);
        let mut what = format!("{} {}, {} cut before effect {point}", kind.label(), mode.label(), course.label());
        let was_cut = cut_at(&mut spool, &disk, mode, point).await;
        // Recovery has fewer effects; a number beyond them cuts nothing.
        if was_cut && chance.u32(0..3) == 0 {
            let again = chance.u64(1..40);
            what = format!("{what}, its recovery before {again}");
            cut_at(&mut spool, &disk, mode, again).await;
        }
        let tally = spool.close(&what).await;
        // Two runs are not alike to the last effect, so one that was drawn may not be reached.
        if was_cut || !tally.complaints.is_empty() {
            sum += tally;
        } else if point > last {
            break;
        }
        fs::remove_dir_all(&root).unwrap();
    }
    sum
}

/// How many effects the course has on the world when nothing happens to it.
///
/// # Panics
/// The program has no fail points.
async fn count_points(course: Course, program: Option<PathBuf>) -> u64 {
    let mut spool = Spool::new(None, vendor(), program.as_deref());
    course.begin(&spool);
    let log = spool.rig.folder().join("points");
    let living = spool.start_failing(&format!("log={}", log.display()), &["--once"]);
    let code = spool.end(living).await;
    assert!(matches!(code, Some(0 | 65)), "{code:?}");
    let passed = fs::read_to_string(log).unwrap_or_default().lines().count() as u64;
    assert!(passed > 0, "the program has no fail points: give one that `cargo test` has built, or none");
    passed
}

/// Lets a life go on until it stops before that effect, and cuts there; false: it has no such effect, and came to its end.
async fn cut_at(spool: &mut Spool, disk: &Disk, mode: Mode, point: u64) -> bool {
    let mut living = spool.start_failing(&format!("at={point};do=stop"), &["--once"]);
    let start = Instant::now();
    while !is_stopped(living.daemon.pid()) {
        if !living.daemon.runs() {
            spool.end(living).await;
            return false;
        }
        if start.elapsed() > ENDING_MAX {
            spool.complain(Breach::Stuck, format!("in {ENDING_MAX:?} it neither reaches effect {point} nor ends"));
            spool.kill(living).await;
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    cut(spool, disk, mode, living).await;
    true
}

async fn cut(spool: &mut Spool, disk: &Disk, mode: Mode, living: Living) {
    spool.kill_after(living, || disk.cut(mode)).await;
    disk.mount_again();
    spool.look();
}

/// Whether a process stands still by a signal.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which stands in brackets and may hold anything.
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}
