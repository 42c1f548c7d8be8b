//! The two ends of a job: its video is published, or its pair is rejected.
//!
//! Publishing: receipt, video, archive. Rejecting: pair, report. Both can be cut off anywhere and done again: what lies under a
//! final name and is ours (the recorded hash, or a document that names the job) was done already; what is not ours is left
//! alone, and all the job's files get the next free number. The caller writes that number to the ledger before it goes on.

use std::io::Read;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::Spool;
use super::claim::{NUMBER_MAX, PICTURE, SIDECAR};
use super::durable::{Dir, FileError, Renamed, Trouble, hidden, own_name};
use crate::job::name::{NAME_BYTES_MAX, derived, split_extension};
use crate::job::report::{self, Owner};
use crate::job::state::{Finish, InputFile, Job, Names, Publication, Rejection, Video};
use crate::job::{Failure, FileName, JobId, PairName, Task};

/// What a report is called after its pair.
const REPORT: &[u8] = b".error.yaml";

/// How an end that did not fail went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finished {
    /// Everything lies where it belongs, and that is durable.
    Done,
    /// A name is taken: record this number, then call again.
    Renumber(u32),
    /// The temporary video is not there, and neither is the outbox folder that it was written to.
    VideoLost,
}

impl Spool {
    /// The temporary name of a job's video.
    pub fn part_name(job: JobId) -> FileName {
        own_name(&format!(".{job}.part"))
    }

    /// Where that is.
    pub fn part_path(&self, job: &Job) -> PathBuf {
        self.settings.outbox.join(job.pair.folder.as_path()).join(Self::part_name(job.id).as_path())
    }

