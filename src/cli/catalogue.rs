//! The journal's catalogue: what `journalctl -x` says about each kind of entry.
//!
//! The words about failures and pauses come from the tables that reports and `status` are made of. Fields between `@` are filled in by
//! journalctl; only fields that each entry of the kind has are named.

use super::table::wrapped;
use crate::daemon::message::Message;
use crate::daemon::pause::PauseReason;
use crate::job::Reason;
use crate::job::business_code;

/// Columns of the text: journalctl breaks no lines.
const WIDTH: usize = 76;

/// Where more is told.
const DOCUMENTATION: &str = "man:jimengd(1)";

/// The catalogue as `journalctl --update-catalog` reads it.
pub fn text() -> String {
    let entries: Vec<String> = Message::all().into_iter().map(entry).collect();
    format!(
        "# What journalctl -x says about the entries of jimengd; printed by jimengd codes --catalog.\n\n{}",
        entries.join("\n")
    )
}

fn subject(message: Message) -> String {
    let fixed = match message {
        Message::Starting => "jimengd starts",
        Message::Ready => "jimengd is ready",
        Message::CannotRun => "jimengd cannot run",
        Message::Reloaded => "The configuration was read again",
        Message::ReloadRefused => "The new configuration is refused",
        Message::Stopping => "jimengd is stopping",
        Message::Stopped => "jimengd has stopped",
        Message::Claimed => "A pair was taken from the inbox",
        Message::Released => "A pair went back to the inbox",
        Message::WaitsAgain => "A job waits to be submitted again",
        Message::Submitting => "A pair is being sent to the API",
        Message::Accepted => "The API has accepted a task",
        Message::AskedAgain => "A task is asked about again",
        Message::Done => "A video is made and is being fetched",
        Message::Fetched => "A video was fetched",
        Message::Delivered => "A video is in the outbox",
        Message::InDoubt => "Nobody can know whether a submission was accepted",
        Message::Failing => "A pair is on its way to the error folder",
        Message::GoesOn => "The work goes on",
        Message::AccountChanged => "A task was paid with another account",
        Message::UnknownInWork => "A job was found that the ledger does not know",
        Message::StandsStill => "Reading the inbox stands still",
        Message::TokenUnchanged => "The token is the one that the account was refused with",
        Message::LedgerUnwritable => "The ledger cannot be written",
        Message::LedgerDamaged => "The ledger is damaged",
        Message::EntriesLost => "Log entries were lost",
        Message::Bug => "jimengd has met a bug of its own",
        Message::Failed(Reason::Business(code)) if business_code::is_known(code) => {
            return format!("A pair failed: business code {code}, {}", Reason::Business(code).label());
        }
        Message::Failed(Reason::Business(_)) => "A pair failed: business code @BUSINESS_CODE@",
        Message::Failed(reason) => return format!("A pair failed: {}", reason.label()),
        Message::Paused(reason) => return format!("The queue is paused: {}", reason.label()),
    };
    fixed.to_owned()
}

