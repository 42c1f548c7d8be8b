//! `jimengd check --unit`: the same check, run by the service manager as it would run the daemon.
//!
//! What breaks a service in the field is mostly what only the service sees: mounts of its own, a user's rights, a credential that is
//! not there. So the unit's own text, drop-ins and all, becomes a unit for one moment that runs the check in place of the daemon. It
//! lies in the service manager's run-time folder, and is gone afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, anyhow};
use rustix::process::geteuid;

use crate::cli::{ExitCode, Failure, print};

/// Keys of a unit that are about running for long, or about what else happens then.
const DROPPED: [&str; 15] = [
    "Type",
    "NotifyAccess",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "WatchdogSec",
    "OnFailure",
    "OnSuccess",
    "StandardOutput",
    "StandardError",
];

/// Exit codes of the service manager itself, from `systemd.exec(5)`, that a person can do something about.
const OF_THE_MANAGER: [(i32, &str); 6] = [
    (200, "CHDIR: the working directory cannot be entered"),
    (203, "EXEC: the program of ExecStart= cannot be run"),
    (216, "GROUP: there is no such group; run systemd-sysusers"),
    (217, "USER: there is no such user; run systemd-sysusers"),
    (226, "NAMESPACE: a path of ReadWritePaths=, BindPaths= or the like is not there or cannot be mounted"),
    (243, "CREDENTIALS: a file of LoadCredential= or LoadCredentialEncrypted= cannot be read or decrypted"),
];

/// The service manager that is asked.
struct Manager {
    /// Whether it is this user's own.
    is_own: bool,
    /// Where units lie that last until the next boot.
    units: PathBuf,
}

/// Runs the check as `unit` would run the daemon. Blocks until it has ended.
///
/// # Errors
/// There is no such service, or the service manager does not do what it is asked.
pub(super) fn run(unit: &str, json: bool) -> Result<ExitCode, Failure> {
    let manager = Manager::of_this_user()?;
    let unit = if unit.ends_with(".service") { unit.to_owned() } else { format!("{unit}.service") };
    let text = manager.ask(&["cat", "--no-pager", "--", &unit])?;
    let failed = |error: anyhow::Error| Failure::new(ExitCode::Config, error);
    let text = String::from_utf8(text).map_err(|error| failed(error.into()))?;
    let moment = Moment::name(&manager, &unit);
    let check = checking(&text, json, &moment.output)
        .with_context(|| format!("{unit} does not start \"jimengd run\""))
        .map_err(failed)?;
    moment.write(&check).with_context(|| format!("cannot write {}", moment.file.display())).map_err(failed)?;
    manager.ask(&["daemon-reload"])?;
    // That it failed is told by its exit code.
    let started = manager.command(&["start", "--", &moment.unit]).map_err(|error| failed(error.into()))?;
    let shown = manager.ask(&["show", "--property=ExecMainStatus", "--value", "--", &moment.unit])?;
    print(&fs::read_to_string(&moment.output).unwrap_or_default())?;
    let status: Option<i32> = String::from_utf8_lossy(&shown).trim().parse().ok();
    match (status, started.status.success()) {
        (Some(0), true) => Ok(ExitCode::Ok),
        (Some(status), _) if i32::from(ExitCode::Config.code()) == status => Ok(ExitCode::Config),
        (Some(status), _) => {
            let known = OF_THE_MANAGER.iter().find(|(code, _)| *code == status).map(|(_, told)| *told);
            let told = match known {
                Some(told) => format!("the service manager cannot start {unit}, exit code {status}/{told}"),
                None => format!(
                    "the check ended with exit code {status}: {}",
                    String::from_utf8_lossy(&started.stderr).trim()
                ),
            };
            Err(failed(anyhow!(told)))
        }
        (None, _) => Err(failed(anyhow!("the service manager does not tell how the check ended"))),
    }
}

impl Manager {
    fn of_this_user() -> Result<Self, Failure> {
        if geteuid().is_root() {
            return Ok(Self { is_own: false, units: PathBuf::from("/run/systemd/system") });
        }
        let runtime = super::environment().find(|(name, _)| name == "XDG_RUNTIME_DIR").map(|(_, value)| value);
        let runtime = runtime.ok_or_else(|| {
            Failure::new(ExitCode::Usage, anyhow!("--unit needs root, or for a service of your own XDG_RUNTIME_DIR"))
        })?;
        Ok(Self { is_own: true, units: Path::new(&runtime).join("systemd/user") })
    }

    fn command(&self, arguments: &[&str]) -> io::Result<Output> {
        let mut command = Command::new("systemctl");
        if self.is_own {
            command.arg("--user");
        }
        command.args(arguments).output()
    }

