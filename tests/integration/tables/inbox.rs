//! What the tables about the inbox share: how names are written, what can lie in a folder, and what `status` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use jimengd::job::name::shown;
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, open, openat};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::rig::{Rig, pictures};

/// A name as its bytes: `\xNN` is a byte, `<ab*3>` is `ababab`, and may be nested.
pub fn bytes_of(notation: &str) -> Vec<u8> {
    let mut text = notation.to_owned();
    let mut from = 0;
    while let Some(end) = text[from..].find('>').map(|at| at + from) {
        let start = text[..end].rfind('<');
        let repeated = start.and_then(|start| {
            let (what, count) = text[start + 1..end].rsplit_once('*')?;
            Some((start, what.repeat(count.parse().ok()?)))
        });
        match repeated {
            Some((start, repeated)) => {
                text.replace_range(start..=end, &repeated);
                from = start + repeated.len();
            }
            None => from = end + 1,
        }
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(r"\x") {
        bytes.extend(rest[..at].bytes());
        bytes.push(u8::from_str_radix(&rest[at + 2..at + 4], 16).expect("two hexadecimal digits"));
        rest = &rest[at + 4..];
    }
    bytes.extend(rest.bytes());
    bytes
}

/// A name as a path.
pub fn path_of(notation: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes_of(notation)))
}

/// Names as text that can be compared and read; the job's digits in a name that was cut are `JOB`.
pub fn names_of<'a>(notations: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    notations.into_iter().map(|name| shown(&bytes_of(name))).collect()
}

