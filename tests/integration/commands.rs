//! The commands as scripts and people use them: the real program, its exit codes, its JSON, its help.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use jimengd::simulator::{Settings, Simulator};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::Rig;

/// How long anything may take that is waited for.
const DEADLINE: Duration = Duration::from_secs(90);

/// The token that the simulated account has.
const TOKEN: &str = "sk-right";

/// A root with a configuration, far from everything that is installed here.
struct Site {
    folder: TempDir,
}

impl Site {
    /// With a configuration that names the API at `base_url` and adds `more`.
    fn new(base_url: &str, more: &str) -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        site.configure(base_url, more);
        site
    }

    fn configure(&self, base_url: &str, more: &str) {
        let root = self.root();
        let text = format!(
            "root: {}\ninbox: {{quiet: 20ms, settle: 100ms}}\nmin_free: 0B\npoll: {{first: 100ms, every: 100ms, slowest: 200ms}}\n\
             api: {{base_url: \"{base_url}\", allow_insecure: true, requests_per_second: 0}}\n{more}\n",
            root.display()
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("jimengd.yaml")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn inbox(&self) -> PathBuf {
        self.root().join("inbox")
    }

    fn command(&self, command: &str) -> Command {
        let mut program = program();
        program.arg(command).arg("--config").arg(self.config()).env("JIMENGD_API_TOKEN", TOKEN);
        program
    }

    fn status(&self) -> (i32, Value) {
        let (code, text) = ended(self.command("status").arg("--json"));
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// A picture and its sidecar in the inbox, each there as a whole at once.
    fn drop_pair(&self, name: &str, sidecar: &str) {
        let aside = self.folder.path();
        fs::create_dir_all(self.inbox()).unwrap();
        fs::copy(picture(), aside.join("picture")).unwrap();
        fs::write(aside.join("sidecar"), sidecar).unwrap();
        fs::rename(aside.join("picture"), self.inbox().join(format!("{name}.jpg"))).unwrap();
        fs::rename(aside.join("sidecar"), self.inbox().join(format!("{name}.yaml"))).unwrap();
    }
}

/// Limits that the small fixture keeps.
const ANY_PICTURE: &str = "picture: {min_short_side: null, max_ratio: null}";

fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/baseline.jpg")
}

/// The program, without what the environment of the test has to say to it.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jimengd"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("JIMENGD_") {
            command.env_remove(name);
        }
    }
    for name in ["COLUMNS", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command
}

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// The exit code and what was printed on standard output.
fn ended(command: &mut Command) -> (i32, String) {
    let output = output(command);
    let text = String::from_utf8(output.stdout).expect("output is UTF-8, whatever the names");
    let code = output.status.code().unwrap_or_else(|| panic!("{}: {text}", output.status));
    (code, text)
}

