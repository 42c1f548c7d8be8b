//! `jimengd check --unit`: the same check, run by the service manager as it would run the daemon.
//!
//! What breaks a service in the field is mostly what only the service sees: mounts of its own, a user's rights, a credential that is
//! not there. So what the unit and its drop-ins say of that becomes a unit for one moment, which runs the check in place of the daemon.
//! Nothing else of the unit is taken over: conditions, alarms and dependencies are about the daemon. The moment's unit lies in the
//! service manager's run-time folder; what a check that was killed leaves there, the next one takes away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, anyhow};
use rustix::process::geteuid;

use crate::cli::{ExitCode, Failure, print};

/// How the keys begin that say who runs, with what, and in which surroundings: `systemd.exec(5)` and `systemd.resource-control(5)`.
const SURROUNDINGS: [&str; 47] = [
    "AmbientCapabilities",
    "AppArmorProfile",
    "BindPaths",
    "BindReadOnlyPaths",
    "CacheDirectory",
    "Capability",
    "ConfigurationDirectory",
    "Device",
    "DynamicUser",
    "Environment",
    "ExecPaths",
    "Extension",
    "Group",
    "IPAddress",
    "ImportCredential",
    "InaccessiblePaths",
    "KeyringMode",
    "Limit",
    "LoadCredential",
    "LockPersonality",
    "LogsDirectory",
    "Memory",
    "Mount",
    "NetworkNamespacePath",
    "NoExecPaths",
    "NoNewPrivileges",
    "PassEnvironment",
    "Personality",
    "Private",
    "ProcSubset",
    "Protect",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RemoveIPC",
    "Restrict",
    "Root",
    "SELinuxContext",
    "SecureBits",
    "SetCredential",
    "SocketBind",
    "StateDirectory",
    "SupplementaryGroups",
    "SystemCall",
    "TasksMax",
    "TemporaryFileSystem",
    "UMask",
    "UnsetEnvironment",
];

/// Keys that are taken over by their whole name, for others begin like them.
const NAMED: [&str; 5] = ["JoinsNamespaceOf", "RequiresMountsFor", "User", "WantsMountsFor", "WorkingDirectory"];

/// How the moment's units and files are called, before the process that made them.
const STEM: &str = "jimengd-check-";

/// Exit codes of the service manager itself, from `systemd.exec(5)`, that a person can do something about.
const OF_THE_MANAGER: [(i32, &str); 6] = [
    (200, "CHDIR: the working directory cannot be entered"),
    (203, "EXEC: the program of ExecStart= cannot be run"),
    (216, "GROUP: there is no such group; run systemd-sysusers"),
    (217, "USER: there is no such user; run systemd-sysusers"),
    (226, "NAMESPACE: a path of ReadWritePaths=, BindPaths= or the like is not there or cannot be mounted"),
    (243, "CREDENTIALS: a file of LoadCredential= or LoadCredentialEncrypted= cannot be read or decrypted"),
];

