//! Looks at the inbox: everything that lies there, or one name.
//!
//! Whoever may drop files may also drop symbolic links, FIFOs and devices, and may swap a folder for a link between two of our
//! calls. So every folder is opened beneath the inbox's own descriptor without following any link, and a file is opened
//! without blocking and believed only once `fstat` says that it is a regular file.
//!
//! Names are bytes. A folder that cannot be read is reported and the scan goes on. The root is known by device and inode:
//! when another directory, or none, lies at its path, the inbox is not available, and an empty listing means nothing.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::job::{FileName, Folder};

mod rights;
mod rules;

pub use rights::Rights;
pub(super) use rights::remedy;
pub use rules::Rules;

/// Times that an open is repeated when a rename elsewhere disturbed it (`EAGAIN` of `openat2`).
const OPEN_TRIES_MAX: u32 = 16;
/// What is told of a folder so deep that not even its path below the inbox can be handed over.
const PATH_TOO_LONG: &str = "its path is longer than the system takes (4095 bytes): shorten the names above it";
/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;

/// Why a look at the inbox failed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The inbox itself is not there, or not the one that was opened.
    #[error("inbox unavailable: {}: {why}", path.display())]
    Unavailable {
        /// The inbox.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// One file or folder in it.
    #[error("cannot look at {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What tells a file from any other, and from itself before a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Identity {
    /// The device's number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970, cut to what fits.
    pub mtime_ns: i64,
    /// Last change of anything, in nanoseconds since 1970, cut to what fits.
    pub ctime_ns: i64,
}

impl Identity {
    /// From what `stat` says.
    pub fn of(stat: &Stat) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(NANOS).saturating_add(nanos);
        Self {
            device: stat.st_dev as _,
            inode: stat.st_ino as _,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(stat.st_mtime as _, stat.st_mtime_nsec as _),
            ctime_ns: nanos(stat.st_ctime as _, stat.st_ctime_nsec as _),
        }
    }

    /// Whether `other` is the same inode, whatever happened to it since.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// What kind of directory entry it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link, never followed.
    Symlink,
    /// A folder.
    Dir,
    /// A FIFO, socket or device, never opened.
    Other,
}

/// What a look at one name found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// Which one it is.
    pub identity: Identity,
}

impl Facts {
    fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::Directory => Kind::Dir,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Other,
        };
        Self { kind, identity: Identity::of(stat) }
    }
}

/// One name that a scan came by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The folder it lies in.
    pub folder: Folder,
    /// Its name.
    pub name: FileName,
    /// What it is.
    pub sight: Sight,
}

/// What a scan has to say about a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// A regular file whose name makes it part of a pair.
    Member(Identity),
    /// Left alone, by this rule.
    Ignored(String),
    /// A folder that cannot be read, for this reason.
    Unreadable(String),
}

/// The open inbox.
#[derive(Debug)]
pub struct Inbox {
    path: PathBuf,
    root: Identity,
    directory: OwnedFd,
}

