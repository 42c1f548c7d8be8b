//! Why a job failed, in the words of the report.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;

use super::business_code::{self, BusinessCode};
use super::plan::TASK_LIFE;
use super::{Problem, Task};

/// The stable word for a failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The API's own: its word comes from the table of business codes.
    Business(BusinessCode),
    /// The sidecar cannot be used.
    InvalidSidecar,
    /// The picture cannot be used.
    InvalidPicture,
    /// Nobody can say which picture belongs to which sidecar.
    AmbiguousPair,
    /// The other half never came.
    Orphan,
    /// It may have been accepted; nobody can tell.
    InDoubt,
    /// Refused without a business code.
    RequestRefused,
    /// The API does not know the task any more.
    TaskGone,
    /// The task was done well, yet there is no link.
    NoVideo,
    /// The video could not be fetched while its link was alive.
    DownloadFailed,
    /// It crashed the daemon three times.
    Poison,
    /// The operator cancelled it.
    Cancelled,
}

impl Reason {
    /// Every reason but the API's own.
    pub const OURS: [Reason; 11] = [
        Self::InvalidSidecar,
        Self::InvalidPicture,
        Self::AmbiguousPair,
        Self::Orphan,
        Self::InDoubt,
        Self::RequestRefused,
        Self::TaskGone,
        Self::NoVideo,
        Self::DownloadFailed,
        Self::Poison,
        Self::Cancelled,
    ];

    /// The word, snake_case.
    pub fn label(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Business(code) => return business_code::entry(code).reason,
            Self::InvalidSidecar => "invalid_sidecar",
            Self::InvalidPicture => "invalid_picture",
            Self::AmbiguousPair => "ambiguous_pair",
            Self::Orphan => "orphan",
            Self::InDoubt => "in_doubt",
            Self::RequestRefused => "request_refused",
            Self::TaskGone => "task_gone",
            Self::NoVideo => "no_video",
            Self::DownloadFailed => "download_failed",
            Self::Poison => "poison",
            Self::Cancelled => "cancelled",
        })
    }

    /// Reads one of our own words back. Business codes are kept as numbers, so their words are not read.
    pub fn parse_ours(text: &str) -> Option<Self> {
        Self::OURS.into_iter().find(|reason| reason.label() == text)
    }

    /// The business code, where the failure is the API's.
    pub fn code(self) -> Option<BusinessCode> {
        match self {
            Self::Business(code) => Some(code),
            Self::InvalidSidecar
            | Self::InvalidPicture
            | Self::AmbiguousPair
            | Self::Orphan
            | Self::InDoubt
            | Self::RequestRefused
            | Self::TaskGone
            | Self::NoVideo
            | Self::DownloadFailed
            | Self::Poison
            | Self::Cancelled => None,
        }
    }

    /// What it means, a sentence.
    pub fn meaning(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Business(code) => return business_code::entry(code).meaning,
            Self::InvalidSidecar => "The sidecar cannot be used, so nothing was sent.",
            Self::InvalidPicture => "The picture cannot be used, so nothing was sent.",
            Self::AmbiguousPair => "Nobody can say which picture belongs to which sidecar, so nothing was sent.",
            Self::Orphan => "The other half of the pair never came, so nothing was sent.",
            Self::InDoubt => {
                "The request was sent, or may have been, and no answer says whether it was accepted: the API may have made, and charged, a video."
            }
            Self::RequestRefused => "The API refused the request and gave no business code.",
            Self::TaskGone => {
                "The API accepted the task, but has given it up, does not know it any more, or did not finish it in time (tasks.give_up_after)."
            }
            Self::NoVideo => "The API says that the video is done, but gives no http or https link to it.",
            Self::DownloadFailed => "The video was made, but it could not be fetched while its link was alive.",
            Self::Poison => {
                "The daemon crashed three times while it read this pair, so it was set aside and nothing was sent."
            }
            Self::Cancelled => "The job was cancelled.",
        })
    }

    /// What to do about it, a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Business(code) => business_code::entry(code).advice,
            Self::InvalidSidecar => "Mend what is listed under problems, then move the files back to the inbox.",
            Self::InvalidPicture => "Use a whole JPEG or PNG within the limits, then move the files back to the inbox.",
            Self::AmbiguousPair => {
                "Name each sidecar after its picture, as in cat.jpg.yaml, take away what is one too many, and give names that look alike other names; then move the files back to the inbox."
            }
            Self::Orphan => "Put picture and sidecar of the same name into the inbox together.",
            Self::InDoubt => {
                "Look at the provider's list of tasks or bill, or ask the provider and quote the request_id or the task if one is named here. Moving the files back to the inbox sends them again, which may be paid once more."
            }
            Self::RequestRefused => {
                "Use a smaller picture if the message says that the request was too large. If it names something else in the sidecar or the picture, mend that; if it does not, ask the API's provider and quote the request_id. Then move the files back to the inbox."
            }
            Self::TaskGone | Self::NoVideo | Self::DownloadFailed => {
                "Move the files back to the inbox, or ask the API's provider and quote the task_id. Unedited, and within 12 hours of the submission, the video is asked for again without paying, unless the API has ended its task; otherwise a new one is made and paid."
            }
            Self::Poison => {
                "Save the picture anew, or write the sidecar anew, then move the files back to the inbox; as they are they are tried three times again. Please report this with the files if you can, for no pair should be able to do that."
            }
            Self::Cancelled => "Move the files back to the inbox if you want the video after all.",
        }
    }
}

