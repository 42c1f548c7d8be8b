//! `jimengd simulate`: the API alone, played by us, for trying things out without paying.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::simulator::{Script, Settings, Simulator};

/// Where it listens unless told otherwise: on this machine alone.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);

/// The part of the requests that `--misbehave` spoils if it names none.
const MISBEHAVE: &str = "0.15";

const LONG_HELP: &str = r#"Words in a prompt choose its fate:
  [50412]            the submission is answered with that business code
  [50511 once]       so is the first submission of that prompt and picture; the next one passes
  [poll 50500]       accepted and paid, then the task fails with that code
  [poll 50500 once]  so does the first task of that prompt and picture; the next one passes
  [answer lost]      accepted and paid, but the connection closes instead of an answer
  [seconds 30]       the task takes that long

A script is a YAML list of rules. A rule counts the requests it looks at, and strikes at all of them, or at some:
  on: submit | poll | download
  prompt: TEXT       looks only at requests about a prompt that contains it
  over: BYTES        looks only at submissions of more bytes
  nth: 2 or [1, 3]   strikes at these
  every: 3           strikes at each third
  times: 5           strikes that often at most
  do:                one of the following; for links, only polls of finished tasks are looked at
    code: 50430              with `status: 200` instead of upstream's own, `shape: digits | quoted`
    status: 502              with `body: html | empty | envelope | huge | any other text`, `error_code`, `location`
    close: head | half | body | accepted     half of the body read; all of it; accepted and paid
    hang: head | half | body | accepted      the same, but silent; a poll or download stops in the middle at half
    cut: 100                 the answer ends after so many bytes; a submission is accepted and paid
    accepted: TEXT           accepted and paid, answered with that text, where $TASK is its identifier; `status: 202`
    raw: TEXT                these very bytes, HTTP or not, then the end; a submission is accepted and paid
    word: pending            poll: a status nobody knows
    no_link: true            poll: done, but no link; `link_in_resp_data: true`
    link: 'https://10.0.0.1$PATH'    poll: done, with that link; $PATH stands for the path and query of the right link
    expired: true            download: 403
    length: 100              download: so many bytes fewer than Content-Length says; -100: the file itself is shorter
    ignore_range: true, new_etag: true, bytes: 10000000000 (filled up to so many)   downloads
    film: empty | byte | no_moov | moov_last | fragmented | no_ftyp | junk | webm   downloads: not the task's own
    gzip: true, drip: BYTES_PER_SECOND, blanks: 10000000 (so much white space after it)   polls and downloads
  In a `body` of a poll and in a `location`, $LINK is a good link to the task's video.
  Any of them with `delay: SECONDS`; answers with `retry_after: SECONDS or text`; answers to polls and downloads with
  `chunked: true`, `headers: {NAME: TEXT or null}`, `header_bytes: 100000` (one more, so long); `early: true` answers
  a submission before its body was read. The first rule that strikes decides.

Example:
  - {on: submit, nth: 1, do: {code: 50430, retry_after: 5}}
  - {on: submit, prompt: sunset, do: {close: accepted}}
  - {on: poll, every: 4, do: {status: 502, body: html}}
  - {on: download, nth: [1, 2], do: {cut: 10000}}

GET /simulator tells what was paid and how each task is."#;

/// Play the API on this machine: nothing leaves it, nothing is paid.
#[derive(Clone, clap::Args)]
#[command(after_long_help = LONG_HELP)]
pub struct Simulate {
    /// Address and port to listen on; port 0: any free one. Others can reach it only if you name such an address.
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN)]
    listen: SocketAddr,
    /// The token to accept; any if none is given. Others on this machine can see it here, see --token-file.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A file that holds the token to accept.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Decides how long each task takes and what goes wrong by chance.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Faults that strike when told; `--help` tells the format.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Mean time that a task takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = number)]
    task_seconds: f64,
    /// Spread of that time: the standard deviation of its logarithm.
    #[arg(long, value_name = "SIGMA", default_value_t = Settings::default().task_sigma, value_parser = number)]
    task_sigma: f64,
    /// The part of its time that a task spends in the queue, drawn for each task up to that part; if none is given, a tenth.
    #[arg(long, value_name = "PART", value_parser = part)]
    queued_max: Option<f64>,
    /// Tasks at once, beyond which submissions are 50430; 0: no limit.
    #[arg(long, value_name = "TASKS", default_value_t = 2)]
    concurrency: usize,
    /// Submissions and polls a second, beyond which they are 50429; 0: no limit.
    #[arg(long, value_name = "REQUESTS", default_value_t = 0.0, value_parser = number)]
    rate: f64,
    /// How many of them may come at once after a rest; if no number is given, those of one second.
    #[arg(long, value_name = "REQUESTS", value_parser = number)]
    burst: Option<f64>,
    /// `Retry-After` with 50429 and 50430.
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u64>,
    /// Where links to videos lead, such as https://cdn.example, if something before this serves it; else, by plain http, to
    /// the host that was asked.
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    links: Option<String>,
    /// How long a link to a video is good.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    link_seconds: u64,
    /// Fill videos up to that many bytes.
    #[arg(long, value_name = "BYTES")]
    video_bytes: Option<u64>,
    /// Spoil that part of the requests by chance, in ways that a careful client gets over.
    #[arg(long, value_name = "PART", num_args = 0..=1, default_value = "0", default_missing_value = MISBEHAVE, value_parser = part)]
    misbehave: f64,
}

impl std::fmt::Debug for Simulate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Simulate").field("listen", &self.listen).finish_non_exhaustive()
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 => Ok(number),
        Ok(_) | Err(_) => Err("not a number from 0 on".to_owned()),
    }
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err("not a number from 0 to 1".to_owned()),
    }
}

fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host.map(|host| host.strip_suffix('/').unwrap_or(host)) {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#']) => Ok(text.trim_end_matches('/').to_owned()),
        Some(_) | None => Err("not https:// or http:// and a host".to_owned()),
    }
}

/// Plays the API until `shutdown` is cancelled, then says how much was paid.
///
/// # Errors
/// The script or the token cannot be read, the address cannot be listened on, or nobody reads what is printed.
pub async fn run(args: Simulate, shutdown: CancellationToken) -> anyhow::Result<()> {
    let settings = settings(args)?;
    let simulator = Simulator::start(settings)?;
    let mut out = std::io::stdout();
    writeln!(out, "simulating the API on {} (not the vendor: nothing is paid)", simulator.base_url())?;
    out.flush()?;
    shutdown.cancelled().await;
    let (paid, violations) = (simulator.paid(), simulator.violations());
    simulator.shutdown().await;
    writeln!(out, "accepted, so the vendor would have been paid, {paid} times")?;
    for violation in violations {
        writeln!(out, "against the page of the API: {violation}")?;
    }
    Ok(())
}

fn settings(args: Simulate) -> anyhow::Result<Settings> {
    let script = match &args.script {
        Some(path) => Some(Script::parse(&read(path)?).with_context(|| format!("script {}", path.display()))?),
        None => None,
    };
    let token = match &args.token_file {
        Some(path) => Some(read(path)?.trim().to_owned()),
        None => args.token,
    };
    anyhow::ensure!(token.as_ref().is_none_or(|token| !token.is_empty()), "the token to accept is empty");
    let defaults = Settings::default();
    Ok(Settings {
        listen: args.listen,
        token,
        seed: args.seed,
        script,
        misbehave: args.misbehave,
        task_seconds: args.task_seconds,
        task_sigma: args.task_sigma,
        queued_part: args.queued_max.map_or(defaults.queued_part, |most| 0.0..=most),
        concurrency: Some(args.concurrency).filter(|limit| *limit > 0),
        requests_per_second: Some(args.rate).filter(|rate| *rate > 0.0),
        requests_burst: args.burst,
        retry_after: args.retry_after,
        links: args.links,
        link_life: Duration::from_secs(args.link_seconds),
        video_bytes: args.video_bytes,
        ..defaults
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        simulate: Simulate,
    }

    fn settings_of(args: &[&str]) -> anyhow::Result<Settings> {
        settings(Command::try_parse_from([&["simulate"], args].concat())?.simulate)
    }

    #[test]
    fn it_listens_on_this_machine_alone_unless_told() {
        let settings = settings_of(&[]).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8787");
        assert_eq!((settings.concurrency, settings.misbehave), (Some(2), 0.0));
        assert_eq!((settings.task_sigma, settings.queued_part, settings.requests_burst), (0.35, 0.1..=0.1, None));
        assert_eq!(settings_of(&["--listen", "0.0.0.0:1"]).unwrap().listen.to_string(), "0.0.0.0:1");
    }

    #[test]
    fn flags_mean_what_they_say() {
        let settings = settings_of(&[
            "--misbehave",
            "--concurrency",
            "0",
            "--rate",
            "2.5",
            "--token",
            "sk-1",
            "--link-seconds",
            "5",
            "--burst=9",
            "--task-sigma=0.8",
            "--queued-max=0.5",
        ])
        .unwrap();
        assert_eq!((settings.misbehave, settings.concurrency, settings.requests_per_second), (0.15, None, Some(2.5)));
        assert_eq!((settings.task_sigma, settings.queued_part), (0.8, 0.0..=0.5));
        assert_eq!(settings.requests_burst, Some(9.0));
        assert_eq!((settings.token.as_deref(), settings.link_life), (Some("sk-1"), Duration::from_secs(5)));
        assert_eq!(settings_of(&["--links=https://cdn.example/"]).unwrap().links.unwrap(), "https://cdn.example");
        for wrong in [
            "--queued-max=2",
            "--task-sigma=x",
            "--burst=-1",
            "--misbehave=2",
            "--task-seconds=-1",
            "--rate=x",
            "--token=",
            "--links=cdn.example",
            "--links=http:///",
        ] {
            assert!(settings_of(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_token_is_never_shown() {
        let args = Command::try_parse_from(["simulate", "--token", "sk-secret"]).unwrap().simulate;
        assert!(!format!("{args:?}").contains("sk-secret"));
        assert!(!format!("{:?}", settings(args).unwrap()).contains("sk-secret"));
    }

    #[test]
    fn the_example_in_the_help_is_a_script() {
        let example = LONG_HELP.split_once("Example:\n").unwrap().1.split_once("\n\n").unwrap().0;
        Script::parse(example).unwrap();
        let help = Command::command().render_long_help().to_string();
        assert!(help.contains("[poll 50500 once]") && help.contains("on: submit | poll | download"));
    }

    #[test]
    fn a_script_of_no_use_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.yaml");
        std::fs::write(&path, "- {on: poll, do: {}}").unwrap();
        let error = settings_of(&["--script", path.to_str().unwrap()]).unwrap_err();
        assert!(format!("{error:#}").contains("faults.yaml: rule 1: `do` says nothing"), "{error:#}");
    }

    #[tokio::test]
    async fn it_ends_when_told() {
        let args = Command::try_parse_from(["simulate", "--listen", "127.0.0.1:0"]).unwrap().simulate;
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        run(args, shutdown).await.unwrap();
    }
}
