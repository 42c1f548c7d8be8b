//! `work/.suspects`: which pairs were being read when the daemon died, and how often that has happened.
//!
//! Reading foreign bytes is the one thing that a dropped file makes this program do. Should a file ever bring it down, systemd would
//! start it again and the same file would bring it down again. So what is about to be read is noted before, and the note is
//! cleared after. A process that dies leaves its notes behind: what they name is suspect.
//!
//! - A suspect is read alone, so that a second death has one suspect only. Innocents who were in hand by chance are then read well,
//!   and nothing is held against them any more.
//! - A pair is the same for as long as device, inode, size and time of change of its files are: an edited pair starts anew.
//! - Deaths in the inbox and after the claim are counted apart: reading well in one place is no proof for the other.
//! - After [`DEATHS_MAX`] deaths in a row it is not read any more. A panic counts as a death, at once; it ends nothing but that
//!   reading.
//! - Being told to stop is no death, nor is the end of the machine: notes of another boot count for nothing.
//!
//! Nothing here is synced, for what the process wrote survives its death: a note costs a microsecond. A note that cannot be written
//! keeps nobody from being read.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{Mode, OFlags};

use super::durable::{Dir, own_name};
use super::scan::Identity;
use crate::world;

/// Deaths in a row after which a pair is not read any more.
pub const DEATHS_MAX: u32 = 3;

/// The file's name in `work/`.
const SUSPECTS: &str = ".suspects";

/// Bytes of one line, its end included: room for all numbers at their longest.
const LINE_BYTES: usize = 256;

/// Lines that are read at the start. What lies beyond is forgotten: so many cannot be in hand at once.
const LINES_MAX: usize = 4096;

/// What makes one file the same file with the same content.
type Same = (u64, u64, u64, i64);

/// The files of a pair, as they are known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Files {
    picture: Option<Same>,
    sidecar: Option<Same>,
}

/// Where a pair is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Where it was dropped.
    Inbox,
    /// In its job's folder.
    Work,
}

/// How the reading of a pair ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading<T> {
    /// With a result.
    Ended(T),
    /// It panicked, for the `times`-th time in a row.
    Panicked {
        /// How often.
        times: u32,
    },
    /// It was not begun: the pair has been the end of too many.
    Refused,
}

/// One note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Note {
    files: Files,
    place: Place,
    /// Deaths in a row while it was in hand there.
    deaths: u32,
    /// Whether it is being read.
    in_hand: bool,
}

/// The notes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Suspects(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held by all who read; a suspect's reader holds it alone.
    company: RwLock<()>,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    /// `None`: the notes are kept in memory alone.
    file: Option<File>,
    /// The file's lines after the first.
    notes: Vec<Option<Note>>,
    /// The daemon was told to stop: from now on its end is no death.
    closed: bool,
}

impl Files {
    /// The files of these identities.
    pub fn new(picture: Option<&Identity>, sidecar: Option<&Identity>) -> Self {
        let same = |identity: &Identity| (identity.device, identity.inode, identity.size, identity.mtime_ns);
        Self { picture: picture.map(same), sidecar: sidecar.map(same) }
    }
}

impl Suspects {
    /// Takes up the notes in `work`: what was in hand when the last run died has one more death. Never fails: without the file the
    /// notes are kept in memory, where panics are still counted. Blocks.
    ///
    /// `boot` names this boot of the machine. Where nobody knows it is empty, and all ends count: better one pair too many set aside than
    /// one that ends the daemon for ever.
    pub fn open(work: &Dir, boot: &str) -> Self {
        let (file, notes) = match take_up(work, boot) {
            Ok((file, notes)) => (Some(file), notes),
            Err(error) => {
                let path = work.path_of(&own_name(SUSPECTS));
                tracing::warn!(
                    "cannot use {}: {error}; a pair that kills the daemon would not be known again",
                    path.display()
                );
                (None, Vec::new())
            }
        };
        if !notes.is_empty() {
            tracing::warn!("{} pairs are read alone: an earlier run died while it read them", notes.len());
        }
        let book = Book { file, notes: notes.into_iter().map(Some).collect(), closed: false };
        Self(Arc::new(Shared { company: RwLock::default(), book: Mutex::new(book) }))
    }

