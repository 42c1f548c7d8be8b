//! Reads a pair: what it asks for, whether it is whole, and the hashes of both files.
//!
//! The same function judges in the inbox, where it decides whether a pair is ready, and in `work/` after the claim, where it
//! decides what is sent. The picture is read in pieces and never held whole. Both files are looked at before and after: what
//! changed while it was read has no judgement.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::fstat;
use sha2::{Digest, Sha256};

use super::scan::Identity;
use crate::job::picture::{self, Limits, Outcome};
use crate::job::sidecar::{self, Sidecar};
use crate::job::{Problem, picture::Picture};

/// Bytes of a file beyond which nobody takes it for a picture. A sparse file may claim any size, and reading it would take for ever.
pub const PICTURE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a sidecar that are read: one more than it may have.
const SIDECAR_BYTES_READ: u64 = sidecar::BYTES_MAX as u64 + 1;
/// Bytes of one read of the picture.
const PIECE_BYTES: usize = 64 * 1024;

/// Why there is no judgement.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A file cannot be read; the caller knows its path.
    #[error("cannot read the {file}")]
    Io {
        /// `picture` or `sidecar`.
        file: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("the {file} changed while it was read")]
    Changed {
        /// `picture` or `sidecar`.
        file: &'static str,
    },
}

/// SHA-256 of a file's bytes.
pub type Hash = [u8; 32];

/// What was found in the sidecar's file.
#[derive(Clone, Debug)]
pub struct SidecarFound {
    /// What it asks for, or every complaint.
    pub read: Result<Sidecar, Vec<Problem>>,
    /// Whether it shows its end; see [`sidecar::Found`].
    pub parses: bool,
    /// Whether it names the address of a picture and so is a job by itself.
    pub names_address: bool,
    /// Whether it ends in zeros, as a file does whose size was set before its content came.
    pub unfilled: bool,
    /// The hash of its bytes; of the first `sidecar::BYTES_MAX` + 1 where it is longer.
    pub sha256: Hash,
    /// Which file it was.
    pub identity: Identity,
}

/// What was found in the picture's file.
#[derive(Clone, Debug)]
pub struct PictureFound {
    /// What the walk said.
    pub outcome: Outcome,
    /// Every limit that it breaks.
    pub complaints: Vec<Problem>,
    /// Whether it ends in zeros, as a file does whose size was set before its content came.
    pub unfilled: bool,
    /// Which file it was.
    pub identity: Identity,
}

/// What was found in both.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The sidecar.
    pub sidecar: SidecarFound,
    /// The picture, if the pair has one.
    pub picture: Option<PictureFound>,
}

/// Everything that is wrong with a pair.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Complaints {
    /// What is wrong with the sidecar.
    pub sidecar: Vec<Problem>,
    /// What is wrong with the picture.
    pub picture: Vec<Problem>,
}

impl Judgement {
    /// Whether both files show their end. A file may be whole and yet be refused.
    pub fn whole(&self) -> bool {
        self.sidecar.parses && self.picture.as_ref().is_none_or(PictureFound::whole)
    }

    /// The values of a pair that may be sent; else every complaint about both files.
    ///
    /// # Errors
    /// The complaints; their `file` is left to the caller.
    pub fn accepted(&self) -> Result<(&Sidecar, Option<&Picture>), Complaints> {
        let picture = match &self.picture {
            Some(found) => found.accepted().map(Some),
            None => Ok(None),
        };
        match (&self.sidecar.read, picture) {
            (Ok(sidecar), Ok(picture)) => Ok((sidecar, picture)),
            (sidecar, picture) => Err(Complaints {
                sidecar: sidecar.as_ref().err().cloned().unwrap_or_default(),
                picture: picture.err().unwrap_or_default(),
            }),
        }
    }
}

impl PictureFound {
    /// Whether it is whole to its end marker, or broken in a way that nothing which may still come can mend.
    pub fn whole(&self) -> bool {
        match &self.outcome {
            Outcome::Whole(_) => true,
            Outcome::Incomplete(_) => false,
            Outcome::Invalid(_) => !self.unfilled,
        }
    }

