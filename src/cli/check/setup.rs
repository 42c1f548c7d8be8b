//! What the set-up needs beside the configuration: folders, ledger, token, trust store, watches, space, clock, account.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::inotify;
use rustix::io::Errno;
use tokio::time::timeout;

use super::{Finding, folders};
use crate::api::{Client, PollAnswer, SetupError};
use crate::cli::{environment, run::api_settings};
use crate::config::units::{show_duration, show_size};
use crate::config::{self, Config, Watch};
use crate::daemon::LEDGER;
use crate::job::TaskId;
use crate::job::business_code::{self, Verdict};
use crate::ledger::Reader;
use crate::spool::{Spool, durable, scan};

/// How long the API may take to answer here: this is a courtesy, not a task.
const API_PATIENCE: Duration = Duration::from_secs(10);

/// 2025-01-01 UTC: a clock before this program was written is wrong.
const CLOCK_MIN: i64 = 1_735_689_600;

/// 2100-01-01 UTC: so is one that far ahead.
const CLOCK_MAX: i64 = 4_102_444_800;

/// From here on a person should know that the clock is off.
const CLOCK_OFF: Duration = Duration::from_secs(60);

/// Where the package's services have their tokens.
const TOKENS: &str = "/etc/jimengd";

/// The kernel's limit of watched folders of one user.
const WATCHES_MAX_FILE: &str = "/proc/sys/fs/inotify/max_user_watches";

/// An identifier that no task has: asking for it is free and shows whether the token is let in.
const NO_TASK: &str = "0";

/// Looks at everything. Nothing is left changed.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = {
        let config = config.clone();
        let looked = tokio::task::spawn_blocking(move || local(&config)).await;
        looked.unwrap_or_else(|error| vec![Finding::bad("check", format!("a bug: {error}"), "please report it")])
    };
    let (client, found) = client(config);
    findings.extend(found);
    findings.extend(exposed(Path::new(TOKENS)));
    if let Some(client) = client {
        findings.push(api(&client).await.about("api"));
        findings.extend(clocks(&client).await);
        findings.push(balance(&client).await);
    }
    findings
}

/// What needs no network. Blocks.
fn local(config: &Config) -> Vec<Finding> {
    let ledger = config.root.join(LEDGER);
    let first_time = !ledger.exists();
    let running = Spool::is_locked(&config.folders.work).unwrap_or(false);
    let mut findings = vec![if running {
        Finding::ok("daemon", format!("one is running on {}", config.root.display()))
    } else {
        Finding::ok("daemon", "none is running here")
    }];
    findings.extend(folders::look(config, first_time, running));
    findings.push(match Reader::open(&ledger) {
        Ok(Some(_)) => Finding::ok("ledger", ledger.display().to_string()),
        Ok(None) => Finding::ok("ledger", "not there yet; made at the first start"),
        Err(error) => {
            Finding::bad("ledger", super::folders::chain(error), "see above; an unreadable ledger is never replaced")
        }
    });
    findings.extend(ledger_place(&config.root));
    findings.push(watches(config, running).about("inbox.watch"));
    findings.push(space(config));
    findings.push(clock(Timestamp::now()));
    findings
}

/// The ledger needs locks and syncs that hold.
fn ledger_place(root: &Path) -> Option<Finding> {
    let place = folders::existing(root);
    (!scan::events_work(place).unwrap_or(true)).then(|| {
        Finding::warning(
            "ledger disk",
            format!(
                "{} is on a network or user-space file system, whose locks and syncs may not hold",
                place.display()
            ),
            "put root on a disk of this machine; outbox, error and archive may be elsewhere",
        )
        .about("root")
    })
}

