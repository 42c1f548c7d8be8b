//! Taking a pair out of the inbox into `work/`, and giving it back.
//!
//! A note of what is being claimed is durable before the first file moves. Whatever moment a crash picks, the note tells
//! which files were ours to move: [`Spool::put_back`] undoes an unfinished claim, and does it again if it is itself cut off.
//!
//! Neither direction ever replaces a file, and a file that is not the one that was judged is not taken.

use rustix::fs::Stat;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::durable::{Dir, FileError, Renamed, Trouble, own_name};
use super::scan::{self, Identity};
use super::{Spool, job_name};
use crate::job::state::Names;
use crate::job::{FileName, Folder, JobId, PairName, name};

/// The note in a job's folder.
pub const NOTE: &str = "job.yaml";

/// The note while it is being written.
pub const NOTE_BESIDE: &str = ".job.yaml";

/// The picture in a job's folder.
pub const PICTURE: &str = "picture";

/// The sidecar in a job's folder.
pub const SIDECAR: &str = "sidecar";

/// Bytes of a note that are read.
const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Numbers tried for a free name, so that a folder full of twins cannot hold us for ever.
pub const NUMBER_MAX: u32 = 100_000;

/// How often names for a pair are chosen anew because somebody was faster.
const PUT_BACK_TRIES: u32 = 16;

/// A pair as it was seen in the inbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its name.
    pub pair: PairName,
    /// The picture, if the pair has one.
    pub picture: Option<(FileName, Identity)>,
    /// The sidecar; `None` for a picture that is rejected without one.
    pub sidecar: Option<(FileName, Identity)>,
}

/// How a claim ended that did not fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// Both files are in the job's folder, and that is durable.
    Taken,
    /// A file was gone or had changed; what had been moved is back in the inbox.
    Changed,
    /// The inbox does not let this pair go, though others may be: nothing was moved.
    Refused(Refusal),
}

/// Why a pair cannot be claimed: a right is missing on its files or on their folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A file cannot be read, and what to do about it.
    Unreadable(String),
    /// A file cannot be renamed out of its folder, and what to do about it.
    Unmovable(String),
}

/// How far the files of a claim were moved.
enum Taken {
    All,
    NotAll,
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
struct Note {
    job: String,
    pair: String,
    folder_hex: String,
    stem_hex: String,
    picture: Option<NoteFile>,
    sidecar: Option<NoteFile>,
}

#[derive(Serialize, Deserialize)]
struct NoteFile {
    name: String,
    name_hex: String,
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i64,
}

impl Spool {
    /// Takes a pair into `work/<job>/`. Blocks.
    ///
    /// Afterwards both files, their folder, and the folder they came from are synced.
    ///
    /// # Errors
    /// A file operation failed; what had been moved is put back as far as that goes, and recovery does the rest.
    pub fn claim(&self, job: JobId, claim: &Claim) -> Result<Claimed, FileError> {
        let inbox = match Dir::open(&self.settings.inbox)?.descend(&claim.pair.folder) {
            Ok(inbox) => inbox,
            Err(error) if error.trouble() == Trouble::Vanished => return Ok(Claimed::Changed),
            Err(error) if error.trouble() == Trouble::Forbidden => {
                let stat = rustix::fs::lstat(&error.path).ok();
                return Ok(Claimed::Refused(Refusal::Unreadable(why(&error, stat, "rx"))));
            }
            Err(error) => return Err(error),
        };
        let taken = self.note_down(job, claim).and_then(|dir| take(&inbox, &dir, claim));
        match taken {
            Ok(Taken::All) => Ok(Claimed::Taken),
            Ok(Taken::NotAll) => {
                self.put_back(job)?;
                Ok(Claimed::Changed)
            }
            Ok(Taken::Refused(refusal)) => {
                self.put_back(job)?;
                Ok(Claimed::Refused(refusal))
            }
            Err(error) => {
                if let Err(second) = self.put_back(job) {
                    tracing::warn!(job_id = %job, error = %second, "a claim failed and waits in work/ to be put back");
                }
                Err(error)
            }
        }
    }

    /// Makes the job's folder with its note, whole or not at all; both are durable then.
    fn note_down(&self, job: JobId, claim: &Claim) -> Result<Dir, FileError> {
        let (work, text) = (self.work_now()?, note_text(job, claim));
        if let Some(dir) = self.spares.take(&work, &job_name(job), text.as_bytes())? {
            work.sync()?;
            return Ok(dir);
        }
        work.make_child(&job_name(job))?;
        let dir = work.child(&job_name(job))?;
        dir.replace(&own_name(NOTE), &own_name(NOTE_BESIDE), text.as_bytes())?;
        work.sync()?;
        Ok(dir)
    }

