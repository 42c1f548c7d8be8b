//! What lies in the inbox under which names, and what becomes of it.
//!
//! Each row is played twice: it lies there when the daemon starts, and it is moved in as a folder while the daemon runs. Many rows
//! share one inbox, each in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::inbox::{Ends, bytes_of, make, names_of, path_of, waiting_in};
use super::{Neighbours, Row, assert_words, play, rows, tell, words_of};
use crate::rig::{Binary, LOOK_EVERY, Rig, Running, read_yaml, vendor};

/// How long the rows of an inbox may take together.
const ROW_PATIENCE: Duration = Duration::from_secs(25);

/// Inboxes that are played at the same time: other tests run beside them.
const WORLDS_AT_ONCE: usize = 4;

/// Bytes of a path below a case's folder with which the whole path is one that the system takes.
const FINDABLE_MAX: usize = 3_900;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    case: String,
    /// What lies in the case's folder: names and kinds, as [`make`] knows them.
    files: serde_yaml::Mapping,
    /// What lies in the case's folder of `outbox`, `archive` and `error` before.
    #[serde(default)]
    taken: BTreeMap<String, Vec<String>>,
    /// Modes in octal of files and folders, and whether they are the superuser's: `1777 root`. Then the daemon is somebody without
    /// rights of its own.
    #[serde(default)]
    rights: BTreeMap<String, String>,
    /// Laid over the configuration. Rows with the same settings share an inbox.
    #[serde(default)]
    with: String,
    expect: Ends,
}

impl Row for Names {
    fn case(&self) -> &str {
        &self.case
    }
}

/// A row with its number.
#[derive(Clone, Debug)]
struct Numbered {
    number: usize,
    row: Names,
}

impl Numbered {
    fn neighbours(&self) -> Neighbours {
        Neighbours::in_folder(&format!("{:03}/", self.number))
    }

    /// The case's folder below the inbox.
    fn folder(&self) -> String {
        format!("{:03}/case/", self.number)
    }

