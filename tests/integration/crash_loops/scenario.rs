//! The scenarios that the loops play: what lies there before, what the run is to do, and how everything must end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use jimengd::simulator::{Script, Settings};
use tempfile::TempDir;

use super::checks::SOMEBODY_ELSES;
use crate::rig::{Binary, Rig, faulty_vendor, script, sidecar, vendor};

/// Where the worlds are: in memory, for a process that is killed leaves the same there as on a disk, and thousands are.
const WORLDS: &str = "/dev/shm";

/// What could not be moved is looked at again soon.
const LOOKED_AT_OFTEN: &str = "inbox: {rescan: 1s}";

/// A course of things in which the fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// A pair becomes a video.
    Delivery,
    /// A sidecar that cannot be read.
    RejectedRead,
    /// A code answers the submission.
    RejectedSubmit,
    /// The task fails.
    RejectedPoll,
    /// The task is done, and its link leads to no video.
    RejectedDownload,
    /// The first task fails in a way that another seed may cure.
    SecondAttempt,
    /// The answer to the submission is lost.
    InDoubt,
    /// A video's link has gone stale before it was fetched.
    StaleLink,
    /// The names in outbox and archive are taken.
    TakenOutbox,
    /// The outbox with the fetched video was moved away, and in the new one lies somebody else's of that name.
    ReplacedOutbox,
    /// The names in `error/` are taken.
    TakenError,
    /// A sidecar with the address of a picture.
    ImageUrls,
    /// A failed pair is moved back, edited.
    Retried,
    /// A failed pair is moved back as it was, and its task is still alive.
    Resumed,
    /// The daemon is told to reload and to stop in between.
    StopAndReload,
    /// Several jobs at once, good and bad.
    SeveralJobs,
    /// Outbox, archive and error are on another mount, and a pair is delivered.
    DeliveryElsewhere,
    /// The same, and a pair is rejected.
    RejectionElsewhere,
}

/// How a pair ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With its video.
    Delivered,
    /// In `error/`, with this reason.
    Failed(&'static str),
}

/// A pair and its end, by its names without extension.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// What it is called where it ends.
    pub name: &'static str,
    /// Its files' extensions.
    pub files: &'static [&'static str],
    /// How it ends.
    pub end: End,
    /// What it is called in `error/` if it ends there in doubt.
    pub in_doubt: &'static str,
    /// Tasks that are paid for it where nothing goes wrong.
    pub paid: u64,
}

