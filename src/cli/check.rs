//! `jimengd check`: whether the set-up works, or whether files would be taken, found out free of charge.
//!
//! Without paths the set-up is looked at, [`setup`]; with paths the files there, [`files`]. Nothing is changed but for files of
//! this command's own, made and taken away again to see that a pair can be moved from the inbox to `work/`. Nothing is
//! submitted, and the token is never printed.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::table::aligned;
use super::{ConfigArgs, ExitCode, Failure, environment, print};
use crate::config::{self, Effective, Origin};
use crate::job::Problem;

mod files;
mod folders;
mod setup;
mod unit;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Check the set-up: the configuration and who set what, the folders, the token, the trust store, the watch \
     limits, free space, the clock, the account. With paths: check sidecars and pictures as the inbox would, and \
     say what would be sent. Nothing is submitted and nothing is paid.\n\n\
     Rights and mounts of a service are not yours: with --unit, systemd runs the check as it would run that service. \
     Without systemd, run it as the daemon's user. Exit codes: 0; 65 something is wrong with a file; 78 \
     something is wrong with the set-up.";

/// Arguments of `jimengd check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Sidecars, pictures, or folders of them; folders are gone through with everything beneath
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Have systemd run the check as it would run this service, in its sandbox and with its drop-ins
    #[arg(long, value_name = "UNIT", conflicts_with_all = ["paths", "config", "root"])]
    pub unit: Option<String>,
    /// Print JSON: schema, problems, and what else was found
    #[arg(long)]
    pub json: bool,
}

/// Checks, and prints what was found.
///
/// # Errors
/// Nothing can be printed.
pub async fn run(args: Check) -> Result<ExitCode, Failure> {
    if let Some(unit) = args.unit {
        let asked = tokio::task::spawn_blocking(move || unit::run(&unit, args.json)).await;
        return asked.map_err(|error| Failure::new(ExitCode::Software, error))?;
    }
    let effective = match args.config.load() {
        Ok(effective) => effective,
        Err(error) => {
            let text = if args.json {
                json(&serde_json::json!({ "schema": SCHEMA, "problems": error.problems }))?
            } else {
                error.problems.iter().map(|problem| format!("problem  {problem}\n")).collect()
            };
            print(&text)?;
            return Ok(ExitCode::Config);
        }
    };
    if args.paths.is_empty() { check_setup(&effective, args.json).await } else { check_files(effective, args).await }
}

async fn check_setup(effective: &Effective, as_json: bool) -> Result<ExitCode, Failure> {
    let findings = setup::look(&effective.config).await;
    let problems: Vec<Problem> = findings.iter().filter_map(Finding::problem).collect();
    let settings = config::settings(&effective.config);
    let origin = |key: &str| effective.origins.get(key).unwrap_or(&Origin::Default).to_string();
    let text = if as_json {
        let settings: Vec<_> = settings
            .iter()
            .map(|(key, value)| serde_json::json!({ "key": key, "value": value, "origin": origin(key) }))
            .collect();
        let sources: Vec<String> = effective.sources.iter().map(ToString::to_string).collect();
        json(&serde_json::json!({
            "schema": SCHEMA, "problems": problems, "checks": findings, "settings": settings, "sources": sources,
        }))?
    } else {
        let rows: Vec<Vec<String>> =
            settings.iter().map(|(key, value)| vec![(*key).to_owned(), value.clone(), origin(key)]).collect();
        let settings = aligned("    ", &rows);
        let found: String = findings.iter().map(Finding::shown).collect();
        let sum = match problems.len() {
            0 => "The set-up can be used.\n".to_owned(),
            1 => "1 problem: mend it first.\n".to_owned(),
            count => format!("{count} problems: mend them first.\n"),
        };
        format!("What holds, and who said it\n{settings}\n{found}\n{sum}")
    };
    print(&text)?;
    Ok(if problems.is_empty() { ExitCode::Ok } else { ExitCode::Config })
}

async fn check_files(effective: Effective, args: Check) -> Result<ExitCode, Failure> {
    let paths = args.paths;
    let looked = tokio::task::spawn_blocking(move || files::look(&effective.config, &paths)).await;
    let found = looked
        .map_err(|error| Failure::new(ExitCode::Software, error))?
        .map_err(|error| Failure::new(ExitCode::Config, error))?;
    let text = if args.json {
        json(&serde_json::json!({
            "schema": SCHEMA, "problems": found.problems, "pairs": found.pairs, "waiting": found.waiting,
            "ignored": found.ignored,
        }))?
    } else {
        found.shown()
    };
    print(&text)?;
    Ok(if found.problems.is_empty() { ExitCode::Ok } else { ExitCode::Data })
}

fn json(value: &serde_json::Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(ExitCode::Software, error))?;
    Ok(text + "\n")
}

/// How one thing stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it must be.
    Ok,
    /// It works, but a person should know.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    /// What, such as `token` or `folders.inbox`.
    name: &'static str,
    /// The key of the configuration to look at, where there is one.
    #[serde(skip)]
    key: Option<&'static str>,
    verdict: Verdict,
    /// How it stands: a lowercase fragment.
    message: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, key: None, verdict: Verdict::Ok, message: message.into(), advice: None }
    }

    fn warning(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, key: None, verdict: Verdict::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    fn bad(name: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, key: None, verdict: Verdict::Problem, message: message.into(), advice: Some(advice.into()) }
    }

    /// The same, about a key of the configuration.
    fn about(self, key: impl Into<Option<&'static str>>) -> Self {
        Self { key: key.into(), ..self }
    }

    /// The entry of `problems`, if it is one. What was looked at is told by the key or else in the message.
    fn problem(&self) -> Option<Problem> {
        match self.verdict {
            Verdict::Ok | Verdict::Warning => None,
            Verdict::Problem => Some(Problem {
                key: self.key.map(str::to_owned),
                message: match self.key {
                    Some(key) if key == self.name => self.message.clone(),
                    Some(_) | None => format!("{}: {}", self.name, self.message),
                },
                proposal: self.advice.clone(),
                ..Problem::default()
            }),
        }
    }

    fn shown(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        };
        let advice = self.advice.as_ref().map(|advice| format!("\n{:26}{advice}", "")).unwrap_or_default();
        format!("{verdict:<8} {:<16} {}{advice}\n", self.name, self.message)
    }
}
