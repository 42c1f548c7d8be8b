//! Columns and times for people's eyes, shared by the commands that print pages.

use jiff::Timestamp;

/// Rows as lines that begin with `indent`, each column but the last padded to its widest cell, two spaces between. Width is
/// counted in characters, so a name in wide letters may stick out.
pub fn aligned(indent: &str, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` in lines of at most `width` characters, broken between words; a longer word has a line of its own.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How long ago `since` was at `now`, in its largest unit.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// An instant to the second, UTC.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_lines_end_clean() {
        let rows = [vec!["é".to_owned(), "b".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(aligned("> ", &rows), "> é     b\n> long\n");
    }

    #[test]
    fn lines_are_broken_between_words_and_filled() {
        let cases: [(&str, usize, &[&str]); 5] = [
            ("", 5, &[]),
            ("ab cd", 5, &["ab cd"]),
            ("ab cde", 5, &["ab", "cde"]),
            ("abcdefg h i", 3, &["abcdefg", "h i"]),
            ("éé éé", 5, &["éé éé"]),
        ];
        for (text, width, lines) in cases {
            assert_eq!(wrapped(text, width), lines, "{text} in {width}");
        }
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let at = |seconds: i64| Timestamp::from_second(seconds).expect("in range");
        let cases = [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7_199, "1 h"), (172_800, "2 d")];
        for (seconds, said) in cases {
            assert_eq!(age(at(1_000), at(1_000 + seconds)), said);
        }
        assert_eq!(age(at(1_000), at(0)), "0 s", "a clock that was set back");
        assert_eq!(instant(at(0)), "1970-01-01 00:00:00 UTC");
    }
}
