//! `jimengd man`: the manual pages, made of the same texts as `--help`, the shipped configuration and `jimengd codes`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::{Cli, ExitCode, Failure, codes};
use crate::config;

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Write the manual pages into a folder, which must be there: jimengd.1 and one page a command, \
     jimengd.yaml.5 and jimengd-codes.7. The Debian package installs them.";

/// Arguments of `jimengd man`.
#[derive(Clone, Debug, Args)]
pub struct Man {
    /// The folder
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes the pages.
///
/// # Errors
/// One cannot be written.
pub fn run(args: &Man) -> Result<ExitCode, Failure> {
    write(&args.dir).map_err(|error| {
        let told = anyhow::Error::from(error).context(format!("cannot write manual pages into {}", args.dir.display()));
        Failure::new(ExitCode::Io, told)
    })?;
    Ok(ExitCode::Ok)
}

fn write(dir: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), dir)?;
    fs::write(dir.join("jimengd.1"), program()?)?;
    fs::write(dir.join("jimengd.yaml.5"), configuration())?;
    fs::write(dir.join("jimengd-codes.7"), all_codes())
}

/// `jimengd(1)`: what clap knows, and what an administrator looks for.
fn program() -> io::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(Cli::command());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut more = Roff::new();
    more.control("SH", ["DESCRIPTION"]);
    for text in DESCRIPTION {
        more.control("PP", []).text([roman(*text)]);
    }
    more.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut more = Roff::new();
    for (heading, rows) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT), ("SIGNALS", SIGNALS), ("EXIT STATUS", ENDS)]
    {
        more.control("SH", [heading]);
        for (name, text) in rows {
            more.control("TP", []).text([bold(*name)]).text([roman(*text)]);
        }
    }
    more.control("SH", ["JOURNAL"]).text([roman(JOURNAL)]);
    see_also(
        &mut more,
        &["jimengd-run(1)", "jimengd-check(1)", "jimengd-status(1)", "jimengd.yaml(5)", "jimengd-codes(7)"],
    );
    more.to_writer(&mut page)?;
    Ok(page)
}

/// `jimengd.yaml(5)`: the shipped file, which is commented and is the default.
fn configuration() -> String {
    let mut page = page("jimengd.yaml", "5", "configuration of jimengd");
    page.control("SH", ["DESCRIPTION"]).text([roman(CONFIGURATION)]);
    page.control("SH", ["KEYS AND DEFAULTS"]);
    verbatim(&mut page, config::SHIPPED);
    see_also(&mut page, &["jimengd(1)", "jimengd-check(1)"]);
    page.to_roff()
}

/// `jimengd-codes(7)`: what `jimengd codes` prints.
fn all_codes() -> String {
    let mut page = page("jimengd-codes", "7", "business codes and reasons in reports of jimengd");
    page.control("SH", ["DESCRIPTION"]).text([roman(CODES)]);
    page.control("SH", ["CODES AND REASONS"]);
    verbatim(&mut page, &codes::page());
    see_also(&mut page, &["jimengd(1)", "jimengd-codes(1)"]);
    page.to_roff()
}

fn page(name: &str, section: &str, about: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [name, section, "", &format!("jimengd {}", env!("CARGO_PKG_VERSION"))]);
    page.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    page
}

/// Lines as they are.
fn verbatim(page: &mut Roff, text: &str) {
    page.control("nf", []);
    for line in text.lines() {
        page.text([roman(if line.is_empty() { " " } else { line })]);
    }
    page.control("fi", []);
}

fn see_also(page: &mut Roff, pages: &[&str]) {
    let mut words: Vec<Inline> = Vec::new();
    for (at, name) in pages.iter().enumerate() {
        if at > 0 {
            words.push(roman(", "));
        }
        words.push(bold(*name));
    }
    page.control("SH", ["SEE ALSO"]).text(words);
}

