//! The intake on real folders with the kernel's real events. What is dropped is no picture, so each complete pair comes out as
//! one to reject: these tests are about what is offered and when, not about the judgement.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{self, Watch as WatchMode};
use crate::job::picture::Limits;
use crate::spool::durable::Dir;

const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test: what rests for it is not offered.
const NEVER: Duration = Duration::from_secs(3_000);
const SOON: Duration = Duration::from_millis(50);

struct Bench {
    dir: tempfile::TempDir,
    intake: Option<Intake>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        for folder in ["inbox", "work", "elsewhere"] {
            fs::create_dir(dir.path().join(folder)).expect("mkdir");
        }
        Self { dir, intake: None }
    }

    /// Settings with which only what the test is about can happen.
    fn settings(&self) -> Settings {
        Settings {
            inbox: self.path("inbox"),
            work: self.path("work"),
            watching: config::Inbox {
                quiet: SOON,
                settle: NEVER,
                incomplete_after: NEVER,
                rescan: NEVER,
                poll: SOON,
                watch: WatchMode::Events,
                ignore: Vec::new(),
                orphan_after: None,
            },
            picture: Limits { bytes_max: None, side_max: None, short_side_min: None, ratio_max: None },
        }
    }

    fn start(&mut self, settings: Settings) {
        let work = Dir::open(&settings.work).expect("the folders are there");
        self.intake = Some(Intake::start(settings, Suspects::open(&work, "this one")).expect("the folders are there"));
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write_pair(&self, folder: &str, stem: &str) {
        let folder = self.path(folder);
        fs::write(folder.join(format!("{stem}.jpg")), b"GIF89a, no picture for us").expect("write");
        fs::write(folder.join(format!("{stem}.yaml")), b"prompt: cat\n").expect("write");
    }

    fn move_pair(&self, stem: &str, to: &str) {
        for end in ["jpg", "yaml"] {
            let file = format!("{stem}.{end}");
            fs::rename(self.path("elsewhere").join(&file), self.path(to).join(&file)).expect("rename");
        }
    }

    fn intake(&mut self) -> &mut Intake {
        self.intake.as_mut().expect("the test has started it")
    }

    /// Turns until `done` finds what it waits for.
    async fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Intake, &[Notice]) -> Option<T>) -> T {
        let intake = self.intake();
        let mut notices = Vec::new();
        let turns = async {
            loop {
                if let Some(found) = done(intake, &notices) {
                    return found;
                }
                notices.extend(intake.turn().await);
            }
        };
        tokio::time::timeout(DEADLINE, turns).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    async fn offered(&mut self) -> ReadyPair {
        self.until("a pair is offered", |intake, _| intake.take().or_else(|| intake.take_bad())).await
    }

    async fn scanned(&mut self) {
        self.until("the scan is done", |_, notices| {
            notices.iter().any(|notice| matches!(notice, Notice::ScanDone { .. })).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_pair_moved_in_is_offered_at_once() {
    let mut bench = Bench::new();
    bench.write_pair("elsewhere", "cat");
    bench.start(bench.settings());
    bench.scanned().await;
    bench.move_pair("cat", "inbox");
    assert_eq!(bench.offered().await.name.to_string(), "cat");
    assert_eq!(*bench.intake().watching(), Watching::Events);
}

#[tokio::test]
async fn a_pair_written_in_place_is_offered_after_its_close() {
    let mut bench = Bench::new();
    bench.start(bench.settings());
    bench.scanned().await;
    bench.write_pair("inbox", "cat");
    assert_eq!(bench.offered().await.name.to_string(), "cat");
}

#[tokio::test]
async fn what_lay_there_before_the_start_is_offered_once_it_has_settled() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("inbox/a/b")).expect("mkdir");
    bench.write_pair("inbox/a/b", "cat");
    let mut settings = bench.settings();
    settings.watching.settle = SOON;
    bench.start(settings);
    assert_eq!(bench.offered().await.name.to_string(), "a/b/cat");
}

#[tokio::test]
async fn polling_finds_what_no_event_tells() {
    let mut bench = Bench::new();
    let mut settings = bench.settings();
    settings.watching.settle = SOON;
    settings.watching.watch = WatchMode::Poll;
    bench.start(settings);
    bench.scanned().await;
    bench.write_pair("inbox", "cat");
    assert_eq!(bench.offered().await.name.to_string(), "cat");
    assert!(matches!(bench.intake().watching(), Watching::Polling { .. }));
}

#[tokio::test]
async fn folders_moved_in_and_made_at_once_with_their_files_are_found() {
    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("elsewhere/moved/deep")).expect("mkdir");
    bench.write_pair("elsewhere/moved/deep", "cat");
    let mut settings = bench.settings();
    settings.watching.settle = SOON;
    bench.start(settings);
    bench.scanned().await;
    fs::rename(bench.path("elsewhere/moved"), bench.path("inbox/moved")).expect("rename");
    fs::create_dir_all(bench.path("inbox/made/very/deep")).expect("mkdir");
    bench.write_pair("inbox/made/very/deep", "cat");
    let mut names = vec![bench.offered().await.name.to_string(), bench.offered().await.name.to_string()];
    names.sort();
    assert_eq!(names, ["made/very/deep/cat", "moved/deep/cat"]);
}

#[tokio::test]
async fn a_claimed_pair_is_gone_and_the_same_name_may_come_again() {
    let mut bench = Bench::new();
    bench.start(bench.settings());
    bench.scanned().await;
    for _ in 0..2 {
        bench.write_pair("elsewhere", "cat");
        bench.move_pair("cat", "inbox");
        let pair = bench.offered().await;
        for seen in pair.files() {
            fs::rename(bench.path("inbox").join(seen.name.as_path()), bench.path("work").join(seen.name.as_path()))
                .expect("rename");
        }
        bench.intake().claim_ended(&pair, true);
        bench.until("nothing is left", |intake, _| intake.idle().then_some(())).await;
        assert_eq!(bench.intake().listing().count(), 0);
    }
}

#[tokio::test]
async fn a_vanished_inbox_offers_nothing_until_it_is_back() {
    let mut bench = Bench::new();
    bench.write_pair("inbox", "cat");
    let mut settings = bench.settings();
    settings.watching.settle = SOON;
    bench.start(settings);
    let pair = bench.offered().await;
    bench.intake().claim_ended(&pair, false);
    fs::rename(bench.path("inbox"), bench.path("unmounted")).expect("rename");
    bench
        .until("the absence is told", |_, notices| {
            notices.iter().any(|notice| matches!(notice, Notice::InboxUnavailable { .. })).then_some(())
        })
        .await;
    assert!(bench.intake().take_bad().is_none());
    assert!(!bench.intake().available());
    fs::rename(bench.path("unmounted"), bench.path("inbox")).expect("rename");
    bench.until("the return is told", |_, notices| notices.contains(&Notice::InboxBack).then_some(())).await;
    assert_eq!(bench.offered().await.name.to_string(), "cat");
}

#[tokio::test]
async fn a_start_without_an_inbox_waits_for_it_and_makes_none() {
    let mut bench = Bench::new();
    fs::remove_dir(bench.path("inbox")).expect("rmdir");
    bench.start(bench.settings());
    bench
        .until("the absence is told", |_, notices| {
            notices.iter().any(|notice| matches!(notice, Notice::InboxUnavailable { .. })).then_some(())
        })
        .await;
    assert!(!bench.path("inbox").exists());
    fs::create_dir(bench.path("inbox")).expect("mkdir");
    bench.until("the return is told", |_, notices| notices.contains(&Notice::InboxBack).then_some(())).await;
}

#[tokio::test]
async fn an_inbox_beside_another_work_folder_is_not_ours() {
    let bench = Bench::new();
    let work = effects::work_identity(&bench.settings()).expect("it is there");
    assert!(effects::open(&bench.settings(), Some(work)).is_ok());
    fs::rename(bench.path("work"), bench.path("other")).expect("rename");
    fs::create_dir(bench.path("work")).expect("mkdir");
    assert!(effects::open(&bench.settings(), Some(work)).is_err());
}

#[tokio::test]
async fn a_turn_that_is_dropped_again_and_again_loses_nothing() {
    let mut bench = Bench::new();
    for number in 0..20 {
        bench.write_pair("elsewhere", &format!("cat{number}"));
    }
    bench.start(bench.settings());
    for number in 0..20 {
        bench.move_pair(&format!("cat{number}"), "inbox");
    }
    let intake = bench.intake();
    let mut offered = 0;
    let turns = async {
        while offered < 20 {
            tokio::select! {
                biased;
                _ = intake.turn() => {}
                () = tokio::task::yield_now() => {}
            }
            while intake.take_bad().is_some() {
                offered += 1;
            }
        }
    };
    tokio::time::timeout(DEADLINE, turns).await.expect("all are offered");
}

#[tokio::test]
async fn links_and_pipes_are_never_opened_nor_offered() {
    let mut bench = Bench::new();
    bench.write_pair("elsewhere", "cat");
    bench.start(bench.settings());
    bench.scanned().await;
    std::os::unix::fs::symlink(bench.path("elsewhere/cat.jpg"), bench.path("inbox/cat.jpg")).expect("symlink");
    fs::rename(bench.path("elsewhere/cat.yaml"), bench.path("inbox/cat.yaml")).expect("rename");
    let pipe = bench.path("inbox/pipe.yaml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("mkfifo");
    bench
        .until("the sidecar is half a pair", |intake, _| (intake.idle() && intake.waiting().half == 1).then_some(()))
        .await;
    let listed: Vec<String> = bench.intake().listing().map(|waiting| waiting.pair.to_string()).collect();
    assert_eq!(listed, ["cat"]);
}

#[tokio::test]
async fn a_reload_takes_new_rules() {
    let mut bench = Bench::new();
    bench.write_pair("inbox", "draft-cat");
    let mut settings = bench.settings();
    settings.watching.ignore = vec!["draft-*".to_owned()];
    settings.watching.settle = SOON;
    bench.start(settings.clone());
    bench.scanned().await;
    assert_eq!(bench.intake().listing().count(), 0);
    settings.watching.ignore = vec!["[".to_owned()];
    assert!(matches!(bench.intake().reload(settings.clone()), Err(IntakeError::Ignore(_))));
    settings.watching.ignore.clear();
    bench.intake().reload(settings).expect("no globs are fine");
    assert_eq!(bench.offered().await.name.to_string(), "draft-cat");
}

#[tokio::test]
async fn a_new_folder_that_is_left_alone_is_not_gone_through() {
    let mut bench = Bench::new();
    let mut settings = bench.settings();
    settings.watching.settle = SOON;
    bench.start(settings);
    bench.scanned().await;
    fs::create_dir(bench.path("inbox/@eaDir")).expect("mkdir");
    bench.write_pair("inbox/@eaDir", "thumb");
    bench.write_pair("inbox", "cat");
    assert_eq!(bench.offered().await.name.to_string(), "cat");
    bench.until("nothing else moves", |intake, _| (intake.waiting().settling == 0).then_some(())).await;
    assert_eq!(bench.intake().listing().count(), 0);
    assert!(bench.intake().folders.is_empty());
}

#[tokio::test]
async fn a_dead_watch_is_noticed_by_its_canary_and_set_again() {
    let mut bench = Bench::new();
    bench.start(bench.settings());
    bench.scanned().await;
    // The watch ends unheard, and the canary's song has been awaited for longer than our patience.
    let intake = bench.intake();
    intake.hints = Hints::silent();
    intake.canary.awaited = Instant::now().checked_sub(CANARY_PATIENCE);
    bench.scanned().await;
    bench.write_pair("elsewhere", "cat");
    bench.move_pair("cat", "inbox");
    assert_eq!(bench.offered().await.name.to_string(), "cat");
}

#[test]
fn a_survey_tells_what_waits_and_why() {
    let bench = Bench::new();
    let mut settings = bench.settings();
    settings.watching.settle = Duration::ZERO;
    fs::create_dir_all(bench.path("inbox/a/@eaDir")).expect("mkdir");
    bench.write_pair("inbox/a", "cat");
    bench.write_pair("inbox", "dog");
    fs::write(bench.path("inbox/half.jpg"), b"1").expect("write");
    fs::write(bench.path("inbox/empty.jpg"), b"").expect("write");
    fs::write(bench.path("inbox/empty.yaml"), b"prompt: cat").expect("write");
    fs::write(bench.path("inbox/far.yaml"), b"prompt: cat\nimage_urls: [https://example.org/cat.jpg]").expect("write");
    for file in ["two.jpg", "two.png", "two.yaml"] {
        fs::write(bench.path("inbox").join(file), b"1").expect("write");
    }
    fs::write(bench.path("inbox/notes.txt"), b"1").expect("write");
    let told = |settings: &Settings| -> Vec<String> {
        let waiting = survey(settings).expect("the inbox is there");
        waiting.iter().map(|waiting| format!("{} {}", waiting.pair, waiting.reason.label())).collect()
    };
    assert_eq!(
        told(&settings),
        [
            "dog turn",
            "empty empty",
            "far turn",
            "half half",
            "notes.txt ignored",
            "two ambiguous",
            "a/@eaDir ignored",
            "a/cat turn"
        ]
    );
    settings.watching.settle = NEVER;
    assert!(told(&settings).contains(&"dog settling".to_owned()));
    fs::remove_dir_all(bench.path("inbox")).expect("rmdir");
    assert!(survey(&settings).is_err());
    assert!(!Path::new(&settings.inbox).exists());
}
