//! The inbox goes away, and the watch of it fails: every pair is found all the same, and `status` says what is wrong.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::disk::{Disk, Kind, run};
use crate::pairs;
use crate::power::is_stopped;
use crate::rig::vendor;
use crate::spool::{Living, Spool, ended};
use crate::tally::{Breach, Tally};

/// No rescan but one that there is a reason for. What is not there is looked for soon.
const CONFIG: &str = "inbox: {rescan: 1h}\n";

/// The same for what no event tells, and only a scan can find out.
const CONFIG_SCANS: &str = "inbox: {rescan: 200ms}\n";

/// What the log says when every file of the inbox has been looked at.
const SCANNED: &str = "scanned the inbox";

/// What it says of other reasons to do that than events that were lost: a canary that is not heard, and a watch that cannot be set.
const OTHER_REASONS: [&str; 2] = ["the watcher of the inbox is dead", "the inbox is scanned every"];

/// The name of the thread that reads the events.
const WATCHER: &str = "notify-rs inoti";

/// Stops a thread for as long as this is there.
struct Paralysis(Child);

impl Drop for Paralysis {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The inbox is renamed away, and comes back.
pub async fn away_and_back(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::with(None, vendor(), program.as_deref(), CONFIG_SCANS);
    let living = spool.start(&[]);
    spool.until("ready", || living.daemon.is_ready()).await;
    let (inbox, away) = (spool.rig.inbox(""), spool.rig.folder().join("away"));
    fs::rename(&inbox, &away).unwrap();
    spool.until_paused(&["inbox_unavailable"]).await;
    assert!(!inbox.exists(), "it must not be made anew");
    fs::rename(&away, &inbox).unwrap();
    pairs::drop_good(&spool.rig, "cat");
    spool.until_over(1, 0).await;
    spool.stop(living).await;
    spool.close("inbox away and back").await
}

/// The inbox is deleted, and its user makes another.
pub async fn deleted_and_made_again(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::with(None, vendor(), program.as_deref(), CONFIG_SCANS);
    let living = spool.start(&[]);
    spool.until("ready", || living.daemon.is_ready()).await;
    let inbox = spool.rig.inbox("");
    fs::remove_dir(&inbox).unwrap();
    spool.until_paused(&["inbox_unavailable"]).await;
    assert!(!inbox.exists(), "it must not be made anew");
    fs::create_dir(&inbox).unwrap();
    pairs::drop_good(&spool.rig, "cat");
    spool.until_over(1, 0).await;
    spool.stop(living).await;
    spool.close("inbox deleted and made again").await
}

/// Another folder stands in the place of the inbox, with a pair in it, while one waits in the old one.
pub async fn replaced(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::with(None, vendor(), program.as_deref(), CONFIG_SCANS);
    let living = spool.start(&[]);
    spool.until("ready", || living.daemon.is_ready()).await;
    let (inbox, other) = (spool.rig.inbox(""), spool.rig.root().join("other"));
    fs::create_dir(&other).unwrap();
    living.daemon.halt();
    spool.until("it stands still", || is_stopped(living.daemon.pid())).await;
    fs::rename(&inbox, spool.rig.folder().join("old")).unwrap();
    fs::rename(&other, &inbox).unwrap();
    pairs::drop_good(&spool.rig, "cat");
    living.daemon.go_on();
    spool.until_over(1, 0).await;
    spool.stop(living).await;
    spool.close("inbox replaced").await
}

/// The disk that inbox and work lie on is taken away from beneath a running daemon, and comes back.
pub async fn unmounted(program: Option<PathBuf>) -> Tally {
    let disk = Disk::new(Kind::Ext4);
    let there = disk.path().join("folders");
    let folder = tempfile::TempDir::with_prefix("jimengd-folders-").unwrap();
    let (root, mount) = (folder.path().join("root"), folder.path().join("mount"));
    for made in [&root, &mount, &there, &there.join("inbox"), &there.join("work")] {
        fs::create_dir(made).unwrap();
    }
    bind(&there, &mount);
    for name in ["inbox", "work"] {
        std::os::unix::fs::symlink(mount.join(name), root.join(name)).unwrap();
    }
    let mut spool = Spool::with(Some(&root), vendor(), program.as_deref(), CONFIG_SCANS);
    pairs::drop_good(&spool.rig, "before");
    let living = spool.start(&[]);
    spool.until_over(1, 0).await;
    run(Command::new("umount").arg("-l").arg(&mount));
    spool.until("status tells of the inbox", || spool.rig.is_paused("inbox_unavailable")).await;
    bind(&there, &mount);
    pairs::drop_good(&spool.rig, "after");
    spool.until_over(2, 0).await;
    spool.stop(living).await;
    let tally = spool.close("inbox and work unmounted and mounted again").await;
    run(Command::new("umount").arg("-l").arg(&mount));
    tally
}

fn bind(from: &Path, to: &Path) {
    run(Command::new("mount").arg("--bind").arg(from).arg(to));
}

/// More happens in the inbox than the kernel keeps while the daemon stands still.
pub async fn overflow(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::new(None, vendor(), program.as_deref());
    // Over what the rig has by itself, whose log tells of scans.
    spool.rig.configure(CONFIG);
    let living = spool.start(&[]);
    let scans = || said(&living, SCANNED);
    // Its first scan would find everything, whatever the kernel kept.
    spool.until("it has scanned", || scans() > 0).await;
    living.daemon.halt();
    spool.until("it stands still", || is_stopped(living.daemon.pid())).await;
    let before = scans();
    let kept = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    // Made, closed and taken away: at least two events each, and of different names, which are not told as one.
    for number in 0..kept.trim().parse::<u32>().unwrap() {
        let path = spool.rig.inbox(format!("{number}.jpg"));
        File::create(&path).unwrap();
        fs::remove_file(path).unwrap();
    }
    // Nobody tells of these any more.
    (0..20).for_each(|number| pairs::drop_good(&spool.rig, &format!("pair-{number}")));
    living.daemon.go_on();
    spool.until_over(20, 0).await;
    // No line tells of the overflow itself. There are fewer names than the daemon keeps, so that there is no other reason left.
    let (rescans, others) = (scans() - before, OTHER_REASONS.map(|reason| said(&living, reason)));
    spool.stop(living).await;
    let mut tally = spool.close("the kernel's queue of events overflows").await;
    if rescans == 0 || others != [0, 0] {
        let what = format!("{rescans} scans after the overflow; lines of {OTHER_REASONS:?}: {others:?}");
        tally.complain(Breach::Odd, what);
    }
    tally
}

/// How many lines of the log begin so.
fn said(living: &Living, words: &str) -> usize {
    let begins = |line: &serde_json::Value| line["message"].as_str().is_some_and(|message| message.starts_with(words));
    living.daemon.lines().iter().filter(|line| begins(line)).count()
}

/// The kernel allows fewer watches than there are folders.
pub async fn watch_limit(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::with(None, vendor(), program.as_deref(), CONFIG);
    for folder in ["a", "b", "c"] {
        fs::create_dir(spool.rig.inbox(folder)).unwrap();
    }
    let mut limited = Command::new(crate::find("unshare").expect("it was looked for"));
    let script = "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    limited.args(["--user", "--map-root-user", "--", "/bin/sh", "-c", script, "sh"]);
    let living = spool.start_under(limited, &[]);
    let polling = || spool.rig.status()["polling"].as_str().is_some_and(|why| why.contains("max_user_watches"));
    spool.until("status names the limit", polling).await;
    pairs::drop_good(&spool.rig, "c/cat");
    spool.until_over(1, 0).await;
    spool.stop(living).await;
    spool.close("the limit of watches").await
}

/// The thread that reads the events stands still, as a dead one would: the canary is not heard any more.
pub async fn dead_watcher(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::with(None, vendor(), program.as_deref(), CONFIG);
    let living = spool.start(&[]);
    spool.until("ready", || living.daemon.is_ready()).await;
    let tasks = format!("/proc/{}/task", living.daemon.pid());
    let is_watcher = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == WATCHER);
    let watcher = fs::read_dir(tasks).unwrap().flatten().map(|entry| entry.path()).find(is_watcher);
    let watcher = watcher.expect("a thread that reads the events");
    let mut strace = Command::new("strace");
    strace.args(["-q", "-e", "inject=all:delay_enter=600s", "-o", "/dev/null", "-p"]);
    strace.arg(watcher.file_name().unwrap()).stdin(Stdio::null()).stderr(Stdio::null());
    let paralysis = Paralysis(strace.spawn().unwrap());
    let is_traced = || {
        let status = fs::read_to_string(watcher.join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    spool.until("the thread is held", is_traced).await;
    pairs::drop_good(&spool.rig, "cat");
    spool.until_over(1, 0).await;
    drop(paralysis);
    spool.stop(living).await;
    spool.close("a watch that is dead").await
}

/// A second daemon on the same root ends at once and disturbs nothing.
pub async fn two_daemons(program: Option<PathBuf>) -> Tally {
    let mut spool = Spool::new(None, vendor(), program.as_deref());
    let living = spool.start(&[]);
    spool.until("ready", || living.daemon.is_ready()).await;
    (0..5).for_each(|number| pairs::drop_good(&spool.rig, &format!("pair-{number}")));
    let mut second = spool.start(&[]);
    let code = ended(&mut second.daemon).await;
    spool.until_over(5, 0).await;
    spool.stop(living).await;
    let mut tally = spool.close("two daemons on one root").await;
    if code != Some(75) {
        tally.complain(Breach::Odd, format!("the second daemon ended with {code:?}: {}", second.daemon.said()));
    }
    tally
}