const DESCRIPTION: &[&str] = &[
    "Drop a picture and a small YAML file of the same name into the inbox; a video comes out in the outbox. In between stands the Jimeng \
     image-to-video API, which is paid, slow and forgetful. jimengd deals with it alone: it never pays twice, never loses a file, never \
     leaves half a file under a final name, and always says why.",
    "What fails goes to the error folder as it was, and beside it a report, name.error.yaml: the business code, what it means, what was \
     charged, what to do. Moving the files back to the inbox tries again.",
    "Trouble with the account, the network or the disk is no pair's fault: the queue pauses, the pairs stay where they are, and it goes \
     on by itself. The commands status and check tell why.",
];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/jimengd/jimengd.yaml",
        "The configuration, see jimengd.yaml(5). It needs to hold only what differs from the defaults.",
    ),
    (
        "/etc/jimengd/api-token",
        "The token, for the service: readable for root alone, handed over as the credential api-token.",
    ),
    (
        "/var/lib/jimengd/inbox",
        "Pairs are dropped here, in any order, in any subfolder; members of the group jimengd may.",
    ),
    ("/var/lib/jimengd/outbox", "Videos, each complete the moment it appears, and their receipts."),
    ("/var/lib/jimengd/error", "What failed, with reports."),
    ("/var/lib/jimengd/archive", "The pairs that videos were made of."),
    ("/var/lib/jimengd/work", "What is being made right now. Not for people."),
    ("/var/lib/jimengd/ledger.db", "What was paid. Never delete it while work holds anything."),
    (
        "/etc/jimengd/NAME.yaml, /etc/jimengd/NAME.api-token, /var/lib/jimengd-NAME",
        "The same of an instance, jimengd@NAME.service.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "JIMENGD_SECTION__KEY",
        "Sets a key of the configuration over the file, as in JIMENGD_API__BASE_URL or JIMENGD_ROOT. The value is YAML.",
    ),
    ("JIMENGD_API_TOKEN", "The token, where neither api.token_file nor a credential of systemd has it."),
    ("CREDENTIALS_DIRECTORY", "Where systemd puts the credential api-token."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd: where to tell that all is well, and how often."),
    ("BOOT_ID", "Set by the unit: which boot this is, where /proc is hidden."),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "Stop: nothing more is sent, an answer under way is awaited, the rest goes on at the next start. A second one ends at once.",
    ),
    (
        "SIGHUP",
        "Read configuration and token again. If they are wrong, the old ones stay. A credential of systemd is the one of the last start.",
    ),
];

const ENDS: &[(&str, &str)] = &[
    ("0", "All went well."),
    ("64", "Wrong usage."),
    ("65", "A pair failed (run --once), a file is wrong (check)."),
    ("69", "The account or the gateway holds the work back (run --once), paused (status)."),
    ("70", "A bug."),
    ("74", "A file, a folder or the ledger cannot be used; what is left waits for that (run --once)."),
    ("75", "Another daemon runs on this root."),
    ("77", "No token."),
    ("78", "The configuration or the set-up is wrong."),
];

const JOURNAL: &str = "Entries have the identifier jimengd and the fields JOB_ID, PAIR, STATE, TASK_ID, BUSINESS_CODE and REASON where they apply, \
     so journalctl -t jimengd JOB_ID=… tells one job's story. Transitions, pauses, failures and errors have a MESSAGE_ID, and journalctl -x explains them.";

const CONFIGURATION: &str = "One YAML file, /etc/jimengd/jimengd.yaml or what --config names. It needs to hold only what differs from what is below. \
     Variables of the environment go over the file, flags over those. A key that does not exist is an error. jimengd check shows what \
     holds and who said so; systemctl reload jimengd has a running daemon take it.";

const CODES: &str = "What the codes and reasons in reports mean, whose fault they are, and what jimengd does about them. Another seed is tried \
     tasks.extra_attempts times, and never where the sidecar names its seed.";
