//! When a file counts as settled, so that nobody is writing it any more. Pure: every moment is an argument, on the
//! monotonic clock; a file's own times are only compared with each other, never with a clock.
//!
//! - Moved in and whole: settled at once.
//! - Closed after writing and whole: after `quiet` without another event on either file of the pair.
//! - Known from a scan (or from a hard link, which looks the same): after `settle` of rest from our own first sight.
//! - Written and not closed since, empty, or a picture without its end: after `incomplete_after` of rest.
//! - A sidecar that is no YAML: a cut text mostly still parses, so this is nearly always the user's error and not an
//!   unfinished file. It rests for `settle` only, lest a typing error be told ten minutes late.
//!
//! There is no state without a moment at which it ends: [`settled_at`] always answers.

use std::time::{Duration, Instant};

use super::scan::Identity;

/// The three rests of the configuration, key `inbox`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rests {
    /// After a close.
    pub quiet: Duration,
    /// Without telling events.
    pub settle: Duration,
    /// For what looks unfinished.
    pub incomplete_after: Duration,
}

/// What an event told about a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// It was renamed to this name.
    MovedIn,
    /// A writer closed it.
    Closed,
    /// A writer wrote into it.
    Wrote,
    /// It was made, or linked to this name.
    Created,
    /// Its times, rights or links changed.
    Touched,
    /// It is no longer there.
    Gone,
}

impl Hint {
    /// What remains to be known when `later` comes after this hint: a touch says nothing about who is writing.
    pub fn then(self, later: Self) -> Self {
        match later {
            Self::Touched if self != Self::Gone => self,
            Self::MovedIn | Self::Closed | Self::Wrote | Self::Created | Self::Touched | Self::Gone => later,
        }
    }
}

/// How much is known of a file's writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// It came under its name by a rename.
    MovedIn,
    /// Its writer closed it.
    Closed,
    /// Somebody wrote into it and has not closed it since.
    Writing,
    /// Nothing: a scan found it, or it changed without an event.
    Scanned,
}

/// Whether the content shows an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// It does, or whether it does is not known yet.
    Whole,
    /// It is a beginning: a picture without its end, or anything that ends in zeros.
    Unfinished,
    /// A sidecar that is no YAML.
    Unparsed,
}

/// What is known of one file's coming to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRest {
    /// What is known of its writer.
    pub evidence: Evidence,
    /// What it was when last looked at.
    pub identity: Identity,
    /// The last event, or the moment at which a change was found.
    pub changed_at: Instant,
}

impl FileRest {
    /// A file seen for the first time, at `now`.
    pub fn first(hint: Option<Hint>, identity: Identity, now: Instant) -> Self {
        let evidence = match hint {
            Some(Hint::MovedIn) => Evidence::MovedIn,
            Some(Hint::Closed) => Evidence::Closed,
            Some(Hint::Wrote) => Evidence::Writing,
            // A name that is made and never closed by a writer: a hard link, or the first moment of a copy.
            Some(Hint::Created | Hint::Touched | Hint::Gone) | None => Evidence::Scanned,
        };
        Self { evidence, identity, changed_at: now }
    }

    /// Takes a later look. Whether anything is new about the file.
    pub fn look(&mut self, hint: Option<Hint>, identity: Identity, now: Instant) -> bool {
        let changed = identity != self.identity;
        let replaced = !identity.same_file(&self.identity);
        let evidence = match hint {
            Some(Hint::MovedIn) => Evidence::MovedIn,
            Some(Hint::Closed) => Evidence::Closed,
            Some(Hint::Wrote) => Evidence::Writing,
            Some(Hint::Created | Hint::Gone) => Evidence::Scanned,
            Some(Hint::Touched) if !replaced => self.evidence,
            Some(Hint::Touched) => Evidence::Scanned,
            None if !changed => return false,
            // Somebody changes it without closing it, for instance through a memory map.
            None if self.evidence == Evidence::Writing && !replaced => Evidence::Writing,
            None => Evidence::Scanned,
        };
        *self = Self { evidence, identity, changed_at: now };
        true
    }

    /// Forgets what events told: the file must rest from `now` as if a scan had just found it.
    pub fn start_again(&mut self, now: Instant) {
        self.evidence = Evidence::Scanned;
        self.changed_at = now;
    }
}