/// What it means and what to do, a paragraph a line.
fn paragraphs(message: Message) -> Vec<String> {
    let fixed: &[&str] = match message {
        Message::Starting => &[
            "The message names the files and variables that the configuration comes from, and each key that they set. The token is \
             not among them.",
            "Nothing is to be done.",
        ],
        Message::Ready => &[
            "Ledger and folders agree, the inbox is watched. What was under way at the last stop goes on.",
            "Nothing is to be done.",
        ],
        Message::CannotRun => &[
            "The message says why. The service manager tries again after most of such ends; after wrong usage, a missing token and a bad \
             configuration (exit codes 64, 77, 78) it does not, for only a person can mend those.",
            "What to do: mend what the message names, let \"jimengd check --unit\" with the name of the service tell whether anything else is \
             wrong, then start the service.",
        ],
        Message::Reloaded => &[
            "The configuration that was read anew holds from now on; what only a restart can change was named before this. A token that \
             systemd hands over as a credential is not renewed: it is the one of the last start.",
            "Nothing is to be done.",
        ],
        Message::ReloadRefused => &[
            "The daemon works on with the configuration and the token that it had. The message says what is wrong with the new ones.",
            "What to do: mend it, then reload again. Until then a restart would fail.",
        ],
        Message::Stopping => &[
            "Nothing more is submitted. A request that was wholly handed over is awaited, for its answer tells what was paid; everything \
             else ends within seconds and goes on at the next start.",
            "Nothing is to be done.",
        ],
        Message::Stopped => {
            &["What is under way at the API goes on at the next start and is not paid again.", "Nothing is to be done."]
        }
        Message::Claimed => &[
            "The files of @PAIR@ are in the folder work until the job has ended. It is sent at once.",
            "Nothing is to be done. All of its story: journalctl JOB_ID=@JOB_ID@",
        ],
        Message::Released => &[
            "The files of @PAIR@ lie in the inbox again, for the account, the gateway or a stop held them back before anything was \
             sent. Their turn comes again by itself.",
            "Nothing is to be done.",
        ],
        Message::WaitsAgain => &[
            "Nothing was found that speaks against @PAIR@: it was certainly not accepted, another seed may do, or tasks.in_doubt says that \
             it is to be sent once more. It is sent again by itself.",
            "Nothing is to be done. All of its story: journalctl JOB_ID=@JOB_ID@",
        ],
        Message::Submitting => &[
            "The intent is on the disk before the request leaves. Should the machine die now, the pair is in doubt and is not sent again \
             by itself unless tasks.in_doubt says so.",
            "Nothing is to be done.",
        ],
        Message::Accepted => &[
            "From now on the task counts as paid for, and the video of @PAIR@ is asked for until it is there or the API has given the task \
             up. Another task is paid for only where tasks.extra_attempts or tasks.in_doubt says so.",
            "Nothing is to be done. The provider knows it as task @TASK_ID@.",
        ],
        Message::AskedAgain => &[
            "The answer about the task of @PAIR@ was no use, or the link to its video is too old. It is asked again, which costs \
             nothing.",
            "Nothing is to be done.",
        ],
        Message::Done => &["The video of @PAIR@ is made and is being fetched.", "Nothing is to be done."],
        Message::Fetched => &[
            "The video of @PAIR@ is whole and on the disk, and is about to appear in the outbox.",
            "Nothing is to be done.",
        ],
        Message::Delivered => &[
            "The video of @PAIR@ is in the outbox. Its receipt, unless outbox.receipt says that there is none, tells how to make it again.",
            "Nothing is to be done. All of its story: journalctl JOB_ID=@JOB_ID@",
        ],
        Message::InDoubt => &[
            "A request for @PAIR@ was sent, or may have been, and no answer says whether the API has accepted it. It may be paid for, and \
             is not sent again by itself unless tasks.in_doubt says so.",
            "What to do: see the report in the error folder.",
        ],
        Message::Failing => &[
            "@PAIR@ cannot be made into a video; its files are being moved to the error folder, then a report is written beside them.",
            "What to do: read the report once it is there.",
        ],
        Message::GoesOn => &["What held the queue back is over.", "Nothing is to be done."],
        Message::AccountChanged => &[
            "The API does not know the task under the account that is configured now, or refuses it. It is asked for hourly and at each \
             reload, until the API would have given it up.",
            "What to do: configure the account again that has paid for task @TASK_ID@, until its video is there.",
        ],
        Message::UnknownInWork => &[
            "The folder work holds a job that the ledger has no record of, as after a ledger was taken away or restored. It may have been \
             sent and paid for, so it is not sent again unless tasks.in_doubt says so.",
            "What to do: see the report in the error folder.",
        ],
        Message::StandsStill => &[
            "The file system has not answered for longer than the service manager waits for the daemon itself. If that goes on, the service \
             manager ends the daemon and starts it again; what is under way at the API goes on then and is not paid again.",
            "What to do: look at the disk that holds the inbox.",
        ],
        Message::TokenUnchanged => &[
            "The account was refused, and the reload has brought the same token as before. It is tried again now. Where systemd hands the \
             token over as a credential, a new one is taken at a start alone.",
            "What to do: if it was the token that had to change, put the new one in place and restart the service. What is under way goes \
             on and is not paid again.",
        ],
        Message::LedgerUnwritable => &[
            "A record must be written before anything more may be sent. It is held in memory and tried again until it can be written.",
            "What to do: free some space where the ledger is, and do not kill the daemon: it alone knows what the record says. If a task \
             was accepted, TASK_ID names it here, so that it is not lost even then.",
        ],
        Message::LedgerDamaged => &[
            "Nothing more can be recorded, so nothing more is sent, and the daemon ends. It is not replaced by an empty one, because it \
             knows what was paid.",
            "What to do: restore it from a backup, or do what the daemon says at its next start.",
        ],
        Message::EntriesLost => &[
            "The journal took entries more slowly than they came, or not at all. No job waits for the journal, so entries beyond a few \
             thousand were dropped; LOST says how many.",
            "What to do: nothing for the jobs; receipts, reports and the ledger have everything. Look at the journal if this happens \
             often.",
        ],
        Message::Bug => &[
            "Something happened that should be impossible. A job that was concerned is tried again or goes on at the next start; no pair is \
             paid for twice because of it.",
            "What to do: please report it, with this entry and what came just before.",
        ],
        Message::Failed(reason) => return failure(reason),
        Message::Paused(reason) => return pause(reason),
    };
    fixed.iter().map(|text| (*text).to_owned()).collect()
}

