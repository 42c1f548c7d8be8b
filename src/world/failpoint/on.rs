//! The plan, and what happens at the points that it names.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use super::super::At;
use super::Effect;

/// The variable that holds the plan.
const VARIABLE: &str = "FAILPOINTS";

/// How often it is looked whether the file of `until` is there.
const LOOK_EVERY: Duration = Duration::from_millis(2);

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

/// What is to happen where.
#[derive(Debug)]
struct Plan {
    log: Option<File>,
    looks: bool,
    syncs: bool,
    durable: bool,
    place: Trigger,
    after: Option<String>,
    /// Whether the point of `after` has been passed.
    begun: AtomicBool,
    deed: Option<Deed>,
    until: Option<PathBuf>,
    passed: AtomicU64,
    matched: AtomicU64,
    done: AtomicBool,
    /// Effect and place that fail for good.
    lasting: Mutex<Option<(Effect, PathBuf)>>,
}

#[derive(Debug)]
enum Trigger {
    Never,
    At(u64),
    On { text: String, nth: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Kill,
    Stop,
    Panic,
    Wait,
    Fail(Errno),
    /// The effect is had, and said to have failed.
    Lie(Errno),
}

/// How the point is passed.
enum Passed {
    Free,
    Killed,
    Failed(Errno),
    Lied(Errno),
}

pub(in super::super) fn pass<T, E: From<Errno>>(
    effect: Effect,
    path: impl FnOnce() -> PathBuf,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let (number, passed) = arrive(effect, path);
    match passed {
        Passed::Free => act().inspect_err(|_| told_without_effect(number)),
        Passed::Killed => die(),
        Passed::Failed(errno) => Err(errno.into()),
        Passed::Lied(errno) => act().and_then(|_| Err(errno.into())),
    }
}

pub(in super::super) fn torn(
    path: impl FnOnce() -> PathBuf,
    bytes: &[u8],
    mut act: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let half = &bytes[..bytes.len() / 2];
    match arrive(Effect::Write, path).1 {
        Passed::Free => act(bytes),
        Passed::Killed => {
            act(half)?;
            die()
        }
        Passed::Failed(errno) => act(half).and(Err(errno.into())),
        Passed::Lied(errno) => act(bytes).and(Err(errno.into())),
    }
}

/// Passes the point of an effect that the caller is about to have.
///
/// # Errors
/// The plan says that the effect fails: the caller must not have it.
pub fn before(effect: Effect, path: impl FnOnce() -> PathBuf) -> Result<(), Errno> {
    pass(effect, path, || Ok(()))
}

/// Whether syncs are had, and not only said to have been.
pub fn is_durable() -> bool {
    PLAN.get_or_init(Plan::read).as_ref().is_none_or(|plan| plan.durable)
}

/// Where a name in an open folder is.
pub fn path(at: At<'_>) -> PathBuf {
    if at.name.is_absolute() { at.name.to_owned() } else { path_of_fd(at.dir).join(at.name) }
}

/// Where a name is that a file gets, and after ` < ` where the file is now.
pub fn path_from(to: At<'_>, from: At<'_>) -> PathBuf {
    let mut both = path(to).into_os_string();
    both.push(" < ");
    both.push(path(from));
    both.into()
}

/// Where an open file or folder is.
pub fn path_of(file: &impl AsFd) -> PathBuf {
    path_of_fd(file.as_fd())
}

fn path_of_fd(fd: BorrowedFd<'_>) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

fn arrive(effect: Effect, path: impl FnOnce() -> PathBuf) -> (u64, Passed) {
    match PLAN.get_or_init(Plan::read) {
        None => (0, Passed::Free),
        Some(plan) if !plan.numbers(effect) => (0, plan.pass_by(effect, path)),
        Some(plan) => plan.arrive(effect, &path()),
    }
}

/// The system refused it by itself: the name is taken, or there is nothing of that name.
fn told_without_effect(number: u64) {
    if let Some(Some(plan)) = PLAN.get().filter(|_| number > 0) {
        plan.log(&format!("{number}- without effect"));
    }
}

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).ok();
    loop {
        std::thread::park();
    }
}

/// Stands still until somebody sends SIGCONT.
fn stop() {
    kill_process(getpid(), Signal::STOP).ok();
    // Another thread may have been chosen to take the signal. Once it has, this one stops, too, before it can do anything else.
    while is_stop_pending() {
        std::thread::yield_now();
    }
}

