//! Looking with the daemon's rights.
//!
//! The superuser may read everything, so what the superuser sees says nothing of what the daemon may do. Asked by the superuser,
//! a thread of its own puts on the daemon's user and groups, which on Linux are a thread's, and the kernel answers as it answers
//! the daemon. The groups are those of the running process; of one that is down, only those that own `work/` are known.

use std::fs;
use std::path::Path;

use rustix::fs::stat;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A user with groups.
struct Identity {
    user: Uid,
    group: Gid,
    more: Vec<Gid>,
}

/// What `look` sees with the rights of the daemon that owns the folder `work` and runs, if it does, as process `pid`. With those
/// of this process where it is not the superuser's, where there is no such folder, or where it may not become somebody else.
pub(super) fn as_daemon<T: Send>(work: &Path, pid: Option<u32>, look: impl FnOnce() -> T + Send) -> T {
    let Some(daemon) = Identity::of(work, pid).filter(|daemon| geteuid().is_root() && !daemon.user.is_root()) else {
        return look();
    };
    let looking = || {
        // What is missing of the daemon's identity then is the superuser's: more is seen, and nothing is harmed by looking.
        if let Err(errno) = daemon.put_on() {
            tracing::warn!("cannot look with the rights of the daemon: {errno}");
        }
        look()
    };
    std::thread::scope(|scope| match scope.spawn(looking).join() {
        Ok(seen) => seen,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Identity {
    fn of(work: &Path, pid: Option<u32>) -> Option<Self> {
        let stat = stat(work).ok()?;
        let owner = Self { user: Uid::from_raw(stat.st_uid), group: Gid::from_raw(stat.st_gid), more: Vec::new() };
        // A number that the kernel has given to another process since is another user's, or tells nothing wrong.
        let running = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let running = running.and_then(|status| Self::told(&status)).filter(|running| running.user == owner.user);
        Some(running.unwrap_or(owner))
    }

    /// Reads `/proc/PID/status`; of each line of four identifiers the second is the effective one.
    fn told(status: &str) -> Option<Self> {
        let numbers = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
        };
        Some(Self {
            user: Uid::from_raw(*numbers("Uid:")?.get(1)?),
            group: Gid::from_raw(*numbers("Gid:")?.get(1)?),
            more: numbers("Groups:")?.into_iter().map(Gid::from_raw).collect(),
        })
    }

    /// Makes this thread, and no other, this user's for good.
    fn put_on(&self) -> rustix::io::Result<()> {
        set_thread_groups(&self.more)?;
        set_thread_res_gid(self.group, self.group, self.group)?;
        set_thread_res_uid(self.user, self.user, self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_effective_user_and_groups() {
        let status = "Name:\tjimengd\nUid:\t0\t997\t0\t0\nGid:\t0\t996\t0\t0\nGroups:\t4 996 \nThreads:\t3\n";
        let told = Identity::told(status).expect("it is whole");
        assert_eq!((told.user.as_raw(), told.group.as_raw()), (997, 996));
        assert_eq!(told.more.iter().map(|group| group.as_raw()).collect::<Vec<_>>(), [4, 996]);
        assert!(Identity::told("Uid:\t1\t1\t1\t1\n").is_none());
    }
}