    /// The picture, if it may be sent.
    ///
    /// # Errors
    /// Every complaint.
    pub fn accepted(&self) -> Result<&Picture, Vec<Problem>> {
        match &self.outcome {
            Outcome::Whole(picture) if self.complaints.is_empty() => Ok(picture),
            Outcome::Whole(_) => Err(self.complaints.clone()),
            Outcome::Incomplete(problem) | Outcome::Invalid(problem) => Err(vec![problem.clone()]),
        }
    }
}

/// Reads a picture alone, from its beginning to its end.
///
/// # Errors
/// As [`judge`].
pub fn judge_picture(picture: File, limits: &Limits) -> Result<PictureFound, JudgeError> {
    read_picture(picture, limits, None)
}

/// Why a file of so many bytes is not even read; `None` if it is.
pub fn too_large(bytes: u64) -> Option<String> {
    (bytes > PICTURE_BYTES_MAX)
        .then(|| format!("it has {bytes} bytes, and no picture has more than {PICTURE_BYTES_MAX}"))
}

/// Reads both files from their beginning to their end. The picture is not hashed: in the inbox nobody asks for it, and a pair on
/// its way waits for it.
///
/// # Errors
/// [`JudgeError::Io`] if one cannot be read, [`JudgeError::Changed`] if one changed meanwhile.
pub fn judge(picture: Option<File>, sidecar: File, limits: &Limits) -> Result<Judgement, JudgeError> {
    let has_picture = picture.is_some();
    let picture = picture.map(|file| read_picture(file, limits, None)).transpose()?;
    let sidecar = read_sidecar(sidecar, has_picture)?;
    Ok(Judgement { sidecar, picture })
}

/// As [`judge`], with the hash of the picture's bytes, if there is a picture.
///
/// # Errors
/// As [`judge`].
pub fn judge_and_hash(
    picture: Option<File>,
    sidecar: File,
    limits: &Limits,
) -> Result<(Judgement, Option<Hash>), JudgeError> {
    let has_picture = picture.is_some();
    let mut hash = Sha256::new();
    let picture = picture.map(|file| read_picture(file, limits, Some(&mut hash))).transpose()?;
    let sidecar = read_sidecar(sidecar, has_picture)?;
    Ok((Judgement { sidecar, picture }, has_picture.then(|| hash.finalize().into())))
}

/// SHA-256, lower-case hexadecimal, of a file that is not judged.
///
/// # Errors
/// It cannot be read.
pub fn hash(mut file: File) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok(hexadecimal(&hash.finalize().into()))
}

/// The same of a sidecar that is not judged, and of as much of it as a judgement would have read.
///
/// # Errors
/// It cannot be read.
pub fn hash_sidecar(file: File) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut file.take(SIDECAR_BYTES_READ), &mut hash)?;
    Ok(hexadecimal(&hash.finalize().into()))
}

/// A hash in lower-case hexadecimal.
pub fn hexadecimal(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_sidecar(mut file: File, has_picture: bool) -> Result<SidecarFound, JudgeError> {
    const FILE: &str = "sidecar";
    let identity = identity_of(&file, FILE)?;
    let mut bytes = Vec::new();
    let limit = SIDECAR_BYTES_READ;
    file.by_ref().take(limit).read_to_end(&mut bytes).map_err(|source| JudgeError::Io { file: FILE, source })?;
    unchanged(&file, identity, bytes.len() as u64, limit, FILE)?;
    let sidecar::Found { read, parses, names_address, unfilled } = sidecar::look(&bytes, has_picture);
    Ok(SidecarFound { read, parses, names_address, unfilled, sha256: Sha256::digest(&bytes).into(), identity })
}

fn read_picture(mut file: File, limits: &Limits, mut hash: Option<&mut Sha256>) -> Result<PictureFound, JudgeError> {
    const FILE: &str = "picture";
    let identity = identity_of(&file, FILE)?;
    if let Some(why) = too_large(identity.size) {
        return Err(JudgeError::Io { file: FILE, source: io::Error::new(io::ErrorKind::FileTooLarge, why) });
    }
    let mut walk = picture::Walk::new();
    // One byte more than it should have, so that its end is seen at once.
    let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(identity.size).unwrap_or(PIECE_BYTES).saturating_add(1))];
    let mut length = 0_u64;
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(JudgeError::Io { file: FILE, source }),
        };
        let bytes = &piece[..count];
        walk.push(bytes);
        if let Some(hash) = &mut hash {
            hash.update(bytes);
        }
        length += count as u64;
        if length > identity.size {
            return Err(JudgeError::Changed { file: FILE });
        }
    }
    unchanged(&file, identity, length, u64::MAX, FILE)?;
    let unfilled = walk.is_unfilled();
    let outcome = walk.finish();
    let complaints = match &outcome {
        Outcome::Whole(picture) => picture::complaints(picture, limits),
        Outcome::Incomplete(_) | Outcome::Invalid(_) => Vec::new(),
    };
    Ok(PictureFound { outcome, complaints, unfilled, identity })
}

