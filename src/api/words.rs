//! What may be said of a foreign text: short, on one line, without links and without the token.
//!
//! Gateways quote what they were sent and where they were sent to. A signed link lets anyone fetch the video, and the token lets
//! anyone spend the money, so every text that leaves this room in an answer or an error has gone through [`Mask::clean`].

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// Characters that a message keeps.
pub const MESSAGE_CHARS_MAX: usize = 300;

/// What stands where a link was.
const LINK: &str = "[link]";

/// What stands where a token was.
const TOKEN: &str = "[token]";

/// How the gateway's tokens begin.
const TOKEN_PREFIX: &str = "sk-";

/// A prefixed word of fewer bytes than this is an ordinary word, such as `sk-1`.
const TOKEN_BYTES_MIN: usize = 11;

/// What separates scheme and host, also as it looks inside another link's query.
const LINK_MARKS: [&str; 3] = ["://", "%3a%2f%2f", "%3A%2F%2F"];

/// Knows the token, so that it can take it out of texts.
#[derive(Clone)]
pub struct Mask {
    token: SecretString,
}

impl Mask {
    /// A mask for one token.
    pub fn new(token: SecretString) -> Self {
        Self { token }
    }

    /// The text on one line of at most [`MESSAGE_CHARS_MAX`] characters, with `[link]` and `[token]` where those were.
    pub fn clean(&self, text: &str) -> String {
        let text = without_token(&without_escapes(text), self.token.expose_secret());
        let mut clean = String::new();
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            if clean.chars().count() > MESSAGE_CHARS_MAX {
                break;
            }
            if !clean.is_empty() {
                clean.push(' ');
            }
            clean.push_str(&without_tokens(&without_links(word)));
        }
        shorten(&clean)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask(…)")
    }
}

/// The text, or its beginning and `…`.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// JSON inside JSON may write a slash as `\/` and any character as `\u0026`, which would hide a link or end it too soon; in JSON
/// inside that, the backslashes are doubled. Quotes stay escaped.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let behind = rest[at..].trim_start_matches('\\');
        let (character, after) = match behind.strip_prefix("u00").and_then(|digits| digits.split_at_checked(2)) {
            Some((digits, after)) => (u8::from_str_radix(digits, 16).ok().map(char::from), after),
            None => (behind.chars().next().filter(|&c| c == '/'), behind.strip_prefix('/').unwrap_or(behind)),
        };
        match character.filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')) {
            Some(character) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push_str(&rest[at..rest.len() - behind.len()]);
                rest = behind;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Takes out the token, in whatever case: some words of an answer are told in lower case.
fn without_token(text: &str, token: &str) -> String {
    if token.is_empty() {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut end = 0;
    for (at, _) in text.to_ascii_lowercase().match_indices(&token.to_ascii_lowercase()) {
        clean.push_str(&text[end..at]);
        clean.push_str(TOKEN);
        end = at + token.len();
    }
    clean.push_str(&text[end..]);
    clean
}

/// Takes out everything from a scheme to the end of its link, as often as there is one.
fn without_links(word: &str) -> String {
    let mut clean = String::new();
    let mut rest = word;
    while let Some((mark, at)) =
        LINK_MARKS.iter().filter_map(|mark| rest.find(mark).map(|at| (mark, at))).min_by_key(|m| m.1)
    {
        // What follows would be cut off, and a text of nothing but links would cost the square of its length.
        if clean.chars().count() > MESSAGE_CHARS_MAX {
            return clean;
        }
        let scheme = rest[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        clean.push_str(scheme);
        clean.push_str(LINK);
        let tail = &rest[at + mark.len()..];
        let end = tail.find(['"', '\'', '<', '>', '`', '\\', '|', '{', '}']).unwrap_or(tail.len());
        rest = &tail[end..];
    }
    clean.push_str(rest);
    clean
}

/// Takes out everything that looks like a token of this kind of gateway, whosoever it is.
fn without_tokens(word: &str) -> String {
    let mut clean = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(TOKEN_PREFIX) {
        let tail = &rest[at..];
        let end = tail
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.')))
            .unwrap_or(tail.len());
        clean.push_str(&rest[..at]);
        clean.push_str(if end >= TOKEN_BYTES_MIN { TOKEN } else { &tail[..end] });
        rest = &tail[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        Mask::new("sk-secret0123456789".to_owned().into()).clean(text)
    }

    #[test]
    fn links_and_tokens_are_taken_out_of_every_text() {
        let cases = [
            ("no channel for model", "no channel for model"),
            ("a\r\n\tb\u{0}c", "a b c"),
            ("bad token sk-secret0123456789!", "bad token [token]!"),
            ("bad token sk-another0123456789 given", "bad token [token] given"),
            ("task-risk-1 sk-1", "task-risk-1 sk-1"),
            ("get https://cdn.example/a?sig=b failed", "get [link] failed"),
            (r#"{"url":"https:\/\/cdn.example\/a?sig=b","n":1}"#, r#"{"url":"[link]","n":1}"#),
            (r#"["https:\u002f\u002fcdn.example\u002fa?n=1\u0026sig=b",1]"#, r#"["[link]",1]"#),
            (r#""{\"url\":\"https:\\/\\/cdn.example\\/a?n=1\\u0026sig=b\"}""#, r#""{\"url\":\"[link]\"}""#),
            (r"C:\dir \u00e9 \u0022 \\ \u00", r"C:\dir \u00e9 \u0022 \\ \u00"),
            ("bad token SK-SECRET0123456789!", "bad token [token]!"),
            ("see (http://a/b) and <ftp://c/d>", "see ([link] and <[link]>"),
            ("u=https%3A%2F%2Fcdn.example%2Fa", "u=[link]"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_to_whole_characters() {
        let text = clean(&"视".repeat(MESSAGE_CHARS_MAX + 1));
        assert_eq!(text.chars().count(), MESSAGE_CHARS_MAX + 1);
        assert!(text.ends_with('…'));
        assert_eq!(clean(&"视".repeat(MESSAGE_CHARS_MAX)).chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_flood_of_links_is_not_read_to_its_end() {
        let text = clean(&"://'".repeat(256 * 1024));
        assert!(text.starts_with("[link]'[link]'") && text.ends_with('…'), "{text}");
    }

    #[test]
    fn nothing_secret_is_in_the_debug_form() {
        assert_eq!(format!("{:?}", Mask::new("sk-secret".to_owned().into())), "Mask(…)");
    }
}