    /// What the service manager prints.
    fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let output = self
            .command(arguments)
            .context("cannot run systemctl; --unit needs systemd")
            .map_err(|error| Failure::new(ExitCode::Config, error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(ExitCode::Config, anyhow!("systemctl {} says: {told}", arguments.join(" "))))
    }
}

/// The unit of one moment. Taken away when dropped, whatever happened.
struct Moment<'a> {
    manager: &'a Manager,
    unit: String,
    file: PathBuf,
    /// Where the check's words go.
    output: PathBuf,
}

impl<'a> Moment<'a> {
    /// An instance stays the same instance, for its unit may name it.
    fn name(manager: &'a Manager, unit: &str) -> Self {
        let instance = unit.find('@').map_or(".service", |at| &unit[at..]);
        let stem = format!("jimengd-check-{}", std::process::id());
        let unit = format!("{stem}{instance}");
        let file = manager.units.join(&unit);
        Self { manager, output: manager.units.join(format!("{stem}.output")), unit, file }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.manager.units)?;
        fs::write(&self.file, text)
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        // What is left here is gone at the next boot; there is nobody to tell.
        drop(fs::remove_file(&self.file));
        drop(fs::remove_file(&self.output));
        drop(self.manager.command(&["reset-failed", "--", &self.unit]));
        drop(self.manager.command(&["daemon-reload"]));
    }
}

/// The text of a unit that checks where `text`, of a unit with its drop-ins, runs the daemon. `None` if it does not run it.
fn checking(text: &str, json: bool, output: &Path) -> Option<String> {
    let mut kept = String::new();
    let mut start = None;
    let mut section = String::new();
    for line in logical_lines(text) {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            trimmed.clone_into(&mut section);
        }
        let key = trimmed.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        match key {
            // An empty value forgets what was said before.
            Some(("ExecStart", value)) => start = (!value.is_empty()).then(|| value.to_owned()),
            Some((key, _)) if DROPPED.contains(&key) => {}
            Some(_) | None if section == "[Install]" => {}
            Some(_) | None => {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
    }
    let words: Vec<String> = start?.split(' ').map(str::to_owned).collect();
    let run = words.iter().position(|word| word == "run")?;
    let check: Vec<&str> = words
        .iter()
        .enumerate()
        .map(|(at, word)| if at == run { "check" } else { word.as_str() })
        .filter(|word| *word != "--once")
        .chain(json.then_some("--json"))
        .collect();
    let output = output.display();
    Some(format!(
        "{kept}\n[Service]\nType=oneshot\nExecStart={}\nStandardOutput=truncate:{output}\nStandardError=inherit\n",
        check.join(" ")
    ))
}

/// Lines, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match lines.last_mut() {
            Some(last) if goes_on => {
                last.pop();
                last.push(' ');
                last.push_str(line);
            }
            Some(_) | None => lines.push(line.to_owned()),
        }
        goes_on = line.ends_with('\\') && !line.trim_start().starts_with(['#', ';']);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_with_its_drop_ins_becomes_one_that_checks() {
        let text = "# /lib/systemd/system/jimengd.service\n[Unit]\nAfter=network.target\nOnFailure=mail@%n.service\n[Service]\n\
                    Type=notify\nExecStart=/usr/bin/jimengd run\nEnvironment=A=1 \\\n  B=2\nRestart=on-failure\nWatchdogSec=3min\n\
                    User=jimengd\n[Install]\nWantedBy=multi-user.target\n\n# /etc/systemd/system/jimengd.service.d/x.conf\n[Service]\n\
                    ExecStart=\nExecStart=/opt/jimengd run --config \"/srv/my config.yaml\" --once\nReadWritePaths=/srv\n";
        let made = checking(text, true, Path::new("/run/out")).unwrap();
        let lines: Vec<&str> = made.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "[Unit]",
                "After=network.target",
                "[Service]",
                "Environment=A=1    B=2",
                "User=jimengd",
                "[Service]",
                "ReadWritePaths=/srv",
                "[Service]",
                "Type=oneshot",
                "ExecStart=/opt/jimengd check --config \"/srv/my config.yaml\" --json",
                "StandardOutput=truncate:/run/out",
                "StandardError=inherit",
            ]
        );
    }

    #[test]
    fn a_unit_that_runs_something_else_is_none_of_ours() {
        for text in
            ["[Service]\nExecStart=/usr/bin/sleep 1\n", "[Service]\nExecStart=/usr/bin/jimengd run\nExecStart=\n", ""]
        {
            assert_eq!(checking(text, false, Path::new("/run/out")), None, "{text}");
        }
    }
}
