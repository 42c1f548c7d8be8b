//! What may happen to one spool, as plain data, and how such lists are made up.
//!
//! Whatever stands here is written as Rust writes it, so that a list that fails can be pasted into a test as it was printed.
//! Each list shrinks towards fewer operations, and each operation towards its plainest form.

use proptest::option;
use proptest::prelude::*;

/// One spool's fate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// How many tasks may run at once.
    pub slots: u8,
    /// What happens, one after the other. Between two of them no daemon runs.
    pub operations: Vec<Operation>,
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A pair is dropped, unless the name is taken in the inbox.
    Drop(Name, Pair),
    /// The daemon runs until nothing can move.
    Turn(Vendor),
    /// The daemon is killed there, if it comes that far.
    Crash(Point, Vendor),
    /// There an effect fails once; the daemon runs until nothing can move.
    Fail(Point, Trouble, Vendor),
    /// The daemon is told to stop after so many effects.
    Stop(u16),
    /// The machine is off for a while.
    Pass(Time),
    /// A pair is moved back from `error/`, the one with that number among those that lie there.
    Retry(u8, Edit),
    /// The ledger of so many operations ago is put back.
    Restore(u8),
    /// The ledger is gone.
    Lose,
    /// From now on the daemon has this account's token.
    Switch(Account),
}

/// What a pair is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// `a.png` and `a.yaml`.
    A,
    /// `b.png` and `b.yaml`.
    B,
    /// `below/deep/c.png` and `below/deep/c.yaml`.
    Below,
    /// `d.png` and `d.png.yaml`.
    Exact,
}

/// What a pair is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// It becomes a video.
    Good,
    /// It becomes a video of a seed that must not change.
    Seeded,
    /// A sidecar alone that names an address.
    Address,
    /// Its sidecar is wrong.
    Wrong,
    /// Its submission is refused for its prompt.
    Refused,
    /// Its first submission is refused for its output; another seed helps.
    RefusedOnce,
    /// Its task fails, with whatever seed.
    Fails,
    /// Its first task fails; another seed helps.
    FailsOnce,
    /// Its task fails, and its seed must not change.
    FailsSeeded,
    /// It is accepted and paid, but the answer is lost.
    AnswerLost,
}

/// How the vendor is in one run of the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// As its page says.
    Plain,
    /// The first submission comes while there are too many tasks.
    TooMany,
    /// The first submission and the first poll come too soon.
    TooFast,
    /// The first submission is put off with 503.
    Busy,
    /// No submission is paid for any more.
    NoCredit,
    /// The first submission is accepted, and its connection closed.
    LosesAnswer,
    /// The first submission is accepted, and its answer cut.
    CutsAnswer,
    /// The first submission ends at a gateway that says 502.
    BadGateway,
    /// The first submission is cut off before its body was read.
    CutOff,
    /// The first polls break.
    PollsBreak,
    /// The first polls are answered with a word that no page knows.
    Riddle,
    /// The first time that a task is done there is no link.
    LinkMissing,
    /// No task that is done has a link.
    NoLinks,
    /// The same, and the daemon gives up at once.
    GivenUp,
    /// The first transfer breaks.
    VideoCut,
    /// The first link has expired.
    VideoExpired,
    /// The first transfer is shorter than it said.
    VideoShort,
    /// The first transfer brings no film.
    NoFilm,
}

/// A numbered effect of the daemon's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The n-th of all.
    Nth(u16),
    /// The n-th commit of the ledger.
    Commit(u8),
    /// The n-th rename.
    Rename(u8),
    /// The n-th sync.
    Sync(u8),
    /// The n-th write.
    Write(u8),
    /// The n-th file that is made.
    Make(u8),
    /// The n-th name that is taken away.
    Unlink(u8),
    /// The n-th request.
    Request(u8),
    /// The n-th answer.
    Answer(u8),
    /// The answer to the n-th submission.
    Acceptance(u8),
}