    /// Puts the files of a job's folder back into the inbox, under their names or, where one is taken, all under the same
    /// number, and takes the job's folder away. Does nothing if there is no such folder. Blocks.
    ///
    /// # Errors
    /// A file operation failed; calling it again goes on where it stopped.
    pub fn put_back(&self, job: JobId) -> Result<(), FileError> {
        // Nothing was made, or it is away already.
        let Some(dir) = self.job_dir(job)? else { return self.clear_work(job) };
        let Some(note) = self.note(job)? else {
            // Without a note no file was moved.
            return self.clear_work(job);
        };
        let inbox = Dir::open(&self.settings.inbox)?.make(&note.pair.folder)?;
        for _ in 0..PUT_BACK_TRIES {
            let number = free_number(job, &dir, &inbox, &note)?;
            if give_back(&dir, &inbox, &note_names(job, &note, number))? {
                inbox.sync()?;
                dir.sync()?;
                return self.clear_work(job);
            }
        }
        Err(FileError {
            doing: "put back (every name is taken)",
            path: dir.path().to_owned(),
            source: std::io::ErrorKind::ResourceBusy.into(),
        })
    }

    /// What the note in a job's folder says; `None` if there is none that is whole. Blocks.
    ///
    /// # Errors
    /// The note cannot be read.
    pub fn note(&self, job: JobId) -> Result<Option<Claim>, FileError> {
        let Some(dir) = self.job_dir(job)? else { return Ok(None) };
        Ok(dir.read(&own_name(NOTE), NOTE_BYTES_MAX)?.and_then(|bytes| read_note(&bytes)))
    }

    /// Opens the picture and the sidecar in a job's folder; what is not there is `None`. Blocks.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn open_claimed(&self, job: JobId) -> Result<(Option<std::fs::File>, Option<std::fs::File>), FileError> {
        let Some(dir) = self.job_dir(job)? else { return Ok((None, None)) };
        Ok((dir.open_file(&own_name(PICTURE))?, dir.open_file(&own_name(SIDECAR))?))
    }
}

/// Moves the files out; false if somebody took one of the names since it was chosen.
fn give_back(dir: &Dir, inbox: &Dir, names: &Names) -> Result<bool, FileError> {
    for (own, new) in [(PICTURE, names.picture.as_ref()), (SIDECAR, names.sidecar.as_ref())] {
        let Some(new) = new else { continue };
        match dir.rename(&own_name(own), inbox, new)? {
            Renamed::Moved | Renamed::Gone => {}
            Renamed::Taken => return Ok(false),
            // Not the inbox that the pair came from: an empty mount point, or another disk.
            Renamed::OtherMount => {
                return Err(FileError {
                    doing: "put back (it is on another mount than the work folder)",
                    path: inbox.path_of(new),
                    source: std::io::ErrorKind::CrossesDevices.into(),
                });
            }
        }
    }
    Ok(true)
}

/// Moves the files in. A file that may not be read is not worth moving: it could neither be synced nor hashed.
fn take(inbox: &Dir, dir: &Dir, claim: &Claim) -> Result<Taken, FileError> {
    let pictures = claim.picture.iter().map(|file| (file, PICTURE));
    let files: Vec<_> = pictures.chain(claim.sidecar.iter().map(|file| (file, SIDECAR))).collect();
    let mut opened = Vec::with_capacity(files.len());
    for ((name, _), _) in &files {
        match inbox.open_file(name) {
            Err(error) if error.trouble() == Trouble::Forbidden => {
                return Ok(Taken::Refused(Refusal::Unreadable(why(&error, inbox.stat(name)?, "r"))));
            }
            // What it is by now is seen after the move.
            file => opened.push(file.ok().flatten()),
        }
    }
    for (place, ((name, identity), own)) in files.iter().enumerate() {
        let own = own_name(own);
        match inbox.rename(name, dir, &own) {
            Ok(Renamed::Moved) => {}
            Ok(Renamed::Gone | Renamed::Taken | Renamed::OtherMount) => return Ok(Taken::NotAll),
            // The note could be written to `work/`, so it is the inbox that refuses. Without the right to write it refuses every
            // name; anything else, as a mark of chattr, is the file's own.
            Err(error) if error.trouble() == Trouble::Forbidden => {
                let of_the_folder = place == 0 && error.source.raw_os_error() == Some(Errno::ACCESS.raw_os_error());
                let refused = if of_the_folder {
                    let stat = rustix::fs::fstat(inbox.fd()).ok();
                    why(&FileError { path: inbox.path().to_owned(), ..error }, stat, "wx")
                } else {
                    format!("{}: {}", inbox.path_of(name).display(), error.source)
                };
                return Ok(Taken::Refused(Refusal::Unmovable(refused)));
            }
            Err(error) => return Err(error),
        }
        let is_same = |stat: &Stat| same_content(&Identity::of(stat), identity);
        if !dir.stat(&own)?.as_ref().is_some_and(is_same) {
            return Ok(Taken::NotAll);
        }
    }
    for (((_, identity), own), file) in files.iter().zip(opened) {
        let own = own_name(own);
        // What was opened by its name may be another file than what was moved.
        let file =
            file.filter(|file| rustix::fs::fstat(file).is_ok_and(|stat| Identity::of(&stat).same_file(identity)));
        match file {
            Some(file) => dir.sync_open(&own, &file)?,
            None => dir.sync_file(&own)?,
        }
    }
    dir.sync()?;
    inbox.sync()?;
    Ok(Taken::All)
}

