//! The file that a download grows in, and what is known of the bytes in it.
//!
//! A part is made new (never through a symlink, never over a file that is there), stays one and the same file while it is resumed,
//! and is read again before anything is added, so that hash and check are always over what really lies on the disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::error::DownloadError;
use crate::job::video::{Video, Walk};
use crate::world::{self, At};

/// Who may read a part, before the umask: the owner writes, the group reads, as with a finished video.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

/// Bytes read at once when a part is read again.
const READ_BYTES: usize = 128 * 1024;

/// The place of a download, kept by the caller from one try to the next so that a broken one goes on where it ended. It is of use
/// within one run of the daemon; what an earlier run left behind must be removed by the caller first.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    begun: Option<Begun>,
}

/// The file that this part made, and what the server said of its content.
#[derive(Clone, Debug)]
struct Begun {
    device: u64,
    inode: u64,
    content: Option<Content>,
}

/// What tells one content from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Content {
    /// `ETag`, as it was sent.
    pub(super) etag: Option<String>,
    /// Bytes of the whole.
    pub(super) total: Option<u64>,
}

impl Content {
    /// Whether there is anything by which it could be known again.
    fn is_known(&self) -> bool {
        self.etag.is_some() || self.total.is_some()
    }

    /// The tag, if it promises the same bytes and not merely the same meaning.
    pub(super) fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| tag.starts_with('"'))
    }
}

impl Part {
    /// A part that is not there yet. Its folder must be.
    pub fn new(path: PathBuf) -> Self {
        Self { path, begun: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its bytes belong to, if a download may go on with them.
    pub(super) fn content(&self) -> Option<&Content> {
        self.begun.as_ref().and_then(|begun| begun.content.as_ref())
    }

    /// Remembers what the bytes belong to that are written from now on; `None`: the next try begins anew.
    pub(super) fn set_content(&mut self, content: Option<Content>) {
        if let Some(begun) = &mut self.begun {
            begun.content = content.filter(Content::is_known);
        }
    }

    /// Opens the file and reads what is of use in it.
    pub(super) async fn open(&mut self) -> Result<Sink, DownloadError> {
        let (path, begun) = (self.path.clone(), self.begun.clone());
        let (sink, begun) = blocking(&self.path, move || match begun {
            None => create(&path),
            Some(begun) => reopen(&path, begun),
        })
        .await?;
        self.begun = Some(begun);
        Ok(sink)
    }

    /// Runs one piece of file work where it may block.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        mut sink: Sink,
        work: impl FnOnce(&mut Sink) -> io::Result<T> + Send + 'static,
    ) -> Result<(Sink, T), DownloadError> {
        blocking(&self.path, move || work(&mut sink).map(|result| (sink, result))).await
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, DownloadError> {
    let done = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(io::Error::other(error)),
    };
    done.map_err(|source| DownloadError::Local { path: path.to_owned(), source })
}

/// Never follows a symlink and never waits for a FIFO.
const FLAGS: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

fn create(path: &Path) -> io::Result<(Sink, Begun)> {
    let file = world::make_as(At::new(&CWD, path), FLAGS | OFlags::CREATE | OFlags::EXCL, MODE)?;
    let metadata = file.metadata()?;
    Ok((Sink::new(file), Begun { device: metadata.dev(), inode: metadata.ino(), content: None }))
}

fn reopen(path: &Path, begun: Begun) -> io::Result<(Sink, Begun)> {
    let file = match world::open(At::new(&CWD, path), FLAGS) {
        Ok(file) => file,
        // Somebody has cleared it away: there is nothing to go on with.
        Err(Errno::NOENT) => return create(path),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if (metadata.dev(), metadata.ino()) != (begun.device, begun.inode) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "another file has taken the part's place"));
    }
    let mut sink = Sink::new(file);
    match begun.content {
        Some(_) => sink.read_again()?,
        None => sink.begin_anew()?,
    }
    Ok((sink, begun))
}

/// An open part: every byte in it has been hashed and checked.
pub(super) struct Sink {
    file: File,
    hash: Sha256,
    walk: Walk,
    bytes: u64,
}

impl Sink {
    fn new(file: File) -> Self {
        Self { file, hash: Sha256::new(), walk: Walk::new(), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Empties the file.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        world::set_length(&self.file, 0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.hash, self.walk, self.bytes) = (Sha256::new(), Walk::new(), 0);
        Ok(())
    }

    /// Adds bytes at the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        world::write(&self.file, bytes)?;
        self.take(bytes);
        Ok(())
    }

    /// What it was, at the end of the transfer: the hash, and the video or what is wrong with it. Not synced.
    pub(super) fn finish(self) -> ([u8; 32], Result<Video, String>) {
        (self.hash.finalize().into(), self.walk.finish())
    }

    fn read_again(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.walk.push(bytes);
        self.bytes += bytes.len() as u64;
    }
}
