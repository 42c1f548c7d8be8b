//! `jimengd reload`: has a running daemon read its configuration again, and waits for its word.
//!
//! SIGHUP says nothing back, so the daemon writes its word into its ledger. Which ledger that is must not be asked of the
//! configuration alone, for that may be the very thing that is broken. So: the ledger that the process has open, as the
//! kernel tells; where the kernel does not tell (another user, or systemd's `PrivateUsers=`, which hides processes of one
//! service from each other), the ledger of a root that the configuration could mean, believed only if it names this process
//! and its `work/` is locked. SIGHUP ends a process that does not expect it, so nothing is sent to any other.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::{Args, Parser};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{Cli, Command, ConfigArgs, ExitCode, Failure, environment, print};
use crate::config;
use crate::config::layers::SITE_FILE;
use crate::daemon::{DAEMON_FACT, LEDGER, RELOAD_FACT, ReloadWord, Snapshot};
use crate::ledger::Reader;
use crate::spool::Spool;

/// Sets the key `root`.
const ROOT_VARIABLE: &str = "JIMENGD_ROOT";

/// How long the daemon may take: it answers between two turns of its loop, so this is generous.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the ledger. SQLite tells nobody of a change. One row is read by its key for a few moments of one
/// short-lived process, which costs less than anything that would save it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Have a running daemon read its configuration and its token again, and wait for its word.\n\n\
     Exit codes: 0 the new settings hold; 78 they are refused, the reason is printed and the old ones stay; 64 the \
     process is not there or is no jimengd that runs; 70 it ended before it gave its word; 74 its ledger cannot be \
     read, it may not be sent a signal, or it gave no word within 60 s.";

/// Arguments of `jimengd reload`.
#[derive(Clone, Debug, Args)]
pub struct Reload {
    /// The process of the daemon
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// Where the configuration is; needed only where the kernel hides the daemon's open files from this user
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Sends SIGHUP and waits for the daemon's word.
///
/// # Errors
/// The word is a refusal, there is none, or there is no such daemon.
pub async fn run(args: &Reload) -> Result<ExitCode, Failure> {
    let pid = Pid::from_raw(args.pid).ok_or_else(|| Failure::new(ExitCode::Usage, anyhow!("0 is no process")))?;
    reachable(pid)?;
    let path = match open_ledger(pid).or_else(|| named_ledger(pid, &args.config, root_variable())) {
        Some(path) => path,
        None => {
            let error = anyhow!(
                "process {pid} is not known as a running jimengd, so it is sent nothing; check the pid, and name the daemon's --config or --root"
            );
            return Err(Failure::new(ExitCode::Usage, error));
        }
    };
    let unreadable = |error: anyhow::Error| Failure::new(ExitCode::Io, error);
    let reader = Reader::open(&path)
        .map_err(|error| unreadable(error.into()))?
        .ok_or_else(|| unreadable(anyhow!("there is no ledger {}", path.display())))?;
    let before = word(&reader).with_context(|| format!("cannot read {}", path.display())).map_err(unreadable)?;
    kill_process(pid, Signal::HUP).map_err(|errno| refused_signal(pid, errno))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Asked before the word is read: one that was written right before the end still counts.
        let is_gone = test_kill_process(pid) == Err(Errno::SRCH);
        let now = word(&reader).with_context(|| format!("cannot read {}", path.display())).map_err(unreadable)?;
        match now.filter(|now| before.as_ref() != Some(now)) {
            Some(ReloadWord { refused: None, .. }) => {
                print("the new settings hold\n")?;
                return Ok(ExitCode::Ok);
            }
            Some(ReloadWord { refused: Some(why), .. }) => {
                let error = anyhow!("process {pid} refuses the new settings, the old ones stay: {why}");
                return Err(Failure::new(ExitCode::Config, error));
            }
            None if is_gone => {
                let error = anyhow!("process {pid} ended before it gave its word; its log says why");
                return Err(Failure::new(ExitCode::Software, error));
            }
            None if Instant::now() >= deadline => {
                let error = anyhow!(
                    "process {pid} was told to reload and gave no word within {} s; its log says more",
                    PATIENCE.as_secs()
                );
                return Err(Failure::new(ExitCode::Io, error));
            }
            None => {}
        }
    }
}