    /// The outbox folder of a pair, made if it is missing. Blocks.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn outbox_dir(&self, pair: &PairName) -> Result<Dir, FileError> {
        Dir::open(&self.settings.outbox)?.make(&pair.folder)
    }

    /// Syncs a fetched video and its folder; returns the folder's device and inode. Blocks.
    ///
    /// # Errors
    /// The disk fails; the video must be fetched again.
    pub fn keep_part(&self, job: &Job) -> Result<(u64, u64), FileError> {
        let dir = self.outbox_dir(&job.pair)?;
        let part = Self::part_name(job.id);
        if !dir.holds(&part)? {
            // Its folder was moved away, or a cleaner took it: what was fetched is not where it must be.
            let source = std::io::ErrorKind::NotFound.into();
            return Err(FileError { doing: "keep (somebody took it away)", path: dir.path_of(&part), source });
        }
        dir.sync_file(&Self::part_name(job.id))?;
        dir.sync()?;
        dir.identity()
    }

    /// Takes a job's temporary video away, if there is one, and the beginning of its receipt. Blocks.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn drop_part(&self, job: &Job) -> Result<(), FileError> {
        match Dir::open(&self.settings.outbox)?.descend(&job.pair.folder) {
            Ok(outbox) => {
                let video = outbox.unlink(&Self::part_name(job.id))?;
                let receipt = outbox.unlink(&document_part(job.id))?;
                // Else a power cut would bring them back when their job is over.
                if video || receipt { outbox.sync() } else { Ok(()) }
            }
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The first number from `least` on under which all names of a delivery are free. An archive that cannot be looked at now holds
    /// no fetched video up: the archived pair finds a number of its own. Blocks.
    ///
    /// # Errors
    /// The outbox cannot be looked at.
    pub fn number_for_delivery(&self, job: &Job, least: u32) -> Result<u32, FileError> {
        let outbox = self.outbox_dir(&job.pair)?;
        let archive = match self.settings.delete_on_success {
            true => None,
            false => Dir::open(&self.settings.archive).and_then(|archive| archive.descend(&job.pair.folder)).ok(),
        };
        first_free(job, least, |names| {
            let mut free = !outbox.holds(&names.video)? && !outbox.holds(&names.receipt)?;
            if let Some(archive) = &archive {
                free = free
                    && none_holds(archive, names.sidecar.as_ref())?
                    && none_holds(archive, names.picture.as_ref())?;
            }
            Ok(free)
        })
    }

    /// The first number from `least` on under which all names of a rejection are free. Only looks, and makes nothing: an answer
    /// that money depends on waits for this to be recorded. Blocks.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn number_for_rejection(&self, job: &Job, least: u32) -> Result<u32, FileError> {
        let error = match Dir::open(&self.settings.error)?.descend(&job.pair.folder) {
            Ok(error) => error,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(least),
            Err(error) => return Err(error),
        };
        // The report of the job that this one tries again is about to be taken away: what fails again keeps its names.
        let is_free = |report: &FileName| match job.earlier {
            Some(earlier) if error.holds(report)? => is_ours(&error, report, earlier),
            Some(_) | None => error.holds(report).map(|holds| !holds),
        };
        first_free(job, least, |names| {
            Ok(is_free(&names.report)?
                && none_holds(&error, names.sidecar.as_ref())?
                && none_holds(&error, names.picture.as_ref())?)
        })
    }

    /// Publishes a fetched video: receipt, video, archive; takes the job's folder away. `waits`: whether the report of an earlier try that
    /// cannot be taken away now is reason enough to fail. Blocks.
    ///
    /// # Errors
    /// A file operation failed; calling it again goes on where it stopped.
    pub fn publish(
        &self,
        job: &Job,
        task: &Task,
        finish: &Finish,
        video: &Video,
        publication: &Publication,
        waits: bool,
    ) -> Result<Finished, FileError> {
        let outbox = self.outbox_dir(&job.pair)?;
        for former in &publication.former {
            remove_if_ours(&outbox, &job.names(*former).receipt, job.id)?;
        }
        let number = publication.number;
        let names = job.names(number);
        let fetched = outbox.holds(&publication.temporary)?;
        if fetched
            && outbox.holds(&names.video)?
            && !outbox.is_other_name(&publication.temporary, &outbox, &names.video)?
        {
            return Ok(Finished::Renumber(self.number_for_delivery(job, number + 1)?));
        }
        if !fetched && !self.is_published(&outbox, &names.video, video)? && outbox.identity()? != publication.outbox {
            return Ok(Finished::VideoLost);
        }
        let text = report::receipt(job, task, finish, video, number, publication.delivered_at);
        if let Some(text) = text.filter(|_| self.settings.receipt && fetched)
            && !write_document(&outbox, &names.receipt, job.id, &text)?
        {
            return Ok(Finished::Renumber(self.number_for_delivery(job, number + 1)?));
        }
        match outbox.rename(&publication.temporary, &outbox, &names.video)? {
            // Gone: it was renamed before a crash, or its user has taken it already.
            Renamed::Moved | Renamed::Gone => {}
            Renamed::Taken | Renamed::OtherMount => {
                return Ok(Finished::Renumber(self.number_for_delivery(job, number + 1)?));
            }
        }
        outbox.sync()?;
        self.forget_report_at_last(job, waits)?;
        self.archive(job, number)?;
        self.clear_work(job.id)?;
        Ok(Finished::Done)
    }

    /// Rejects a pair: its files to `error/`, then the report; takes the job's folder away. `waits` as with [`Spool::publish`]. Blocks.
    ///
    /// # Errors
    /// A file operation failed; calling it again goes on where it stopped.
    pub fn reject(
        &self,
        job: &Job,
        failure: &Failure,
        rejection: &Rejection,
        waits: bool,
    ) -> Result<Finished, FileError> {
        let error = self.error_dir(&job.pair)?;
        self.forget_report_at_last(job, waits)?;
        let number = rejection.number;
        let names = job.names(number);
        let work = self.job_dir(job.id)?;
        for (own, input, new) in files(job, &names) {
            let own = own_name(own);
            let moved = match &work {
                Some(work) => work.move_to(&own, &error, new)?,
                None => Renamed::Gone,
            };
            match moved {
                Renamed::Moved => {}
                Renamed::Gone => bring_along(&error, job, input, new, &rejection.former)?,
                Renamed::Taken | Renamed::OtherMount => {
                    // The number that is recorded next stands for what lies there by now, too.
                    sync_both(&error, work.as_ref())?;
                    return Ok(Finished::Renumber(self.number_for_rejection(job, number + 1)?));
                }
            }
        }
        for former in &rejection.former {
            remove_if_ours(&error, &job.names(*former).report, job.id)?;
        }
        sync_both(&error, work.as_ref())?;
        let text = report::report(job, failure, number, rejection.failed_at);
        if !write_document(&error, &names.report, job.id, &text)? {
            return Ok(Finished::Renumber(self.number_for_rejection(job, number + 1)?));
        }
        error.sync()?;
        self.clear_work(job.id)?;
        Ok(Finished::Done)
    }

    /// The failed job that a pair tries again: `error/` holds a report under the pair's name, and none of the files that the
    /// report names lies beside it any more. Blocks.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn earlier(&self, pair: &PairName) -> Result<Option<JobId>, FileError> {
        // A missing folder below is no report; a missing error folder is a disk that is not mounted, and then nobody knows.
        let dir = match Dir::open(&self.settings.error)?.descend(&pair.folder) {
            Ok(dir) => dir,
            Err(error) if error.trouble() == Trouble::Vanished => return Ok(None),
            Err(error) => return Err(error),
        };
        let reports = reports_of(&dir, &pair.stem)?;
        if reports.is_empty() {
            return Ok(None);
        }
        let beside = dir.names()?;
        // By its bytes: a file system that folds names finds another pair's, too.
        for report in reports.into_iter().filter(|report| beside.contains(report)) {
            let Some(owner) = owner(&dir, &report)? else { continue };
            let still_there = owner.files.iter().any(|file| beside.iter().any(|name| name.to_string() == *file));
            if !still_there {
                return Ok(Some(owner.job));
            }
        }
        Ok(None)
    }

    /// Takes the report of an earlier job away, which lies under the name of the pair that tries it again. Blocks.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget_report(&self, pair: &PairName, earlier: JobId) -> Result<(), FileError> {
        let dir = match Dir::open(&self.settings.error)?.descend(&pair.folder) {
            Ok(dir) => dir,
            // Somebody has tidied up.
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for report in reports_of(&dir, &pair.stem)? {
            if is_ours(&dir, &report, earlier)? {
                dir.unlink(&report)?;
                dir.sync()?;
            }
        }
        Ok(())
    }

    /// The same at the end of the job, where a crash or a failing disk has left the report: it would make a retry of the next pair of
    /// that name. A folder that is not there holds nothing up, and one that refuses us only as long as the caller `waits`.
    fn forget_report_at_last(&self, job: &Job, waits: bool) -> Result<(), FileError> {
        let Some(earlier) = job.earlier else { return Ok(()) };
        match self.forget_report(&job.pair, earlier) {
            Err(error)
                if error.trouble() == Trouble::Vanished
                    || (!waits && matches!(error.trouble(), Trouble::ReadOnly | Trouble::Forbidden)) =>
            {
                tracing::warn!(job_id = %job.id, "the report of the earlier job is left: {error}: {}", error.source);
                Ok(())
            }
            forgotten => forgotten,
        }
    }

    fn error_dir(&self, pair: &PairName) -> Result<Dir, FileError> {
        Dir::open(&self.settings.error)?.make(&pair.folder)
    }

    fn is_published(&self, outbox: &Dir, name: &FileName, video: &Video) -> Result<bool, FileError> {
        has_hash(outbox, name, &video.sha256)
    }

    /// Archives or deletes the pair of a delivered video. Its video is out under `number`: if that is taken in the archive
    /// since, the archived pair alone gets the next free one, for a video that somebody may already look at is not renamed.
    fn archive(&self, job: &Job, number: u32) -> Result<(), FileError> {
        let Some(work) = self.job_dir(job.id)? else { return Ok(()) };
        if self.settings.delete_on_success {
            work.unlink(&own_name(PICTURE))?;
            work.unlink(&own_name(SIDECAR))?;
            return work.sync();
        }
        let archive = Dir::open(&self.settings.archive)?.make(&job.pair.folder)?;
        let first = number;
        'numbers: for number in first..NUMBER_MAX {
            let names = job.names(number);
            // Looked at before the first file moves, so that picture and sidecar stay together.
            for (own, _, new) in files(job, &names) {
                let own = own_name(own);
                if work.holds(&own)? && archive.holds(new)? && !may_be_copy(&work, &own, &archive, new)? {
                    continue 'numbers;
                }
            }
            let former: Vec<u32> = (first..number).rev().collect();
            for (own, input, new) in files(job, &names) {
                match work.move_to(&own_name(own), &archive, new)? {
                    Renamed::Moved => {}
                    Renamed::Gone => bring_along(&archive, job, input, new, &former)?,
                    Renamed::Taken | Renamed::OtherMount => continue 'numbers,
                }
            }
            break;
        }
        sync_both(&archive, Some(&work))
    }
}

