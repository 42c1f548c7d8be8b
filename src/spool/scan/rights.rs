//! What this process may do with the files of one folder of the inbox, and which command would let it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Access, AtFlags, Mode, OFlags, ResolveFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};

use super::super::access::is_listed;
use super::{Identity, Inbox, open_beneath};
use crate::job::name::shown;
use crate::job::{FileName, Folder};

/// One folder of the inbox, and what may be done in it.
#[derive(Debug)]
pub struct Rights {
    path: PathBuf,
    /// `None` if it cannot even be looked into.
    directory: Option<OwnedFd>,
    /// Why no file can be renamed out of it.
    closed: Option<String>,
    /// Whether only a file's owner may rename it out.
    sticky: bool,
}

impl Inbox {
    /// What may be done in `folder`. Makes and changes nothing.
    pub fn rights(&self, folder: &Folder) -> Rights {
        let path = self.path.join(folder.as_path());
        let directory = match self.folder(folder, OFlags::PATH) {
            Ok(directory) => directory,
            Err(errno) => return Rights { path, directory: None, closed: Some(errno.to_string()), sticky: false },
        };
        let same_mount = match open_beneath(&self.directory, folder.as_path(), OFlags::PATH, ResolveFlags::NO_XDEV) {
            Err(Errno::XDEV) => false,
            Ok(_) | Err(_) => fs::fstat(&directory).is_ok_and(|stat| Identity::of(&stat).device == self.root.device),
        };
        let may_write = fs::accessat(&directory, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        let (closed, sticky) = match (fs::fstat(&directory), may_write) {
            (Err(errno), _) => (Some(errno.to_string()), false),
            (Ok(_), _) if !same_mount => {
                let told = shown_path(&path);
                (Some(format!("{told} is on another mount than the inbox; move its files to the inbox's own")), false)
            }
            (Ok(_), _) if is_protected(&directory, Path::new("")) => (Some(unprotect(&path)), false),
            (Ok(stat), Err(Errno::ACCESS)) => (Some(remedy(&stat, "wx", &path)), false),
            (Ok(_), Err(errno)) => (Some(errno.to_string()), false),
            (Ok(stat), Ok(())) => (None, Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX) && !owns(&stat)),
        };
        Rights { path, directory: Some(directory), closed, sticky }
    }
}

impl Rights {
    /// Why `name` cannot be renamed out of the folder; `None` if it can be.
    pub fn unmovable(&self, name: &FileName) -> Option<String> {
        if self.closed.is_some() {
            return self.closed.clone();
        }
        if self.directory.as_ref().is_some_and(|directory| is_protected(directory, name.as_path())) {
            return Some(unprotect(&self.path.join(name.as_path())));
        }
        let is_own = || self.stat(name).is_none_or(|stat| owns(&stat));
        if !self.sticky || is_own() {
            return None;
        }
        let (folder, file) = (shown_path(&self.path), name);
        Some(format!("{folder} is sticky and {file} belongs to another user: run chmod -t {folder}"))
    }

    /// Why `name` cannot be read; `None` if it can be, or is not there.
    pub fn unreadable(&self, name: &FileName) -> Option<String> {
        let directory = self.directory.as_ref()?;
        match fs::accessat(directory, name.as_path(), Access::READ_OK, AtFlags::EACCESS) {
            Ok(()) | Err(Errno::NOENT) => None,
            Err(errno) => Some(self.refused(name, errno.into())),
        }
    }

    /// `error`, which opening `name` ended in, and what to do about it where rights are missing.
    pub fn refused(&self, name: &FileName, error: io::Error) -> String {
        match self.stat(name) {
            Some(stat) if error.kind() == io::ErrorKind::PermissionDenied => {
                remedy(&stat, "r", &self.path.join(name.as_path()))
            }
            Some(_) | None => format!("{name}: {error}"),
        }
    }

    fn stat(&self, name: &FileName) -> Option<Stat> {
        fs::statat(self.directory.as_ref()?, name.as_path(), AtFlags::SYMLINK_NOFOLLOW).ok()
    }
}

/// The command that lets this process do `wanted`, as `chmod` spells it, with the file or folder at `path`.
pub(in crate::spool) fn remedy(stat: &Stat, wanted: &str, path: &Path) -> String {
    let class = match () {
        () if stat.st_uid == geteuid().as_raw() => 'u',
        // With an access list the group's rights bound those of everybody whom the list names.
        () if is_of_our_groups(stat) || is_listed(path) => 'g',
        () => 'o',
    };
    format!("permission denied: run chmod {class}+{wanted} {}", shown_path(path))
}

/// Whether what lies at `path` below `directory` is marked so that not even its owner may rename it, or out of it (`chattr +i`,
/// `+a`). An empty path is the directory itself.
fn is_protected(directory: &OwnedFd, path: &Path) -> bool {
    let marks = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    fs::statx(directory, path, flags, StatxFlags::empty()).is_ok_and(|stat| stat.stx_attributes.intersects(marks))
}

/// The command that takes the marks away.
fn unprotect(path: &Path) -> String {
    format!("protected against every change: run chattr -i -a {}", shown_path(path))
}

fn is_of_our_groups(stat: &Stat) -> bool {
    let others = getgroups().unwrap_or_default();
    std::iter::once(getegid()).chain(others).any(|group| group.as_raw() == stat.st_gid)
}

/// Whether the file or folder is this process's own; the superuser owns everything.
fn owns(stat: &Stat) -> bool {
    let user = geteuid();
    user.is_root() || user.as_raw() == stat.st_uid
}

/// A path as a shell takes it.
fn shown_path(path: &Path) -> String {
    let text = shown(path.as_os_str().as_encoded_bytes());
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