const PAIR: &[&str] = &["png", "yaml"];

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Delivery,
        Self::RejectedRead,
        Self::RejectedSubmit,
        Self::RejectedPoll,
        Self::RejectedDownload,
        Self::SecondAttempt,
        Self::InDoubt,
        Self::StaleLink,
        Self::TakenOutbox,
        Self::ReplacedOutbox,
        Self::TakenError,
        Self::ImageUrls,
        Self::Retried,
        Self::Resumed,
        Self::StopAndReload,
        Self::SeveralJobs,
        Self::DeliveryElsewhere,
        Self::RejectionElsewhere,
    ];

    fn vendor(self) -> Settings {
        match self {
            Self::RejectedDownload => faulty_vendor("- {on: download, do: {film: junk}}"),
            Self::Resumed => faulty_vendor("- {on: poll, do: {word: pondering}}"),
            _ => vendor(),
        }
    }

    fn wishes(self) -> &'static str {
        match self {
            // A link that is bad is then the last one that is asked for, and a status that nobody knows the last word.
            Self::RejectedDownload | Self::Resumed => "tasks: {give_up_after: 1ms}\ninbox: {rescan: 1s}",
            Self::SeveralJobs => "tasks: {max: 4}\ninbox: {rescan: 1s}",
            _ => LOOKED_AT_OFTEN,
        }
    }

    /// Everything as it is right before the run in which the fault strikes.
    pub async fn prepare(self) -> Staged {
        let rig = Rig::new_in(Path::new(WORLDS), self.vendor(), self.wishes());
        let mut far = None;
        match self {
            Self::Delivery | Self::StopAndReload => rig.drop_pair("shoes/red", "A red shoe turns"),
            Self::RejectedRead => rig.drop_with("shoes/red", "prompt: A red shoe\nsize: large\n"),
            Self::RejectedSubmit => rig.drop_pair("shoes/red", "A red shoe [50412]"),
            Self::RejectedPoll => rig.drop_with("shoes/red", "prompt: 'A red shoe [poll 50511]'\nseed: 7\n"),
            Self::RejectedDownload => rig.drop_pair("shoes/red", "A red shoe turns"),
            Self::SecondAttempt => rig.drop_pair("shoes/red", "A red shoe [poll 50511 once]"),
            Self::InDoubt => rig.drop_pair("shoes/red", "A red shoe [answer lost]"),
            Self::StaleLink => {
                rig.drop_pair("shoes/red", "A red shoe turns");
                let plan = "on=request video;do=kill";
                assert_eq!(rig.spawn_failing(plan, &["--once"]).code().await, KILLED, "{}", rig.scene());
                let ledger = rusqlite::Connection::open(rig.root().join("ledger.db")).unwrap();
                let hours = "UPDATE job SET since = since - 7200000 WHERE state = 'ready'";
                assert_eq!(ledger.execute(hours, []).unwrap(), 1);
                rig.vendor().follow(script("- {on: download, nth: 1, do: {expired: true}}"));
            }
            Self::TakenOutbox => {
                for file in ["outbox/red.mp4", "archive/red.yaml"] {
                    fs::write(rig.root().join(file), SOMEBODY_ELSES).unwrap();
                }
                rig.drop_pair("red", "A red shoe turns");
            }
            Self::ReplacedOutbox => {
                rig.drop_pair("red", "A red shoe turns");
                let plan = "on=red.receipt.yaml;do=kill";
                assert_eq!(rig.spawn_failing(plan, &["--once"]).code().await, KILLED, "{}", rig.scene());
                fs::rename(rig.root().join("outbox"), rig.folder().join("outbox moved away")).unwrap();
                fs::create_dir(rig.root().join("outbox")).unwrap();
                fs::write(rig.outbox("red.mp4"), SOMEBODY_ELSES).unwrap();
            }
            Self::TakenError => {
                fs::write(rig.error("red.png"), SOMEBODY_ELSES).unwrap();
                rig.drop_pair("red", "A red shoe [50412]");
            }
            Self::ImageUrls => {
                let text = "prompt: A red shoe turns\nimage_urls: ['https://pictures.example/red.png']\n";
                rig.copy_in("shoes/red.yaml", text.as_bytes());
            }
            Self::Retried => {
                rig.drop_pair("red", "A red shoe [50412 once]");
                assert_eq!(rig.spawn(&["--once"]).code().await, FAILED, "{}", rig.scene());
                fs::rename(rig.error("red.png"), rig.inbox("red.png")).unwrap();
                fs::remove_file(rig.error("red.yaml")).unwrap();
                rig.forget("red.yaml");
                rig.copy_in("red.yaml", sidecar("A red shoe turns").as_bytes());
            }
            Self::Resumed => {
                rig.drop_pair("red", "A red shoe turns");
                assert_eq!(rig.spawn(&["--once"]).code().await, FAILED, "{}", rig.scene());
                rig.configure(LOOKED_AT_OFTEN);
                rig.vendor().follow(Script::default());
                rig.move_back(&["red.png", "red.yaml"]);
            }
            Self::SeveralJobs => {
                rig.drop_pair("a/red", "A red shoe turns");
                rig.drop_pair("b/red", "Another red shoe turns");
                rig.drop_pair("blue", "A blue shoe [50412]");
                rig.drop_with("green", "prompt: A green shoe\nsize: large\n");
            }
            Self::DeliveryElsewhere | Self::RejectionElsewhere => {
                let prompt = if self == Self::DeliveryElsewhere { "A red shoe turns" } else { "A red shoe [50412]" };
                far = Some(move_elsewhere(&rig));
                rig.drop_pair("shoes/red", prompt);
            }
        }
        Staged { rig, _far: far }
    }

    /// The run in which the fault strikes, to its end, whichever it is; its exit code.
    pub async fn play(self, rig: &Rig, plan: &str) -> i32 {
        if self != Self::StopAndReload {
            return rig.spawn_failing(plan, &["--once"]).code().await;
        }
        let mut daemon = rig.spawn_failing(plan, &[]);
        // Where something fails, it may not come to that.
        let log = plan.split(';').find_map(|part| part.strip_prefix("log=")).unwrap_or_default();
        let has_failed = || fs::read_to_string(log).is_ok_and(|points| points.contains(" refused"));
        let is_on_its_way = || rig.vendor().paid() > 0 || has_failed();
        rig.until("it is paid for, or fails, or ends", || !daemon.runs() || (daemon.is_ready() && is_on_its_way()))
            .await;
        if daemon.runs() {
            daemon.hang_up();
            let says = |daemon: &Binary| daemon.said().contains("reloaded the configuration");
            rig.until("it has reloaded or ended", || !daemon.runs() || says(&daemon)).await;
        }
        if daemon.runs() {
            daemon.terminate();
        }
        daemon.code().await
    }

    /// How everything must end.
    pub fn expected(self) -> Vec<Expected> {
        let pair = |name, end, paid| Expected { name, files: PAIR, end, in_doubt: name, paid };
        let one = |end, paid| vec![pair("shoes/red", end, paid)];
        match self {
            Self::Delivery | Self::StaleLink | Self::StopAndReload | Self::DeliveryElsewhere => one(End::Delivered, 1),
            Self::RejectedRead => one(End::Failed("invalid_sidecar"), 0),
            Self::RejectedSubmit | Self::RejectionElsewhere => one(End::Failed("text_risk_not_pass"), 0),
            Self::RejectedPoll => one(End::Failed("post_img_risk_not_pass"), 1),
            Self::RejectedDownload => one(End::Failed("download_failed"), 1),
            Self::SecondAttempt => one(End::Delivered, 2),
            Self::InDoubt => one(End::Failed("in_doubt"), 1),
            Self::TakenOutbox | Self::ReplacedOutbox => {
                vec![Expected { in_doubt: "red", ..pair("red (2)", End::Delivered, 1) }]
            }
            Self::TakenError => {
                vec![Expected { in_doubt: "red (2)", ..pair("red (2)", End::Failed("text_risk_not_pass"), 0) }]
            }
            Self::ImageUrls => vec![Expected { files: &["yaml"], ..pair("shoes/red", End::Delivered, 1) }],
            Self::Retried | Self::Resumed => vec![pair("red", End::Delivered, 1)],
            Self::SeveralJobs => vec![
                pair("a/red", End::Delivered, 1),
                pair("b/red", End::Delivered, 1),
                pair("blue", End::Failed("text_risk_not_pass"), 0),
                pair("green", End::Failed("invalid_sidecar"), 0),
            ],
        }
    }

    /// Files of others that lie in outbox, archive and error from the beginning and must be left alone.
    pub fn bystanders(self) -> &'static [&'static str] {
        match self {
            Self::TakenOutbox => &["outbox/red.mp4", "archive/red.yaml"],
            Self::ReplacedOutbox => &["outbox/red.mp4"],
            Self::TakenError => &["error/red.png"],
            _ => &[],
        }
    }
}