/// Syncs where files went to before where they came from: a power cut may leave them in both, never in neither.
fn sync_both(to: &Dir, from: Option<&Dir>) -> Result<(), FileError> {
    to.sync()?;
    from.map_or(Ok(()), Dir::sync)
}

/// Whether the file of this name in another folder may be what an interrupted move left there: the same file, or one of the
/// same size on another device or mount, which the move itself then compares.
fn may_be_copy(work: &Dir, own: &FileName, to: &Dir, new: &FileName) -> Result<bool, FileError> {
    Ok(match (work.stat(own)?, to.stat(new)?) {
        (Some(a), Some(b)) => (a.st_size, a.st_mtime, a.st_mtime_nsec) == (b.st_size, b.st_mtime, b.st_mtime_nsec),
        (None, _) | (_, None) => false,
    })
}

/// Eight digits of a job that stand for any.
const DIGITS: &str = "00000000";

/// What in `dir` can be the report of a pair called `stem`. A folder of a hundred thousand reports is read only for a name that
/// had to be cut.
fn reports_of(dir: &Dir, stem: &FileName) -> Result<Vec<FileName>, FileError> {
    if stem.as_bytes().len() + REPORT.len() <= NAME_BYTES_MAX {
        let report = derived(stem, 1, REPORT, DIGITS);
        return Ok(if dir.holds(&report)? { vec![report] } else { Vec::new() });
    }
    Ok(dir.names()?.into_iter().filter(|name| is_cut_report_of(name, stem)).collect())
}