fn watches(config: &Config, running: bool) -> Finding {
    const NAME: &str = "watches";
    let every = show_duration(config.inbox.poll);
    let inbox = &config.folders.inbox;
    match config.inbox.watch {
        Watch::Poll => return Finding::ok(NAME, format!("the inbox is polled every {every}, as inbox.watch says")),
        Watch::Auto | Watch::Events => {}
    }
    // A folder that is not there yet will be on the file system of the one that will hold it.
    if !scan::events_work(folders::existing(inbox)).unwrap_or(true) {
        let message = "the inbox is on a network or user-space file system, which does not tell of changes";
        return match config.inbox.watch {
            Watch::Events => Finding::warning(
                NAME,
                format!(
                    "{message}, yet inbox.watch is events: pairs are found by the rescan every {}",
                    show_duration(config.inbox.rescan)
                ),
                "set inbox.watch to auto",
            ),
            Watch::Auto | Watch::Poll => Finding::warning(
                NAME,
                format!("{message}: it is polled every {every}"),
                "nothing to do; pairs start a little later",
            ),
        };
    }
    let limit: Option<u64> = fs::read_to_string(WATCHES_MAX_FILE).ok().and_then(|text| text.trim().parse().ok());
    let Some(limit) = limit else {
        // As in the sandbox of the service, which hides /proc/sys.
        return if running {
            Finding::ok(NAME, "the daemon that runs has set them; jimengd status tells if it could not")
        } else {
            try_watches(inbox, &every)
        };
    };
    // The inbox itself and the canary are watched, too.
    let needed = count_folders(inbox, limit) + 2;
    let advice =
        || format!("raise fs.inotify.max_user_watches to {} or more with sysctl", needed.saturating_mul(4).max(65_536));
    if needed > limit {
        let message =
            format!("the inbox has more folders than the {limit} that a user may watch: it is polled every {every}");
        Finding::warning(NAME, message, advice())
    } else if needed > limit / 2 {
        let message =
            format!("{needed} of {limit} folders that a user may watch are needed, and other programs want some");
        Finding::warning(NAME, message, advice())
    } else {
        Finding::ok(NAME, format!("{needed} of {limit} that a user may have are needed"))
    }
}

/// Whether every folder of the inbox can be watched, found out by watching it for a moment.
fn try_watches(inbox: &Path, every: &str) -> Finding {
    const NAME: &str = "watches";
    let watch = match inotify::init(inotify::CreateFlags::CLOEXEC) {
        Ok(watch) => watch,
        Err(errno) => return too_many(format!("nothing can be watched ({errno})"), "max_user_instances", every),
    };
    let mut count = 0;
    for folder in std::iter::once(inbox.to_owned()).chain(subfolders(inbox)) {
        match inotify::add_watch(&watch, &folder, inotify::WatchFlags::CREATE) {
            Ok(_) => count += 1,
            Err(Errno::NOSPC) => {
                return too_many(
                    format!("only {count} folders of the inbox can be watched"),
                    "max_user_watches",
                    every,
                );
            }
            // What is not there or cannot be read is told of in the lines about folders.
            Err(_) => {}
        }
    }
    Finding::ok(NAME, format!("{count} folders could be watched just now"))
}

fn too_many(message: String, limit: &str, every: &str) -> Finding {
    Finding::warning(
        "watches",
        format!("{message}: the inbox is polled every {every}"),
        format!("raise fs.inotify.{limit} with sysctl"),
    )
}

/// How many folders lie beneath `root`; counts no further than `enough`.
fn count_folders(root: &Path, enough: u64) -> u64 {
    let mut count = 0;
    let mut folders = subfolders(root);
    while count <= enough && folders.next().is_some() {
        count += 1;
    }
    count
}

/// Folders beneath `root`, without following links. What cannot be read is not watched either; the lines about the folders tell of it.
fn subfolders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let mut to_read = vec![root.to_owned()];
    let mut found: Vec<PathBuf> = Vec::new();
    std::iter::from_fn(move || {
        loop {
            if let Some(folder) = found.pop() {
                to_read.push(folder.clone());
                return Some(folder);
            }
            let Ok(entries) = fs::read_dir(to_read.pop()?) else { continue };
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            found.extend(folders.map(|entry| entry.path()));
        }
    })
}