    /// Makes the files in the folder `top` and has them remembered; sets rights at the end.
    fn make(&self, rig: &Rig, top: &Path) {
        for (place, (name, kind)) in self.row.files.iter().enumerate() {
            let (name, kind) = (path_of(name.as_str().expect("a name")), kind.as_str().expect("a kind"));
            let prompt = format!("Case {:03} number {place}", self.number);
            let bytes = make(top, &name, kind, &prompt);
            // A test that looks for a file by its whole path cannot find a longer one.
            if let Some(bytes) = bytes.filter(|_| name.as_os_str().len() < FINDABLE_MAX) {
                rig.remember(&Path::new(&self.folder()).join(&name), &bytes);
            }
        }
        rig.give(top);
        for (name, rights) in &self.row.rights {
            let path = top.join(path_of(name));
            let (mode, owner) = rights.split_once(' ').unwrap_or((rights, ""));
            if owner == "root" && rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(u32::from_str_radix(mode, 8).expect("octal")))
                .unwrap();
        }
    }

    /// So that the test, whoever it is, may look at everything.
    fn give_rights_back(&self, rig: &Rig) {
        for name in self.row.rights.keys() {
            let path = rig.inbox(self.folder()).join(path_of(name));
            if path.exists() {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    fn make_taken(&self, rig: &Rig) {
        for (place, names) in &self.row.taken {
            for name in names {
                let path = rig.root().join(place).join(self.folder()).join(path_of(name));
                fs::create_dir_all(path.parent().expect("a folder")).unwrap();
                fs::write(path, somebody_elses(place, name)).unwrap();
            }
        }
    }

    /// What is not as it must be.
    fn complaints(&self, world: &World) -> Vec<String> {
        let files: Vec<String> = self.row.files.keys().map(|name| name.as_str().expect("a name").to_owned()).collect();
        let kinds = self.row.files.values().map(|kind| kind.as_str().expect("a kind"));
        let regular = files.iter().zip(kinds).filter(|(_, kind)| *kind != "directory").map(|(name, _)| name);
        let (rig, folder) = (&world.rig, self.folder());
        let expect = &self.row.expect;
        let mut complaints = expect.complaints(rig, &folder, &names_of(regular), &self.row.taken);
        let prompt = format!("Case {:03} ", self.number);
        let paid = rig.vendor().tasks().iter().filter(|task| task.prompt.starts_with(&prompt)).count();
        if paid != expect.videos() {
            complaints.push(format!("{paid} were paid, not {}", expect.videos()));
        }
        for (place, names) in &self.row.taken {
            for name in names {
                let path = rig.root().join(place).join(self.folder()).join(path_of(name));
                if fs::read(path).ok() != Some(somebody_elses(place, name)) {
                    complaints.push(format!("{name} in {place} is no longer what it was"));
                }
            }
        }
        complaints
    }

    /// What its user reads.
    fn words(&self, world: &World) -> String {
        let mut words = format!("{}\n", self.row.case);
        for (pair, why) in waiting_in(&world.rig, &self.folder(), &world.status) {
            writeln!(words, "    {}: {why}", shortened(&pair)).expect("a String takes all");
        }
        for stem in self.row.expect.rejected.keys() {
            let report = world.rig.error(self.folder()).join(path_of(&format!("{stem}.error.yaml")));
            words.push_str(&words_of(&format!("    {stem}"), &read_yaml(&report)));
        }
        words
    }
}

fn somebody_elses(place: &str, name: &str) -> Vec<u8> {
    format!("somebody else's {name} in {place}").into_bytes()
}

fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    match letters.len() {
        0..=120 => name.to_owned(),
        many => format!("{}… ({many} characters)", letters[..20].iter().collect::<String>()),
    }
}

enum Daemon {
    Here(Running),
    Program(Binary),
}

/// One inbox with its rows, after it was played.
struct World {
    rig: Rig,
    status: Json,
    page: String,
    rows: Vec<Numbered>,
}

impl World {
    fn new(rows: Vec<Numbered>) -> Self {
        let mut rig = Rig::new(vendor(), &rows[0].row.with);
        if !rows[0].row.rights.is_empty() {
            rig.hand_over();
        }
        for row in &rows {
            row.make_taken(&rig);
        }
        for place in ["outbox", "archive", "error"] {
            rig.give(&rig.root().join(place));
        }
        Self { rig, status: Json::Null, page: String::new(), rows }
    }

    fn is_restricted(&self) -> bool {
        !self.rows[0].row.rights.is_empty()
    }

    /// Everything lies there `at_the_start`, or each row is moved in as a folder between its neighbours while the daemon runs.
    async fn played(rows: Vec<Numbered>, at_the_start: bool) -> Self {
        let mut world = Self::new(rows);
        if at_the_start {
            world.drop_all();
        }
        let daemon = match world.is_restricted() {
            true => Daemon::Program(world.rig.spawn(&[])),
            false => Daemon::Here(world.rig.start()),
        };
        if !at_the_start {
            world.rig.until("the daemon runs", || world.rig.snapshot().is_some()).await;
            world.drop_all();
        }
        world.until_ended().await;
        let polling = world.rig.snapshot().and_then(|said| said.polling);
        assert_eq!(polling, None, "what is closed in one folder must not cost the others their events");
        if let Daemon::Program(binary) = &daemon {
            let is_pause = |line: &Json| line["message"].as_str().is_some_and(|message| message.starts_with("paused"));
            let pauses: Vec<Json> = binary.lines().into_iter().filter(is_pause).collect();
            assert!(pauses.is_empty(), "one pair's rights must not hold the others up: {pauses:?}");
        }
        // Once more from the beginning: what waits must still wait.
        match &daemon {
            Daemon::Here(running) => running.reload().await,
            Daemon::Program(binary) => binary.hang_up(),
        }
        world.rig.drop_pair("last", "The last one");
        world.rig.until("the last one is delivered", || world.rig.outbox("last.mp4").exists()).await;
        world.rig.until("nothing is in work", || world.rig.jobs_in_work() == 0).await;
        world.look();
        match daemon {
            Daemon::Here(running) => drop(running.stop().await),
            Daemon::Program(mut binary) => {
                binary.terminate();
                assert_eq!(binary.code().await, 0, "{}", binary.said());
            }
        }
        for row in &world.rows {
            row.give_rights_back(&world.rig);
        }
        world
    }

    fn drop_all(&self) {
        for row in &self.rows {
            row.neighbours().drop_before(&self.rig);
            self.rig.give(&self.rig.inbox(format!("{:03}", row.number)));
            let beside = self.rig.folder().join(format!("beside-{}", row.number));
            row.make(&self.rig, &beside);
            fs::rename(&beside, self.rig.inbox(row.folder())).unwrap();
            row.neighbours().drop_after(&self.rig);
        }
    }

    /// Waits until every row has ended as it must. One that does not is told later, with its name.
    async fn until_ended(&self) {
        let start = Instant::now();
        let unended = |row: &Numbered| !row.complaints(self).is_empty() || !row.neighbours().are_delivered(&self.rig);
        while self.rows.iter().any(unended) && start.elapsed() < ROW_PATIENCE {
            tokio::time::sleep(LOOK_EVERY * 40).await;
        }
    }

    fn look(&mut self) {
        self.status = self.rig.status();
        let page = self.rig.output("status", &[]);
        self.page = String::from_utf8_lossy(&page.stdout).replace(&self.rig.root().display().to_string(), "SPOOL");
    }
}

/// The page from what waits on, without what differs from run to run: ages, and how wide they make their column.
fn page_of(world: &World) -> String {
    let without_age = |line: &str| {
        let mut words = line.trim_start().splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(number), Some("s"), Some(rest)) if number.parse::<u32>().is_ok() && line.starts_with("    ") => {
                format!("    AGE  {}", rest.trim_start())
            }
            _ => line.to_owned(),
        }
    };
    let waiting = world.page.find("\nWaiting").map_or("", |at| &world.page[at + 1..]);
    waiting.lines().map(without_age).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn names() {
    let is_root = rustix::process::geteuid().is_root();
    let mut rows = rows::<Names>("names", 63);
    // Only the superuser can give a file to somebody else.
    rows.retain(|row| is_root || !row.rights.values().any(|rights| rights.ends_with("root")));
    let only = std::env::var("ONLY").ok();
    let mut worlds: BTreeMap<(String, bool), Vec<Numbered>> = BTreeMap::new();
    for (number, row) in rows.iter().cloned().enumerate() {
        if only.as_ref().is_none_or(|only| row.case.contains(only.as_str())) {
            worlds.entry((row.with.clone(), !row.rights.is_empty())).or_default().push(Numbered { number, row });
        }
    }
    let room = Arc::new(Semaphore::new(WORLDS_AT_ONCE));
    let mut played = JoinSet::new();
    for ((_, restricted), rows) in worlds {
        let again = rows.clone();
        for (rows, at_the_start) in [(rows, true), (again, false)] {
            let room = Arc::clone(&room);
            played.spawn(async move {
                let _room = room.acquire().await.expect("nobody closes it");
                (restricted, at_the_start, World::played(rows, at_the_start).await)
            });
        }
    }
    let mut played = played.join_all().await;
    played.sort_by_key(|(_, at_the_start, world)| (world.rows[0].number, *at_the_start));
    let played = Arc::new(played);
    let numbers: BTreeMap<String, usize> = rows.iter().enumerate().map(|(at, row)| (row.case.clone(), at)).collect();
    let count = rows.len();
    let words = play(rows, |row| {
        let (played, number) = (Arc::clone(&played), numbers[&row.case]);
        async move {
            let (mut complaints, mut words) = (Vec::new(), String::new());
            for (_, at_the_start, world) in played.iter() {
                let Some(row) = world.rows.iter().find(|row| row.number == number) else { continue };
                let when = if *at_the_start { "at the start" } else { "live" };
                let of_status = row.row.expect.complaints_of_status(&world.rig, &row.folder(), &world.status);
                complaints.extend(
                    row.complaints(world).into_iter().chain(of_status).map(|complaint| format!("{when}: {complaint}")),
                );
                if *at_the_start && complaints.is_empty() {
                    words = row.words(world);
                }
            }
            assert!(complaints.is_empty(), "{}", complaints.join("\n"));
            words
        }
    })
    .await;
    for (_, _, world) in played.iter() {
        for row in &world.rows {
            row.neighbours().assert_delivered(&world.rig);
        }
        world.rig.assert_all_is_well();
    }
    tell("names", count);
    let mut words: Vec<String> = words.into_iter().filter(|words| words.lines().count() > 1).collect();
    if is_root {
        let restricted = played.iter().filter(|(restricted, at_the_start, _)| *restricted && *at_the_start);
        words.extend(
            restricted.map(|(_, _, world)| format!("The page of {}\n{}\n", world.rows[0].row.case, page_of(world))),
        );
        assert_words("names", &words.join("\n"));
    }
}

#[test]
fn names_are_written_as_bytes() {
    assert_eq!(bytes_of(r"caf\xE9<ab*2>.png"), b"caf\xe9abab.png");
    assert_eq!(bytes_of("<<d*2>/*3>a"), b"dd/dd/dd/a");
    assert_eq!(bytes_of("a<b>c"), b"a<b>c");
    assert_eq!(names_of(&["é".to_owned()]), BTreeSet::from(["é".to_owned()]));
}
