//! `work/.intents`: the witness beside the ledger.
//!
//! Each submission is announced by a line `<job> <number>`, synced before the request leaves. A ledger that was lost or
//! restored from a backup cannot then make us pay again: a job whose number here is higher than the ledger's is in doubt.
//! Lines of many submissions share one sync. A line that a crash cut off does not count; nothing was sent for it. It is the
//! last one: a file with any other line that makes no sense is not ours any more, and is taken for missing. (A power cut may garble more
//! than one line of those that shared a sync that was never had; then, too, the file is taken for missing, to be on the safe side.)

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use rustix::fs::OFlags;
use tokio::sync::{mpsc, oneshot};

use super::durable::{Dir, FileError, own_name};
use crate::job::JobId;
use crate::world;

/// The file's name in `work/`.
pub const INTENTS: &str = ".intents";

/// Written beside, then renamed.
const INTENTS_BESIDE: &str = ".intents.new";

/// Announcements that may wait for the writer.
const WAITING_MAX: usize = 4096;

/// Reads what was announced: the highest number of each job; `None` if there is no such file, or one that is damaged. Blocks.
///
/// # Errors
/// The file cannot be read.
pub fn read(work: &Dir) -> Result<Option<HashMap<JobId, u32>>, FileError> {
    let name = own_name(INTENTS);
    let Some(file) = work.open_file(&name)? else { return Ok(None) };
    let failed = |source| FileError { doing: "read", path: work.path_of(&name), source };
    let mut lines = BufReader::new(file);
    let mut highest = HashMap::new();
    let mut line = Vec::new();
    // Read to its end however long it is: a line that is passed over could be paid for twice.
    while lines.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        match parse(&line) {
            Some((job, number)) => {
                let entry = highest.entry(job).or_insert(number);
                *entry = number.max(*entry);
            }
            None if line.ends_with(b"\n") => {
                tracing::warn!(
                    "{} is damaged and not believed: what the ledger does not know to be accepted counts as in doubt",
                    work.path_of(&name).display()
                );
                return Ok(None);
            }
            // The end, as it was found: what is written behind it from now on would begin in the middle of a line.
            None => break,
        }
        line.clear();
    }
    Ok(Some(highest))
}

fn parse(line: &[u8]) -> Option<(JobId, u32)> {
    let (job, number) = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?.split_once(' ')?;
    Some((JobId::parse(job)?, number.parse().ok()?))
}

/// Announces submissions. Cheap to clone; the thread behind it ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Intents {
    lines: mpsc::Sender<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    answer: oneshot::Sender<Result<(), FileError>>,
}

impl Intents {
    /// Rewrites the file to hold `kept` and nothing else, at one instant, and opens it for more. Blocks.
    ///
    /// # Errors
    /// The file cannot be written; it is then as it was.
    pub fn start(work: &Dir, kept: &[(JobId, u32)]) -> Result<Self, FileError> {
        let text: String = kept.iter().map(|(job, number)| format!("{job} {number}\n")).collect();
        let name = own_name(INTENTS);
        work.replace(&name, &own_name(INTENTS_BESIDE), text.as_bytes())?;
        let path = work.path_of(&name);
        let failed = |doing, source| FileError { doing, path: path.clone(), source };
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = world::open(work.at(&name), flags).map_err(|e| failed("open", e.into()))?;
        let (lines, waiting) = mpsc::channel(WAITING_MAX);
        let file = Appender { file, bytes: text.len() as u64, torn: false, path: path.clone() };
        std::thread::Builder::new()
            .name("intents".to_owned())
            .spawn(move || file.run(waiting))
            .map_err(|e| failed("start the writer of", e))?;
        Ok(Self { lines })
    }

    /// A witness that writes nothing: every announcement fails. For before the real one is started.
    pub fn closed() -> Self {
        Self { lines: mpsc::channel(1).0 }
    }

    /// Announces that `job` is about to be submitted for the `number`-th time; returns when the line is on disk.
    ///
    /// # Errors
    /// It could not be written: nothing may be sent.
    pub async fn announce(&self, job: JobId, number: u32) -> Result<(), FileError> {
        let closed = || FileError {
            doing: "write (its writer has ended)",
            path: PathBuf::from(INTENTS),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let (answer, answered) = oneshot::channel();
        self.lines.send(Line { text: format!("{job} {number}\n"), answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

struct Appender {
    file: File,
    /// Bytes of whole lines.
    bytes: u64,
    /// Whether there may be a part of a line behind them.
    torn: bool,
    path: PathBuf,
}

impl Appender {
    fn run(mut self, mut waiting: mpsc::Receiver<Line>) {
        let mut batch = Vec::new();
        while waiting.blocking_recv_many(&mut batch, WAITING_MAX) > 0 {
            let text: String = batch.iter().map(|line| line.text.as_str()).collect();
            let written = self.append(text.as_bytes());
            for line in batch.drain(..) {
                let answer = match &written {
                    Ok(()) => Ok(()),
                    Err(e) => Err(FileError {
                        doing: "append to",
                        path: self.path.clone(),
                        source: io::Error::new(e.kind(), e.to_string()),
                    }),
                };
                // A caller that has gone away sends nothing; its line does no harm.
                drop(line.answer.send(answer));
            }
        }
    }

    /// Appends and syncs. What a failed write left behind is cut off before anything else is written, so that the next line
    /// starts on a line of its own.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.torn {
            world::set_length(&self.file, self.bytes)?;
        }
        self.torn = true;
        world::write(&self.file, text)?;
        world::sync_content(&self.file)?;
        self.torn = false;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