fn space(config: &Config) -> Finding {
    const NAME: &str = "free space";
    let wanted = match config.min_free_bytes {
        0 => "not checked".to_owned(),
        bytes => show_size(bytes),
    };
    match durable::free_bytes(folders::existing(&config.folders.outbox)) {
        Ok(free) if free < config.min_free_bytes => Finding::bad(
            NAME,
            format!("{} are free where videos go, and nothing is claimed below min_free, {wanted}", rounded(free)),
            "free some space, or lower min_free",
        )
        .about("min_free"),
        Ok(free) => Finding::ok(NAME, format!("{} where videos go, min_free is {wanted}", rounded(free))),
        Err(error) => {
            Finding::bad(NAME, folders::chain(error), "let this user enter the folders").about("folders.outbox")
        }
    }
}

/// A size for the eye: a tenth of the largest unit, cut.
fn rounded(bytes: u64) -> String {
    let step = [100_000_000_000, 100_000_000, 100_000].into_iter().find(|step| bytes >= step * 10).unwrap_or(1);
    show_size(bytes - bytes % step)
}

fn clock(now: Timestamp) -> Finding {
    const NAME: &str = "clock";
    let shown = crate::cli::table::instant(now);
    if (CLOCK_MIN..CLOCK_MAX).contains(&now.as_second()) {
        Finding::ok(NAME, shown)
    } else {
        Finding::bad(
            NAME,
            format!("it says {shown}: certificates will be refused and times in receipts be wrong"),
            "set the clock, for instance with timedatectl set-ntp true",
        )
    }
}

/// The client, if one can be made, and what was found on the way.
fn client(config: &Config) -> (Option<Client>, Vec<Finding>) {
    const TOKEN: &str = "token";
    const CLIENT: &str = "trust store";
    let token = match config::token(config, environment()) {
        Ok(token) => token,
        Err(error) => {
            let finding = Finding::bad(TOKEN, folders::chain(error), "nothing can be submitted without one");
            let key = if config.api.token_file.is_some() { "api.token_file" } else { TOKEN };
            return (None, vec![finding.about(key)]);
        }
    };
    let mut findings = vec![Finding::ok(TOKEN, format!("found in {}", token.found_in))];
    findings.extend(
        token
            .warnings
            .iter()
            .map(|warning| Finding::warning(TOKEN, warning, "whoever can read it can spend your money")),
    );
    match Client::new(api_settings(config, token.secret)) {
        Ok(client) => {
            let message = match config.api.base_url.starts_with("https:") {
                true => "certificates are there to trust in",
                false => "not needed: api.base_url is plain http",
            };
            findings.push(Finding::ok(CLIENT, message));
            (Some(client), findings)
        }
        Err(error) => {
            let advice = "mend the keys under api, or install the package ca-certificates";
            let key = key_of(&error);
            findings.push(Finding::bad(CLIENT, folders::chain(error), advice).about(key));
            (None, findings)
        }
    }
}

/// Files that hold tokens for credentials of services, and that others than their owner can read: nobody else looks at them, for systemd
/// reads them as root.
fn exposed(folder: &Path) -> Vec<Finding> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let of_tokens = entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().ends_with(b"api-token"));
    // Links are followed, for the file behind one is what is read.
    let mode = |entry: &fs::DirEntry| fs::metadata(entry.path()).map_or(0, |found| found.mode());
    of_tokens
        .filter(|entry| mode(entry) & 0o077 != 0)
        .map(|entry| {
            let path = entry.path();
            Finding::warning(
                "token file",
                format!("{} may be read by others than its owner", path.display()),
                format!("whoever can read it can spend your money: run chmod 600 {}", path.display()),
            )
        })
        .collect()
}

/// The key that a client without a chance comes from.
fn key_of(error: &SetupError) -> Option<&'static str> {
    match error {
        SetupError::BaseUrl { .. } | SetupError::Insecure => Some("api.base_url"),
        SetupError::CaFile { .. } | SetupError::CaFormat { .. } => Some("api.ca_file"),
        SetupError::Token | SetupError::Tls(_) => None,
    }
}

