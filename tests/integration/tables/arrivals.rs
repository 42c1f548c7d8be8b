//! How files come into the inbox, step by step, while the daemon runs.
//!
//! Many rows share one inbox and are played at the same time, each in a folder of its own, between its neighbours. When all have
//! come to their end everything is looked at and judged once more, and must still be as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jimengd::simulator::{Source, Task};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, fallocate, linkat, openat};
use serde::Deserialize;
use serde_json::Value as Json;

use super::inbox::{Ends, make, names_of, path_of, waiting_in};
use super::{Neighbours, Row, assert_words, play, rows, tell, words_of};
use crate::rig::{LOOK_EVERY, PATIENCE, Rig, Running, pictures, read_yaml, sha256, vendor};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrival {
    case: String,
    /// Laid over the configuration. Rows with the same settings share an inbox.
    #[serde(default)]
    with: String,
    steps: Vec<Step>,
    expect: Ends,
    /// The picture is written to after it was sent.
    #[serde(default)]
    changes_later: bool,
    /// The prompt that was sent is the one of the content of this name; without it that of `sidecar`.
    #[serde(default)]
    sent: Option<String>,
}

/// What is done to `file`. Contents are `picture`, `sidecar`, each with a word behind it for another one of the same length, `empty`,
/// `text …`, `zeros`; and `N/M` before it for the N-th of M pieces.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    /// As `cp` does: made or truncated, written, closed.
    Write {
        file: String,
        content: String,
    },
    /// Opened, written at the end, closed.
    Append {
        file: String,
        content: String,
    },
    /// Made or truncated, written, and held open.
    Hold {
        file: String,
        content: String,
    },
    /// Written at the end of what is held open.
    WriteOn {
        file: String,
        content: String,
    },
    /// Closes what is held open.
    Close {
        file: String,
    },
    /// Room is made for all of the content, and held open: with zeros in it, or as a hole.
    Preallocate {
        file: String,
        content: String,
        sparse: bool,
    },
    /// Written at the beginning of what is held open.
    Fill {
        file: String,
        content: String,
    },
    /// Made elsewhere, renamed in.
    RenameIn {
        file: String,
        content: String,
        from: From,
    },
    /// Made in the memory's own file system, copied in as `mv` does between mounts.
    MoveFromOtherMount {
        file: String,
        content: String,
    },
    /// Made outside, linked in; the other name goes away.
    HardLinkIn {
        file: String,
        content: String,
    },
    /// Made without a name, then linked in.
    LinkUnnamed {
        file: String,
        content: String,
    },
    /// Written with a time of change in that year.
    CopyPreserving {
        file: String,
        content: String,
        year: u32,
    },
    /// Other content of the same length, and the time of change as it was.
    ReplaceUnnoticed {
        file: String,
        content: String,
    },
    Rename {
        file: String,
        to: String,
    },
    Delete {
        file: String,
    },
    /// As `make` knows kinds, in place of a file.
    ReplaceBy {
        file: String,
        kind: String,
    },
    /// A folder with a pair in it is made outside and moved in.
    MoveFolderIn {
        folder: String,
    },
    /// A folder is moved out of the inbox, and what lies in it is its user's again.
    MoveFolderOut {
        folder: String,
    },
    Mkdir {
        folder: String,
    },
    Chmod {
        file: String,
        mode: u32,
    },
    Touch {
        file: String,
    },
    /// As an editor saves a file that is there.
    EditorSave {
        file: String,
        content: String,
        editor: Editor,
    },
    /// The writer is as slow as that; nothing is waited for.
    Pause {
        ms: u64,
    },
    /// Waits until all of that is so.
    Until(Facts),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    /// What `status --json` says.
    waiting: Option<BTreeMap<String, String>>,
    /// A file that is no longer in the inbox.
    gone: Option<String>,
    /// Submissions that were accepted.
    paid: Option<usize>,
    /// The stem of a report.
    rejected: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    SameFolder,
    OtherFolder,
    Outside,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Editor {
    Vim,
    Emacs,
    Gedit,
}

