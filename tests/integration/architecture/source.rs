//! Rust source, read just well enough to see what a module imports and mentions.
//!
//! Not a parser: comments, literals and lifetimes are left out, the rest are words and marks. What a macro builds out of
//! pieces is not seen.

use std::fs;
use std::path::Path;

/// A word or a mark of the source; `::` is one mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    /// Counted from 1.
    pub line: usize,
    /// As it is written.
    pub text: &'a str,
}

/// A path as it is written, such as `super::Problem`, whether in an expression or as a leaf of a `use`.
#[derive(PartialEq, Eq, Debug)]
pub struct Named<'a> {
    /// Where its last segment is, counted from 1.
    pub line: usize,
    /// The module that it stands in, from the root of the crate.
    pub module: Vec<&'a str>,
    /// `*` is a segment too; a final `self` is not.
    pub segments: Vec<&'a str>,
}

impl<'a> Named<'a> {
    /// The segments from the root of the crate on; `None` if the path does not say that it leads into this crate.
    pub fn within_crate(&self) -> Option<Vec<&'a str>> {
        let supers = self.segments.iter().take_while(|segment| **segment == "super").count();
        match self.segments.first() {
            Some(&"crate" | &"jimengd") => Some(self.segments[1..].to_vec()),
            Some(&"self") => {
                let inner =
                    Named { line: self.line, module: self.module.clone(), segments: self.segments[1..].to_vec() };
                Some(inner.within_crate().unwrap_or_else(|| [&inner.module[..], &inner.segments].concat()))
            }
            Some(&"super") => {
                let above = &self.module[..self.module.len().saturating_sub(supers)];
                Some([above, &self.segments[supers..]].concat())
            }
            Some(_) | None => None,
        }
    }
}

/// All Rust files below `folder` of the repository, in order: the path from its top, and the text.
pub fn files(folder: &str) -> Vec<(String, String)> {
    fn collect(top: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                collect(top, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(top).expect("it was found below").to_str().expect("our names are plain");
                files.push((name.to_owned(), fs::read_to_string(&path).expect("sources can be read")));
            }
        }
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(top, &top.join(folder), &mut files);
    files.sort();
    files
}

/// The words and marks of `source`.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let (length, counts) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            'r' | 'b' | 'c' if raw_string(rest).is_some() => (raw_string(rest).unwrap_or(rest.len()), false),
            '"' => (string(rest), false),
            '\'' => (character_or_lifetime(rest), false),
            ':' if rest.starts_with("::") => (2, true),
            _ if is_word(first) => (word(rest), true),
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        if counts {
            tokens.push(Token { line, text: &rest[..length] });
        }
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn word(rest: &str) -> usize {
    rest.find(|character| !is_word(character)).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let opened = ["r", "br", "cr"].into_iter().find_map(|prefix| {
        let hashes = rest.strip_prefix(prefix)?.chars().take_while(|character| *character == '#').count();
        rest[prefix.len() + hashes..].starts_with('"').then_some((prefix.len() + hashes + 1, hashes))
    });
    let (start, hashes) = opened?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((escaped, character))) => {
            let after = escaped + character.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |at| after + at + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        (Some(_), _) => 1 + word(&rest[1..]),
        (None, _) => 1,
    }
}

/// `tokens` without the items that are marked `#[cfg(test)]`.
pub fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().map(|token| token.text).take(MARK.len()).eq(MARK) {
            at = end_of_item(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The index after the item that begins at `start`: after its `;`, or after the `}` of its body.
fn end_of_item(tokens: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && tokens[start].text != "use" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// All paths that `tokens`, the text of `file` (`src/job/plan.rs`), name: the leaves of each `use`, and those that hold `::`.
pub fn named<'a>(file: &'a str, tokens: &[Token<'a>]) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    let mut inline = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    while at < tokens.len() {
        let module = [module(file), inline.iter().map(|(name, _)| *name).collect()].concat();
        match text(at) {
            "mod" if text(at + 2) == "{" => {
                inline.push((text(at + 1), depth));
                at += 2;
            }
            "{" => (depth, at) = (depth + 1, at + 1),
            "}" => {
                (depth, at) = (depth.saturating_sub(1), at + 1);
                inline.retain(|(_, opened)| *opened < depth);
            }
            // `impl Trait + use<'a>` is no import.
            "use" if text(at + 1) != "<" => at = tree(tokens, at + 1, &[], &module, &mut found),
            first if first.starts_with(is_word) && text(at + 1) == "::" => {
                let mut segments = vec![first];
                while text(at + 1) == "::" && text(at + 2).starts_with(is_word) {
                    at += 2;
                    segments.push(text(at));
                }
                found.push(Named { line: tokens[at].line, module, segments });
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// Reads one tree of a `use` from `at` on; the index of the mark that ends it.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    module: &[&'a str],
    found: &mut Vec<Named<'a>>,
) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &segments, module, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 1,
            "::" => {}
            "self" if !segments.is_empty() => {}
            segment => {
                line = token.line;
                segments.push(segment);
            }
        }
        at += 1;
    }
    found.push(Named { line, module: module.to_vec(), segments });
    at
}

/// The module that `file` is, from the root of the crate.
pub fn module(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<&str> = path.split('/').collect();
    match module[..] {
        ["lib" | "main"] => module.clear(),
        [.., "mod"] => drop(module.pop()),
        _ => {}
    }
    module
}
