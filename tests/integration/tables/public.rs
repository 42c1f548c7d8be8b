//! What `api.allow_insecure: false` forbids, shown with the real program: where video links and redirects may lead.
//!
//! Elsewhere the vendor sits at a private address and speaks plain http, so everything must be allowed. Here the rows
//! of a table are played in networks of their own, in which *every* address is this machine and a small internet answers at all of
//! them: names, TLS, the API, and the videos, at private addresses too. So nothing but the program's own rules keeps it from fetching a video
//! from 10.0.0.1, and whoever was connected to is known exactly.
//!
//! Where such a network may not be made, the test says `NOT PLAYED` on standard error, past the test runner, and why.

mod internet;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use jimengd::simulator::{Script, Settings};
use serde::Deserialize;
use tempfile::TempDir;

use super::{words_of, words_of_pause};
use crate::rig::{Rig, TOKEN, files, script, vendor};
use internet::{API, CDN, Internet};

const TABLE: &str = include_str!("../../fixtures/tables/public.yaml");

/// Networks at the same time; each takes the rows in turn, one after the other.
const NETWORKS: usize = 12;

/// Tells a child its number among the networks.
const NETWORK: &str = "JIMENGD_TEST_NETWORK";

/// What a child says of a row that was played to its good end.
const PLAYED: &str = "=== played: ";

/// Before the words of a row, as a string of JSON.
const WORDS: &str = "=== words: ";

/// What it says of one that was not, after what the row itself has said.
const FAILED: &str = "=== failed: ";

/// Makes the network, and goes on as the rest of the arguments says; `$0` is the folder with what is laid over `/etc`. Without
/// IPv6 everything there is as it is on many machines: not to be reached.
const OF_ITS_OWN: &str = r#"set -e
ip link set lo up
ip route add local default dev lo
ip -6 route add local default dev lo 2>/dev/null || true
for file in hosts resolv.conf nsswitch.conf; do
    if [ -e /etc/$file ]; then mount --bind "$0/$file" /etc/$file; fi
done
if [ -e /etc/ssl/certs ]; then mount --bind "$0/certs" /etc/ssl/certs; fi
exec "$@""#;

/// What is laid over `/etc`.
const ETC: [(&str, &str); 3] = [
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n10.0.0.1 intranet.example\n"),
    ("resolv.conf", "nameserver 127.0.0.53\nsearch .\n"),
    ("nsswitch.conf", "hosts: files dns\n"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    case: String,
    /// What the API gives as the link.
    link: Option<String>,
    /// Hosts that redirect, and where to.
    #[serde(default)]
    redirects: BTreeMap<String, String>,
    /// The addresses that a name has at the first look-up, at the second, …, and then for good.
    #[serde(default)]
    names: BTreeMap<String, Vec<Vec<IpAddr>>>,
    /// Faults of the API.
    #[serde(default)]
    script: String,
    /// When a definite bad answer is the last.
    give_up_after: Option<String>,
    /// The video does not come, and the report says this.
    refused: Option<String>,
    /// The report's reason, if it is not `download_failed`.
    reason: Option<String>,
    /// The queue pauses and says this; after the API is itself again and a reload, the video comes.
    paused: Option<String>,
    /// Accepted submissions, for this pair and the two good ones.
    paid: u64,
    /// The hosts other than [`API`] and [`CDN`] that were asked for something, in their order.
    #[serde(default)]
    asked: Vec<String>,
}

fn rows() -> Vec<Row> {
    serde_yaml::from_str(TABLE).expect("a good table")
}

#[test]
fn every_row_of_the_table_is_played() {
    let etc = TempDir::with_prefix("jimengd-etc-").unwrap();
    for (name, text) in ETC {
        std::fs::write(etc.path().join(name), text).unwrap();
    }
    // One authority that nobody has anything from, instead of all those that the machine trusts.
    std::fs::create_dir(etc.path().join("certs")).unwrap();
    std::fs::write(etc.path().join("certs/ca-certificates.crt"), internet::authority().0).unwrap();
    let unshare = match way_in(etc.path()) {
        Ok(unshare) => unshare,
        Err(why) => return say(&format!("NOT PLAYED: public.yaml, for no network can be made here: {why}")),
    };
    let cases: Vec<String> = rows().into_iter().map(|row| row.case).collect();
    assert!(!cases.is_empty(), "the table is empty");
    for (at, case) in cases.iter().enumerate() {
        assert!(!cases[..at].contains(case), "twice in the table: {case}");
    }
    let etc = etc.path();
    let said: Vec<String> = std::thread::scope(|scope| {
        let networks: Vec<_> =
            (0..NETWORKS).map(|number| scope.spawn(move || play_apart(unshare, etc, number))).collect();
        networks.into_iter().map(|network| network.join().expect("a child is started and heard")).collect()
    });
    let said = said.concat();
    let played = said.matches(PLAYED).count();
    assert!(played == cases.len(), "{played} of {} rows played well\n{said}", cases.len());
    super::tell("public", played);
    let words: Vec<String> = said.lines().filter_map(|line| line.strip_prefix(WORDS)).map(unquoted).collect();
    let in_order = cases.iter().filter_map(|case| words.iter().find(|words| words.lines().next() == Some(case)));
    super::assert_words("public", &in_order.map(String::as_str).collect::<Vec<_>>().join("\n"));
}

fn unquoted(text: &str) -> String {
    serde_json::from_str(text).expect("a child writes JSON")
}

/// Past the test runner, which keeps to itself what a test that passes prints.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error is open");
}

