//! The folders: there, writable, beside each other, and inbox and `work/` on one mount.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use super::Finding;
use crate::config::Config;
use crate::spool::durable::{Dir, FileError, Renamed, own_name};

/// Looks at the folders. Blocks. A daemon that runs is not disturbed: nothing is made then.
pub(super) fn look(config: &Config, first_time: bool, running: bool) -> Vec<Finding> {
    let folders = &config.folders;
    let named = [
        ("root", &config.root),
        ("folders.inbox", &folders.inbox),
        ("folders.work", &folders.work),
        ("folders.outbox", &folders.outbox),
        ("folders.error", &folders.error),
        ("folders.archive", &folders.archive),
    ];
    let look = |name, path| folder(name, path, first_time || name != "folders.inbox").about(name);
    let mut findings: Vec<Finding> = named.iter().map(|(name, path)| look(*name, path)).collect();
    findings.extend(owner(&config.root));
    findings.extend(open_to_others("root", &config.root));
    findings.extend(open_to_others("folders.work", &folders.work));
    findings.extend(nested(&named[1..]));
    findings.push(one_mount(&folders.inbox, &folders.work, running).about("folders"));
    findings
}

/// The folder at `path`, or the nearest one above it that exists.
pub(super) fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}

/// An error with its causes in one line.
pub(super) fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