fn word(reader: &Reader) -> rusqlite::Result<Option<ReloadWord>> {
    // A word that cannot be read is an older version's: as good as none.
    Ok(reader.fact(RELOAD_FACT)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether the process is there and may be sent a signal.
fn reachable(pid: Pid) -> Result<(), Failure> {
    match test_kill_process(pid) {
        Ok(()) => Ok(()),
        Err(errno) => Err(refused_signal(pid, errno)),
    }
}

fn refused_signal(pid: Pid, errno: Errno) -> Failure {
    let error = anyhow::Error::from(std::io::Error::from(errno));
    match errno {
        Errno::SRCH => Failure::new(ExitCode::Usage, anyhow!("there is no process {pid}")),
        Errno::PERM => Failure::new(
            ExitCode::Io,
            anyhow!("process {pid} belongs to another user; run this as the daemon's user or as root"),
        ),
        _ => Failure::new(ExitCode::Io, error.context(format!("cannot send a signal to process {pid}"))),
    }
}

/// The ledger that the process has open, if the kernel shows its files to us and it expects SIGHUP: a shell of SQLite's has
/// the ledger open, too, and would be ended.
fn open_ledger(pid: Pid) -> Option<PathBuf> {
    let process = proc_folder(pid);
    let files = fs::read_dir(process.join("fd")).ok()?;
    let ledger = files
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .find(|path| path.is_absolute() && path.file_name() == Some(LEDGER.as_ref()))?;
    expects_hangup(&fs::read_to_string(process.join("status")).ok()?).then_some(ledger)
}

/// What `/proc/PID/status` says about caught signals: a bit a signal, the lowest for signal 1, which is SIGHUP.
fn expects_hangup(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// The ledger of a root that may be the daemon's, that is locked, and that says itself that this process works there. A configuration
/// that is broken by now is no hindrance: the daemon works where it began, and is to say itself what is wrong.
fn named_ledger(pid: Pid, own: &ConfigArgs, root_variable: Option<PathBuf>) -> Option<PathBuf> {
    let its = command_line(pid).unwrap_or_default();
    let mut spools: Vec<(PathBuf, PathBuf)> = Vec::new();
    for args in [own, &its] {
        match args.load() {
            Ok(effective) => spools.push((effective.config.root, effective.config.folders.work)),
            Err(_) => {
                let file = args.config.as_deref().unwrap_or(Path::new(SITE_FILE));
                let roots = args.root.clone().into_iter().chain(root_variable.clone()).chain(written_root(file));
                spools.extend(roots.map(|root| (root.clone(), root.join("work"))));
            }
        }
    }
    let built_in = config::built_in();
    spools.push((built_in.root, built_in.folders.work));
    spools
        .into_iter()
        .map(|(root, work)| (root.join(LEDGER), work))
        .find(|(ledger, work)| names(ledger, pid) && Spool::is_locked(work).unwrap_or(false))
        .map(|(ledger, _)| ledger)
}

/// `root` as the environment sets it, which a unit does for daemon and reload alike.
fn root_variable() -> Option<PathBuf> {
    environment().find(|(name, _)| name == ROOT_VARIABLE).map(|(_, root)| PathBuf::from(root))
}

/// Whether the ledger at `path` says that `pid` is its daemon.
fn names(path: &Path, pid: Pid) -> bool {
    let said = Reader::open(path).ok().flatten().and_then(|reader| reader.fact(DAEMON_FACT).ok().flatten());
    let said: Option<Snapshot> = said.and_then(|text| serde_json::from_str(&text).ok());
    said.is_some_and(|said| i64::from(said.pid) == i64::from(pid.as_raw_nonzero().get()))
}

/// `root` as a file says it that cannot be used as a whole: the value of a line that begins with the key.
fn written_root(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("root:"))?;
    let value = value.split(" #").next().unwrap_or(value).trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| PathBuf::from(value))
}

/// What the process was told about its configuration, if it may be seen and runs `jimengd run`.
fn command_line(pid: Pid) -> Option<ConfigArgs> {
    let bytes = fs::read(proc_folder(pid).join("cmdline")).ok()?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|&byte| byte == 0);
    let words = words.map(|word| std::ffi::OsString::from_vec(word.to_vec()));
    match Cli::try_parse_from(words).ok()?.command {
        Command::Run(run) => Some(run.config),
        Command::Demo(_)
        | Command::Simulate(_)
        | Command::Check(_)
        | Command::Status(_)
        | Command::Codes(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Reload(_) => None,
    }
}

fn proc_folder(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Change, Ledger};
    use crate::spool;

    #[test]
    fn only_a_process_that_catches_sighup_is_sent_one() {
        for (status, expected) in [
            ("Name:\tjimengd\nSigCgt:\t0000000100014001\n", true),
            ("Name:\tsqlite3\nSigCgt:\t0000000100014002\n", false),
            ("Name:\tsleep\n", false),
            ("SigCgt:\tnonsense\n", false),
        ] {
            assert_eq!(expects_hangup(status), expected, "{status}");
        }
    }

    #[test]
    fn the_root_is_found_in_a_file_that_is_broken_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jimengd.yaml");
        for (text, root) in [
            ("root: /srv/videos  # the disk\napi: [\n", Some("/srv/videos")),
            ("api: {\nroot: \"/srv/my videos\"\n", Some("/srv/my videos")),
            ("folders:\n  root: /srv\n", None),
            ("root:\n", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(written_root(&file).as_deref(), root.map(Path::new), "{text}");
        }
        assert_eq!(written_root(Path::new("/nonexistent")), None);
    }

    #[tokio::test]
    async fn a_root_is_believed_only_while_it_is_locked_and_names_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("spool");
        fs::create_dir(&root).unwrap();
        let file = folder.path().join("jimengd.yaml");
        fs::write(&file, format!("root: {}\napi: [\n", root.display())).unwrap();
        let own = ConfigArgs { config: Some(file), root: None };
        let pid = rustix::process::getpid();
        assert_eq!(named_ledger(pid, &own, None), None, "there is no ledger");
        let (ledger, _) = Ledger::open(&root.join(LEDGER)).unwrap();
        let said = Snapshot { pid: std::process::id(), ..Snapshot::default() };
        let value = serde_json::to_string(&said).unwrap();
        ledger.write(vec![Change::Remember { name: DAEMON_FACT, value }]).await.unwrap();
        assert_eq!(named_ledger(pid, &own, None), None, "nobody works there");
        let under = |name| root.join(name);
        let settings = spool::Settings {
            inbox: under("inbox"),
            work: under("work"),
            outbox: under("outbox"),
            error: under("error"),
            archive: under("archive"),
            receipt: true,
            delete_on_success: false,
        };
        let _spool = Spool::open(settings, true).unwrap();
        assert_eq!(named_ledger(pid, &own, None), Some(root.join(LEDGER)));
        assert_eq!(named_ledger(Pid::INIT, &own, None), None, "it names another process");
        // Where only the unit's environment names the root.
        let file = folder.path().join("without-root.yaml");
        fs::write(&file, "api: [\n").unwrap();
        let own = ConfigArgs { config: Some(file), root: None };
        assert_eq!(named_ledger(pid, &own, None), None);
        assert_eq!(named_ledger(pid, &own, Some(root.clone())), Some(root.join(LEDGER)));
    }

    #[tokio::test]
    async fn a_process_that_is_no_daemon_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = ConfigArgs { config: None, root: Some(folder.path().to_owned()) };
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        let failure = run(&Reload { pid, config }).await.unwrap_err();
        let alive = sleeper.try_wait().unwrap().is_none();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(alive, "it was sent a signal");
        assert_eq!(failure.code, ExitCode::Usage);
    }
}