/// Whether `name` can be the report of a pair called `stem`, whose name had to be cut and is marked with the eight digits of a job;
/// with an exact sidecar it is cut before the picture's extension.
fn is_cut_report_of(name: &FileName, stem: &FileName) -> bool {
    let (base, extension) = split_extension(stem);
    let exact = FileName::new(base).map(|base| (base, [extension, REPORT].concat()));
    [(stem.clone(), REPORT.to_vec())].into_iter().chain(exact).any(|(base, suffix)| {
        let wanted = derived(&base, 1, &suffix, DIGITS);
        let (name, wanted) = (name.as_bytes(), wanted.as_bytes());
        let end = wanted.len() - suffix.len();
        let beginning = end - DIGITS.len();
        name.len() == wanted.len()
            && name[..beginning] == wanted[..beginning]
            && name[beginning..end].iter().all(u8::is_ascii_hexdigit)
            && name[end..] == suffix
    })
}

/// The files of a job with their names in `work/` and under their final names.
fn files<'a>(job: &'a Job, names: &'a Names) -> impl Iterator<Item = (&'static str, &'a InputFile, &'a FileName)> {
    let picture = job.input.picture.as_ref().zip(names.picture.as_ref());
    let sidecar = job.input.sidecar.as_ref().zip(names.sidecar.as_ref());
    picture
        .map(|(file, name)| (PICTURE, file, name))
        .into_iter()
        .chain(sidecar.map(|(file, name)| (SIDECAR, file, name)))
}