/// What `ExecMainCode` is of a process that has ended by itself, `CLD_EXITED` of `waitid(2)`.
const EXITED: &str = "1";

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
    let unit = if unit.ends_with(".service") { unit.to_owned() } else { format!("{unit}.service") };
    // A pattern would be several units in one.
    if unit.starts_with('-') || unit.contains(['/', '*', '?', '[', ' ']) {
        return Err(Failure::new(ExitCode::Usage, anyhow!("{unit} is no name of a service")));
    }
    let manager = Manager::of_this_user()?;
    manager.sweep();
    let text = manager.ask(&["cat", "--no-pager", "--", &unit])?;
    let moment = Moment::name(&manager, &unit);
    let check = checking(&String::from_utf8_lossy(&text), json, manager.slice(), &moment.output)
        .ok_or_else(|| failed(anyhow!("{unit} does not start \"jimengd run\"")))?;
    moment.write(&check).with_context(|| format!("cannot write {}", moment.file.display())).map_err(failed)?;
    manager.ask(&["daemon-reload"])?;
    // Whether it could be started is told by what it says and by its exit code.
    let started = manager.command(&["start", "--", &moment.unit]).map_err(|error| failed(error.into()))?;
    let said = fs::read_to_string(&moment.output).unwrap_or_default();
    print(&said)?;
    let property = |name: &str| -> Result<String, Failure> {
        let shown = manager.ask(&["show", &format!("--property={name}"), "--value", "--", &moment.unit])?;
        Ok(String::from_utf8_lossy(&shown).trim().to_owned())
    };
    let (status, ended) = (property("ExecMainStatus")?, property("ExecMainCode")?);
    let config = i32::from(ExitCode::Config.code());
    match (status.parse::<i32>(), ended == EXITED) {
        // It has said what it found, so it did run.
        (Ok(0), true) if !said.is_empty() => Ok(ExitCode::Ok),
        (Ok(status), true) if status == config && !said.is_empty() => Ok(ExitCode::Config),
        (Ok(status), true) => {
            let known = OF_THE_MANAGER.iter().find(|(code, _)| *code == status).map(|(_, told)| *told);
            let complaint = String::from_utf8_lossy(&started.stderr);
            let told = known.or(Some(complaint.trim()).filter(|told| !told.is_empty())).unwrap_or("see above");
            let result = property("Result")?;
            Err(failed(anyhow!("the check could not be run as {unit} (exit code {status}, result {result}): {told}")))
        }
        (Ok(status), false) if status > 0 => Err(failed(anyhow!("the check was ended by signal {status}"))),
        (Ok(_) | Err(_), _) => {
            let complaint = String::from_utf8_lossy(&started.stderr);
            Err(failed(anyhow!("the check was not run as {unit} ({}): {}", property("Result")?, complaint.trim())))
        }
    }
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::new(ExitCode::Config, error)
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

    /// Where it keeps services that are nobody's instance.
    fn slice(&self) -> &'static str {
        if self.is_own { "app.slice" } else { "system.slice" }
    }

    fn command(&self, arguments: &[&str]) -> io::Result<Output> {
        let mut command = Command::new("systemctl");
        if self.is_own {
            command.arg("--user");
        }
        command.args(arguments).output()
    }

    /// Takes away what checks have left that were killed.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.units) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let process = name.strip_prefix(STEM).map(|rest| rest.trim_end_matches(|c: char| !c.is_ascii_digit()));
            let process = process.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            if process.is_some_and(|pid| !pid.is_empty() && !Path::new("/proc").join(pid).exists()) {
                // One whose process was killed stays as if it went on; whoever cannot take it away now can at the next boot.
                let _ = self.command(&["stop", "--", &name]);
                let _ = fs::remove_file(&path);
            }
        }
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

/// The unit of one moment. Taken away when dropped.
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
        let stem = format!("{STEM}{}", std::process::id());
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
        for arguments in [["stop", "--", &self.unit], ["reset-failed", "--", &self.unit]] {
            // One that could not be started is not there to be stopped, nor has every one failed.
            let _ = self.manager.command(&arguments);
        }
        // What is left of them is swept by the next check.
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.output);
        let _ = self.manager.command(&["daemon-reload"]);
    }
}