/// How an effect fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// ENOSPC.
    Full,
    /// EIO.
    Broken,
    /// EROFS.
    ReadOnly,
    /// EMFILE.
    TooManyFiles,
    /// EACCES.
    Forbidden,
}

/// How long the machine is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// Two minutes: longer than the API hides a new task.
    Minutes,
    /// Two hours: longer than a link lives.
    Hours,
    /// Thirteen hours: longer than the API keeps a task.
    Night,
}

/// What is done to a pair that is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Nothing.
    Same,
    /// Its sidecar is written anew, and good.
    New,
}

/// Whose token the daemon has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account {
    /// The first one.
    Own,
    /// Another token of the same account: it knows all tasks.
    OtherToken,
    /// It is not let in.
    Barred,
    /// Another account: it is let in, knows no task of ours and has no credit.
    Stranger,
}

impl Pair {
    /// How many submissions one job of such a pair may have accepted.
    pub fn accepted_max(self) -> u64 {
        match self {
            Self::Wrong | Self::Refused => 0,
            Self::Good | Self::Seeded | Self::Address | Self::RefusedOnce | Self::FailsSeeded | Self::AnswerLost => 1,
            Self::Fails | Self::FailsOnce => 2,
        }
    }

    /// The words of its prompt that the simulator heeds.
    pub fn words(self) -> &'static str {
        match self {
            Self::Good | Self::Seeded | Self::Address | Self::Wrong => "",
            Self::Refused => "[50412]",
            Self::RefusedOnce => "[50511 once]",
            Self::Fails | Self::FailsSeeded => "[poll 50500]",
            Self::FailsOnce => "[poll 50516 once]",
            Self::AnswerLost => "[answer lost]",
        }
    }

    /// The reason of its report, if it must come to one.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Good | Self::Seeded | Self::Address | Self::RefusedOnce | Self::FailsOnce => None,
            Self::Wrong => Some("invalid_sidecar"),
            Self::Refused => Some("text_risk_not_pass"),
            Self::Fails | Self::FailsSeeded => Some("internal_error"),
            Self::AnswerLost => Some("in_doubt"),
        }
    }
}

impl Vendor {
    /// Its faults, as `jimengd simulate --help` tells.
    pub fn script(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::TooMany => "- {on: submit, nth: 1, do: {code: 50430}}\n",
            Self::TooFast => {
                "- {on: submit, nth: 1, do: {code: 50429}}\n- {on: poll, nth: 1, do: {status: 429, body: empty}}\n"
            }
            Self::Busy => "- {on: submit, nth: 1, do: {status: 503, body: envelope}}\n",
            Self::NoCredit => "- {on: submit, do: {status: 403, error_code: insufficient_user_quota}}\n",
            Self::LosesAnswer => "- {on: submit, nth: 1, do: {close: accepted}}\n",
            Self::CutsAnswer => "- {on: submit, nth: 1, do: {cut: 20}}\n",
            Self::BadGateway => "- {on: submit, nth: 1, do: {status: 502, body: html}}\n",
            Self::CutOff => "- {on: submit, nth: 1, do: {close: head}}\n",
            Self::PollsBreak => {
                "- {on: poll, nth: 1, do: {status: 502, body: html}}\n- {on: poll, nth: 2, do: {cut: 20}}\n"
            }
            Self::Riddle => "- {on: poll, nth: [1, 2], do: {word: post_processing}}\n",
            Self::LinkMissing => "- {on: poll, nth: 1, do: {no_link: true}}\n",
            Self::NoLinks | Self::GivenUp => "- {on: poll, do: {no_link: true}}\n",
            Self::VideoCut => "- {on: download, nth: 1, do: {cut: 5000}}\n",
            Self::VideoExpired => "- {on: download, nth: 1, do: {expired: true}}\n",
            Self::VideoShort => "- {on: download, nth: 1, do: {length: 1000}}\n",
            Self::NoFilm => "- {on: download, nth: 1, do: {film: no_moov}}\n",
        }
    }

    /// Whether it may leave a submission without an answer that says what came of it.
    pub fn loses_answers(self) -> bool {
        match self {
            // Whether an upload that is cut off was handed over is the kernel's to say.
            Self::LosesAnswer | Self::CutsAnswer | Self::BadGateway | Self::CutOff => true,
            Self::Plain
            | Self::TooMany
            | Self::TooFast
            | Self::Busy
            | Self::NoCredit
            | Self::PollsBreak
            | Self::Riddle
            | Self::LinkMissing
            | Self::NoLinks
            | Self::GivenUp
            | Self::VideoCut
            | Self::VideoExpired
            | Self::VideoShort
            | Self::NoFilm => false,
        }
    }
}