    /// Reads a pair, which lies at `path`, with `read`; not if it has been the end of too many. Blocks, for a suspect until nobody
    /// else reads.
    pub fn read<T>(
        &self,
        place: Place,
        files: Files,
        path: impl FnOnce() -> PathBuf,
        read: impl FnOnce() -> T,
    ) -> Reading<T> {
        let deaths = self.deaths(files);
        if deaths >= DEATHS_MAX {
            return Reading::Refused;
        }
        // Nothing but silence is guarded, so a reader that panicked has left nothing half done.
        let (_alone, _together) = match deaths {
            0 => (None, Some(self.0.company.read().unwrap_or_else(PoisonError::into_inner))),
            _ => (Some(self.0.company.write().unwrap_or_else(PoisonError::into_inner)), None),
        };
        let line = self.book().take_in_hand(place, files);
        // What `read` had in its hands is dropped with it, and nothing of it is looked at again.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            world::about_to_judge(path);
            read()
        }));
        match ended {
            Ok(result) => {
                self.book().set(line, None);
                Reading::Ended(result)
            }
            Err(_) => Reading::Panicked { times: self.book().died(line) },
        }
    }

    /// How many deaths in a row these files have been; the most of any place.
    pub fn deaths(&self, files: Files) -> u32 {
        self.book().notes.iter().flatten().filter(|note| note.files == files).map(|note| note.deaths).max().unwrap_or(0)
    }

    /// Forgets what is held against these files: they have been set aside, and may be tried anew.
    pub fn forget(&self, files: Files) {
        let mut book = self.book();
        for line in 0..book.notes.len() {
            if book.notes[line].is_some_and(|note| note.files == files && !note.in_hand) {
                book.set(line, None);
            }
        }
    }

    /// The daemon was told to stop: whatever is still being read when it ends is no suspect for that.
    pub fn close(&self) {
        let mut book = self.book();
        book.closed = true;
        for line in 0..book.notes.len() {
            if book.notes[line].is_some_and(|note| note.in_hand) {
                book.write(line);
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Each change of the book is one assignment.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Notes that files are about to be read; the line of the note.
    fn take_in_hand(&mut self, place: Place, files: Files) -> usize {
        let is_its_own =
            |note: &Option<Note>| note.is_some_and(|note| (note.place, note.files) == (place, files) && !note.in_hand);
        let own = self.notes.iter().position(is_its_own);
        let line = own.or_else(|| self.notes.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.notes.push(None);
            self.notes.len() - 1
        });
        let deaths = self.notes[line].map_or(0, |note| note.deaths);
        self.set(line, Some(Note { files, place, deaths, in_hand: true }));
        line
    }

    /// The reading of that line ended in a panic: one more death; how many there are.
    fn died(&mut self, line: usize) -> u32 {
        let Some(note) = self.notes[line] else { return 0 };
        let deaths = note.deaths + 1;
        self.set(line, Some(Note { deaths, in_hand: false, ..note }));
        deaths
    }

    fn set(&mut self, line: usize, note: Option<Note>) {
        self.notes[line] = note;
        self.write(line);
    }

    /// Writes one line as it is by now.
    fn write(&mut self, line: usize) {
        let Some(file) = &self.file else { return };
        // Of what is read while the daemon stops only what was held against it before is kept.
        let note = self.notes[line].filter(|note| !self.closed || note.deaths > 0);
        let text = text_of(note.map(|note| Note { in_hand: note.in_hand && !self.closed, ..note }));
        let offset = ((line + 1) * LINE_BYTES) as u64;
        if let Err(error) = world::jot(file, offset, text.as_bytes()) {
            tracing::debug!("cannot note what is being read: {error}");
        }
    }
}

/// Opens the file, reads what an earlier run left there, and writes what follows from it.
fn take_up(work: &Dir, boot: &str) -> std::io::Result<(File, Vec<Note>)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let name = own_name(SUSPECTS);
    let file = world::open_notes(work.at(&name), flags, Mode::RUSR | Mode::WUSR)?;
    let mut bytes = Vec::new();
    (&file).take((LINES_MAX * LINE_BYTES) as u64).read_to_end(&mut bytes)?;
    let mut notes = read_notes(&bytes, boot);
    for note in &mut notes {
        note.deaths += u32::from(std::mem::take(&mut note.in_hand));
    }
    let lines = (bytes.len().div_ceil(LINE_BYTES)).max(notes.len() + 1);
    let mut text = line_of(boot);
    text.extend((1..lines).map(|line| text_of(notes.get(line - 1).copied())));
    world::jot(&file, 0, text.as_bytes())?;
    Ok((file, notes))
}

/// The notes in a file's bytes. What is no note, as after a power cut, says nothing.
fn read_notes(bytes: &[u8], boot: &str) -> Vec<Note> {
    let whole = |line: &&[u8]| line.len() == LINE_BYTES && line.ends_with(b"\n");
    let text = |line| std::str::from_utf8(line).unwrap_or_default().trim_end();
    let mut lines = bytes.chunks(LINE_BYTES).filter(whole).map(text);
    match lines.next() {
        Some(first) if first == boot => lines.filter_map(parse).collect(),
        Some(_) | None => Vec::new(),
    }
}

fn line_of(text: &str) -> String {
    format!("{text:<width$}\n", width = LINE_BYTES - 1)
}

/// The line of a note; one of blanks where there is none.
fn text_of(note: Option<Note>) -> String {
    let Some(Note { files, place, deaths, in_hand }) = note else { return line_of("") };
    let file = |file: Option<Same>| match file {
        Some((device, inode, size, mtime)) => format!("{device}:{inode}:{size}:{mtime}"),
        None => "-".to_owned(),
    };
    let state = if in_hand { "reading" } else { "suspect" };
    line_of(&format!("{state} {deaths} {} {} {}", place.label(), file(files.picture), file(files.sidecar)))
}

fn parse(line: &str) -> Option<Note> {
    let file = |text: &str| match text {
        "-" => Some(None),
        _ => {
            let mut parts = text.split(':');
            let mut next = || parts.next();
            let (device, inode, size, mtime) = (next()?, next()?, next()?, next()?);
            let same = (device.parse().ok()?, inode.parse().ok()?, size.parse().ok()?, mtime.parse().ok()?);
            next().is_none().then_some(Some(same))
        }
    };
    let words: Vec<&str> = line.split(' ').collect();
    let [state, deaths, place, picture, sidecar] = words[..] else { return None };
    let in_hand = match state {
        "reading" => true,
        "suspect" => false,
        _ => return None,
    };
    let files = Files { picture: file(picture)?, sidecar: file(sidecar)? };
    Some(Note { files, place: Place::parse(place)?, deaths: deaths.parse().ok()?, in_hand })
}

impl Place {
    fn label(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Work => "work",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Inbox, Self::Work].into_iter().find(|place| place.label() == text)
    }
}

#[cfg(test)]
mod tests;