/// What a kill looks like as an exit code.
pub const KILLED: i32 = 137;

/// The exit code of `--once` where some pair failed.
pub const FAILED: i32 = 65;

/// A scenario's world, ready for the run in which the fault strikes.
pub struct Staged {
    /// The world.
    pub rig: Rig,
    /// Where its folders are, if elsewhere.
    _far: Option<TempDir>,
}

/// Puts outbox, archive and error on another mount. The rig finds them by links; the daemon is told where they really are.
fn move_elsewhere(rig: &Rig) -> TempDir {
    let far = TempDir::with_prefix("jimengd-").unwrap();
    let device = |path: &Path| rustix::fs::stat(path).unwrap().st_dev;
    assert_ne!(
        device(far.path()),
        device(rig.folder()),
        "temporary folders are on no other mount than {WORLDS}; TMPDIR says where they are"
    );
    let mut folders = String::new();
    for name in ["outbox", "archive", "error"] {
        let (there, here) = (far.path().join(name), rig.root().join(name));
        fs::create_dir(&there).unwrap();
        fs::remove_dir(&here).unwrap();
        symlink(&there, &here).unwrap();
        folders.push_str(&format!("{name}: '{}', ", there.display()));
    }
    rig.configure(&format!("folders: {{{folders}}}\n{LOOKED_AT_OFTEN}"));
    far
}