fn folder(name: &'static str, path: &Path, may_be_made: bool) -> Finding {
    const LET_IN: &str = "give the folder to the daemon's user (chown), or let it write there (chmod)";
    let shown = path.display();
    let usable = |path: &Path| {
        rustix::fs::accessat(CWD, path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    };
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            Finding::bad(name, format!("{shown} is no folder"), "move the file away, or name another folder")
        }
        Ok(_) => match usable(path) {
            Ok(()) => Finding::ok(name, shown.to_string()),
            Err(errno) => Finding::bad(name, format!("{shown} cannot be written by this user: {errno}"), LET_IN),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_be_made => match usable(existing(path)) {
            Ok(()) => Finding::ok(name, format!("{shown} is not there yet; made at the start")),
            Err(errno) => {
                let above = existing(path).display();
                Finding::bad(
                    name,
                    format!("{shown} is not there, and cannot be made in {above} by this user: {errno}"),
                    LET_IN,
                )
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::bad(
            name,
            format!("{shown} is not there, though the daemon has worked here before"),
            "mount its disk, or make the folder if it is lost for good",
        ),
        Err(error) => Finding::bad(name, format!("{shown} cannot be looked at: {error}"), LET_IN),
    }
}

/// Rights are those of the user who checks, which says little about another.
fn owner(root: &Path) -> Option<Finding> {
    let owner = fs::metadata(root).ok()?.uid();
    let user = rustix::process::geteuid().as_raw();
    (owner != user).then(|| {
        Finding::warning(
            "user",
            format!("this is user {user}, and {} belongs to user {owner}", root.display()),
            format!("for a service's rights: jimengd check --unit with its name; without systemd: sudo -u '#{owner}' jimengd check"),
        )
    })
}

/// Who may write the root may put another ledger there, and who may write `work/` may take paid jobs away.
fn open_to_others(name: &'static str, path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.mode();
    (mode & 0o022 != 0).then(|| {
        let shown = path.display();
        Finding::warning(
            name,
            format!("others than its owner may write {shown}, and so what the daemon knows of payments"),
            format!("run chmod go-w {shown}"),
        )
        .about(name)
    })
}

/// As the kernel sees them, so that links and `..` hide nothing; the configuration alone was looked at when it was read.
fn nested(folders: &[(&'static str, &std::path::PathBuf)]) -> Vec<Finding> {
    let real: Vec<_> =
        folders.iter().map(|(name, path)| (*name, path.canonicalize().unwrap_or_else(|_| (*path).clone()))).collect();
    let pairs = real.iter().flat_map(|inner| real.iter().map(move |outer| (inner, outer)));
    pairs
        .filter(|((inner, path), (outer, around))| inner != outer && path.starts_with(around))
        .map(|((inner, path), (outer, around))| {
            let message = format!("{} lies inside {outer}, {}", path.display(), around.display());
            Finding::bad(inner, message, "put the five folders beside each other").about(*inner)
        })
        .collect()
}

/// Whether a pair can be claimed by a rename, found out by one.
fn one_mount(inbox: &Path, work: &Path, running: bool) -> Finding {
    const NAME: &str = "one mount";
    if running {
        return Finding::ok(NAME, "the daemon has seen at its start that inbox and work are on one");
    }
    if !inbox.is_dir() || !work.is_dir() {
        return Finding::ok(NAME, "to be seen once inbox and work are there");
    }
    match rename_works(inbox, work) {
        Ok(Renamed::OtherMount) => Finding::bad(
            NAME,
            format!(
                "{} and {} are on different mounts, so a pair cannot be claimed by a rename",
                inbox.display(),
                work.display()
            ),
            "put both below one folder that is mounted as a whole; under systemd name that one in ReadWritePaths=",
        ),
        Ok(Renamed::Moved | Renamed::Taken | Renamed::Gone) => {
            Finding::ok(NAME, "a file can be renamed from work to inbox and so back")
        }
        Err(error) => Finding::bad(NAME, chain(error), "let the daemon's user write to inbox and work"),
    }
}

fn rename_works(inbox: &Path, work: &Path) -> Result<Renamed, FileError> {
    let (inbox, work) = (Dir::open(inbox)?, Dir::open(work)?);
    // A dot-file, which no inbox takes in, under a name that neither the daemon nor another check uses.
    let name = own_name(&format!(".jimengd-check-{}", std::process::id()));
    work.write_new(&name, b"")?;
    let renamed = work.rename(&name, &inbox, &name);
    let cleared = work.unlink(&name).and(inbox.unlink(&name));
    let renamed = renamed?;
    cleared.map(|_| renamed)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::check::Verdict;

    #[test]
    fn a_lost_inbox_is_a_problem_and_a_new_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let inbox = root.path().join("a/inbox");
        assert_eq!(folder("folders.inbox", &inbox, true).verdict, Verdict::Ok);
        assert_eq!(folder("folders.inbox", &inbox, false).verdict, Verdict::Problem);
        fs::write(root.path().join("a"), "").unwrap();
        assert_eq!(folder("folders.inbox", &root.path().join("a"), true).verdict, Verdict::Problem);
    }

    #[test]
    fn a_folder_inside_another_is_found_behind_links() {
        let root = tempfile::tempdir().unwrap();
        let (inbox, outbox) = (root.path().join("inbox"), root.path().join("outbox"));
        fs::create_dir_all(inbox.join("out")).unwrap();
        std::os::unix::fs::symlink(inbox.join("out"), &outbox).unwrap();
        let found = nested(&[("folders.inbox", &inbox), ("folders.outbox", &outbox)]);
        assert_eq!(found.iter().map(|finding| finding.key).collect::<Vec<_>>(), [Some("folders.outbox")]);
        let apart: PathBuf = root.path().join("apart");
        assert_eq!(nested(&[("folders.inbox", &inbox), ("folders.work", &apart)]), []);
    }

    #[test]
    fn the_rename_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let (inbox, work) = (root.path().join("inbox"), root.path().join("work"));
        fs::create_dir(&inbox).unwrap();
        fs::create_dir(&work).unwrap();
        assert_eq!(one_mount(&inbox, &work, false).verdict, Verdict::Ok);
        for folder in [&inbox, &work] {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "{folder:?}");
        }
        // /proc takes no file, whoever we are.
        assert_eq!(one_mount(Path::new("/proc"), &work, false).verdict, Verdict::Problem);
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    }
}