fn entry(message: Message) -> String {
    let text: Vec<String> = paragraphs(message).iter().map(|text| lines(text)).collect();
    format!(
        "-- {}\nSubject: {}\nDefined-By: jimengd\nDocumentation: {DOCUMENTATION}\n\n{}",
        message.id(),
        subject(message),
        text.join("\n")
    )
}

fn failure(reason: Reason) -> Vec<String> {
    let meaning = match reason {
        Reason::Business(code) if !business_code::is_known(code) => {
            "None of the API's pages explains this code; the message tells the API's own words.".to_owned()
        }
        reason => reason.meaning().into_owned(),
    };
    vec![
        meaning,
        "The files of @PAIR@ are in the error folder as they were, with a report that tells what was charged."
            .to_owned(),
        format!("What to do: {}", reason.advice()),
        "All of its story: journalctl JOB_ID=@JOB_ID@".to_owned(),
    ]
}

fn pause(reason: PauseReason) -> Vec<String> {
    let held = match reason {
        // What refuses is tried now and then.
        PauseReason::Account | PauseReason::Gateway | PauseReason::DiskFull | PauseReason::ReadOnly => {
            "As long as this holds, pairs stay where they are, but for a single one now and then that finds out whether it is over."
        }
        PauseReason::InboxUnavailable
        | PauseReason::LedgerUnwritable
        | PauseReason::DownloadsBehind
        | PauseReason::Budget => "As long as this holds, nothing more is sent, and pairs stay where they are.",
    };
    vec![
        format!("{held} No job fails for this, and it ends by itself once its cause has."),
        format!("What to do: {}.", reason.advice()),
    ]
}

/// A paragraph in lines, each with its end.
fn lines(text: &str) -> String {
    wrapped(text, WIDTH).join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::job::business_code::BusinessCode;

    #[test]
    fn every_kind_has_a_subject_of_its_own() {
        let all = Message::all();
        let subjects: BTreeSet<String> = all.iter().map(|message| subject(*message)).collect();
        // The two classes of codes that nobody knows are told alike.
        assert_eq!(subjects.len(), all.len() - (business_code::UNKNOWN.len() - 1));
    }

    #[test]
    fn every_code_is_in_the_catalogue() {
        let text = text();
        for code in (50_000..51_000).map(BusinessCode) {
            let id = Message::Failed(Reason::Business(code)).id();
            assert!(text.contains(&format!("-- {id}\n")), "{code}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for reason in Reason::OURS {
            assert!(words.contains(&format!("What to do: {}", reason.advice())), "{reason:?}");
        }
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for line in text().lines().filter(|line| !line.starts_with("Subject: ") && !line.starts_with('#')) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