fn json(command: &mut Command) -> (i32, Value) {
    let (code, text) = ended(command.arg("--json"));
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Waits until something is so.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look() {
            Some(found) => return found,
            None if Instant::now() >= deadline => panic!("not within {DEADLINE:?}: {what}"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A running daemon; it does not outlive the test.
struct Daemon(Child);

impl Daemon {
    /// Started, and ready: it has told the ledger of itself.
    fn start(site: &Site, token: &str) -> Self {
        let child = site
            .command("run")
            .env("JIMENGD_API_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self(child);
        let pid = daemon.0.id();
        until("the daemon runs", || {
            let (_, status) = site.status();
            (status["running"] == true && status["pid"] == pid).then_some(())
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Whether the object has all these keys; more may be added at any time.
fn assert_keys(value: &Value, wanted: &[&str]) {
    for key in wanted {
        assert!(keys(value).contains(key), "{key} is not in {value}");
    }
}

const STATUS_KEYS: [&str; 8] = ["schema", "running", "paused", "limit", "in_flight", "waiting", "jobs", "counts"];
const COUNT_KEYS: [&str; 8] =
    ["waiting", "queued", "submitting", "submitted", "ready", "delivered", "failed", "in_doubt"];

fn simulator(settings: Settings) -> Simulator {
    Simulator::start(Settings { token: Some(TOKEN.to_owned()), ..settings }).unwrap()
}

/// Where the snapshots of `folder` lie, named after what was asked for alone.
fn snapshots(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn the_help_is_as_before() {
    let settings = snapshots("help");
    for command in ["jimengd", "run", "demo", "simulate", "check", "status", "codes", "reload", "completions", "man"] {
        let mut program = program();
        if command != "jimengd" {
            program.arg(command);
        }
        let (code, text) = ended(program.arg("--help"));
        assert_eq!(code, 0, "{command}");
        settings.bind(|| insta::assert_snapshot!(command, text));
    }
}

#[test]
fn wrong_usage_is_64_and_the_version_is_told() {
    assert_eq!(ended(program().arg("--version")), (0, format!("jimengd {}\n", env!("CARGO_PKG_VERSION"))));
    let wrong: [&[&str]; 5] = [&[], &["fly"], &["status", "--jsn"], &["reload"], &["reload", "--pid", "0"]];
    for args in wrong {
        assert_eq!(ended(program().args(args)).0, 64, "{args:?}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ended(program().arg("man").arg(dir.path())), (0, String::new()));
    let mut pages: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    pages.sort();
    let of_commands = ["check", "codes", "completions", "demo", "man", "reload", "run", "simulate", "status"];
    let mut wanted: Vec<_> = of_commands.iter().map(|name| format!("jimengd-{name}.1")).collect();
    wanted.extend(["jimengd-codes.7", "jimengd.1", "jimengd.yaml.5"].map(str::to_owned));
    wanted.sort();
    assert_eq!(pages, wanted.iter().map(std::ffi::OsString::from).collect::<Vec<_>>());
    let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(page("jimengd.yaml.5").contains("requests_per_second: 1"));
    assert!(page("jimengd\u{2d}codes.7").contains("50412  text_risk_not_pass"));
    assert!(page("jimengd.1").contains(".SH \"EXIT STATUS\""));
    assert_eq!(ended(program().args(["man", "/nonexistent"])).0, 74);
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = ended(program().args(["completions", shell]));
        assert_eq!(code, 0);
        // A fish script names long options without their dashes.
        for word in ["check", "unit", "simulate", "task-seconds"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn the_catalogue_explains_every_code() {
    let (code, text) = ended(program().args(["codes", "--catalog"]));
    assert_eq!(code, 0);
    assert!(text.contains("Subject: A pair failed: business code 50412, text_risk_not_pass\nDefined-By: jimengd\n"));
    assert!(text.contains("\nWhat to do: Reword the prompt in the sidecar, then move the files back to\nthe inbox.\n"));
}

#[test]
fn codes_are_told_as_before() {
    let settings = snapshots("codes");
    let asked: [(&str, &[&str]); 5] = [
        ("all", &[]),
        ("one", &["50412"]),
        ("by_reason", &["in_doubt", "post_img_risk_not_pass", "code_50599"]),
        ("unknown", &["50299"]),
        ("json", &["--json", "50215", "50430", "50599", "in_doubt"]),
    ];
    for (name, args) in asked {
        let (code, text) = ended(program().arg("codes").args(args));
        assert_eq!(code, 0, "{name}");
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn codes_fit_a_narrow_window_and_each_can_be_asked_for() {
    let (_, page) = ended(program().arg("codes"));
    let wide: Vec<&str> = page.lines().filter(|line| line.chars().count() > 80 || line.ends_with(' ')).collect();
    assert!(wide.is_empty(), "{wide:?}");
    let (code, all) = json(program().arg("codes"));
    assert_eq!((code, &all["schema"]), (0, &1.into()));
    let (codes, reasons) = (all["codes"].as_array().unwrap(), all["reasons"].as_array().unwrap());
    assert!(codes.iter().all(|one| one["known"] == true), "{all}");
    for one in codes.iter().chain(reasons) {
        let word = one["reason"].as_str().unwrap();
        assert!(page.contains(word), "{word} is not on the page");
        // By its word as by its number, and nothing else is told.
        let number = one["code"].as_u64().map(|number| number.to_string());
        for asked in number.as_deref().into_iter().chain([word]) {
            let (code, found) = json(program().args(["codes", asked]));
            assert_eq!(code, 0, "{asked}");
            let found = [&found["codes"], &found["reasons"]].map(|part| part.as_array().unwrap().clone()).concat();
            assert_eq!(found, std::slice::from_ref(one), "{asked}");
        }
    }
}

#[test]
fn what_is_no_code_is_64_and_said_to_be_none() {
    for asked in ["fifty", "5O412", "50412.0", "4294967296", "code_50412", "IN_DOUBT", "-5", ""] {
        let output = output(program().args(["codes", asked]));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0), "{asked}");
    }
    let said = |args: &[&str]| String::from_utf8(output(program().arg("codes").args(args)).stderr).unwrap();
    assert!(said(&["50412", "fifty"]).contains("'fifty'"), "{}", said(&["50412", "fifty"]));
    assert!(said(&["fifty"]).contains("jimengd codes lists them all"), "{}", said(&["fifty"]));
    assert!(said(&["10000"]).contains("success"), "{}", said(&["10000"]));
}

#[test]
fn status_before_the_first_start_is_all_zero() {
    let site = Site::new("http://127.0.0.1:9", "");
    let (code, status) = site.status();
    assert_eq!(code, 0);
    assert_keys(&status, &STATUS_KEYS);
    assert_eq!(status["schema"], 1);
    assert_eq!(status["running"], false);
    for key in COUNT_KEYS {
        assert_eq!(status["counts"][key], 0, "{key}");
    }
    assert!(!site.root().exists(), "status makes nothing");
    let (code, page) = ended(&mut site.command("status"));
    assert_eq!(code, 0);
    assert!(page.contains("has not run here yet"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_was_done_and_what_waits_while_the_daemon_is_down() {
    let simulator = simulator(Settings { task_seconds: 0.1, ..Settings::default() });
    let site = Site::new(&simulator.base_url(), ANY_PICTURE);
    site.drop_pair("cat", "prompt: a cat walks");
    site.drop_pair("dog", "prompt: ''");
    assert_eq!(ended(site.command("run").arg("--once")).0, 65, "the dog's sidecar is wrong");

    site.drop_pair("bird", "prompt: a bird sings");
    let inbox = site.inbox();
    fs::write(inbox.join("notes.txt"), "").unwrap();
    fs::write(inbox.join("half.yaml"), "prompt: a").unwrap();
    fs::write(inbox.join("two.yaml"), "prompt: a").unwrap();
    fs::copy(picture(), inbox.join("two.jpg")).unwrap();
    fs::copy(picture(), inbox.join("two.png")).unwrap();
    let odd = std::ffi::OsString::from_vec(b"caf\xe9.yaml".to_vec());
    fs::write(inbox.join(odd), "prompt: a").unwrap();

    // Fresh files count as still being written for a moment.
    let status = until("nothing is fresh any more", || {
        let (code, status) = site.status();
        assert_eq!(code, 0);
        let settling = status["waiting"].as_array().unwrap().iter().any(|one| one["reason"] == "settling");
        (!settling).then_some(status)
    });
    assert_eq!(keys(&status["counts"]).len(), COUNT_KEYS.len());
    assert_keys(&status["counts"], &COUNT_KEYS);
    assert_eq!((&status["counts"]["delivered"], &status["counts"]["failed"]), (&1.into(), &1.into()));
    assert_eq!((&status["running"], &status["paused"]), (&false.into(), &Value::Array(Vec::new())));
    let reason = |pair: &str| {
        let waiting = status["waiting"].as_array().unwrap();
        let one = waiting.iter().find(|one| one["pair"] == pair).unwrap_or_else(|| panic!("{pair}: {waiting:?}"));
        assert_keys(one, &["pair", "reason", "since"]);
        one["reason"].as_str().unwrap().to_owned()
    };
    let wanted =
        [("bird", "turn"), ("notes.txt", "ignored"), ("half", "half"), ("two", "ambiguous"), ("caf\\xE9", "half")];
    for (pair, wanted) in wanted {
        assert_eq!(reason(pair), wanted, "{pair}");
    }
    assert_eq!(status["counts"]["waiting"], 4);
    let (code, page) = ended(&mut site.command("status"));
    assert_eq!(code, 0);
    for part in ["not running", "turn (1)", "half (2)", "caf\\xE9", "two.jpg, two.png", "Left alone in the inbox (1)"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_asked_by_the_superuser_tells_what_the_daemon_may_do() {
    let mut rig = Rig::plain();
    rig.hand_over();
    assert_eq!(rig.spawn(&["--once"]).code().await, 0, "the daemon makes its folders");
    rig.drop_pair("cat", "a cat walks");
    rig.drop_pair("dog", "a dog runs");
    rig.give(&rig.inbox(""));
    let closed = rig.inbox("cat.png");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let asked = || output(program().args(["status", "--json", "--config"]).arg(rig.config_file()));
    let why = |pair: &str, status: &Value| {
        let waiting = status["waiting"].as_array().unwrap().iter().find(|one| one["pair"] == pair);
        waiting.map(|one| (one["reason"].clone(), one["detail"].clone()))
    };
    // Fresh files count as still being written for a moment.
    let status = until("nothing is fresh any more", || {
        let status: Value = serde_json::from_slice(&asked().stdout).expect("status writes JSON");
        (why("dog", &status)?.0 != "settling").then_some(status)
    });
    let (reason, detail) = why("cat", &status).expect("it waits");
    assert_eq!(reason, "unreadable");
    assert_eq!(detail, format!("permission denied: run chmod u+r {}", closed.display()));
    assert_eq!(why("dog", &status).expect("it waits").0, "turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_69_while_the_account_is_refused() {
    let simulator = simulator(Settings::default());
    let site = Site::new(&simulator.base_url(), ANY_PICTURE);
    site.drop_pair("cat", "prompt: a cat walks");
    let daemon = Daemon::start(&site, "sk-wrong");
    // The refused pair goes back to the inbox, where it waits for the pause to end.
    let status = until("the refused pair waits", || {
        let (code, status) = site.status();
        let waits = status["waiting"].as_array().unwrap().iter().any(|one| one["reason"] == "paused");
        (code == 69 && waits).then_some(status)
    });
    assert_eq!(status["running"], true);
    let pause = &status["paused"][0];
    assert_eq!(pause["reason"], "account");
    assert_keys(pause, &["reason", "since", "until", "advice"]);
    assert!(pause["advice"].as_str().unwrap().contains("token"), "{pause}");
    let (code, page) = ended(&mut site.command("status"));
    assert_eq!(code, 69);
    assert!(page.contains("PAUSED (account)"), "{page}");
    drop(daemon);
    let (code, status) = site.status();
    assert_eq!((code, &status["running"]), (69, &false.into()), "its last word holds");
    assert_eq!(simulator.paid(), 0);
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_lists_the_jobs_in_work() {
    let simulator = simulator(Settings { task_seconds: f64::INFINITY, ..Settings::default() });
    let site = Site::new(&simulator.base_url(), ANY_PICTURE);
    site.drop_pair("cat", "prompt: a cat walks");
    let daemon = Daemon::start(&site, TOKEN);
    let status = until("the job is submitted", || {
        let (_, status) = site.status();
        (status["counts"]["submitted"] == 1 && status["in_flight"] == 1).then_some(status)
    });
    let job = &status["jobs"][0];
    assert_keys(job, &["job", "pair", "state", "reason", "task_id", "attempts", "since"]);
    assert_eq!((&job["pair"], &job["state"], &job["attempts"]), (&"cat".into(), &"submitted".into(), &1.into()));
    assert_eq!(job["task_id"].as_str(), simulator.tasks().first().map(|task| task.task_id.as_str()));
    drop(daemon);
    let (_, status) = site.status();
    assert_eq!((&status["running"], &status["in_flight"]), (&false.into(), &1.into()), "the task goes on without us");
    simulator.shutdown().await;
}

#[test]
fn a_ledger_that_cannot_be_read_is_74() {
    let site = Site::new("http://127.0.0.1:9", "");
    fs::create_dir_all(site.root()).unwrap();
    fs::write(
        site.root().join("ledger.db"),
        "this is no database, and it is long enough to be seen as none".repeat(20),
    )
    .unwrap();
    assert_eq!(ended(&mut site.command("status")).0, 74);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_is_wrong_with_the_set_up() {
    let simulator = simulator(Settings::default());
    let site = Site::new(&simulator.base_url(), "");
    let problems = |command: &mut Command| {
        let (code, found) = json(command);
        assert_eq!(found["schema"], 1);
        let problems = found["problems"].as_array().unwrap().clone();
        for problem in &problems {
            assert_keys(problem, &["file", "key", "line", "column", "message", "proposal"]);
        }
        let keys: Vec<String> = problems.iter().filter_map(|one| one["key"].as_str()).map(str::to_owned).collect();
        (code, keys)
    };
    let nothing: Vec<String> = Vec::new();
    assert_eq!(problems(&mut site.command("check")), (0, nothing.clone()));
    assert!(!site.root().exists(), "check makes no folder");
    assert_eq!(problems(site.command("check").env_remove("JIMENGD_API_TOKEN")), (78, vec!["token".to_owned()]));
    assert_eq!(problems(site.command("check").env("JIMENGD_API_TOKEN", "sk-wrong")), (78, vec!["api".to_owned()]));

    let (code, page) = ended(&mut site.command("check"));
    assert_eq!(code, 0);
    assert!(page.contains(&format!("{}:", site.config().display())), "who set what: {page}");
    assert!(page.contains("found in JIMENGD_API_TOKEN") && !page.contains(TOKEN), "{page}");

    fs::create_dir_all(site.root().join("inbox/deep")).unwrap();
    std::os::unix::fs::symlink(site.root().join("inbox/deep"), site.root().join("outbox")).unwrap();
    assert_eq!(problems(&mut site.command("check")), (78, vec!["folders.outbox".to_owned()]));

    site.configure(&simulator.base_url(), "tasks: {maximum: 3}");
    let (code, found) = json(&mut site.command("check"));
    assert_eq!((code, &found["problems"][0]["line"]), (78, &6.into()), "{found}");
    simulator.shutdown().await;
}

#[test]
fn check_judges_files_as_the_inbox_would() {
    let site = Site::new("http://127.0.0.1:9", ANY_PICTURE);
    let folder = site.folder.path().join("drop");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::copy(picture(), folder.join("good.jpg")).unwrap();
    fs::write(folder.join("good.yaml"), "prompt: 猫が歩く\naspect_ratio: auto\n").unwrap();
    fs::write(folder.join("lone.yaml"), "prompt: later\n").unwrap();
    fs::write(folder.join("notes.txt"), "").unwrap();
    fs::copy(picture(), folder.join("sub/bad.jpg")).unwrap();
    fs::write(folder.join("sub/bad.yaml"), "prompt: a\naspect_ratio: 969\nsede: 4\n").unwrap();
    fs::write(folder.join("url.yaml"), "prompt: a\nseed: 7\nimage_urls: [\"https://example.com/a.jpg?sig=secret\"]\n")
        .unwrap();

    // One file of a pair, or both, is the pair.
    let good = [folder.join("good.yaml"), folder.join("good.jpg")];
    let (code, found) = json(site.command("check").args(&good));
    assert_eq!((code, found["pairs"].as_array().map(Vec::len)), (0, Some(1)), "{found}");
    let pair = &found["pairs"][0];
    assert_eq!((&pair["prompt_characters"], &pair["seed"]), (&4.into(), &"drawn".into()));
    assert!(pair["aspect_ratio"] != "auto" && pair["aspect_ratio_auto"] == true, "{pair}");
    assert!(pair["picture"]["width"].as_u64() > Some(0), "{pair}");

    let (code, found) = json(site.command("check").arg(folder.join("url.yaml")));
    assert_eq!((code, &found["pairs"][0]["seed"]), (0, &"7".into()), "{found}");
    assert!(!found.to_string().contains("secret"), "{found}");

    let (code, found) = json(site.command("check").arg(folder.join("lone.yaml")));
    assert_eq!((code, found["waiting"].as_array().map(Vec::len)), (0, Some(1)), "half a pair is no mistake: {found}");

    let (code, found) = json(site.command("check").arg(&folder));
    assert_eq!(code, 65);
    let problems = found["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{found}");
    let bad = folder.join("sub/bad.yaml");
    for (problem, (key, line)) in problems.iter().zip([("aspect_ratio", 2), ("sede", 3)]) {
        assert_keys(problem, &["file", "key", "line", "column", "message", "proposal"]);
        assert_eq!((problem["file"].as_str(), &problem["key"]), (bad.to_str(), &key.into()));
        assert_eq!(problem["line"], line);
        assert!(problem["proposal"].is_string(), "{problem}");
    }
    assert_eq!(found["pairs"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["ignored"][0]["file"].as_str(), folder.join("notes.txt").to_str());

    let (code, page) = ended(site.command("check").arg(&folder));
    assert_eq!(code, 65);
    assert!(page.contains(&format!("{}:2:15:", bad.display())), "{page}");
    assert!(page.contains("2 would be sent, 1 would wait, 1 would be left alone; 2 problems"), "{page}");
    let wrong = ["notes.txt", "none.yaml"];
    for name in wrong {
        assert_eq!(ended(site.command("check").arg(folder.join(name))).0, 65, "{name}");
    }
}

#[test]
fn check_says_that_nobody_can_tell_what_belongs_together() {
    let site = Site::new("http://127.0.0.1:9", ANY_PICTURE);
    let folder = site.folder.path().join("drop");
    fs::create_dir(&folder).unwrap();
    for name in ["two.jpg", "two.png"] {
        fs::copy(picture(), folder.join(name)).unwrap();
    }
    fs::write(folder.join("two.yaml"), "prompt: a\n").unwrap();
    let (code, page) = ended(site.command("check").current_dir(&folder).arg("two.png"));
    assert_eq!(code, 65);
    assert!(
        page.contains("problem  two.yaml: cannot tell which of these belong together: two.jpg, two.png, two.yaml"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_taken_or_refused_as_a_whole() {
    let simulator = simulator(Settings { task_seconds: 0.1, ..Settings::default() });
    let site = Site::new(&simulator.base_url(), ANY_PICTURE);
    let daemon = Daemon::start(&site, TOKEN);
    let pid = daemon.0.id().to_string();
    let reload = |args: &[&str]| output(program().arg("reload").args(["--pid", &pid]).args(args));
    let rejected = |name: &str| {
        site.drop_pair(name, "prompt: a cat walks");
        until("the pair is rejected", || site.root().join(format!("error/{name}.error.yaml")).exists().then_some(()));
    };

    // The daemon's ledger is found without being told where it is.
    site.configure(&simulator.base_url(), "picture: {min_short_side: 4000}");
    let taken = reload(&[]);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    rejected("cat");

    fs::write(site.config(), "api: [\n").unwrap();
    let refused = reload(&["--config", site.config().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("the old ones stay") && why.contains("jimengd.yaml"), "{why}");
    rejected("dog");

    site.configure(&simulator.base_url(), ANY_PICTURE);
    assert_eq!(reload(&[]).status.code(), Some(0));
    site.drop_pair("bird", "prompt: a bird sings");
    until("the pair is delivered", || site.root().join("outbox/bird.mp4").exists().then_some(()));
    simulator.shutdown().await;
}

#[test]
fn a_reload_of_nothing_or_of_something_else_is_64() {
    let site = Site::new("http://127.0.0.1:9", "");
    let mut other = Daemon(Command::new("sleep").arg("60").spawn().unwrap());
    let pid = other.0.id().to_string();
    assert_eq!(ended(site.command("reload").args(["--pid", &pid])).0, 64);
    assert!(other.0.try_wait().unwrap().is_none(), "it was sent a signal");
    other.0.kill().unwrap();
    other.0.wait().unwrap();
    assert_eq!(ended(site.command("reload").args(["--pid", &pid])).0, 64, "it is gone");
}

fn demo(folder: &Path) -> Command {
    let mut demo = program();
    demo.current_dir(folder).arg("demo");
    demo
}

#[test]
fn a_full_standard_output_is_74_and_a_closed_one_is_nobodys_fault() {
    let folder = TempDir::new().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = demo(folder.path()).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(74));
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let status = demo(folder.path()).stdout(closed).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_demo_that_is_interrupted_says_so_and_names_its_folder_as_the_user_did() {
    let folder = TempDir::new().unwrap();
    let mut demo = demo(folder.path())
        .args(["--dir", "here", "--pairs", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("something is delivered", || folder.path().join("here/outbox").read_dir().ok()?.next()?.ok());
    rustix::process::kill_process(rustix::process::Pid::from_child(&demo), rustix::process::Signal::INT).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut demo.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.ends_with("\nstopped; nothing was paid\n"), "{said}");
    assert!(said.contains("pairs lie in here/inbox;"), "{said}");
}