fn identity_of(file: &File, which: &'static str) -> Result<Identity, JudgeError> {
    match fstat(file) {
        Ok(stat) => Ok(Identity::of(&stat)),
        Err(errno) => Err(JudgeError::Io { file: which, source: errno.into() }),
    }
}

fn unchanged(file: &File, before: Identity, read: u64, limit: u64, which: &'static str) -> Result<(), JudgeError> {
    let after = identity_of(file, which)?;
    if after == before && read == before.size.min(limit) { Ok(()) } else { Err(JudgeError::Changed { file: which }) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NO_LIMITS: Limits = Limits { bytes_max: None, side_max: None, short_side_min: None, ratio_max: None };

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().expect("tempfile");
        file.write_all(bytes).expect("write");
        file.reopen().expect("reopen")
    }

    #[test]
    fn both_files_are_hashed_and_known_by_their_identity() {
        let picture = file(b"not a picture");
        let sidecar = file(b"prompt: cat\n");
        let size = |f: &File| f.metadata().expect("metadata").len();
        let (picture_size, sidecar_size) = (size(&picture), size(&sidecar));
        let (judgement, hash) = judge_and_hash(Some(picture), sidecar, &NO_LIMITS).expect("readable");
        let found = judgement.picture.as_ref().expect("there is a picture");
        assert_eq!(hash, Some(<Hash>::from(Sha256::digest(b"not a picture"))));
        assert_eq!(found.identity.size, picture_size);
        assert_eq!(judgement.sidecar.sha256, <Hash>::from(Sha256::digest(b"prompt: cat\n")));
        assert_eq!(judgement.sidecar.identity.size, sidecar_size);
    }

    #[test]
    fn room_made_in_advance_is_not_a_broken_picture() {
        for (bytes, waits) in [(vec![0; 4096], true), (b"GIF89a, not for us".to_vec(), false)] {
            let judgement = judge(Some(file(&bytes)), file(b"prompt: cat"), &NO_LIMITS).expect("readable");
            let found = judgement.picture.expect("there is a picture");
            assert_eq!(found.unfilled, waits);
            assert_eq!(!found.whole(), waits, "{:?}", found.outcome);
        }
    }

    #[test]
    fn a_file_that_claims_to_be_huge_is_not_read() {
        let huge = tempfile::tempfile().expect("tempfile");
        huge.set_len(PICTURE_BYTES_MAX + 1).expect("a hole costs nothing");
        let judged = judge(Some(huge), file(b"prompt: cat"), &NO_LIMITS);
        let Err(JudgeError::Io { file: "picture", source }) = judged else { panic!("{judged:?}") };
        assert_eq!(source.to_string(), "it has 1073741825 bytes, and no picture has more than 1073741824");
    }

    #[test]
    fn a_sidecar_without_end_is_read_to_the_limit_only() {
        let judgement = judge(None, file(&vec![b'a'; 10 * sidecar::BYTES_MAX]), &NO_LIMITS).expect("readable");
        let expected: Hash = Sha256::digest(vec![b'a'; sidecar::BYTES_MAX + 1]).into();
        assert_eq!(judgement.sidecar.sha256, expected);
        assert!(judgement.whole());
    }
}