/// For a task that the API has ended, or has forgotten by now.
const PAY_ANEW: &str =
    "Move the files back to the inbox to pay for a new task, or ask the API's provider and quote the task_id.";

/// For a request that was refused for its size.
const SMALLER: &str = "Use a smaller picture, then move the files back to the inbox.";

/// HTTP's word for a request that is too large.
const TOO_LARGE: u16 = 413;

/// At which step a job failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Reading the pair.
    Read,
    /// Submitting it.
    Submit,
    /// Polling the task.
    Poll,
    /// Fetching the video.
    Download,
}

impl Stage {
    /// The word for the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Poll => "poll",
            Self::Download => "download",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Submit, Self::Poll, Self::Download].into_iter().find(|stage| stage.label() == text)
    }
}

/// Whether the failed job cost money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charged {
    /// It was refused before there was a task.
    No,
    /// It is in doubt, or its task failed or vanished.
    Unknown,
    /// Its task was done.
    Yes,
}

impl Charged {
    /// The word for the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Yes => "yes",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::No, Self::Unknown, Self::Yes].into_iter().find(|charged| charged.label() == text)
    }
}

/// Why nobody can tell whether a submission was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// What was seen in place of an answer that says it, in words.
    pub message: String,
    /// The vendor's identifier of the answer, where there was one: what its support can look up.
    pub request_id: Option<String>,
    /// The HTTP status of the answer, where there was one.
    pub http_status: Option<u16>,
}

impl Doubt {
    /// A doubt without any answer.
    pub fn unanswered(message: &str) -> Self {
        Self { message: message.to_owned(), request_id: None, http_status: None }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.http_status {
            Some(status) => write!(f, "HTTP {status}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Why a job failed: what its report says, but for what the job itself knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The word.
    pub reason: Reason,
    /// The API's own words, or ours.
    pub message: String,
    /// At which step.
    pub stage: Stage,
    /// Whether it cost money.
    pub charged: Charged,
    /// The task, if there was one.
    pub task: Option<Task>,
    /// Whether the API itself has said that the task is over. Else it was given up here, and the API may still have it.
    pub task_over: bool,
    /// The vendor's identifier of the answer.
    pub request_id: Option<String>,
    /// The HTTP status of the answer.
    pub http_status: Option<u16>,
    /// Every complaint about the files.
    pub problems: Vec<Problem>,
}

impl Failure {
    /// A failure that was found before anything was sent.
    pub fn unread(reason: Reason, message: String, problems: Vec<Problem>) -> Self {
        Self {
            reason,
            message,
            stage: Stage::Read,
            charged: Charged::No,
            task: None,
            task_over: false,
            request_id: None,
            http_status: None,
            problems,
        }
    }

    /// What to do about it, as told at `at`: the reason's advice, and whether another try is paid.
    pub fn advice(&self, at: Timestamp) -> Cow<'static, str> {
        match self.reason {
            Reason::TaskGone | Reason::NoVideo | Reason::DownloadFailed => match self.asked_again_until() {
                Some(until) if at < until => Cow::Owned(format!(
                    "Move the files back to the inbox, unedited, before {until:.0}: until then the video is asked for again without paying. Later a new one is made and paid."
                )),
                Some(_) | None => Cow::Borrowed(PAY_ANEW),
            },
            Reason::RequestRefused if self.http_status == Some(TOO_LARGE) => Cow::Borrowed(SMALLER),
            Reason::Business(_) if self.charged != Charged::No => {
                Cow::Owned(format!("{} Another try is paid anew.", self.reason.advice()))
            }
            Reason::Business(_)
            | Reason::InvalidSidecar
            | Reason::InvalidPicture
            | Reason::AmbiguousPair
            | Reason::Orphan
            | Reason::InDoubt
            | Reason::RequestRefused
            | Reason::Poison
            | Reason::Cancelled => Cow::Borrowed(self.reason.advice()),
        }
    }

    /// Until when moving the unedited pair back goes on with its task, if the API has not ended it.
    fn asked_again_until(&self) -> Option<Timestamp> {
        let task = self.task.as_ref().filter(|_| !self.task_over)?;
        task.submitted_at.checked_add(TASK_LIFE).ok()
    }
}
