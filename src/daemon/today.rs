//! What came of jobs since midnight, as the clocks of the place tell it: what a person asks first.
//!
//! Begun from the ledger, so a restart forgets nothing; counted on in memory; begun anew at the next midnight.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Counts of the day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Today {
    zone: TimeZone,
    /// The midnight after `now`.
    ends_at: Timestamp,
    /// Jobs that were delivered.
    pub(super) delivered: u64,
    /// Jobs that failed.
    pub(super) failed: u64,
}

impl Today {
    /// Begins with what the ledger counts since [`midnight`].
    pub(super) fn new(zone: TimeZone, now: Timestamp, (delivered, failed): (u64, u64)) -> Self {
        Self { ends_at: day(&zone, now).1, zone, delivered, failed }
    }

    /// An instant as the place's clocks show it, with its date where that is another day.
    pub(super) fn shown(&self, at: Timestamp) -> String {
        let form = if at < self.ends_at { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        at.to_zoned(self.zone.clone()).strftime(form).to_string()
    }

    /// Begins the next day if it is time to.
    pub(super) fn look_at_the_clock(&mut self, now: Timestamp) {
        if now >= self.ends_at {
            *self = Self::new(self.zone.clone(), now, (0, 0));
        }
    }
}

/// The midnight before `now`.
pub(super) fn midnight(zone: &TimeZone, now: Timestamp) -> Timestamp {
    day(zone, now).0
}

/// The first instant of the day that `now` is in, and of the next. At the end of time there is no next day.
fn day(zone: &TimeZone, now: Timestamp) -> (Timestamp, Timestamp) {
    let begins = now.to_zoned(zone.clone()).start_of_day();
    let ends = begins.as_ref().ok().and_then(|begins| begins.checked_add(1.day()).ok()?.start_of_day().ok());
    (begins.map_or(now, |begins| begins.timestamp()), ends.map_or(Timestamp::MAX, |ends| ends.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_the_one_of_the_place() {
        // Where midnight is skipped, where a day has 23 and 25 hours, and where nothing is odd.
        for (zone, now, begins, ends) in [
            ("UTC", "2026-11-27T11:00:00Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"),
            ("Asia/Shanghai", "2026-11-27T17:00:00Z", "2026-11-27T16:00:00Z", "2026-11-28T16:00:00Z"),
            ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            ("Africa/Cairo", "2026-04-24T12:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(day(&zone, at(now)), (at(begins), at(ends)), "{now}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_and_not_before() {
        let zone = TimeZone::UTC;
        let mut today = Today::new(zone, at("2026-11-27T11:00:00Z"), (5, 1));
        today.delivered += 1;
        today.look_at_the_clock(at("2026-11-27T23:59:59Z"));
        assert_eq!((today.delivered, today.failed), (6, 1));
        today.look_at_the_clock(at("2026-11-28T00:00:00Z"));
        assert_eq!((today.delivered, today.failed), (0, 0));
        today.look_at_the_clock(at("2026-11-28T23:00:00Z"));
        assert_eq!(today.ends_at, at("2026-11-29T00:00:00Z"));
    }
}