async fn api(client: &Client) -> Finding {
    const NAME: &str = "api";
    const REFUSED: &str = "check the token and the balance at the API's provider";
    const LATER: &str = "check api.base_url and the network; the daemon waits and goes on by itself";
    let base_url = client.account().base_url;
    let Some(no_task) = TaskId::new(NO_TASK) else { return Finding::ok(NAME, "not asked") };
    match timeout(API_PATIENCE, client.poll(&no_task)).await {
        Ok(PollAnswer::Account(refusal)) => {
            Finding::bad(NAME, format!("{base_url} refuses the token: {}", refusal.message), REFUSED)
        }
        Ok(PollAnswer::Business(error)) if business_code::entry(error.code).verdict == Verdict::PauseAccount => {
            Finding::bad(NAME, format!("{base_url} refuses the account: {} ({})", error.message, error.code.0), REFUSED)
        }
        Ok(PollAnswer::Gateway(refusal)) => {
            Finding::warning(NAME, format!("{base_url} does not answer as the API does: {}", refusal.message), LATER)
        }
        Ok(PollAnswer::Unrelated(refusal) | PollAnswer::Throttled(refusal)) => {
            let found =
                format!("{base_url} answers, but does not say whether the token is let in: {}", refusal.message);
            Finding::ok(NAME, found)
        }
        Ok(PollAnswer::Unreachable(refusal)) => {
            Finding::warning(NAME, format!("{base_url} cannot be reached: {}", refusal.message), LATER)
        }
        Err(_) => {
            Finding::warning(NAME, format!("{base_url} does not answer within {}", show_duration(API_PATIENCE)), LATER)
        }
        Ok(
            PollAnswer::InQueue
            | PollAnswer::Generating
            | PollAnswer::UnknownStatus(_)
            | PollAnswer::Done { .. }
            | PollAnswer::NoVideo { .. }
            | PollAnswer::Business(_)
            | PollAnswer::Gone(_),
        ) => Finding::ok(NAME, format!("{base_url} answers and lets the token in")),
    }
}

/// How far the clock here is from the gateway's, where that tells.
async fn clocks(client: &Client) -> Option<Finding> {
    let asked_at = SystemTime::now();
    let theirs = timeout(API_PATIENCE, client.date()).await.ok().flatten()?;
    let took = asked_at.elapsed().unwrap_or_default();
    Some(compare(asked_at + took / 2, theirs, took))
}

