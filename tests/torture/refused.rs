//! Disks that are full or read-only in the middle of a job, and then are not: every job ends well without an operator, and
//! `status` says meanwhile what is wrong.
//!
//! The program stops itself right before an effect; then the disk is filled, and it goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jimengd::daemon::LEDGER;
use jimengd::job::JobId;
use tempfile::TempDir;

use crate::disk::{Filler, Memory, Room};
use crate::power::{Course, is_stopped};
use crate::rig::vendor;
use crate::spool::{Living, Spool};
use crate::tally::{Breach, Tally};

/// As small as what is put there, and a bit.
const SMALL: &str = "size=2m,nr_inodes=100";

/// A ledger with its log takes more.
const SMALL_LEDGER: &str = "size=8m";

/// The room that is asked for before a claim is no matter here: it is taken in the middle of a job.
const CONFIG: &str = "min_free: null\n";

/// Where a disk refuses work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The video is about to be written.
    Download,
    /// The receipt is.
    Publish,
    /// The pair is about to go to the archive.
    Archive,
    /// The pair is about to go to the error folder.
    Reject,
    /// The report is about to be written.
    Report,
}

impl Place {
    pub const ALL: [Self; 5] = [Self::Download, Self::Publish, Self::Archive, Self::Reject, Self::Report];

    pub fn label(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Publish => "publish",
            Self::Archive => "archive",
            Self::Reject => "reject",
            Self::Report => "report",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Download | Self::Publish => "outbox",
            Self::Archive => "archive",
            Self::Reject | Self::Report => "error",
        }
    }

    fn course(self) -> Course {
        match self {
            Self::Download | Self::Publish | Self::Archive => Course::Delivery,
            Self::Reject | Self::Report => Course::Rejection,
        }
    }

    /// The point that the program stops before, as a plan names it, where the folder really is `folder`.
    fn point(self, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Self::Download | Self::Archive | Self::Reject => format!("on={folder}/"),
            // Whoever looked for the name alone would stop where an earlier beginning is cleared away. Once the video is fetched, the
            // first file that is made beside it is its receipt's beginning.
            Self::Publish => format!("after={LEDGER}/fetched;on=make {folder}/"),
            // Nor is a report written before the sidecar, which crosses mounts here and is the last to, has its final name.
            Self::Report => format!("after={folder}/cat.yaml < {folder}/;on=make {folder}/"),
        }
    }

    /// Checks that the program stands where it should.
    fn check(self, spool: &Spool) {
        let there = spool.rig.list(self.folder());
        let is_there = match self {
            Self::Download | Self::Archive | Self::Reject => there.is_empty(),
            Self::Publish => matches!(&there[..], [part] if is_video_part(part)),
            Self::Report => there == ["cat.png", "cat.yaml"],
        };
        assert!(is_there, "not at {}: {there:?}", self.label());
    }
}

/// Whether that is the hidden name of a video that is not out yet.
fn is_video_part(name: &str) -> bool {
    let job = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
    job.is_some_and(|job| JobId::parse(job).is_some())
}

/// A disk that is full during one move, and then is not.
pub async fn full(place: Place, room: Room, program: Option<PathBuf>) -> Tally {
    let disk = TempDir::with_prefix("jimengd-small-").unwrap();
    let _memory = Memory::new(disk.path(), SMALL);
    let spool = with_small(place, disk.path(), program);
    let living = until_stopped(&spool, &place.point(disk.path())).await;
    place.check(&spool);
    let filler = Filler::new(disk.path(), room);
    living.daemon.go_on();
    spool.until_paused(&["disk_full"]).await;
    drop(filler);
    ends_well(spool, living, place.course(), &format!("{room:?} used up at {}", place.label())).await
}

/// A disk that is read-only during one move, and then is not.
pub async fn read_only(place: Place, program: Option<PathBuf>) -> Tally {
    let disk = TempDir::with_prefix("jimengd-small-").unwrap();
    let memory = Memory::new(disk.path(), SMALL);
    let spool = with_small(place, disk.path(), program);
    let living = until_stopped(&spool, &place.point(disk.path())).await;
    place.check(&spool);
    memory.remount("ro");
    living.daemon.go_on();
    spool.until_paused(&["read_only"]).await;
    memory.remount("rw");
    ends_well(spool, living, place.course(), &format!("read-only at {}", place.label())).await
}

/// A ledger on a full disk; `effect` is what the program is about to do when the disk is filled.
pub async fn full_ledger(effect: &'static str, program: Option<PathBuf>) -> Tally {
    let elsewhere = TempDir::with_prefix("jimengd-folders-").unwrap();
    let root = elsewhere.path().join("root");
    let _memory = Memory::new(&root, SMALL_LEDGER);
    for folder in ["inbox", "work", "outbox", "error", "archive"] {
        let there = elsewhere.path().join(folder);
        fs::create_dir(&there).unwrap();
        symlink(there, root.join(folder)).unwrap();
    }
    let spool = Spool::with(Some(&root), vendor(), program.as_deref(), CONFIG);
    Course::Delivery.begin(&spool);
    let living = until_stopped(&spool, &format!("on={effect}")).await;
    let filler = Filler::new(&root, Room::Bytes);
    living.daemon.go_on();
    spool.until("the log tells of it", || living.daemon.said().contains("cannot write the ledger")).await;
    spool.until_paused(&["ledger_unwritable"]).await;
    drop(filler);
    ends_well(spool, living, Course::Delivery, &format!("ledger full at {effect}")).await
}

/// Everything on one disk, which is full when the video comes.
pub async fn all_full(program: Option<PathBuf>) -> Tally {
    let folder = TempDir::with_prefix("jimengd-folders-").unwrap();
    let root = folder.path().join("root");
    let _memory = Memory::new(&root, SMALL_LEDGER);
    let spool = Spool::with(Some(&root), vendor(), program.as_deref(), CONFIG);
    Course::Delivery.begin(&spool);
    let living = until_stopped(&spool, &Place::Download.point(&root.join("outbox"))).await;
    let filler = Filler::new(&root, Room::Bytes);
    living.daemon.go_on();
    spool.until_paused(&["ledger_unwritable", "disk_full"]).await;
    drop(filler);
    ends_well(spool, living, Course::Delivery, "all on one full disk").await
}

/// A spool with its pair, and the folder of the place on a small disk of its own.
fn with_small(place: Place, disk: &Path, program: Option<PathBuf>) -> Spool {
    let spool = Spool::with(None, vendor(), program.as_deref(), CONFIG);
    let folder = spool.rig.root().join(place.folder());
    fs::remove_dir(&folder).unwrap();
    symlink(disk, folder).unwrap();
    place.course().begin(&spool);
    spool
}

/// Starts a life that stops before that point, named as in a plan.
async fn until_stopped(spool: &Spool, point: &str) -> Living {
    let living = spool.start_failing(&format!("{point};do=stop"), &[]);
    spool.until(&format!("stopped at {point}"), || is_stopped(living.daemon.pid())).await;
    living
}

async fn ends_well(mut spool: Spool, living: Living, course: Course, what: &str) -> Tally {
    let (videos, reports) = match course {
        Course::Delivery => (1, 0),
        Course::Rejection => (0, 1),
    };
    spool.until_over(videos, reports).await;
    spool.stop(living).await;
    let mut tally = spool.close(what).await;
    if (tally.delivered, tally.rejected) != (videos as u64, reports as u64) {
        tally.complain(Breach::Odd, format!("{what}: {} videos, {} rejected", tally.delivered, tally.rejected));
    }
    tally
}