impl Point {
    /// For a plan of fail points.
    pub fn plan(self) -> String {
        let (effect, nth) = match self {
            Self::Nth(number) => return format!("at={number}"),
            Self::Commit(nth) => ("commit ", nth),
            Self::Rename(nth) => ("rename ", nth),
            Self::Sync(nth) => ("sync ", nth),
            Self::Write(nth) => ("write ", nth),
            Self::Make(nth) => ("make ", nth),
            Self::Unlink(nth) => ("unlink ", nth),
            Self::Request(nth) => ("request ", nth),
            Self::Answer(nth) => ("answer ", nth),
            Self::Acceptance(nth) => ("answer submit", nth),
        };
        format!("on={effect};nth={nth}")
    }
}

impl Trouble {
    /// The error's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "ENOSPC",
            Self::Broken => "EIO",
            Self::ReadOnly => "EROFS",
            Self::TooManyFiles => "EMFILE",
            Self::Forbidden => "EACCES",
        }
    }
}

impl Time {
    /// In seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minutes => 2 * 60,
            Self::Hours => 2 * 60 * 60,
            Self::Night => 13 * 60 * 60,
        }
    }
}

impl Account {
    /// Its token.
    pub fn token(self) -> &'static str {
        match self {
            Self::Own => "sk-rig-own",
            Self::OtherToken => "sk-rig-other",
            Self::Barred => "sk-rig-barred",
            Self::Stranger => "sk-rig-stranger",
        }
    }

    /// How the vendor takes it.
    pub fn script(self) -> &'static str {
        match self {
            Self::Own | Self::OtherToken => "",
            Self::Barred => {
                "- {on: submit, do: {status: 401, body: envelope}}\n- {on: poll, do: {status: 401, body: envelope}}\n"
            }
            Self::Stranger => {
                "- {on: submit, do: {status: 403, error_code: insufficient_user_quota}}\n- {on: poll, do: {word: not_found}}\n"
            }
        }
    }

    /// Whether it may submit.
    pub fn is_let_in(self) -> bool {
        match self {
            Self::Own | Self::OtherToken => true,
            Self::Barred | Self::Stranger => false,
        }
    }
}

/// Lists of up to so many verses. Each begins with a drop, for before that nothing can happen.
pub fn cases(verses_max: usize) -> impl Strategy<Value = Case> {
    let slots = prop_oneof![Just(1), Just(3)];
    let verses = prop::collection::vec(verses(), 0..verses_max);
    (slots, drops(), option::of(runs()), verses).prop_map(|(slots, drop, run, verses)| Case {
        slots,
        operations: [drop].into_iter().chain(run).chain(verses.into_iter().flatten()).collect(),
    })
}

/// Something is dropped, the daemon runs, somebody meddles: in this order they stir each other up. Each may be left out.
fn verses() -> impl Strategy<Value = Vec<Operation>> {
    (option::weighted(0.6, drops()), option::weighted(0.9, runs()), option::weighted(0.5, meddlings()))
        .prop_map(|(drop, run, meddling)| [drop, run, meddling].into_iter().flatten().collect())
}

