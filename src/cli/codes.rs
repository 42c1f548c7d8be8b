//! `jimengd codes`: what the business codes and the reasons of reports mean, and what jimengd does about them.
//!
//! What is told is what is done: the rulings come from the functions that rule over jobs, the words from the tables that reports are
//! made of. Of a video that was seen done less can go wrong than is told here: see [`plan::on_poll`].

use clap::Args;
use serde::Serialize;

use super::table::{aligned, wrapped};
use super::{ExitCode, Failure, catalogue, print};
use crate::job::Reason;
use crate::job::business_code::{self, BusinessCode, Entry};
use crate::job::plan::{self, Ruling};

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// Columns of the page, whatever shows it: it is read in narrow windows and in pipes alike.
const WIDTH: usize = 80;

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Tell what the business codes and the reasons in reports mean, and what jimengd does \
     about them. Another seed is tried tasks.extra_attempts times, and never where the sidecar names its seed.\n\n\
     Exit codes: 0; 64 what is asked for is neither a business code nor a reason.";

/// Arguments of `jimengd codes`.
#[derive(Clone, Debug, Args)]
pub struct Codes {
    /// Business codes such as 50412, or reasons such as in_doubt [default: all]
    #[arg(value_name = "CODE", value_parser = asked)]
    pub codes: Vec<Reason>,
    /// Print JSON: schema, codes, reasons
    #[arg(long)]
    pub json: bool,
    /// Print all as Markdown, as README.md has it
    #[arg(long, hide = true, conflicts_with_all = ["codes", "json"])]
    pub markdown: bool,
    /// Print the catalogue of the journal, which is what journalctl -x looks into
    #[arg(long, hide = true, conflicts_with_all = ["codes", "json", "markdown"])]
    pub catalog: bool,
}

/// The reason that an argument asks for, by its word or by its number.
fn asked(text: &str) -> Result<Reason, String> {
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok().map(BusinessCode)).flatten();
    match number.or_else(|| business_code::with_reason(text)) {
        Some(BusinessCode::SUCCESS) => Err("that is the API's word for success, so no report holds it".to_owned()),
        Some(code) => Ok(Reason::Business(code)),
        None => Reason::parse_ours(text).ok_or_else(|| {
            "neither a business code nor a reason; without an argument, jimengd codes lists them all".to_owned()
        }),
    }
}

/// Prints what was asked for.
///
/// # Errors
/// Standard output takes nothing.
pub fn run(args: &Codes) -> Result<ExitCode, Failure> {
    let text = if args.markdown {
        markdown()
    } else if args.catalog {
        catalogue::text()
    } else if args.json {
        let view = if args.codes.is_empty() { View::all() } else { View::of(&args.codes) };
        let json = serde_json::to_string_pretty(&view).map_err(|error| Failure::new(ExitCode::Software, error))?;
        json + "\n"
    } else if args.codes.is_empty() {
        page()
    } else {
        blocks(&args.codes)
    };
    print(&text)?;
    Ok(ExitCode::Ok)
}

/// Every code that has a row, and every reason of our own.
fn all() -> (Vec<Reason>, Vec<Reason>) {
    (business_code::known().map(Reason::Business).collect(), Reason::OURS.to_vec())
}

/// What was asked for, as `--json` tells it. The keys are relied upon by outside tools.
#[derive(Debug, Serialize)]
struct View {
    schema: u32,
    codes: Vec<CodeView>,
    reasons: Vec<ReasonView>,
}

/// A business code.
#[derive(Debug, Serialize)]
struct CodeView {
    code: u32,
    reason: String,
    /// Whether a page of the API names it.
    known: bool,
    /// What the API usually says with it.
    message: Option<&'static str>,
    fault: &'static str,
    on_submit: &'static str,
    /// While the task may not be known to the API yet.
    on_poll_at_first: &'static str,
    on_poll: &'static str,
    meaning: String,
    advice: &'static str,
}

/// A reason of our own.
#[derive(Debug, Serialize)]
struct ReasonView {
    reason: String,
    meaning: String,
    advice: &'static str,
}

impl View {
    fn all() -> Self {
        let (codes, reasons) = all();
        Self::of(&[codes, reasons].concat())
    }

    fn of(asked: &[Reason]) -> Self {
        let codes = asked.iter().filter_map(|reason| reason.code()).map(CodeView::of).collect();
        let reasons =
            asked.iter().filter(|reason| reason.code().is_none()).map(|reason| ReasonView::of(*reason)).collect();
        Self { schema: SCHEMA, codes, reasons }
    }
}

impl CodeView {
    fn of(code: BusinessCode) -> Self {
        let Entry { code, reason, message, fault, verdict: _, meaning, advice } = business_code::entry(code);
        let rulings = Rulings::of(code);
        Self {
            code: code.0,
            reason: reason.into_owned(),
            known: business_code::is_known(code),
            message,
            fault: fault.label(),
            on_submit: rulings.on_submit.label(),
            on_poll_at_first: rulings.on_poll_at_first.label(),
            on_poll: rulings.on_poll.label(),
            meaning: meaning.into_owned(),
            advice,
        }
    }
}

impl ReasonView {
    fn of(reason: Reason) -> Self {
        Self { reason: reason.label().into_owned(), meaning: reason.meaning().into_owned(), advice: reason.advice() }
    }
}