impl Inbox {
    /// Opens the directory at `path`, which is never made here: a missing inbox may be a disk that is not mounted.
    ///
    /// # Errors
    /// [`ScanError::Unavailable`] if there is no directory that can be opened.
    pub fn open(path: &Path) -> Result<Self, ScanError> {
        let unavailable = |errno: Errno| ScanError::Unavailable { path: path.to_owned(), why: errno.to_string() };
        let directory = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = directory.map_err(unavailable)?;
        let root = Identity::of(&fs::fstat(&directory).map_err(unavailable)?);
        Ok(Self { path: path.to_owned(), root, directory })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the device that it is on.
    pub fn device(&self) -> u64 {
        self.root.device
    }

    /// Whether the directory that was opened still lies at its path.
    ///
    /// # Errors
    /// [`ScanError::Unavailable`] says what lies there instead.
    pub fn still_there(&self) -> Result<(), ScanError> {
        let why = match fs::stat(&self.path) {
            Ok(stat) if Identity::of(&stat).same_file(&self.root) => return Ok(()),
            Ok(_) => "another directory lies there now (replaced, or its disk was mounted or unmounted)".to_owned(),
            Err(Errno::NOENT) => "it has vanished (removed, renamed or unmounted)".to_owned(),
            Err(errno) => errno.to_string(),
        };
        Err(ScanError::Unavailable { path: self.path.clone(), why })
    }

    /// Goes over everything in `folder` and beneath, depth first, a folder's own entries always in one run, and hands it to
    /// `emit`; stops early, without an error, when `emit` says `false`.
    ///
    /// # Errors
    /// None for what lies in the inbox: that is reported as [`Sight::Unreadable`]. [`ScanError::Unavailable`] if the inbox is
    /// not the one that was opened, before the scan or after it, so that what was emitted is not to be believed.
    pub fn scan(&self, folder: &Folder, rules: &Rules, emit: &mut dyn FnMut(Found) -> bool) -> Result<(), ScanError> {
        self.still_there()?;
        let mut pending = vec![folder.clone()];
        while let Some(folder) = pending.pop() {
            if !self.scan_folder(&folder, rules, &mut pending, emit) {
                break;
            }
        }
        self.still_there()
    }

    /// One folder's own entries; its folders are added to `pending`. Whether the scan goes on.
    fn scan_folder(
        &self,
        folder: &Folder,
        rules: &Rules,
        pending: &mut Vec<Folder>,
        emit: &mut dyn FnMut(Found) -> bool,
    ) -> bool {
        let entries = self.folder(folder, OFlags::RDONLY).and_then(|fd| Ok((Dir::read_from(&fd)?, fd)));
        let (entries, directory) = match entries {
            Ok(opened) => opened,
            // Gone, or swapped for something else, since its parent was listed.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return true,
            Err(errno) => return emit(self.unreadable_folder(folder, errno)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return emit(self.unreadable_folder(folder, errno)),
            };
            let Some(name) = FileName::new(entry.file_name().to_bytes()) else { continue };
            let facts = match fs::statat(&directory, name.as_path(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Facts::of(&stat),
                Err(Errno::NOENT) => continue,
                // The folder may be listed and not entered: one thing to tell, not one for each name in it.
                Err(errno @ Errno::ACCESS) => return emit(self.unreadable_folder(folder, errno)),
                Err(errno) => {
                    let sight = Sight::Unreadable(errno.to_string());
                    if !emit(Found { folder: folder.clone(), name, sight }) {
                        return false;
                    }
                    continue;
                }
            };
            let sight = match rules.sight(folder, &name, facts) {
                Some(sight) => sight,
                None => {
                    pending.push(folder.join(&name));
                    continue;
                }
            };
            if !emit(Found { folder: folder.clone(), name, sight }) {
                return false;
            }
        }
        true
    }

    /// A folder that cannot be read, told as an entry of its parent.
    fn unreadable_folder(&self, folder: &Folder, errno: Errno) -> Found {
        let path = self.path.join(folder.as_path());
        let why = match fs::lstat(&path) {
            Ok(stat) if errno == Errno::ACCESS => remedy(&stat, "rx", &path),
            _ if errno == Errno::NAMETOOLONG => PATH_TOO_LONG.to_owned(),
            Ok(_) | Err(_) => errno.to_string(),
        };
        let parts: Vec<FileName> = folder.parts().collect();
        let (folder, name) = match parts.split_last() {
            Some((name, parents)) => {
                (parents.iter().fold(Folder::root(), |folder, part| folder.join(part)), name.clone())
            }
            None => (Folder::root(), FileName::new(&b"(inbox)"[..]).expect("the literal is a name")),
        };
        Found { folder, name, sight: Sight::Unreadable(why) }
    }

    /// Looks at one name; `None` if it is not there.
    ///
    /// # Errors
    /// [`ScanError::Io`] if it cannot be told, for instance for want of rights on the folder.
    pub fn look(&self, folder: &Folder, name: &FileName) -> Result<Option<Facts>, ScanError> {
        let stat = self
            .folder(folder, OFlags::PATH)
            .and_then(|directory| fs::statat(&directory, name.as_path(), AtFlags::SYMLINK_NOFOLLOW));
        match stat {
            Ok(stat) => Ok(Some(Facts::of(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(self.io(folder, name, errno)),
        }
    }

    /// Where a name is, for messages.
    pub fn path_of(&self, folder: &Folder, name: &FileName) -> PathBuf {
        self.path.join(folder.path_of(name))
    }

    /// Opens a regular file for reading, without ever waiting for a writer; `None` if there is none under that name.
    ///
    /// # Errors
    /// [`ScanError::Io`] if it is there but cannot be opened.
    pub fn open_file(&self, folder: &Folder, name: &FileName) -> Result<Option<File>, ScanError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = self.folder(folder, OFlags::PATH).and_then(|directory| {
            // Opening some devices has effects of its own, so nothing but a regular file is opened; that it still is one is
            // checked on the descriptor.
            let stat = fs::statat(&directory, name.as_path(), AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(None);
            }
            let file = fs::openat(&directory, name.as_path(), flags, Mode::empty())?;
            let regular = FileType::from_raw_mode(fs::fstat(&file)?.st_mode) == FileType::RegularFile;
            Ok(regular.then(|| File::from(file)))
        });
        match opened {
            Ok(file) => Ok(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(self.io(folder, name, errno)),
        }
    }

    /// Opens a folder beneath the root without following links.
    fn folder(&self, folder: &Folder, flags: OFlags) -> Result<OwnedFd, Errno> {
        match open_beneath(&self.directory, folder.as_path(), flags, ResolveFlags::empty()) {
            // A kernel or a sandbox without openat2: the same by hand, one component after the other.
            Err(Errno::NOSYS | Errno::PERM) => self.folder_by_steps(folder, flags),
            opened => opened,
        }
    }

    fn folder_by_steps(&self, folder: &Folder, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = fs::openat(&self.directory, ".", flags, Mode::empty())?;
        for part in folder.parts() {
            directory = fs::openat(&directory, part.as_path(), flags, Mode::empty())?;
        }
        Ok(directory)
    }

    fn io(&self, folder: &Folder, name: &FileName, errno: Errno) -> ScanError {
        ScanError::Io { path: self.path_of(folder, name), source: errno.into() }
    }
}

fn open_beneath(root: &OwnedFd, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    let mut tries = 1;
    loop {
        match fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < OPEN_TRIES_MAX => tries += 1,
            opened => return opened,
        }
    }
}

/// Whether the kernel tells of every change in the file system of `path`. Not for network and user-space file systems: there
/// another machine, or the program behind it, changes files without a word.
///
/// # Errors
/// [`ScanError::Io`] if the file system cannot be asked.
pub fn events_work(path: &Path) -> Result<bool, ScanError> {
    /// The magic numbers of `statfs(2)`: NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS (kAFS, OpenAFS), Coda, NCP, VirtualBox
    /// shares, GPFS, Lustre, OCFS2, GFS2.
    const SILENT: [u32; 16] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x6573_5546,
        0x0102_1997,
        0x00C3_6400,
        0x6B41_4653,
        0x5346_414F,
        0x7375_7245,
        0x564C,
        0x786F_4256,
        0x4750_4653,
        0x0BD0_0BD0,
        0x7461_636F,
        0x0116_1970,
    ];
    let magic = fs::statfs(path).map_err(|errno| ScanError::Io { path: path.to_owned(), source: errno.into() })?.f_type;
    // The field's width and sign differ between the platforms; the numbers have 32 bits.
    Ok(!SILENT.contains(&(magic as u32)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name(bytes: impl AsRef<[u8]>) -> FileName {
        FileName::new(bytes.as_ref()).expect("a test's name is a name")
    }

    fn folder(bytes: &str) -> Folder {
        Folder::new(bytes.as_bytes()).expect("a test's folder is a folder")
    }

    fn rules() -> Rules {
        Rules::new(&[]).expect("no globs are fine")
    }

    fn told(inbox: &Inbox, rules: &Rules) -> Vec<String> {
        let mut lines = Vec::new();
        inbox
            .scan(&Folder::root(), rules, &mut |found| {
                let path = String::from_utf8_lossy(found.folder.path_of(&found.name).as_os_str().as_encoded_bytes())
                    .into_owned();
                lines.push(match found.sight {
                    Sight::Member(identity) => format!("{path} {}", identity.size),
                    Sight::Ignored(rule) => format!("{path} ignored: {rule}"),
                    Sight::Unreadable(_) => format!("{path} unreadable"),
                });
                true
            })
            .expect("the inbox is there");
        lines.sort();
        lines
    }

    #[test]
    fn a_scan_finds_files_in_subfolders_and_follows_no_link() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().join("inbox");
        std::fs::create_dir_all(root.join("a/b")).expect("mkdir");
        std::fs::create_dir_all(root.join(".hidden")).expect("mkdir");
        std::fs::create_dir_all(dir.path().join("secret")).expect("mkdir");
        std::fs::write(dir.path().join("secret/x.jpg"), b"secret").expect("write");
        std::fs::write(root.join("a/b/cat.jpg"), b"12345").expect("write");
        std::fs::write(root.join(".hidden/cat.jpg"), b"1").expect("write");
        std::fs::write(root.join("notes.txt"), b"1").expect("write");
        std::fs::write(root.join("cat.error.yaml"), b"1").expect("write");
        std::fs::write(root.join("big.jpg.part"), b"1").expect("write");
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("folder")).expect("symlink");
        std::os::unix::fs::symlink(dir.path().join("secret/x.jpg"), root.join("x.jpg")).expect("symlink");
        fs::mknodat(fs::CWD, root.join("pipe.jpg"), FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
        let inbox = Inbox::open(&root).expect("open");
        assert_eq!(
            told(&inbox, &rules()),
            [
                ".hidden ignored: .*",
                "a/b/cat.jpg 5",
                "big.jpg.part ignored: .part",
                "cat.error.yaml ignored: a report or a receipt",
                "folder ignored: a symbolic link",
                "notes.txt ignored: neither a picture nor a sidecar",
                "pipe.jpg ignored: not a regular file",
                "x.jpg ignored: a symbolic link",
            ]
        );
        assert!(inbox.open_file(&Folder::root(), &name("pipe.jpg")).expect("no error").is_none());
        assert!(inbox.open_file(&Folder::root(), &name("x.jpg")).expect("no error").is_none());
        assert!(inbox.open_file(&folder("folder"), &name("x.jpg")).expect("no error").is_none());
        assert!(inbox.look(&folder("folder"), &name("x.jpg")).expect("no error").is_none());
        assert!(inbox.open_file(&folder("a/b"), &name("cat.jpg")).expect("no error").is_some());
        assert_eq!(inbox.look(&folder("a"), &name("b")).expect("no error").map(|f| f.kind), Some(Kind::Dir));
    }

    #[test]
    fn the_way_without_openat2_follows_no_link_either() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("in/a/b")).expect("mkdir");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("in/a/out")).expect("symlink");
        let inbox = Inbox::open(&dir.path().join("in")).expect("open");
        assert!(inbox.folder_by_steps(&folder("a/b"), OFlags::PATH).is_ok());
        assert!(inbox.folder_by_steps(&folder("a/out"), OFlags::PATH).is_err());
        assert!(inbox.folder_by_steps(&folder("a/out/in"), OFlags::RDONLY).is_err());
    }

    #[test]
    fn names_that_are_not_text_are_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        let odd = name(b"caf\xe9\n.jpg");
        std::fs::write(dir.path().join(odd.as_path()), b"123").expect("write");
        let inbox = Inbox::open(dir.path()).expect("open");
        let mut found = Vec::new();
        inbox
            .scan(&Folder::root(), &rules(), &mut |entry| {
                found.push(entry.name);
                true
            })
            .expect("scan");
        assert_eq!(found, [odd]);
    }