/// `ours` was read at the moment at which the gateway read `theirs`, give or take `doubt`. Which of the two is wrong nobody can say.
fn compare(ours: SystemTime, theirs: SystemTime, doubt: Duration) -> Finding {
    const NAME: &str = "gateway clock";
    let (apart, side) = match ours.duration_since(theirs) {
        Ok(apart) => (apart, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    if apart <= CLOCK_OFF + doubt {
        return Finding::ok(NAME, "it agrees with the clock here");
    }
    Finding::warning(
        NAME,
        format!(
            "the clock here is {} s {side} the gateway's: if it is wrong, so are times in receipts and the log",
            apart.as_secs()
        ),
        "let the clock be set, for instance with timedatectl set-ntp true",
    )
}

async fn balance(client: &Client) -> Finding {
    const NAME: &str = "balance";
    match timeout(API_PATIENCE, client.balance()).await.ok().flatten() {
        Some(balance) => match balance.limit {
            Some(limit) if balance.used >= limit => Finding::warning(
                NAME,
                format!("all of {limit:.2} dollars are used"),
                "pay in at the API's provider; until then the queue pauses",
            ),
            Some(limit) => Finding::ok(NAME, format!("{:.2} of {limit:.2} dollars are used", balance.used)),
            None => Finding::ok(NAME, format!("no limit; {:.2} dollars are used", balance.used)),
        },
        None => Finding::ok(NAME, "not known; not every provider tells"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Verdict as Found;

    #[test]
    fn a_clock_that_was_never_set_is_a_problem() {
        for (second, verdict) in [(0, Found::Problem), (CLOCK_MIN, Found::Ok), (CLOCK_MAX, Found::Problem)] {
            let now = Timestamp::from_second(second).expect("in range");
            assert_eq!(clock(now).verdict, verdict, "{now}");
        }
    }

    #[test]
    fn a_clock_far_from_the_gateways_is_told() {
        let now = SystemTime::now();
        let doubt = Duration::from_secs(2);
        for (seconds, verdict) in [(0, Found::Ok), (61, Found::Ok), (63, Found::Warning), (3_603, Found::Warning)] {
            let apart = Duration::from_secs(seconds);
            assert_eq!(compare(now, now + apart, doubt).verdict, verdict, "{seconds}");
            assert_eq!(compare(now + apart, now, doubt).verdict, verdict, "{seconds}");
        }
        assert!(compare(now + CLOCK_OFF * 120, now, doubt).message.starts_with("the clock here is 7200 s ahead of"));
    }

    #[test]
    fn a_problem_is_about_a_key_of_the_configuration_or_about_none() {
        let root = tempfile::tempdir().unwrap();
        let mut config = config::load(None, std::iter::empty(), &config::Overrides::default()).unwrap().config;
        config.root = root.path().to_owned();
        let told = |finding: Finding| {
            let problem = finding.problem().expect("a problem");
            (problem.key, problem.message)
        };
        config.min_free_bytes = u64::MAX;
        let (key, message) = told(space(&config));
        assert_eq!(key.as_deref(), Some("min_free"));
        assert!(message.starts_with("free space: "), "{message}");

        let (key, message) = told(clock(Timestamp::UNIX_EPOCH));
        assert_eq!(key, None);
        assert!(message.starts_with("clock: "), "{message}");

        config.api.token_file = Some(root.path().join("token"));
        let problem = |config: &Config| told(client(config).1.pop().expect("a finding"));
        assert_eq!(problem(&config).0.as_deref(), Some("api.token_file"));
        fs::write(root.path().join("token"), "sk-word").unwrap();
        config.api.ca_file = Some(root.path().join("none.pem"));
        let (key, message) = problem(&config);
        assert_eq!(key.as_deref(), Some("api.ca_file"));
        assert!(message.starts_with("trust store: "), "{message}");
        config.api.base_url = "http://api.example".to_owned();
        assert_eq!(problem(&config).0.as_deref(), Some("api.base_url"));
    }

    #[test]
    fn folders_are_counted_without_following_links() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
        assert_eq!(count_folders(root.path(), 100), 2);
        assert_eq!(count_folders(&root.path().join("none"), 100), 0);
    }

    #[test]
    fn a_token_that_others_can_read_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in
            [("api-token", 0o600), ("a.api-token", 0o640), ("b.api-token", 0o604), ("jimengd.yaml", 0o644)]
        {
            fs::write(folder.path().join(name), "x").unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut told: Vec<String> = exposed(folder.path()).into_iter().map(|finding| finding.message).collect();
        told.sort();
        let wanted = ["a", "b"].map(|name| folder.path().join(format!("{name}.api-token")).display().to_string());
        assert_eq!(told, wanted.map(|path| format!("{path} may be read by others than its owner")));
        assert_eq!(exposed(Path::new("/nonexistent")), []);
    }

    #[test]
    fn every_folder_is_watched_for_a_moment() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        let found = try_watches(root.path(), "2s");
        assert_eq!((found.verdict, found.message.as_str()), (Found::Ok, "3 folders could be watched just now"));
    }

    #[test]
    fn sizes_are_rounded_for_the_eye() {
        for (bytes, said) in [(123, "123B"), (12_345_678, "12.3MB"), (65_605_123_456, "65.6GB"), (2_000_000, "2MB")] {
            assert_eq!(rounded(bytes), said);
        }
    }
}