/// Why a right is missing on what `error` and `stat` tell of, and the command that gives it.
fn why(error: &FileError, stat: Option<Stat>, wanted: &str) -> String {
    let forbidden = error.source.raw_os_error() == Some(Errno::ACCESS.raw_os_error());
    match stat {
        Some(stat) if forbidden => scan::remedy(&stat, wanted, &error.path),
        // As of a file that nobody may change (chattr +i), or of one in a sticky folder.
        Some(_) | None => format!("{}: {}", error.path.display(), error.source),
    }
}

/// The first number under which everything that is still here can go back, and under which what went back already lies.
fn free_number(job: JobId, dir: &Dir, inbox: &Dir, claim: &Claim) -> Result<u32, FileError> {
    let mut free_only = None;
    for number in 1..NUMBER_MAX {
        let names = note_names(job, claim, number);
        let picture = claim.picture.as_ref().zip(names.picture.as_ref()).map(|((_, id), name)| (PICTURE, name, id));
        let mut free = true;
        let mut together = true;
        let sidecar = claim.sidecar.as_ref().zip(names.sidecar.as_ref()).map(|((_, id), name)| (SIDECAR, name, id));
        for (own, name, identity) in picture.into_iter().chain(sidecar) {
            let lies = inbox.stat(name)?;
            if dir.holds(&own_name(own))? {
                free &= lies.is_none() || dir.is_other_name(&own_name(own), inbox, name)?;
            } else {
                together &= lies.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (identity.device, identity.inode));
            }
        }
        if free && together {
            return Ok(number);
        }
        if free && free_only.is_none() {
            free_only = Some(number);
        }
        // The other half was taken away by its user: then any free number will do, and looking on is idle.
        if free_only.is_some_and(|first| number > first + 8) {
            break;
        }
    }
    Ok(free_only.unwrap_or(NUMBER_MAX))
}

fn note_names(job: JobId, claim: &Claim, number: u32) -> Names {
    let picture = claim.picture.as_ref().map(|(name, _)| name);
    let sidecar = claim.sidecar.as_ref().map(|(name, _)| name);
    Names::of(&claim.pair.stem, picture, sidecar, number, &job.short())
}

fn note_text(job: JobId, claim: &Claim) -> String {
    let file = |(name, identity): &(FileName, Identity)| NoteFile {
        name: name.to_string(),
        name_hex: hex(name.as_bytes()),
        device: identity.device,
        inode: identity.inode,
        bytes: identity.size,
        modified_ns: identity.mtime_ns,
    };
    let note = Note {
        job: job.to_string(),
        pair: claim.pair.to_string(),
        folder_hex: hex(claim.pair.folder.as_bytes()),
        stem_hex: hex(claim.pair.stem.as_bytes()),
        picture: claim.picture.as_ref().map(file),
        sidecar: claim.sidecar.as_ref().map(file),
    };
    serde_yaml::to_string(&note).expect("a note is made of strings and numbers")
}

fn read_note(bytes: &[u8]) -> Option<Claim> {
    let note: Note = serde_yaml::from_slice(bytes).ok()?;
    let file = |file: NoteFile| {
        let identity = Identity {
            device: file.device,
            inode: file.inode,
            size: file.bytes,
            mtime_ns: file.modified_ns,
            // A rename changes it, so it would tell nothing.
            ctime_ns: 0,
        };
        Some((FileName::new(unhex(&file.name_hex)?)?, identity))
    };
    let picture = match note.picture {
        Some(picture) => Some(file(picture)?),
        None => None,
    };
    let sidecar = match note.sidecar {
        Some(sidecar) => Some(file(sidecar)?),
        None => None,
    };
    Some(Claim {
        pair: PairName { folder: Folder::new(unhex(&note.folder_hex)?)?, stem: FileName::new(unhex(&note.stem_hex)?)? },
        picture,
        sidecar,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 4 * name::NAME_BYTES_MAX * 16 {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(pair).collect()
}

/// Whether this is the same file with the same content; a rename in between does not count.
fn same_content(a: &Identity, b: &Identity) -> bool {
    a.same_file(b) && (a.size, a.mtime_ns) == (b.size, b.mtime_ns)
}
