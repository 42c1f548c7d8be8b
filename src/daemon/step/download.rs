//! The download: to a temporary name in the outbox, checked and synced before it is recorded.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::ending::condemn;
use super::poll::bad_link;
use super::{News, Stepped, fail, late_failure, wait};
use crate::api::{DownloadError, Downloaded, Part};
use crate::daemon::clock::TakenUp;
use crate::daemon::shells::{Shells, StepError, blocking};
use crate::job::state::{Event, Finish, Publication, State, Video};
use crate::job::{Job, Reason, VideoLink};
use crate::spool::Spool;
use crate::spool::durable::FileError;

/// A link that is refused so soon after it was given was never good.
const LINK_FRESH: Duration = Duration::from_secs(60);

/// No link lives longer.
const LINK_LIFE: Duration = Duration::from_secs(60 * 60);

pub(super) async fn download(
    shells: &Shells,
    job: Job,
    part: Option<Part>,
    taken_up: Option<TakenUp>,
) -> Result<Stepped, StepError> {
    let (State::Ready { finish, link, task }, Some(taken_up)) = (job.state.clone(), taken_up) else {
        return Err(StepError::Bug(format!("fetched while {}", job.state.label())));
    };
    let mut part = match part {
        Some(part) => part,
        None => new_part(shells, &job).await?,
    };
    let tried = fetch(shells, &link, &mut part).await;
    let overdue = taken_up.age(Instant::now()).may_be_given_up(&shells.policy);
    let link_age = Timestamp::now().duration_since(job.since).unsigned_abs();
    match tried {
        None => Ok(Stepped { part: Some(part), ..Stepped::with(job) }),
        Some(Ok(downloaded)) => {
            let video = Video {
                bytes: downloaded.bytes,
                sha256: downloaded.sha256,
                width: downloaded.video.width,
                height: downloaded.video.height,
                seconds: downloaded.video.seconds,
            };
            let (spool, owner) = (shells.spool.clone(), job.clone());
            let (outbox, number) = blocking(move || {
                let outbox = spool.keep_part(&owner)?;
                Ok::<_, FileError>((outbox, spool.number_for_delivery(&owner, 1)?))
            })
            .await?;
            let publication = Publication {
                temporary: Spool::part_name(job.id),
                outbox,
                number,
                former: Vec::new(),
                delivered_at: Timestamp::now(),
            };
            let job = shells.record(&job, Event::Fetched { video, publication }, Vec::new()).await?;
            Ok(Stepped::with(job).and(News::TransferDone))
        }
        Some(Err(error @ DownloadError::Stale { .. })) if link_age < LINK_FRESH => {
            tracing::warn!(job_id = %job.id, "{}: {error}, and it is fresh", job.pair);
            // Once, it may have gone stale within the transfer. If the next is refused too, perhaps it is for the range.
            let part = (finish.bad_links == 0).then_some(part);
            Ok(Stepped { part, ..bad_link_or_give_up(shells, job, finish, overdue, error.to_string()).await? })
        }
        Some(Err(DownloadError::Stale { .. })) => {
            let job = shells.record(&job, Event::LinkStale, Vec::new()).await?;
            Ok(Stepped { part: Some(part), ..Stepped::with(job) })
        }
        Some(Err(error @ DownloadError::Broken { retry_after, .. })) => {
            tracing::debug!(job_id = %job.id, "{}: {error}", job.pair);
            let has_had_its_time = link_age > LINK_LIFE.min(shells.policy.give_up_after);
            if has_had_its_time && overdue {
                let failure = late_failure(Reason::DownloadFailed, error.to_string(), &task, None);
                return Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?));
            }
            if has_had_its_time {
                // Perhaps another link leads to a server that works.
                let job = shells.record(&job, Event::LinkStale, Vec::new()).await?;
                return Ok(Stepped { part: Some(part), ..Stepped::with(job) });
            }
            let later = Stepped { part: Some(part), failed: true, wait: wait(retry_after), ..Stepped::with(job) };
            Ok(later.and(News::TransferFailed(error.to_string())))
        }
        Some(Err(error @ (DownloadError::NotAVideo { .. } | DownloadError::Forbidden { .. }))) => {
            tracing::warn!(job_id = %job.id, "{}: {error}", job.pair);
            bad_link_or_give_up(shells, job, finish, overdue, error.to_string()).await
        }
        Some(Err(DownloadError::Local { path, source })) => {
            // Where its folder is gone, or the name is somebody else's by now, only a new part in a new folder helps.
            let is_lost = matches!(
                source.kind(),
                ErrorKind::NotFound
                    | ErrorKind::NotADirectory
                    | ErrorKind::AlreadyExists
                    | ErrorKind::StaleNetworkFileHandle
            );
            let part = (!is_lost).then_some(part);
            let error = FileError { doing: "write", path, source };
            Ok(Stepped { part, ..fail(job, &StepError::File(error)) })
        }
    }
}

/// One try to fetch; `None` if the daemon stops.
async fn fetch(shells: &Shells, link: &VideoLink, part: &mut Part) -> Option<Result<Downloaded, DownloadError>> {
    tokio::select! {
        biased;
        // Ending a transfer loses nothing: the next start fetches again.
        () = shells.stop.cancelled() => None,
        tried = shells.client.download(link, part) => Some(tried),
    }
}

async fn bad_link_or_give_up(
    shells: &Shells,
    job: Job,
    finish: Finish,
    overdue: bool,
    message: String,
) -> Result<Stepped, StepError> {
    if overdue && let Some(task) = job.state.task() {
        let failure = late_failure(Reason::DownloadFailed, message, task, None);
        return Ok(Stepped::with(condemn(shells, &job, failure, Vec::new()).await?));
    }
    Ok(Stepped::with(bad_link(shells, &job, Some(finish)).await?).and(News::LinkBad(message)))
}

/// A part in the outbox, where nothing of an earlier run lies any more.
async fn new_part(shells: &Shells, job: &Job) -> Result<Part, StepError> {
    let (spool, owner) = (shells.spool.clone(), job.clone());
    let path = blocking(move || {
        spool.drop_part(&owner)?;
        Ok::<_, FileError>(spool.outbox_dir(&owner.pair)?.path_of(&Spool::part_name(owner.id)))
    })
    .await?;
    Ok(Part::new(path))
}