/// Everything below a folder but folders, as [`names_of`] writes it.
pub fn listed(folder: &Path) -> BTreeSet<String> {
    fn list(folder: &Path, below: &Path, found: &mut BTreeSet<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let below = below.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => list(&entry.path(), &below, found),
                Ok(_) | Err(_) => {
                    found.insert(without_job(&shown(below.as_os_str().as_bytes())));
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    list(folder, Path::new(""), &mut found);
    found
}

/// `~` and the eight digits of a job become `~JOB`.
fn without_job(name: &str) -> String {
    let mut parts = name.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let cut = part.get(..8).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        text.push('~');
        text.push_str(&if cut { format!("JOB{}", &part[8..]) } else { part.to_owned() });
    }
    text
}

/// Makes the folders above `path` and returns the last one with the name that is left. Each is opened in the one before, for the
/// whole path may be longer than the kernel takes.
fn parent_of(top: &Path, path: &Path) -> (OwnedFd, OsString) {
    fs::create_dir_all(top).unwrap();
    let mut folder = open(top, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    for part in path.parent().expect("a name").components() {
        match mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
        folder = openat(&folder, part.as_os_str(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    (folder, path.file_name().expect("a name").to_owned())
}

/// Makes what `kind` says at `top/path`. The bytes of a regular file, if it has any.
///
/// `picture`, `jpeg`, `sidecar`, `address`, `empty`, `text …`, `directory`, `fifo`, `socket`, `device`, `symlink TO`, `hard link TO`.
pub fn make(top: &Path, path: &Path, kind: &str, prompt: &str) -> Option<Vec<u8>> {
    let (folder, name) = parent_of(top, path);
    let node = |kind, device| mknodat(&folder, &name, kind, Mode::from_raw_mode(0o644), device);
    let bytes = match kind.split_once(' ').unwrap_or((kind, "")) {
        ("picture", _) => pictures::png(),
        ("jpeg", _) => pictures::jpeg(1),
        ("sidecar", _) => format!("prompt: {prompt}\n").into_bytes(),
        ("address", _) => format!("prompt: {prompt}\nimage_urls: ['https://example.com/a.jpg']\n").into_bytes(),
        ("empty", _) => Vec::new(),
        ("text", text) => text.as_bytes().to_vec(),
        ("directory", _) => {
            mkdirat(&folder, &name, Mode::from_raw_mode(0o755)).unwrap();
            return None;
        }
        ("fifo", _) => {
            node(FileType::Fifo, 0).unwrap();
            return None;
        }
        ("socket", _) => {
            node(FileType::Socket, 0).unwrap();
            return None;
        }
        ("device", _) => {
            // Where nobody may make one, a FIFO stands for it: the rule is the same.
            let null = rustix::fs::makedev(1, 3);
            node(FileType::CharacterDevice, null).or_else(|_| node(FileType::Fifo, 0)).unwrap();
            return None;
        }
        ("symlink", to) => {
            rustix::fs::symlinkat(path_of(to), &folder, &name).unwrap();
            return None;
        }
        ("hard", to) => {
            let to = path_of(to.strip_prefix("link ").expect("hard link TO"));
            rustix::fs::linkat(CWD, top.join(&to), &folder, &name, rustix::fs::AtFlags::empty()).unwrap();
            return Some(fs::read(top.join(to)).unwrap());
        }
        other => panic!("{other:?} is no kind of file"),
    };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = openat(&folder, &name, flags, Mode::from_raw_mode(0o644)).unwrap();
    std::io::Write::write_all(&mut fs::File::from(file), &bytes).unwrap();
    // Empty files are looked for by name: the daemon has some of its own.
    (!bytes.is_empty()).then_some(bytes)
}

/// What must become of the files of a case, all names below the case's own folder. What is not told must be empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ends {
    /// Stems of videos, each with its receipt.
    pub delivered: Vec<String>,
    /// Instead, where a name is cut: everything in the outbox.
    pub outbox: Option<Vec<String>>,
    /// Everything in the archive; without it all of `files` that neither stays nor is rejected.
    pub archive: Option<Vec<String>>,
    /// Reports by their stem, and their reason.
    pub rejected: BTreeMap<String, String>,
    /// Everything in the error folder; without it the reports and the files of their stems.
    pub error: Option<Vec<String>>,
    /// What stays in the inbox.
    pub stays: Vec<String>,
    /// What `status --json` says of the inbox: `pair: "reason: detail"`.
    pub waiting: BTreeMap<String, String>,
}

/// One thing that is not as it must be.
type Complaint = String;

impl Ends {
    /// How many videos there must be.
    pub fn videos(&self) -> usize {
        match &self.outbox {
            Some(names) => names.iter().filter(|name| name.ends_with(".mp4")).count(),
            None => self.delivered.len(),
        }
    }

    /// What is not as it must be in the five folders, for a case in `folder` that dropped `files`; `taken` lay there before.
    pub fn complaints(
        &self,
        rig: &Rig,
        folder: &str,
        files: &BTreeSet<String>,
        taken: &BTreeMap<String, Vec<String>>,
    ) -> Vec<Complaint> {
        let stays = names_of(&self.stays);
        let moved = || files.iter().filter(|name| !stays.contains(*name) && !name.ends_with('/'));
        let stems = names_of(self.rejected.keys());
        let is_rejected = |name: &String| stems.iter().any(|stem| name.starts_with(&format!("{stem}.")));
        let told = |names: &Option<Vec<String>>| names.as_ref().map(names_of);
        let videos = self.delivered.iter().flat_map(|stem| [format!("{stem}.mp4"), format!("{stem}.receipt.yaml")]);
        let videos: Vec<String> = videos.collect();
        let reports = stems.iter().map(|stem| format!("{stem}.error.yaml"));
        let wanted = [
            ("inbox", stays.iter().filter(|name| !name.ends_with('/')).cloned().collect()),
            ("outbox", told(&self.outbox).unwrap_or_else(|| names_of(&videos))),
            (
                "archive",
                told(&self.archive).unwrap_or_else(|| moved().filter(|name| !is_rejected(name)).cloned().collect()),
            ),
            (
                "error",
                told(&self.error)
                    .unwrap_or_else(|| moved().filter(|name| is_rejected(name)).cloned().chain(reports).collect()),
            ),
        ];
        let mut complaints = Vec::new();
        for (place, mut wanted) in wanted {
            wanted.extend(names_of(taken.get(place).into_iter().flatten()));
            let found = listed(&rig.root().join(place).join(folder));
            if found != wanted {
                complaints.push(format!("in {place} there is {found:?}, there must be {wanted:?}"));
            }
        }
        for directory in stays.iter().filter(|name| name.ends_with('/')) {
            if !rig.inbox(folder).join(path_of(directory)).is_dir() {
                complaints.push(format!("the folder {directory} is gone"));
            }
        }
        for (stem, reason) in &self.rejected {
            let path = rig.error(folder).join(path_of(&format!("{stem}.error.yaml")));
            if path.exists() && crate::rig::read_yaml(&path)["reason"] != reason.as_str() {
                complaints.push(format!("{stem} is not {reason}: {}", fs::read_to_string(&path).unwrap_or_default()));
            }
        }
        complaints
    }

    /// What is not as it must be in what `status --json` says.
    pub fn complaints_of_status(&self, rig: &Rig, folder: &str, status: &Json) -> Vec<Complaint> {
        let found = waiting_in(rig, folder, status);
        let wanted: BTreeMap<String, String> =
            self.waiting.iter().map(|(pair, why)| (shown(&bytes_of(pair)), why.clone())).collect();
        if found == wanted { Vec::new() } else { vec![format!("status says {found:?}, it must say {wanted:?}")] }
    }
}

/// How it is said which half is missing; the page of a table's folder has it in full.
const HALVES: [&str; 2] = [" has no sidecar ", " has no picture "];

/// What `status --json` says of a case's folder, by pair; where the spool lies, and which half of a pair is missing, is left out.
pub fn waiting_in(rig: &Rig, folder: &str, status: &Json) -> BTreeMap<String, String> {
    let spool = rig.root().display().to_string();
    let told = |one: &Json| {
        let pair = one["pair"].as_str()?.strip_prefix(folder)?.to_owned();
        let reason = one["reason"].as_str()?;
        let is_worth_telling = |detail: &&str| reason != "half" || !HALVES.iter().any(|half| detail.contains(half));
        let detail = one["detail"]
            .as_str()
            .filter(is_worth_telling)
            .map(|detail| format!(": {}", detail.replace(&spool, "SPOOL")));
        Some((pair, format!("{reason}{}", detail.unwrap_or_default()).replace(folder, "")))
    };
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (pair, why) in status["waiting"].as_array().expect("a list").iter().filter_map(told) {
        // A file that makes no pair may be called as one.
        found.entry(pair).and_modify(|first| *first = format!("{first} and {why}")).or_insert(why);
    }
    found
}