/// The text of a unit that checks where `text`, of a unit with its drop-ins, runs the daemon. `None` if it does not run it.
fn checking(text: &str, json: bool, slice: &str, output: &Path) -> Option<String> {
    let mut kept = String::new();
    let mut start = None;
    for line in logical_lines(text) {
        let trimmed = line.trim();
        match trimmed.split_once('=').map(|(key, value)| (key.trim_end(), value.trim())) {
            // An empty value forgets what was said before.
            Some(("ExecStart", value)) => start = (!value.is_empty()).then(|| value.to_owned()),
            Some((key, _)) if is_kept(key) => kept.push_str(&format!("{trimmed}\n")),
            None if trimmed.starts_with('[') => kept.push_str(&format!("{trimmed}\n")),
            Some(_) | None => {}
        }
    }
    let start = start?;
    // Such marks say what failing means, or give rights that the check must not have.
    let words: Vec<&str> = start.trim_start_matches(['-', '+', '!', '|']).split(' ').collect();
    let is_ours = |word: &str| Path::new(word).file_name().is_some_and(|name| name == "jimengd");
    let run = words.windows(2).position(|pair| is_ours(pair[0]) && pair[1] == "run")? + 1;
    let check: Vec<&str> = words
        .iter()
        .enumerate()
        .map(|(at, word)| if at == run { "check" } else { word })
        .filter(|word| *word != "--once")
        .chain(json.then_some("--json"))
        .collect();
    let codes =
        [ExitCode::Usage, ExitCode::Data, ExitCode::Software, ExitCode::Io, ExitCode::NoToken, ExitCode::Config];
    let codes: Vec<String> = codes.iter().map(|code| code.code().to_string()).collect();
    // It stays, ended, until it was asked how it ended; and a problem found is no failure of the unit. An instance would leave a slice
    // of its own behind.
    Some(format!(
        "{kept}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nSlice={slice}\nSuccessExitStatus={}\nExecStart={}\n\
         StandardOutput=truncate:{}\nStandardError=inherit\n",
        codes.join(" "),
        check.join(" "),
        output.display()
    ))
}

/// Whether a key is about who runs in which surroundings.
fn is_kept(key: &str) -> bool {
    NAMED.contains(&key) || SURROUNDINGS.iter().any(|beginning| key.starts_with(beginning))
}

/// Lines, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    // A comment in the middle of a line that goes on is no part of it.
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        match lines.last_mut() {
            Some(last) if goes_on => {
                last.pop();
                last.push(' ');
                last.push_str(line);
            }
            Some(_) | None => lines.push(line.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_with_its_drop_ins_becomes_one_that_checks() {
        let text = "# /lib/systemd/system/jimengd.service\n[Unit]\nAfter=network.target\nOnFailure=mail@%n.service\n\
                    ConditionPathExists=/nowhere\nRequiresMountsFor=/srv\n[Service]\n\
                    Type=notify\nExecStart=/usr/bin/jimengd run\nEnvironment=A=1 \\\n# not this\n  B=2\nRestart=on-failure\nWatchdogSec=3min\n\
                    User=jimengd\n[Install]\nWantedBy=multi-user.target\n\n# /etc/systemd/system/jimengd.service.d/x.conf\n[Service]\n\
                    ExecStart=\nExecStart=-/opt/jimengd run --config \"/srv/my config.yaml\" --once\nReadWritePaths=/srv\n\
                    SuccessExitStatus=78\nRuntimeDirectory=x\nUserX=y\n";
        let made = checking(text, true, "system.slice", Path::new("/run/out")).unwrap();
        let lines: Vec<&str> = made.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "[Unit]",
                "RequiresMountsFor=/srv",
                "[Service]",
                "Environment=A=1    B=2",
                "User=jimengd",
                "[Install]",
                "[Service]",
                "ReadWritePaths=/srv",
                "[Service]",
                "Type=oneshot",
                "RemainAfterExit=yes",
                "Slice=system.slice",
                "SuccessExitStatus=64 65 70 74 77 78",
                "ExecStart=/opt/jimengd check --config \"/srv/my config.yaml\" --json",
                "StandardOutput=truncate:/run/out",
                "StandardError=inherit",
            ]
        );
    }

    #[test]
    fn a_unit_that_runs_something_else_is_none_of_ours() {
        for text in [
            "[Service]\nExecStart=/usr/bin/sleep 1\n",
            "[Service]\nExecStart=/usr/bin/npm run start\n",
            "[Service]\nExecStart=/usr/bin/jimengd run\nExecStart=\n",
            "",
        ] {
            assert_eq!(checking(text, false, "system.slice", Path::new("/run/out")), None, "{text}");
        }
    }
}
