//! Durations and sizes as people write them, both ways. Pure.
//!
//! A duration is a whole number and one unit; what is written is read back as the same value.

use std::time::Duration;

use bytesize::ByteSize;

/// The units of a duration, smallest first, with their milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `250ms`, `2s`, `10m`, `12h`, `90d`; a space before the unit is fine. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that divides it; fractions of a millisecond are cut.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &(&str, u64)| millis != 0 && millis.is_multiple_of(*unit);
    let (name, unit) = UNITS.into_iter().rfind(fits).unwrap_or(("s", 1000));
    format!("{}{name}", millis / unit)
}

/// Reads `4.7MB`, `500 kB`, `1GiB` or a plain number of bytes; `None` for anything else.
pub fn parse_size(text: &str) -> Option<u64> {
    text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// Writes a size in the largest decimal unit that divides it to one place after the point.
pub fn show_size(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    let fits = |(_, unit): &(&str, u64)| bytes >= *unit && bytes.is_multiple_of(unit / 10);
    match units.into_iter().find(fits) {
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{}{name}", bytes / unit),
        Some((name, unit)) => format!("{}.{}{name}", bytes / unit, bytes % unit / (unit / 10)),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        let cases = [
            ("0s", 0),
            ("1ms", 1),
            ("250ms", 250),
            ("2s", 2000),
            ("10m", 600_000),
            ("12h", 43_200_000),
            ("90d", 7_776_000_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(parse_duration(" 60 s "), Some(Duration::from_secs(60)));
        assert_eq!(show_duration(Duration::from_secs(60)), "1m");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "5", "s", "-1s", "1.5s", "1 h 2 m", "5 min", "5S", "99999999999999999999s", "999999999999999999d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_decimal() {
        for (text, bytes) in [("4.7MB", 4_700_000), ("500MB", 500_000_000), ("1GB", 1_000_000_000), ("17B", 17)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!(parse_size("1KiB"), Some(1024));
        assert_eq!(parse_size("10 kB"), Some(10_000));
        for text in ["", "MB", "-1MB", "4,7MB", "lots"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