    #[test]
    fn a_vanished_or_replaced_inbox_is_unavailable() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().join("inbox");
        std::fs::create_dir(&root).expect("mkdir");
        let inbox = Inbox::open(&root).expect("open");
        assert!(inbox.still_there().is_ok());
        std::fs::rename(&root, dir.path().join("elsewhere")).expect("rename");
        let mut emitted = 0;
        let gone = inbox.scan(&Folder::root(), &rules(), &mut |_| {
            emitted += 1;
            true
        });
        assert!(matches!(gone, Err(ScanError::Unavailable { .. })));
        std::fs::create_dir(&root).expect("mkdir");
        assert!(matches!(inbox.still_there(), Err(ScanError::Unavailable { .. })));
        std::fs::remove_dir(&root).expect("rmdir");
        std::fs::rename(dir.path().join("elsewhere"), &root).expect("rename");
        assert!(inbox.still_there().is_ok());
        assert_eq!(emitted, 0);
    }

    #[test]
    fn an_unreadable_folder_is_reported_and_the_scan_goes_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        for folder in ["a", "closed", "z"] {
            std::fs::create_dir(dir.path().join(folder)).expect("mkdir");
            std::fs::write(dir.path().join(folder).join("cat.jpg"), b"1").expect("write");
        }
        let closed = dir.path().join("closed");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).expect("chmod");
        // The superuser reads everything, so there the folder is an ordinary one.
        let blocked = std::fs::read_dir(&closed).is_err();
        let inbox = Inbox::open(dir.path()).expect("open");
        let middle = if blocked { "closed unreadable" } else { "closed/cat.jpg 1" };
        assert_eq!(told(&inbox, &rules()), ["a/cat.jpg 1", middle, "z/cat.jpg 1"]);
        assert_eq!(inbox.rights(&folder("closed")).unmovable(&name("cat.jpg")).is_none(), !blocked);
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    #[test]
    fn what_is_protected_against_change_is_told_before_it_is_taken() {
        use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
        let dir = tempfile::tempdir().expect("tempdir");
        for file in ["i.yaml", "a.yaml", "free.yaml"] {
            std::fs::write(dir.path().join(file), b"prompt: cat").expect("write");
        }
        let inbox = Inbox::open(dir.path()).expect("open");
        let told = |below: &str, marks: IFlags| {
            let marked = std::fs::File::open(dir.path().join(below)).expect("open");
            // Only the superuser may, and not on every file system.
            let before = ioctl_getflags(&marked).ok()?;
            ioctl_setflags(&marked, before | marks).ok()?;
            let asked = if below.is_empty() { "free.yaml" } else { below };
            let why = inbox.rights(&Folder::root()).unmovable(&name(asked));
            ioctl_setflags(&marked, before).expect("what was set can be taken away");
            Some(why)
        };
        for (below, marks) in [("i.yaml", IFlags::IMMUTABLE), ("a.yaml", IFlags::APPEND), ("", IFlags::APPEND)] {
            let Some(why) = told(below, marks) else {
                crate::spool::tests::not_played("files protected by chattr");
                return;
            };
            assert!(why.as_deref().is_some_and(|why| why.contains("run chattr -i -a ")), "{below:?}: {why:?}");
        }
        assert_eq!(inbox.rights(&Folder::root()).unmovable(&name("free.yaml")), None);
    }

    #[test]
    fn a_local_file_system_tells_of_changes_and_proc_is_another_mount() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert!(events_work(dir.path()).expect("statfs"));
        let hindrance = |root: &Path, below: &str| {
            Inbox::open(root).expect("open").rights(&folder(below)).unmovable(&name("version"))
        };
        assert_eq!(hindrance(dir.path(), ""), None);
        assert!(hindrance(Path::new("/"), "proc").is_some_and(|why| why.contains("another mount")));
    }
}