/// How a network of one's own is had here: as root, or as anybody who may make a user namespace; else why not.
fn way_in(etc: &Path) -> Result<&'static [&'static str], String> {
    const WAYS: [&[&str]; 2] = [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
    let mut complaints = Vec::new();
    for way in WAYS {
        match apart(way, etc).arg("true").output() {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => complaints.push(String::from_utf8_lossy(&output.stderr).trim().replace('\n', ", ")),
            Err(error) => complaints.push(format!("unshare: {error}")),
        }
    }
    Err(complaints.join("; "))
}

fn apart(way: &[&str], etc: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["--", "sh", "-c", OF_ITS_OWN]).arg(etc);
    command
}

/// Plays the rows of one network in another process; all that was said.
fn play_apart(way: &[&str], etc: &Path, number: usize) -> String {
    let child = concat!(module_path!(), "::the_rows_of_this_network");
    // Without the name of the crate.
    let child = child.split_once("::").map_or(child, |(_, test)| test);
    let mut command = apart(way, etc);
    command.arg(std::env::current_exe().expect("a test is a program"));
    command.args(["--exact", child, "--ignored", "--nocapture"]);
    command.env(NETWORK, number.to_string()).env("RUST_BACKTRACE", "0");
    let Output { stdout, stderr, .. } = command.output().expect("unshare is there");
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

#[test]
#[ignore = "runs as a child of every_row_of_the_table_is_played"]
fn the_rows_of_this_network() {
    let number = std::env::var(NETWORK).expect("the test that starts this one tells it");
    for row in rows().into_iter().skip(number.parse().unwrap()).step_by(NETWORKS) {
        let case = row.case.clone();
        // With the runtime of a row everything ends that listened in it.
        let played = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(1).enable_all().build().unwrap().block_on(play(&row));
        });
        let how = if played.join().is_ok() { PLAYED } else { FAILED };
        say(&format!("{how}{case}"));
    }
}

async fn play(row: &Row) {
    let mut faults = row.script.clone();
    if let Some(link) = &row.link {
        let link = serde_json::Value::from(link.as_str());
        faults.push_str(&format!("\n- {{on: poll, prompt: odd, do: {{link: {link}}}}}"));
    }
    let settings = Settings { links: Some(format!("https://{CDN}")), script: Some(script(&faults)), ..vendor() };
    let internet = Internet::new(row.names.clone(), row.redirects.clone());
    let rig = Rig::new(settings, "");
    let give_up_after = match (&row.give_up_after, &row.refused) {
        (Some(told), _) => told,
        (None, Some(_)) => "1ms",
        (None, None) => "12h",
    };
    rig.configure(&format!(
        "api: {{base_url: 'https://{API}', allow_insecure: false, ca_file: {}}}\ntasks: {{give_up_after: {give_up_after}}}",
        internet.ca_file().display(),
    ));
    internet.open(rig.vendor().addr()).await;

    let mut daemon = rig.spawn(&[]);
    rig.drop_pair("before", "A good one");
    rig.until_ended(1, 0).await;
    rig.drop_pair("odd", "An odd one");
    if let Some(told) = &row.paused {
        rig.until("the queue pauses", || rig.is_paused("gateway")).await;
        assert_eq!((rig.videos(), rig.reports()), (1, 0), "{}", rig.scene());
        let loud = daemon.lines().into_iter().find(|line| line["reason"] == "gateway").expect("a loud message");
        assert_eq!(loud["level"], "warn");
        assert!(loud["message"].as_str().unwrap().contains(told), "{loud}");
        let said = rig.snapshot().expect("it has said how it is").paused;
        let paused = said.iter().find(|paused| paused.reason == "gateway").expect("it is paused");
        tell_words(&words_of_pause(&row.case, "gateway", &paused.message, &paused.advice));
        rig.vendor().follow(Script::default());
        daemon.hang_up();
    }
    let (videos, reports) = if row.refused.is_some() { (1, 1) } else { (2, 0) };
    rig.until_ended(videos, reports).await;
    if let Some(told) = &row.refused {
        let report = rig.report("odd");
        let reason = row.reason.as_deref().unwrap_or("download_failed");
        assert_eq!((&report["reason"], &report["stage"]), (&reason.into(), &"download".into()));
        assert_eq!((&report["charged"], &report["code"]), (&"yes".into(), &serde_yaml::Value::Null));
        assert!(report["message"].as_str().unwrap().contains(told), "{report:?}");
        tell_words(&words_of(&row.case, &report));
    }
    rig.drop_pair("after", "Another good one");
    rig.until_ended(videos + 1, reports).await;
    daemon.terminate();
    assert_eq!(daemon.code().await, 0, "{}", daemon.said());

    rig.assert_all_is_well();
    assert_eq!(rig.vendor().paid(), row.paid, "{}", rig.scene());
    assert_eq!(internet.trespasses(), Vec::<String>::new(), "a forbidden address was connected to");
    let asked: Vec<String> = internet.asked();
    let elsewhere: Vec<&String> = asked.iter().filter(|host| !matches!(host.as_str(), API | CDN)).collect();
    assert_eq!(elsewhere, row.asked.iter().collect::<Vec<_>>(), "{}", daemon.said());
    assert!(asked.iter().any(|host| host == API) && asked.iter().any(|host| host == CDN), "{asked:?}");
    let mut told = vec![daemon.said(), rig.scene()];
    for folder in ["error", "outbox"] {
        told.extend(files(&rig.root().join(folder)).iter().map(|file| text(file)));
    }
    for text in told {
        for secret in [TOKEN, "sig="] {
            assert!(!text.contains(secret), "{secret} is told:\n{text}");
        }
    }
}

/// Hands the words of a row to the process that started this one.
fn tell_words(words: &str) {
    say(&format!("{WORDS}{}", serde_json::Value::from(words)));
}

/// What stands in a file, as far as it is text.
fn text(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()
}