fn drops() -> impl Strategy<Value = Operation> {
    (names(), pairs()).prop_map(|(name, pair)| Operation::Drop(name, pair))
}

fn runs() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => vendors().prop_map(Operation::Turn),
        5 => (points(), vendors()).prop_map(|(point, vendor)| Operation::Crash(point, vendor)),
        3 => (points(), troubles(), vendors()).prop_map(|(point, trouble, vendor)| Operation::Fail(point, trouble, vendor)),
        1 => (1_u16..150).prop_map(Operation::Stop),
    ]
}

fn meddlings() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => (0_u8..4, edits()).prop_map(|(which, edit)| Operation::Retry(which, edit)),
        2 => times().prop_map(Operation::Pass),
        4 => (1_u8..6).prop_map(Operation::Restore),
        2 => Just(Operation::Lose),
        1 => accounts().prop_map(Operation::Switch),
    ]
}

fn names() -> impl Strategy<Value = Name> {
    prop_oneof![Just(Name::A), Just(Name::B), Just(Name::Below), Just(Name::Exact)]
}

fn pairs() -> impl Strategy<Value = Pair> {
    prop_oneof![
        6 => Just(Pair::Good),
        1 => Just(Pair::Seeded),
        1 => Just(Pair::Address),
        1 => Just(Pair::Wrong),
        1 => Just(Pair::Refused),
        1 => Just(Pair::RefusedOnce),
        1 => Just(Pair::Fails),
        2 => Just(Pair::FailsOnce),
        1 => Just(Pair::FailsSeeded),
        1 => Just(Pair::AnswerLost),
    ]
}

fn vendors() -> impl Strategy<Value = Vendor> {
    let faults = prop::sample::select(vec![
        Vendor::TooMany,
        Vendor::TooFast,
        Vendor::Busy,
        Vendor::NoCredit,
        Vendor::LosesAnswer,
        Vendor::CutsAnswer,
        Vendor::BadGateway,
        Vendor::CutOff,
        Vendor::PollsBreak,
        Vendor::Riddle,
        Vendor::LinkMissing,
        Vendor::NoLinks,
        Vendor::VideoCut,
        Vendor::VideoExpired,
        Vendor::VideoShort,
        Vendor::NoFilm,
    ]);
    // Without the last there is no task that may live on.
    prop_oneof![5 => Just(Vendor::Plain), 4 => faults, 1 => Just(Vendor::GivenUp)]
}

fn points() -> impl Strategy<Value = Point> {
    prop_oneof![
        6 => (1_u16..150).prop_map(Point::Nth),
        2 => (1_u8..14).prop_map(Point::Commit),
        2 => (1_u8..12).prop_map(Point::Rename),
        1 => (1_u8..20).prop_map(Point::Sync),
        1 => (1_u8..10).prop_map(Point::Write),
        1 => (1_u8..8).prop_map(Point::Make),
        1 => (1_u8..6).prop_map(Point::Unlink),
        1 => (1_u8..6).prop_map(Point::Request),
        1 => (1_u8..6).prop_map(Point::Answer),
        1 => (1_u8..3).prop_map(Point::Acceptance),
    ]
}

fn troubles() -> impl Strategy<Value = Trouble> {
    prop::sample::select(vec![
        Trouble::Full,
        Trouble::Broken,
        Trouble::ReadOnly,
        Trouble::TooManyFiles,
        Trouble::Forbidden,
    ])
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![3 => Just(Edit::Same), 1 => Just(Edit::New)]
}

fn times() -> impl Strategy<Value = Time> {
    prop_oneof![Just(Time::Minutes), Just(Time::Hours), Just(Time::Night)]
}

fn accounts() -> impl Strategy<Value = Account> {
    prop_oneof![3 => Just(Account::Own), 1 => Just(Account::OtherToken), 1 => Just(Account::Barred), 1 => Just(Account::Stranger)]
}
