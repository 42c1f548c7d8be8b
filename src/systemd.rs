//! What the service manager is told: ready, reloading, stopping, the status line, the watchdog; and what it tells.
//!
//! Without `NOTIFY_SOCKET` every call does nothing. A message that cannot be sent is logged as debug and forgotten: the
//! service manager's timeouts are the answer to silence, and the daemon works on.

use std::time::Duration;

use sd_notify::NotifyState;

/// Turns between two deadlines of the watchdog: two may be lost before it bites.
const WATCHDOG_TURNS: u32 = 3;

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where the unit says it.
const BOOT_ID_VARIABLE: &str = "BOOT_ID";

/// Its hexadecimal digits.
const BOOT_ID_DIGITS: usize = 32;

/// The ledger is open and reconciled, the watch is set; also ends a reload.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// One line for people, shown by `systemctl status`; line breaks become spaces, for a second line would be a message of its own.
pub fn status(text: &str) {
    let line = text.replace(['\n', '\r'], " ");
    send(&[NotifyState::Status(&line)]);
}

/// The configuration is being read again; [`ready`] must follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => {
            tracing::debug!("no monotonic time for the service manager: {error}");
            send(&[NotifyState::Reloading]);
        }
    }
}

/// The daemon is on its way out.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Start, reload or stop, whichever is under way, may take this much longer from now.
pub fn extend_timeout(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// How often to call [`watchdog`]: a third of what the service manager waits. `None` if it does not wait for us.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / WATCHDOG_TURNS).filter(|interval| !interval.is_zero())
}

/// The loops make progress.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// Which boot of the machine this is, as 32 hexadecimal digits: from the kernel, or, where the unit hides that (`ProcSubset=pid`), from
/// the variable that the unit sets (`Environment=BOOT_ID=%b`).
pub fn boot_id() -> Option<String> {
    let told = std::fs::read_to_string(BOOT_ID).ok().or_else(|| std::env::var(BOOT_ID_VARIABLE).ok())?;
    boot_digits(&told)
}

/// The digits alone: the kernel writes dashes between them, the service manager none.
fn boot_digits(told: &str) -> Option<String> {
    let digits: String = told.chars().filter(char::is_ascii_hexdigit).collect();
    (digits.len() == BOOT_ID_DIGITS).then_some(digits)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Runs one of the ignored tests below in a process of its own, which finds `variables` in its environment.
    fn in_a_child(name: &str, variables: &[(&str, &str)]) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--ignored", &format!("{}::{name}", module_path!().split_once("::").unwrap().1)]);
        child.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        let output = child.envs(variables.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn the_service_manager_hears_every_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        in_a_child("child_tells_everything", &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        let receive = || {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(receive(), "READY=1\n");
        assert_eq!(receive(), "STATUS=two lines\n");
        assert!(receive().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(receive(), "EXTEND_TIMEOUT_USEC=2000000\n");
        assert_eq!(receive(), "WATCHDOG=1\n");
        assert_eq!(receive(), "STOPPING=1\n");
    }

    #[test]
    fn a_boot_has_one_name_whoever_tells_it() {
        let name = "0f2a4c6e81b34d5f9c7e1a2b3c4d5e6f";
        let table = [
            ("0f2a4c6e-81b3-4d5f-9c7e-1a2b3c4d5e6f\n", Some(name)),
            (name, Some(name)),
            ("", None),
            ("%b", None),
            ("0f2a4c6e-81b3-4d5f", None),
        ];
        for (told, wanted) in table {
            assert_eq!(boot_digits(told).as_deref(), wanted, "{told:?}");
        }
    }

    #[test]
    fn a_service_manager_that_is_not_there_is_no_trouble() {
        in_a_child("child_tells_everything", &[]);
        in_a_child("child_tells_everything", &[("NOTIFY_SOCKET", "/nonexistent/notify")]);
    }

    #[test]
    fn the_watchdog_is_fed_three_times_in_its_limit() {
        in_a_child("child_has_a_watchdog_of_30_seconds", &[("WATCHDOG_USEC", "30000000")]);
        in_a_child("child_has_no_watchdog", &[]);
        in_a_child("child_has_no_watchdog", &[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")]);
    }

    #[test]
    #[ignore = "runs as a child of the tests above"]
    fn child_tells_everything() {
        ready();
        status("two\nlines");
        reloading();
        extend_timeout(Duration::from_secs(2));
        watchdog();
        stopping();
    }

    #[test]
    #[ignore = "runs as a child of the tests above"]
    fn child_has_a_watchdog_of_30_seconds() {
        assert_eq!(watchdog_interval(), Some(Duration::from_secs(10)));
    }

    #[test]
    #[ignore = "runs as a child of the tests above"]
    fn child_has_no_watchdog() {
        assert_eq!(watchdog_interval(), None);
    }
}