/// The moment from which the files of one pair count as settled if nothing happens to them until then.
pub fn settled_at(files: &[(FileRest, Shape)], rests: &Rests) -> Option<Instant> {
    let last_event = files.iter().map(|(file, _)| file.changed_at).max()?;
    files
        .iter()
        .map(|(file, shape)| match (file.evidence, shape) {
            _ if file.identity.size == 0 => file.changed_at + rests.incomplete_after,
            (Evidence::Writing, _) | (_, Shape::Unfinished) => file.changed_at + rests.incomplete_after,
            (_, Shape::Unparsed) | (Evidence::Scanned, Shape::Whole) => file.changed_at + rests.settle,
            (Evidence::MovedIn, Shape::Whole) => file.changed_at,
            (Evidence::Closed, Shape::Whole) => last_event + rests.quiet,
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTS: Rests = Rests {
        quiet: Duration::from_millis(250),
        settle: Duration::from_secs(2),
        incomplete_after: Duration::from_secs(600),
    };

    fn identity(size: u64) -> Identity {
        Identity { device: 1, inode: 2, size, mtime_ns: 3, ctime_ns: 4 }
    }

    #[test]
    fn every_evidence_and_shape_has_its_rest() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let cases = [
            (Evidence::MovedIn, Shape::Whole, at(0)),
            (Evidence::MovedIn, Shape::Unparsed, at(2_000)),
            (Evidence::MovedIn, Shape::Unfinished, at(600_000)),
            (Evidence::Closed, Shape::Whole, at(250)),
            (Evidence::Closed, Shape::Unparsed, at(2_000)),
            (Evidence::Closed, Shape::Unfinished, at(600_000)),
            (Evidence::Scanned, Shape::Whole, at(2_000)),
            (Evidence::Scanned, Shape::Unparsed, at(2_000)),
            (Evidence::Scanned, Shape::Unfinished, at(600_000)),
            (Evidence::Writing, Shape::Whole, at(600_000)),
            (Evidence::Writing, Shape::Unparsed, at(600_000)),
            (Evidence::Writing, Shape::Unfinished, at(600_000)),
        ];
        for (evidence, shape, expected) in cases {
            let file = FileRest { evidence, identity: identity(9), changed_at: now };
            assert_eq!(settled_at(&[(file, shape)], &RESTS), Some(expected), "{evidence:?} {shape:?}");
            let empty = FileRest { identity: identity(0), ..file };
            assert_eq!(settled_at(&[(empty, shape)], &RESTS), Some(at(600_000)), "empty {evidence:?} {shape:?}");
        }
    }

    #[test]
    fn an_event_on_either_file_keeps_a_closed_one_waiting() {
        let now = Instant::now();
        let later = now + Duration::from_millis(200);
        let closed = FileRest { evidence: Evidence::Closed, identity: identity(9), changed_at: now };
        let moved = FileRest { evidence: Evidence::MovedIn, identity: identity(9), changed_at: later };
        let files = [(closed, Shape::Whole), (moved, Shape::Whole)];
        assert_eq!(settled_at(&files, &RESTS), Some(later + RESTS.quiet));
    }

    #[test]
    fn the_slower_file_decides() {
        let now = Instant::now();
        let scanned = FileRest { evidence: Evidence::Scanned, identity: identity(9), changed_at: now };
        let moved = FileRest { evidence: Evidence::MovedIn, identity: identity(9), changed_at: now };
        let files = [(scanned, Shape::Whole), (moved, Shape::Whole)];
        assert_eq!(settled_at(&files, &RESTS), Some(now + RESTS.settle));
    }

    #[test]
    fn looks_change_what_is_known() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let other_size = identity(10);
        let other_file = Identity { inode: 77, ..identity(9) };
        let same = identity(9);
        // Evidence before, hint, identity found, evidence after; None: nothing new.
        let cases = [
            (Evidence::MovedIn, None, same, None),
            (Evidence::MovedIn, None, other_size, Some(Evidence::Scanned)),
            (Evidence::Closed, None, other_size, Some(Evidence::Scanned)),
            (Evidence::Writing, None, other_size, Some(Evidence::Writing)),
            (Evidence::Writing, None, other_file, Some(Evidence::Scanned)),
            (Evidence::Scanned, None, other_size, Some(Evidence::Scanned)),
            (Evidence::MovedIn, Some(Hint::Wrote), same, Some(Evidence::Writing)),
            (Evidence::Writing, Some(Hint::Closed), other_size, Some(Evidence::Closed)),
            (Evidence::Closed, Some(Hint::Closed), same, Some(Evidence::Closed)),
            (Evidence::Closed, Some(Hint::MovedIn), other_file, Some(Evidence::MovedIn)),
            (Evidence::Closed, Some(Hint::Touched), other_size, Some(Evidence::Closed)),
            (Evidence::Closed, Some(Hint::Touched), other_file, Some(Evidence::Scanned)),
            (Evidence::Closed, Some(Hint::Created), other_file, Some(Evidence::Scanned)),
        ];
        for (before, hint, found, expected) in cases {
            let mut file = FileRest { evidence: before, identity: same, changed_at: now };
            let news = file.look(hint, found, later);
            assert_eq!(news.then_some(file.evidence), expected, "{before:?} {hint:?} {found:?}");
            assert_eq!(file.changed_at, if news { later } else { now });
        }
    }

    #[test]
    fn a_touch_says_nothing_about_the_writer() {
        assert_eq!(Hint::Closed.then(Hint::Touched), Hint::Closed);
        assert_eq!(Hint::Wrote.then(Hint::Touched), Hint::Wrote);
        assert_eq!(Hint::Gone.then(Hint::Touched), Hint::Touched);
        assert_eq!(Hint::Created.then(Hint::Closed), Hint::Closed);
        assert_eq!(Hint::Closed.then(Hint::Wrote), Hint::Wrote);
        assert_eq!(Hint::MovedIn.then(Hint::Gone), Hint::Gone);
    }
}