/// What is done about a code as long as an attempt is left.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rulings {
    on_submit: Ruling,
    on_poll_at_first: Ruling,
    on_poll: Ruling,
}

impl Rulings {
    fn of(code: BusinessCode) -> Self {
        Self {
            on_submit: plan::submit_ruling(code, true),
            on_poll_at_first: plan::poll_ruling(code, true, true),
            on_poll: plan::poll_ruling(code, false, true),
        }
    }

    /// What is done when a submission is answered so.
    fn submit(self) -> String {
        phrase(self.on_submit).to_owned()
    }

    /// What is done when a poll is answered so.
    fn poll(self) -> String {
        if self.on_poll_at_first == self.on_poll {
            return phrase(self.on_poll).to_owned();
        }
        let seconds = plan::UNKNOWN_AT_FIRST.as_secs();
        format!("{} in the task's first {seconds} s, later {}", phrase(self.on_poll_at_first), phrase(self.on_poll))
    }

    /// Both in one cell.
    fn cell(self) -> String {
        let (submit, poll) = (self.submit(), self.poll());
        if submit == poll { submit } else { format!("submit: {submit}; poll: {poll}") }
    }
}

/// What jimengd does, in words.
fn phrase(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Fail => "rejects the pair",
        Ruling::AnotherAttempt => "tries another seed if it may, else rejects the pair",
        Ruling::SlowDown => "asks again, more slowly",
        Ruling::Fewer => "sends it again later, with fewer tasks at once",
        Ruling::PauseAccount => "pauses the queue until the account is let in again",
        Ruling::AskAgain => "asks again",
    }
}

/// The page with everything.
pub(super) fn page() -> String {
    let (codes, reasons) = all();
    let others: Vec<String> =
        business_code::UNKNOWN.iter().map(|(name, code)| block(name, &unknown_facts(*code))).collect();
    format!(
        "Business codes: the API's word for why it refuses\n\n{}\n{}\nReasons without a business code: jimengd's own words\n\n{}",
        blocks(&codes),
        others.join("\n"),
        blocks(&reasons)
    )
}

/// The page about `asked`.
fn blocks(asked: &[Reason]) -> String {
    let told: Vec<String> = asked
        .iter()
        .map(|reason| match reason.code() {
            Some(code) => block(&format!("{code}  {}", reason.label()), &code_facts(code)),
            None => {
                let ReasonView { reason, meaning, advice } = ReasonView::of(*reason);
                block(&reason, &[("meaning", meaning), ("advice", advice.to_owned())])
            }
        })
        .collect();
    told.join("\n")
}

fn code_facts(code: BusinessCode) -> Vec<(&'static str, String)> {
    let entry = business_code::entry(code);
    let mut facts = vec![("message", entry.message.unwrap_or("not known").to_owned())];
    facts.extend(deeds(&entry));
    facts.extend([("meaning", entry.meaning.into_owned()), ("advice", entry.advice.to_owned())]);
    facts
}

/// About the codes that `code` stands for.
fn unknown_facts(code: BusinessCode) -> Vec<(&'static str, String)> {
    let entry = business_code::entry(code);
    let mut facts = deeds(&entry);
    facts.extend([("meaning", UNKNOWN_MEANING.to_owned()), ("advice", entry.advice.to_owned())]);
    facts
}

/// What is told of codes that no page names.
const UNKNOWN_MEANING: &str = "None of the API's pages explains it; the reason is code_ and the number.";

fn deeds(entry: &Entry) -> Vec<(&'static str, String)> {
    let rulings = Rulings::of(entry.code);
    vec![("fault", entry.fault.label().to_owned()), ("on submit", rulings.submit()), ("on poll", rulings.poll())]
}

/// A head, and below it what there is to say, each with its name.
fn block(head: &str, facts: &[(&str, String)]) -> String {
    const INDENT: &str = "    ";
    // As `aligned` pads: the widest name and two spaces.
    let names = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let mut rows = Vec::new();
    for (name, text) in facts {
        let lines = wrapped(text, WIDTH - INDENT.len() - names);
        rows.extend(lines.into_iter().enumerate().map(|(at, line)| {
            let name = if at == 0 { (*name).to_owned() } else { String::new() };
            vec![name, line]
        }));
    }
    format!("{head}\n{}", aligned(INDENT, &rows))
}

/// The tables of README.md.
pub fn markdown() -> String {
    let mut text = row(&["code", "reason", "fault", "what jimengd does", "what to do"].map(str::to_owned));
    text.push_str("| --- | --- | --- | --- | --- |\n");
    let known = business_code::known().map(|code| (code.to_string(), business_code::entry(code)));
    let unknown = business_code::UNKNOWN.map(|(name, code)| {
        let reason = "code_…".into();
        (name.to_owned(), Entry { reason, ..business_code::entry(code) })
    });
    for (name, entry) in known.chain(unknown) {
        let deed = Rulings::of(entry.code).cell();
        text.push_str(&row(&[
            name,
            format!("`{}`", entry.reason),
            entry.fault.label().to_owned(),
            deed,
            entry.advice.to_owned(),
        ]));
    }
    text.push('\n');
    text.push_str(&row(&["reason", "what happened", "what to do"].map(str::to_owned)));
    text.push_str("| --- | --- | --- |\n");
    for ReasonView { reason, meaning, advice } in Reason::OURS.map(ReasonView::of) {
        text.push_str(&row(&[format!("`{reason}`"), meaning, advice.to_owned()]));
    }
    text
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