impl Row for Arrival {
    fn case(&self) -> &str {
        &self.case
    }
}

/// An inbox with a daemon.
struct World {
    rig: Rig,
    /// One `status` at a time.
    asking: tokio::sync::Mutex<()>,
}

impl World {
    /// What `status --json` says from now on.
    async fn status(&self) -> Json {
        let _asking = self.asking.lock().await;
        tokio::task::block_in_place(|| self.rig.status())
    }
}

/// A row being played.
struct Play {
    world: Arc<World>,
    row: Arrival,
    number: usize,
    /// What each file holds as far as its writer knows; wherever it lies by now.
    holds: BTreeMap<String, Vec<u8>>,
    contents: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<String, File>,
    /// What is no file with content of its own.
    others: BTreeSet<String>,
}

impl Play {
    fn new(world: Arc<World>, row: Arrival, number: usize) -> Self {
        let (holds, contents, open) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { world, row, number, holds, contents, open, others: BTreeSet::new() }
    }

    fn folder(&self) -> String {
        format!("{:03}/case/", self.number)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.world.rig.inbox(self.folder()).join(path_of(file))
    }

    fn outside(&self, name: &str) -> PathBuf {
        let folder = self.world.rig.folder().join(format!("outside-{}", self.number));
        fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    fn prompt(&self, word: &str) -> String {
        format!("Case {:03} {word:_<8}", self.number)
    }

    fn content(&mut self, what: &str) -> Vec<u8> {
        let (piece, what) = match what.split_once(' ') {
            Some((piece, rest)) if piece.contains('/') => (Some(piece), rest),
            Some(_) | None => (None, what),
        };
        let prompt = self.prompt(what);
        let whole =
            self.contents.entry(what.to_owned()).or_insert_with(|| match what.split_once(' ').unwrap_or((what, "")) {
                ("picture", _) => pictures::png(),
                ("sidecar", _) => format!("prompt: {prompt}\nseed: 7\n").into_bytes(),
                ("zeros", _) => vec![0; pictures::png().len()],
                ("empty", _) => Vec::new(),
                ("text", text) => text.as_bytes().to_vec(),
                other => panic!("{other:?} is no content"),
            });
        match piece.map(|piece| piece.split_once('/').expect("it has one")) {
            Some((n, m)) => {
                let (n, m): (usize, usize) = (n.parse().expect("a number"), m.parse().expect("a number"));
                whole[whole.len() * (n - 1) / m..whole.len() * n / m].to_vec()
            }
            None => whole.clone(),
        }
    }

    fn held(&mut self, file: &str) -> &mut File {
        self.open.get_mut(file).expect("it is held open")
    }

    async fn play(mut self) -> Self {
        let neighbours = Neighbours::in_folder(&format!("{:03}/", self.number));
        neighbours.drop_before(&self.world.rig);
        fs::create_dir_all(self.path("")).unwrap();
        for (place, step) in self.row.steps.clone().into_iter().enumerate() {
            match step {
                Step::Pause { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
                Step::Until(facts) => self.until(Some((place, &facts))).await,
                step => self.step(step),
            }
        }
        neighbours.drop_after(&self.world.rig);
        for (name, bytes) in &self.holds {
            if !bytes.is_empty() {
                self.world.rig.remember(&Path::new(&self.folder()).join(path_of(name)), bytes);
            }
        }
        self.until(None).await;
        self
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { file, content } => {
                let bytes = self.content(&content);
                fs::write(self.path(&file), &bytes).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::Append { file, content } => {
                let bytes = self.content(&content);
                OpenOptions::new().append(true).open(self.path(&file)).unwrap().write_all(&bytes).unwrap();
                self.holds.entry(file).or_default().extend(bytes);
            }
            Step::Hold { file, content } => {
                let bytes = self.content(&content);
                let mut opened = File::create(self.path(&file)).unwrap();
                opened.write_all(&bytes).unwrap();
                self.open.insert(file.clone(), opened);
                self.holds.insert(file, bytes);
            }
            Step::WriteOn { file, content } => {
                let bytes = self.content(&content);
                self.held(&file).seek(SeekFrom::End(0)).unwrap();
                self.held(&file).write_all(&bytes).unwrap();
                self.holds.entry(file).or_default().extend(bytes);
            }
            Step::Close { file } => drop(self.open.remove(&file).expect("it is held open")),
            Step::Preallocate { file, content, sparse } => {
                let length = self.content(&content).len() as u64;
                let opened = File::create(self.path(&file)).unwrap();
                if sparse {
                    opened.set_len(length).unwrap();
                } else {
                    fallocate(&opened, FallocateFlags::empty(), 0, length).unwrap();
                }
                self.open.insert(file.clone(), opened);
                self.holds.insert(file, vec![0; usize::try_from(length).expect("small")]);
            }
            Step::Fill { file, content } => {
                let bytes = self.content(&content);
                self.held(&file).write_all_at(&bytes, 0).unwrap();
                self.holds.get_mut(&file).expect("it is there")[..bytes.len()].copy_from_slice(&bytes);
            }
            Step::RenameIn { file, content, from } => {
                let bytes = self.content(&content);
                let beside = match from {
                    From::SameFolder => self.path(&format!(".{file}.tmp")),
                    From::OtherFolder => {
                        let other = self.path("other");
                        fs::create_dir_all(&other).unwrap();
                        other.join(format!("{file}.part"))
                    }
                    From::Outside => self.outside(&file),
                };
                fs::write(&beside, &bytes).unwrap();
                fs::rename(beside, self.path(&file)).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::MoveFromOtherMount { file, content } => {
                let bytes = self.content(&content);
                let shared = Path::new("/dev/shm");
                let elsewhere =
                    tempfile::NamedTempFile::new_in(if shared.is_dir() { shared } else { Path::new("/tmp") });
                let elsewhere = elsewhere.unwrap();
                fs::write(&elsewhere, &bytes).unwrap();
                fs::copy(&elsewhere, self.path(&file)).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::HardLinkIn { file, content } => {
                let bytes = self.content(&content);
                let outside = self.outside(&file);
                fs::write(&outside, &bytes).unwrap();
                fs::hard_link(&outside, self.path(&file)).unwrap();
                fs::remove_file(outside).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::LinkUnnamed { file, content } => {
                use std::os::fd::AsRawFd;
                let bytes = self.content(&content);
                let flags = OFlags::TMPFILE | OFlags::WRONLY;
                let unnamed = openat(CWD, self.path(""), flags, Mode::from_raw_mode(0o644)).unwrap();
                let mut unnamed = File::from(unnamed);
                unnamed.write_all(&bytes).unwrap();
                let own = format!("/proc/self/fd/{}", unnamed.as_raw_fd());
                linkat(CWD, own, CWD, self.path(&file), AtFlags::SYMLINK_FOLLOW).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::CopyPreserving { file, content, year } => {
                let bytes = self.content(&content);
                let mut opened = File::create(self.path(&file)).unwrap();
                opened.write_all(&bytes).unwrap();
                let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(year - 1970) * 31_556_952);
                opened.set_times(FileTimes::new().set_modified(at)).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::ReplaceUnnoticed { file, content } => {
                let bytes = self.content(&content);
                let path = self.path(&file);
                let before = fs::metadata(&path).unwrap();
                assert_eq!(before.len(), bytes.len() as u64, "the length must not tell");
                let mut opened = OpenOptions::new().write(true).open(&path).unwrap();
                opened.write_all(&bytes).unwrap();
                opened.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
                self.holds.insert(file, bytes);
            }
            Step::Rename { file, to } => {
                fs::rename(self.path(&file), self.path(&to)).unwrap();
                let bytes = self.holds.remove(&file).expect("it was written");
                self.holds.insert(to, bytes);
            }
            Step::Delete { file } => {
                fs::remove_file(self.path(&file)).unwrap();
                self.holds.remove(&file);
            }
            Step::ReplaceBy { file, kind } => {
                fs::remove_file(self.path(&file)).unwrap();
                self.holds.remove(&file);
                make(&self.path(""), &path_of(&file), &kind, "");
                self.others.insert(if kind == "directory" { format!("{file}/") } else { file });
            }
            Step::MoveFolderIn { folder } => {
                let outside = self.outside(&folder);
                fs::create_dir_all(&outside).unwrap();
                for (name, content) in [("a.png", "picture"), ("a.yaml", "sidecar")] {
                    let bytes = self.content(content);
                    fs::write(outside.join(name), &bytes).unwrap();
                    self.holds.insert(format!("{folder}/{name}"), bytes);
                }
                fs::rename(outside, self.path(&folder)).unwrap();
            }
            Step::MoveFolderOut { folder } => {
                fs::rename(self.path(&folder), self.outside("moved out")).unwrap();
                self.holds.retain(|name, _| !name.starts_with(&format!("{folder}/")));
            }
            Step::Mkdir { folder } => fs::create_dir(self.path(&folder)).unwrap(),
            Step::Chmod { file, mode } => {
                fs::set_permissions(self.path(&file), fs::Permissions::from_mode(mode)).unwrap();
            }
            Step::Touch { file } => {
                let opened = File::open(self.path(&file)).unwrap();
                opened.set_times(FileTimes::new().set_modified(SystemTime::now())).unwrap();
            }
            Step::EditorSave { file, content, editor } => {
                let bytes = self.content(&content);
                self.editor_save(&file, &bytes, editor);
                self.holds.insert(file, bytes);
            }
            Step::Pause { .. } | Step::Until(_) => unreachable!("they are waited for"),
        }
    }

    fn editor_save(&mut self, file: &str, bytes: &[u8], editor: Editor) {
        let path = self.path(file);
        let backup = format!("{file}~");
        match editor {
            Editor::Vim => {
                // It looks whether it may make files here, keeps the old one, writes anew, takes the old one away.
                let probe = self.path("4913");
                fs::write(&probe, b"").unwrap();
                fs::remove_file(probe).unwrap();
                fs::rename(&path, self.path(&backup)).unwrap();
                fs::write(&path, bytes).unwrap();
                fs::remove_file(self.path(&backup)).unwrap();
            }
            Editor::Emacs => {
                let lock = self.path(&format!(".#{file}"));
                std::os::unix::fs::symlink("user@host.1:1", &lock).unwrap();
                fs::rename(&path, self.path(&backup)).unwrap();
                fs::write(&path, bytes).unwrap();
                fs::remove_file(lock).unwrap();
                // The backup stays.
                let old = self.holds.get(file).expect("it was there").clone();
                self.holds.insert(backup, old);
            }
            Editor::Gedit => {
                let beside = self.path(".goutputstream-X7K2Q1");
                fs::write(&beside, bytes).unwrap();
                fs::rename(beside, path).unwrap();
            }
        }
    }

    /// Waits until the facts of a step hold, or until everything has come to its end.
    async fn until(&self, step: Option<(usize, &Facts)>) {
        let start = Instant::now();
        loop {
            let complaints = match step {
                Some((_, facts)) => self.unmet(facts).await,
                None => self.complaints().await,
            };
            if complaints.is_empty() {
                return;
            }
            let at = step.map_or("the end".to_owned(), |(place, _)| format!("step {place}"));
            assert!(start.elapsed() < PATIENCE, "{at}, not within {PATIENCE:?}:\n{}", complaints.join("\n"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn unmet(&self, facts: &Facts) -> Vec<String> {
        let mut unmet = Vec::new();
        if let Some(file) = facts.gone.as_ref().filter(|file| self.path(file).exists()) {
            unmet.push(format!("{file} is still in the inbox"));
        }
        if let Some(paid) = facts.paid.filter(|paid| self.tasks().len() != *paid) {
            unmet.push(format!("{} are paid, not {paid}", self.tasks().len()));
        }
        if let Some(report) = facts.rejected.as_ref().map(|stem| self.report(stem)).filter(|report| !report.exists()) {
            unmet.push(format!("there is no {}", report.display()));
        }
        if let Some(wanted) = &facts.waiting {
            let found = waiting_in(&self.world.rig, &self.folder(), &self.world.status().await);
            if found != *wanted {
                unmet.push(format!("status says {found:?}, not {wanted:?}"));
            }
        }
        unmet
    }

    fn report(&self, stem: &str) -> PathBuf {
        self.world.rig.error(self.folder()).join(path_of(&format!("{stem}.error.yaml")))
    }

    fn tasks(&self) -> Vec<Task> {
        let prefix = format!("Case {:03} ", self.number);
        self.world.rig.vendor().tasks().into_iter().filter(|task| task.prompt.starts_with(&prefix)).collect()
    }

    /// What is not as it must be.
    async fn complaints(&self) -> Vec<String> {
        let files = names_of(self.holds.keys().chain(&self.others));
        let expect = &self.row.expect;
        let mut complaints = expect.complaints(&self.world.rig, &self.folder(), &files, &BTreeMap::new());
        let tasks = self.tasks();
        if tasks.len() != expect.videos() {
            complaints.push(format!("{} were paid, not {}", tasks.len(), expect.videos()));
        }
        let wanted = self.prompt(self.row.sent.as_deref().unwrap_or("sidecar"));
        let final_pictures: Vec<String> = self.holds.values().map(|bytes| sha256(bytes)).collect();
        for task in &tasks {
            if task.prompt != wanted {
                complaints.push(format!("{:?} was sent, not {wanted:?}", task.prompt));
            }
            if let Source::Picture(sent) = &task.source
                && !final_pictures.contains(&sent.sha256)
                && !self.row.changes_later
            {
                complaints.push("a picture was sent that is not the one that was meant".to_owned());
            }
        }
        if complaints.is_empty() {
            complaints = expect.complaints_of_status(&self.world.rig, &self.folder(), &self.world.status().await);
        }
        complaints
    }

    fn words(&self) -> Option<String> {
        let stems: Vec<&String> = self.row.expect.rejected.keys().collect();
        let words = stems.iter().map(|stem| words_of(&format!("    {stem}"), &read_yaml(&self.report(stem))));
        (!stems.is_empty()).then(|| format!("{}\n{}", self.row.case, words.collect::<String>()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals() {
    let rows = rows::<Arrival>("arrivals", 50);
    let mut worlds: BTreeMap<String, (Arc<World>, Running)> = BTreeMap::new();
    for row in &rows {
        if !worlds.contains_key(&row.with) {
            let rig = Rig::new(vendor(), &row.with);
            let daemon = rig.start();
            rig.until("the daemon runs", || rig.snapshot().is_some()).await;
            let world = Arc::new(World { rig, asking: tokio::sync::Mutex::default() });
            worlds.insert(row.with.clone(), (world, daemon));
        }
    }
    let numbers: BTreeMap<String, usize> = rows.iter().enumerate().map(|(at, row)| (row.case.clone(), at)).collect();
    let count = rows.len();
    let played = play(rows, |row| {
        let (world, number) = (Arc::clone(&worlds[&row.with].0), numbers[&row.case]);
        Play::new(world, row, number).play()
    })
    .await;
    // What waits must still wait after everything was looked at and judged once more.
    for (world, daemon) in worlds.values() {
        daemon.reload().await;
        let videos = world.rig.videos();
        world.rig.drop_pair("last", "The last one");
        world.rig.until("the last one is delivered", || world.rig.videos() == videos + 1).await;
    }
    let mut failed = Vec::new();
    for play in &played {
        let complaints = play.complaints().await;
        failed.extend(complaints.into_iter().map(|complaint| format!("{}: {complaint}", play.row.case)));
        Neighbours::in_folder(&format!("{:03}/", play.number)).assert_delivered(&play.world.rig);
    }
    assert!(failed.is_empty(), "at the end:\n{}", failed.join("\n"));
    for (world, daemon) in worlds.into_values() {
        world.rig.until("nothing is in work", || world.rig.jobs_in_work() == 0).await;
        daemon.stop().await;
        world.rig.assert_all_is_well();
    }
    tell("arrivals", count);
    let words: Vec<String> = played.iter().filter_map(Play::words).collect();
    assert_words("arrivals", &words.join("\n"));
}