/// Gives a file that an earlier try moved under a former number its new name.
fn bring_along(dir: &Dir, job: &Job, input: &InputFile, new: &FileName, former: &[u32]) -> Result<(), FileError> {
    if dir.holds(new)? {
        return Ok(());
    }
    for number in former {
        let names = job.names(*number);
        let old = if Some(input) == job.input.sidecar.as_ref() { names.sidecar } else { names.picture };
        if let Some(old) = old
            && has_hash(dir, &old, &input.sha256)?
        {
            dir.rename(&old, dir, new)?;
            return Ok(());
        }
    }
    Ok(())
}

fn first_free(
    job: &Job,
    least: u32,
    mut free: impl FnMut(&Names) -> Result<bool, FileError>,
) -> Result<u32, FileError> {
    for number in least..NUMBER_MAX {
        if free(&job.names(number))? {
            return Ok(number);
        }
    }
    Ok(NUMBER_MAX)
}

fn none_holds(dir: &Dir, name: Option<&FileName>) -> Result<bool, FileError> {
    name.map_or(Ok(true), |name| dir.holds(name).map(|holds| !holds))
}

/// The temporary name of a job's document.
fn document_part(job: JobId) -> FileName {
    hidden(&own_name(&format!("{job}.yaml.part")))
}

/// Puts a document under its final name, whole and synced; false if the name is taken by something that is not the job's.
fn write_document(dir: &Dir, name: &FileName, job: JobId, text: &str) -> Result<bool, FileError> {
    if dir.holds(name)? {
        return is_ours(dir, name, job);
    }
    let beside = document_part(job);
    dir.unlink(&beside)?;
    dir.write_new(&beside, text.as_bytes())?;
    match dir.rename(&beside, dir, name)? {
        Renamed::Moved => Ok(true),
        Renamed::Taken | Renamed::Gone | Renamed::OtherMount => {
            dir.unlink(&beside)?;
            is_ours(dir, name, job)
        }
    }
}

/// Whether `name` is a report or a receipt of `job`.
fn is_ours(dir: &Dir, name: &FileName, job: JobId) -> Result<bool, FileError> {
    Ok(owner(dir, name)?.is_some_and(|owner| owner.job == job))
}

/// Whose report or receipt `name` is; `None` if it is neither, or no file that we may read.
fn owner(dir: &Dir, name: &FileName) -> Result<Option<Owner>, FileError> {
    let Some(file) = dir.open_regular(name)? else { return Ok(None) };
    let mut text = Vec::new();
    file.take(report::BYTES_MAX as u64).read_to_end(&mut text).map_err(|source| FileError {
        doing: "read",
        path: dir.path_of(name),
        source,
    })?;
    Ok(std::str::from_utf8(&text).ok().and_then(report::owner))
}

fn remove_if_ours(dir: &Dir, name: &FileName, job: JobId) -> Result<(), FileError> {
    if is_ours(dir, name, job)? {
        dir.unlink(name)?;
    }
    Ok(())
}

/// Whether the file `name` is there and has this SHA-256. A thing that is no regular file has none.
fn has_hash(dir: &Dir, name: &FileName, sha256: &str) -> Result<bool, FileError> {
    let Some(mut file) = dir.open_regular(name)? else { return Ok(false) };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n =
            file.read(&mut buffer).map_err(|source| FileError { doing: "read", path: dir.path_of(name), source })?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    let hexadecimal: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hexadecimal == sha256)
}