/// Whether SIGSTOP was sent to this process and nobody has taken it yet.
fn is_stop_pending() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let pending = status.lines().filter_map(|line| {
        let set = line.strip_prefix("ShdPnd:").or_else(|| line.strip_prefix("SigPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    pending.fold(0, |all, set| all | set) & (1 << (Signal::STOP.as_raw() - 1)) != 0
}

impl Plan {
    /// The plan in the environment. One that cannot be read must not pass for one that was carried out.
    fn read() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        match Self::parse(&text) {
            Ok(plan) => Some(plan),
            Err(why) => panic!("{VARIABLE}={text}: {why}"),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut log, mut looks, mut syncs, mut durable, mut deed, mut until) = (None, false, true, true, None, None);
        let (mut at, mut on, mut nth, mut after) = (None, None, 1, None);
        let number = |value: &str| value.parse::<u64>().map_err(|error| format!("{value}: {error}"));
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part} is no key=value"))?;
            match key {
                "log" => {
                    let file = File::options().append(true).create(true).open(value);
                    log = Some(file.map_err(|error| format!("{value}: {error}"))?);
                }
                "looks" => looks = value == "1",
                "syncs" => syncs = value != "0",
                "durable" => durable = value != "0",
                "at" => at = Some(number(value)?),
                "on" => on = Some(value.to_owned()),
                "nth" => nth = number(value)?,
                "after" => after = Some(value.to_owned()),
                "do" => deed = Some(Deed::parse(value).ok_or_else(|| format!("nothing is called {value}"))?),
                "until" => until = Some(PathBuf::from(value)),
                _ => return Err(format!("no key is called {key}")),
            }
        }
        let place = match (at, on) {
            (Some(at), None) => Trigger::At(at),
            (None, Some(text)) => Trigger::On { text, nth },
            (None, None) => Trigger::Never,
            (Some(_), Some(_)) => return Err("either at or on".to_owned()),
        };
        Ok(Self {
            log,
            looks,
            syncs,
            durable,
            place,
            begun: AtomicBool::new(after.is_none()),
            after,
            deed,
            until,
            passed: AtomicU64::new(0),
            matched: AtomicU64::new(0),
            done: AtomicBool::new(false),
            lasting: Mutex::new(None),
        })
    }

    /// Whether the plan numbers points of that kind.
    fn numbers(&self, effect: Effect) -> bool {
        if self.log.is_none() && matches!(self.place, Trigger::Never) {
            // Nobody could tell the difference, and a number costs time.
            return false;
        }
        if effect == Effect::Sync { self.syncs } else { self.looks || !effect.is_look() }
    }

    fn arrive(&self, effect: Effect, path: &Path) -> (u64, Passed) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        let point = format!("{} {}", effect.label(), path.display());
        self.log(&format!("{number} {point}"));
        let is_here = match &self.place {
            Trigger::Never => false,
            Trigger::At(at) => *at == number,
            Trigger::On { text, nth } => self.matches(&point, text, *nth),
        };
        let passed = if is_here && !self.done.swap(true, Ordering::SeqCst) {
            self.happen(effect, path)
        } else {
            self.still_failing(effect, path).map_or(Passed::Free, Passed::Failed)
        };
        if let Passed::Failed(errno) = passed {
            self.log(&format!("{number}! {point} refused: {errno}"));
        }
        (number, passed)
    }

    fn log(&self, line: &str) {
        if let Some(mut log) = self.log.as_ref() {
            // The test that reads it sees that it is missing.
            drop(log.write_all(format!("{line}\n").as_bytes()));
        }
    }

    /// What is not numbered: only a plan that names its effect means it.
    fn pass_by(&self, effect: Effect, path: impl FnOnce() -> PathBuf) -> Passed {
        let Trigger::On { text, nth } = &self.place else { return Passed::Free };
        if effect == Effect::Open || !text.starts_with(effect.label()) {
            return Passed::Free;
        }
        let path = path();
        let point = format!("{} {}", effect.label(), path.display());
        if self.matches(&point, text, *nth) && !self.done.swap(true, Ordering::SeqCst) {
            return self.happen(effect, &path);
        }
        self.still_failing(effect, &path).map_or(Passed::Free, Passed::Failed)
    }

    /// Whether it is the `nth` point of that text. What happens at all later ones, too, happens here.
    fn matches(&self, point: &str, text: &str, nth: u64) -> bool {
        if !self.begun.load(Ordering::SeqCst) {
            let is_begin = self.after.as_ref().is_some_and(|after| point.contains(after));
            self.begun.fetch_or(is_begin, Ordering::SeqCst);
            return false;
        }
        if !point.contains(text) {
            return false;
        }
        let found = self.matched.fetch_add(1, Ordering::SeqCst) + 1;
        match self.deed {
            Some(Deed::Panic) if found > nth => panic!("the plan says so at {point}"),
            Some(Deed::Wait) if found > nth => self.wait(),
            Some(_) | None => {}
        }
        found == nth
    }

    fn wait(&self) {
        while !self.until.as_ref().is_some_and(|until| until.exists()) {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn happen(&self, effect: Effect, path: &Path) -> Passed {
        match self.deed {
            None => Passed::Free,
            Some(Deed::Kill) => Passed::Killed,
            Some(Deed::Panic) => panic!("the plan says so at {} {}", effect.label(), path.display()),
            Some(Deed::Wait) => {
                self.wait();
                Passed::Free
            }
            Some(Deed::Stop) => {
                stop();
                Passed::Free
            }
            Some(Deed::Fail(errno)) => {
                if self.until.is_some() {
                    *self.lasting.lock().unwrap_or_else(PoisonError::into_inner) = Some((effect, place(path)));
                }
                Passed::Failed(errno)
            }
            Some(Deed::Lie(errno)) => Passed::Lied(errno),
        }
    }

    fn still_failing(&self, effect: Effect, path: &Path) -> Option<Errno> {
        let (Some(Deed::Fail(errno)), Some(until)) = (self.deed, &self.until) else { return None };
        let lasting = self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        let (failing, failing_place) = lasting.as_ref()?;
        let fails = *failing_place == place(path) && (effect == *failing || is_refused(effect, errno));
        (fails && !until.exists()).then_some(errno)
    }
}

impl Deed {
    fn parse(text: &str) -> Option<Self> {
        let errno = |name: &str| {
            Some(match name {
                "EACCES" => Errno::ACCESS,
                "EBADMSG" => Errno::BADMSG,
                "EBUSY" => Errno::BUSY,
                "EDQUOT" => Errno::DQUOT,
                "EINVAL" => Errno::INVAL,
                "EIO" => Errno::IO,
                "EMFILE" => Errno::MFILE,
                "ENAMETOOLONG" => Errno::NAMETOOLONG,
                "ENFILE" => Errno::NFILE,
                "ENOENT" => Errno::NOENT,
                "ENOSPC" => Errno::NOSPC,
                "EPERM" => Errno::PERM,
                "EROFS" => Errno::ROFS,
                "ESTALE" => Errno::STALE,
                "EXDEV" => Errno::XDEV,
                _ => return None,
            })
        };
        match text {
            "kill" => Some(Self::Kill),
            "stop" => Some(Self::Stop),
            "panic" => Some(Self::Panic),
            "wait" => Some(Self::Wait),
            _ => match text.strip_suffix('!') {
                Some(name) => errno(name).map(Self::Lie),
                None => errno(text).map(Self::Fail),
            },
        }
    }
}

/// The folder of a path, and for what lies in a job's own folder the one around that: a job that is tried again under another
/// identifier meets the same fault.
fn place(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let path = Path::new(text.split(" < ").next().unwrap_or_default());
    let folder = path.parent().unwrap_or(path);
    let is_job = |part: &std::ffi::OsStr| part.len() == 36 && part.to_string_lossy().matches('-').count() == 4;
    let job = |path: &Path| path.file_name().is_some_and(is_job);
    if job(folder) { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() }
}

/// Whether what gives this error refuses that effect, too, at the same place.
fn is_refused(effect: Effect, errno: Errno) -> bool {
    let changes = match effect {
        Effect::Make | Effect::MakeFolder | Effect::Write | Effect::Link => Some(true),
        Effect::Cut | Effect::Times | Effect::Rights | Effect::Rename | Effect::Unlink | Effect::RemoveFolder => {
            Some(false)
        }
        Effect::Open
        | Effect::Judge
        | Effect::Jot
        | Effect::Turn
        | Effect::Sync
        | Effect::Commit
        | Effect::Request
        | Effect::Answer => None,
    };
    match errno {
        Errno::ROFS => changes.is_some(),
        Errno::NOSPC | Errno::DQUOT => changes == Some(true),
        _ => false,
    }
}
