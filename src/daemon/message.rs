//! The kinds of entries in the journal that people and tools look for.
//!
//! Every kind has a `MESSAGE_ID` made of its name, so it stays what it is for as long as the name does, and nobody keeps a table of
//! numbers. What `journalctl -x` says about each is in the catalogue, which `jimengd codes --catalog` prints.

use super::pause::PauseReason;
use crate::job::Reason;
use crate::job::business_code::{self, BusinessCode};
use crate::logging;

/// A kind of entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// The program begins, with this configuration.
    Starting,
    /// Ledger open and reconciled, watch set.
    Ready,
    /// The daemon cannot start, or had to end.
    CannotRun,
    /// The new configuration holds.
    Reloaded,
    /// The new configuration is refused, the old one stays.
    ReloadRefused,
    /// The daemon was told to stop.
    Stopping,
    /// The daemon has stopped.
    Stopped,
    /// A pair became a job.
    Claimed,
    /// A job goes back to the inbox as a pair.
    Released,
    /// A job waits to be submitted again.
    WaitsAgain,
    /// A request is about to leave.
    Submitting,
    /// The API has accepted a task, and is paid for it.
    Accepted,
    /// A task is asked about again.
    AskedAgain,
    /// A video is made and is fetched.
    Done,
    /// A video is here, and is published.
    Fetched,
    /// A video is in the outbox.
    Delivered,
    /// Nobody can know whether the API has accepted a submission.
    InDoubt,
    /// A pair is on its way to `error/`.
    Failing,
    /// A pair is in `error/`.
    Failed(Reason),
    /// Nothing is claimed or submitted for now.
    Paused(PauseReason),
    /// That is over.
    GoesOn,
    /// A task was paid with another account than the one that is configured now.
    AccountChanged,
    /// `work/` holds a job that the ledger does not know.
    UnknownInWork,
    /// Reading the inbox stands still, so the watchdog is told nothing.
    StandsStill,
    /// A reload brought the token that is refused already.
    TokenUnchanged,
    /// The ledger cannot take a record, which is held until it can.
    LedgerUnwritable,
    /// The ledger is damaged.
    LedgerDamaged,
    /// Entries were lost on their way to the journal.
    EntriesLost,
    /// The program is wrong.
    Bug,
}

impl Message {
    /// Every kind, in the order of the catalogue; of failures one for each code that a page of the API names, for each class of those
    /// that none does, and for each reason of our own.
    pub fn all() -> Vec<Self> {
        let unknown = business_code::UNKNOWN.map(|(_, code)| code);
        let codes = business_code::known().chain(unknown).map(Reason::Business);
        let mut all = vec![
            Self::Starting,
            Self::Ready,
            Self::CannotRun,
            Self::Reloaded,
            Self::ReloadRefused,
            Self::Stopping,
            Self::Stopped,
            Self::Claimed,
            Self::Released,
            Self::WaitsAgain,
            Self::Submitting,
            Self::Accepted,
            Self::AskedAgain,
            Self::Done,
            Self::Fetched,
            Self::Delivered,
            Self::InDoubt,
            Self::Failing,
        ];
        all.extend(codes.chain(Reason::OURS).map(Self::Failed));
        all.extend(PauseReason::ALL.map(Self::Paused));
        all.extend([
            Self::GoesOn,
            Self::AccountChanged,
            Self::UnknownInWork,
            Self::StandsStill,
            Self::TokenUnchanged,
            Self::LedgerUnwritable,
            Self::LedgerDamaged,
            Self::EntriesLost,
            Self::Bug,
        ]);
        all
    }

    /// The value of `MESSAGE_ID`: 32 hexadecimal digits.
    pub fn id(self) -> String {
        logging::message_id(&self.name())
    }

    /// The stable name that the id is made of.
    fn name(self) -> String {
        let fixed = match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::CannotRun => "cannot_run",
            Self::Reloaded => "reloaded",
            Self::ReloadRefused => "reload_refused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Claimed => "claimed",
            Self::Released => "released",
            Self::WaitsAgain => "waits_again",
            Self::Submitting => "submitting",
            Self::Accepted => "accepted",
            Self::AskedAgain => "asked_again",
            Self::Done => "done",
            Self::Fetched => "fetched",
            Self::Delivered => "delivered",
            Self::InDoubt => "in_doubt",
            Self::Failing => "failing",
            Self::GoesOn => "goes_on",
            Self::AccountChanged => "account_changed",
            Self::UnknownInWork => "unknown_in_work",
            Self::StandsStill => "stands_still",
            Self::TokenUnchanged => "token_unchanged",
            Self::LedgerUnwritable => "ledger_unwritable",
            Self::LedgerDamaged => "ledger_damaged",
            Self::EntriesLost => logging::ENTRIES_LOST,
            Self::Bug => logging::BUG,
            Self::Failed(reason) => return format!("failed.{}", word(reason)),
            Self::Paused(reason) => return format!("paused.{}", reason.label()),
        };
        fixed.to_owned()
    }
}

/// The word of a reason in names; codes that no page names share one word for each class of them.
fn word(reason: Reason) -> String {
    let class = |code: BusinessCode| {
        let same = |(_, other): &(_, BusinessCode)| business_code::verdict(*other) == business_code::verdict(code);
        business_code::UNKNOWN.iter().find(|class| same(class)).map_or(code, |(_, code)| *code)
    };
    match reason {
        Reason::Business(code) if !business_code::is_known(code) => format!("code.{}", class(code)),
        reason => reason.label().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_an_id_of_its_own() {
        let all = Message::all();
        let ids: BTreeSet<String> = all.iter().map(|message| message.id()).collect();
        assert_eq!(ids.len(), all.len());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))));
    }

    #[test]
    fn no_kind_is_left_out() {
        let source = include_str!("message.rs");
        let variants = source.split_once("pub enum Message {").and_then(|(_, rest)| rest.split_once("\n}"));
        let variants =
            variants.expect("the enum").0.lines().filter(|line| line.ends_with(',') && !line.contains("///"));
        let variants: BTreeSet<&str> =
            variants.map(|line| line.trim().split(['(', ',']).next().expect("a name")).collect();
        let shown: Vec<String> = Message::all().iter().map(|message| format!("{message:?}")).collect();
        let told: BTreeSet<&str> = shown.iter().map(|text| text.split('(').next().expect("a name")).collect();
        assert_eq!(told, variants);
    }

    #[test]
    fn ids_stay_what_they_are() {
        // Rules and alarms of other people name them.
        let code = Message::Failed(Reason::Business(BusinessCode(50412)));
        let found = [Message::Delivered, code, Message::Paused(PauseReason::Account)].map(Message::id);
        let wanted = [
            "d4d33a258f075b6192202ca151051473",
            "298c7d0578f5565f9c60b73f6fef6509",
            "3e97a6ac6ae457ccb6e0da1ecb75c81b",
        ];
        assert_eq!(found, wanted);
    }
}
