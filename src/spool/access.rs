//! Access lists: who may use what other people put into a folder.
//!
//! A folder that its group may write is shared by the people of that group. What one of them puts there belongs to their own group and
//! has the rights of their umask, so the daemon and the others might neither read it nor move it. A default access list (`acl(5)`)
//! says for everything new in the folder, and in the folders that people make in it, that the daemon's group may use it, in place of
//! the umask. It cannot help where a program asks for fewer rights itself, as with mode 0600.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::durable::{Dir, FileError};
use crate::world;

/// The kernel's name for the list that new things in a folder begin with.
const DEFAULT: &str = "system.posix_acl_default";

/// The kernel's name for the list that a file or folder has.
const OWN: &str = "system.posix_acl_access";

/// The version that a list begins with; `linux/posix_acl_xattr.h`.
const VERSION: u32 = 2;

/// The kinds of entries of a list, in their order; `linux/posix_acl.h`.
const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// In place of a user's or group's number where there is none to name.
const NOBODY: u32 = u32::MAX;

/// Read, write and enter.
const ALL: u16 = 7;

/// Lets the daemon's group use whatever is put into `folder` from now on, if that is a folder of ours that its group may write and that
/// nobody has given a list. A file system without access lists is left as it is.
///
/// # Errors
/// The folder cannot be looked at, or the kernel refuses.
pub fn share(folder: &Path) -> Result<(), FileError> {
    let dir = Dir::open(folder)?;
    let failed =
        |errno: Errno| FileError { doing: "set the access list of", path: folder.to_owned(), source: errno.into() };
    let found = rustix::fs::fstat(dir.fd()).map_err(failed)?;
    let mode = Mode::from_raw_mode(found.st_mode);
    if !mode.contains(Mode::RWXG)
        || found.st_uid != geteuid().as_raw()
        || has(rustix::fs::fgetxattr(dir.fd(), DEFAULT, &mut [0; 64]))
    {
        return Ok(());
    }
    // The three bits of others are the low ones.
    let others = u16::try_from((mode & Mode::RWXO).as_raw_mode()).unwrap_or(0);
    let group = getegid().as_raw();
    let list = list(&[
        (USER_OBJ, ALL, NOBODY),
        (GROUP_OBJ, ALL, NOBODY),
        (GROUP, ALL, group),
        (MASK, ALL, NOBODY),
        (OTHER, others, NOBODY),
    ]);
    match world::set_list(dir.fd(), DEFAULT, &list) {
        Ok(()) => dir.sync(),
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Whether what lies at `path` has an access list of its own: then the rights of its group bound those of everybody whom the list
/// names.
pub fn is_listed(path: &Path) -> bool {
    has(rustix::fs::lgetxattr(path, OWN, &mut [0; 64]))
}

/// Whether there is a list, when it was to be read. Only that counts, so it may be longer than what it was read into.
fn has(read: Result<usize, Errno>) -> bool {
    match read {
        Ok(bytes) => bytes > 0,
        Err(errno) => errno == Errno::RANGE,
    }
}

/// A list as the kernel takes it: kind, rights and number of each entry, little-endian.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (kind, rights, number) in entries {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn what_is_put_into_a_shared_folder_is_the_groups_too() {
        let root = tempfile::tempdir().unwrap();
        for (mode, wanted) in [(0o770, true), (0o750, false), (0o700, false)] {
            let folder = root.path().join(format!("{mode:o}"));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            share(&folder).unwrap();
            fs::create_dir(folder.join("sub")).unwrap();
            let inner = folder.join("sub/inner");
            fs::write(&inner, "x").unwrap();
            assert_eq!(is_listed(&inner), wanted, "{mode:o}");
            // The umask of whoever runs this test takes the group's right to write away, a list does not ask it.
            assert!(!wanted || fs::metadata(&inner).unwrap().mode() & 0o060 == 0o060, "{mode:o}");
        }
    }

    #[test]
    fn a_list_that_somebody_has_given_stays() {
        let root = tempfile::tempdir().unwrap();
        let (folder, link) = (root.path().join("folder"), root.path().join("link"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let given = list(&[(USER_OBJ, ALL, NOBODY), (GROUP_OBJ, 5, NOBODY), (OTHER, 0, NOBODY)]);
        rustix::fs::setxattr(&folder, DEFAULT, &given, rustix::fs::XattrFlags::empty()).unwrap();
        for path in [&folder, &link] {
            share(path).unwrap();
            let mut found = [0; 64];
            let length = rustix::fs::getxattr(&folder, DEFAULT, &mut found).unwrap();
            assert_eq!(&found[..length], given, "{}", path.display());
        }
    }
}
