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
        // JSON inside JSON may write a slash as `\/`, which would hide a link.
        let text = text.replace("\\/", "/");
        let token = self.token.expose_secret();
        let text = match token.is_empty() {
            true => text,
            false => text.replace(token, TOKEN),
        };
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

/// Takes out everything from a scheme to the end of its link, as often as there is one.
fn without_links(word: &str) -> String {
    let mut clean = String::new();
    let mut rest = word;
    while let Some((mark, at)) =
        LINK_MARKS.iter().filter_map(|mark| rest.find(mark).map(|at| (mark, at))).min_by_key(|m| m.1)
    {
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
    fn nothing_secret_is_in_the_debug_form() {
        assert_eq!(format!("{:?}", Mask::new("sk-secret".to_owned().into())), "Mask(…)");
    }
}
