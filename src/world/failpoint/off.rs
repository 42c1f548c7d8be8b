//! A program without fail points: nothing happens at them, and nothing is left of them.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::io::Errno;

use super::super::At;
use super::Effect;

#[inline(always)]
pub(in super::super) fn pass<T>(_: Effect, _: impl FnOnce() -> PathBuf, act: impl FnOnce() -> T) -> T {
    act()
}

#[inline(always)]
pub(in super::super) fn torn(
    _: impl FnOnce() -> PathBuf,
    bytes: &[u8],
    act: impl FnOnce(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    act(bytes)
}

/// Passes the point of an effect that the caller is about to have: nothing.
///
/// # Errors
/// Never.
#[inline(always)]
pub fn before(_: Effect, _: impl FnOnce() -> PathBuf) -> Result<(), Errno> {
    Ok(())
}

/// Whether syncs are had: always.
#[inline(always)]
pub fn is_durable() -> bool {
    true
}

/// Never called.
#[inline(always)]
pub fn path(_: At<'_>) -> PathBuf {
    PathBuf::new()
}

/// Never called.
#[inline(always)]
pub fn path_from(_: At<'_>, _: At<'_>) -> PathBuf {
    PathBuf::new()
}

/// Never called.
#[inline(always)]
pub fn path_of(_: &impl AsFd) -> PathBuf {
    PathBuf::new()
}
