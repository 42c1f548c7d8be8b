//! Puts the layers over one another and remembers who said what.
//!
//! The order is the built-in file, the site file, the environment, flags; a later layer wins key by key, and a list is
//! replaced as a whole. The built-in file holds every key, so it is also the list of the keys there are: what it does not
//! know is refused, with the nearest key as a proposal.
//!
//! Reports every problem of every layer at once; nothing of a configuration with a problem is used.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::yaml::{self, Node, Value};
use super::{Config, meaning, reader};
use crate::job::Problem;

/// The shipped configuration, which *is* the default.
pub const SHIPPED: &str = include_str!("../../config/jimengd.yaml");

/// The site file, read if it is there and no other is named.
pub const SITE_FILE: &str = "/etc/jimengd/jimengd.yaml";

/// The variable that may hold the token; no configuration key.
pub const TOKEN_VARIABLE: &str = "JIMENGD_API_TOKEN";

/// What the names of our environment variables begin with.
const VARIABLE_PREFIX: &str = "JIMENGD_";

/// Problems of one layer that get a line and a column: finding one reads the text again, and nobody reads more.
const PLACES_MAX: usize = 20;

/// Characters that a complaint repeats of a key or a variable that does not exist.
const SHOWN_CHARS: usize = 80;

/// What flags say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// `--root`.
    pub root: Option<PathBuf>,
}

/// Who set a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The built-in file.
    Default,
    /// The site file, with the line of the value, counted from 1.
    File(PathBuf, Option<u64>),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in"),
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// The configuration that holds, and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Effective {
    /// What holds.
    pub config: Config,
    /// Who set each key, such as `api.base_url`; every key of the built-in file is here.
    pub origins: BTreeMap<String, Origin>,
    /// What was read, in order; a file is here without a line even if it sets nothing.
    pub sources: Vec<Origin>,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("the configuration is refused:{}", problems.iter().map(|p| format!("\n  {p}")).collect::<String>())]
pub struct ConfigError {
    /// At least one, in the order of the layers; `file` is the file, the variable or the flag.
    pub problems: Vec<Problem>,
}

/// What holds where nobody has said anything.
pub fn built_in() -> Config {
    let effective = Layers::shipped().finish(&Overrides::default());
    effective.expect("the built-in file is checked by the tests").config
}

/// Reads all layers. Afterwards every value lies in its range, no combination contradicts itself and `root` and the folders
/// are absolute. Nothing is created, and whether the folders exist is not looked at.
///
/// `file` must exist; without it [`SITE_FILE`] is read if it is there.
///
/// # Errors
/// Every problem of every layer at once.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    overrides: &Overrides,
) -> Result<Effective, ConfigError> {
    match file {
        Some(path) => read_all(path, true, environment, overrides),
        None => read_all(Path::new(SITE_FILE), false, environment, overrides),
    }
}

fn read_all(
    file: &Path,
    required: bool,
    environment: impl Iterator<Item = (OsString, OsString)>,
    overrides: &Overrides,
) -> Result<Effective, ConfigError> {
    let mut layers = Layers::shipped();
    match read_text(file) {
        Ok(text) => layers.absorb_file(file, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
        Err(error) => layers.problems.push(Problem {
            file: Some(file.display().to_string()),
            message: format!("cannot be read: {error}"),
            proposal: Some(match error.kind() {
                io::ErrorKind::NotFound => "check the path, or leave --config away to use the defaults".to_owned(),
                _ => "make it a UTF-8 text file that the daemon's user may read".to_owned(),
            }),
            ..Problem::default()
        }),
    }
    layers.absorb_environment(environment);
    layers.finish(overrides)
}

/// Reads at most what a configuration may have and one byte more, so that a wrong path cannot fill the memory.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(yaml::BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// What was said about one key, and where.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) value: Value,
    pub(super) origin: Origin,
    pub(super) column: Option<u64>,
}

impl Said {
    /// A complaint that stands where the value stands.
    pub(super) fn problem(&self, key: &str, message: String, proposal: Option<String>) -> Problem {
        let (file, line) = match &self.origin {
            Origin::Default => (Origin::Default.to_string(), None),
            Origin::File(path, line) => (path.display().to_string(), *line),
            Origin::Environment(variable) => (variable.clone(), None),
            Origin::Flag(flag) => ((*flag).to_owned(), None),
        };
        Problem { file: Some(file), key: Some(key.to_owned()), line, column: self.column, message, proposal }
    }
}

/// One layer while it is read: who speaks, and the text that positions are looked up in.
struct Layer<'a> {
    origin: Origin,
    text: &'a str,
    places_left: usize,
}

impl Layer<'_> {
    /// What the node says, with its place where the layer is a file.
    fn said(&self, node: &Node, place: Option<(u64, u64)>) -> Said {
        let value = node.value.clone();
        match (&self.origin, place) {
            (Origin::File(path, _), Some((line, column))) => {
                Said { value, origin: Origin::File(path.clone(), Some(line)), column: Some(column) }
            }
            (origin, _) => Said { value, origin: origin.clone(), column: None },
        }
    }

    fn located(&self, node: &Node) -> Said {
        let place = match &self.origin {
            Origin::File(..) => yaml::locate(self.text, node.ordinal),
            Origin::Default | Origin::Environment(_) | Origin::Flag(_) => None,
        };
        self.said(node, place)
    }

    fn problem(&mut self, node: &Node, key: &str, message: String, proposal: Option<String>) -> Problem {
        let said = match self.places_left.checked_sub(1) {
            Some(left) => {
                self.places_left = left;
                self.located(node)
            }
            None => self.said(node, None),
        };
        said.problem(key, message, proposal)
    }
}

struct Layers {
    /// Every key that has a value in the built-in file.
    leaves: BTreeMap<String, Said>,
    /// Every key that has keys below it.
    sections: BTreeSet<String>,
    sources: Vec<Origin>,
    problems: Vec<Problem>,
}

impl Layers {
    fn shipped() -> Self {
        let mut layers = Self {
            leaves: BTreeMap::new(),
            sections: BTreeSet::from([String::new()]),
            sources: vec![Origin::Default],
            problems: Vec::new(),
        };
        match yaml::parse(SHIPPED) {
            Ok(node) => layers.learn("", node),
            Err(problem) => layers.problems.push(*problem),
        }
        layers
    }

    fn learn(&mut self, key: &str, node: Node) {
        match node.value {
            Value::Map(map) => {
                self.sections.insert(key.to_owned());
                for (name, node) in map {
                    if let Value::Text(name) = name.value {
                        self.learn(&join(key, &name), node);
                    }
                }
            }
            value => {
                self.leaves.insert(key.to_owned(), Said { value, origin: Origin::Default, column: None });
            }
        }
    }

    fn absorb_file(&mut self, path: &Path, text: &str) {
        self.sources.push(Origin::File(path.to_owned(), None));
        let mut layer = Layer { origin: Origin::File(path.to_owned(), None), text, places_left: PLACES_MAX };
        match yaml::parse(text) {
            Ok(node) => self.absorb(&mut layer, "", &node),
            Err(problem) => self.problems.push(Problem { file: Some(path.display().to_string()), ..*problem }),
        }
    }

    fn absorb_environment(&mut self, environment: impl Iterator<Item = (OsString, OsString)>) {
        // In the order of names a section comes before its keys, so that the more exact variable wins.
        let ours: BTreeMap<OsString, OsString> = environment
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes()))
            .filter(|(name, _)| name != TOKEN_VARIABLE)
            .collect();
        for (name, value) in ours {
            let variable = name.to_string_lossy().into_owned();
            self.sources.push(Origin::Environment(variable.clone()));
            let key = key_of(&variable);
            let spelt = variable == variable_of(&key) && !key.is_empty();
            let known = spelt && (self.leaves.contains_key(&key) || self.sections.contains(&key));
            let problem = |message: String, proposal: Option<String>| Problem {
                file: Some(excerpt(&variable)),
                message,
                proposal,
                ..Problem::default()
            };
            match (known, value.into_string()) {
                (false, _) => {
                    let proposal = self.nearest_variable(&variable);
                    self.problems.push(problem("no such setting".to_owned(), Some(proposal)));
                }
                (true, Err(_)) => self.problems.push(problem("not UTF-8".to_owned(), None)),
                (true, Ok(text)) => {
                    let origin = Origin::Environment(variable.clone());
                    let mut layer = Layer { origin, text: &text, places_left: PLACES_MAX };
                    match yaml::parse(&text) {
                        Ok(node) => self.absorb(&mut layer, &key, &node),
                        Err(error) => self.problems.push(Problem {
                            key: Some(key),
                            ..problem(error.message, Some("the value is YAML: put it into quotes".to_owned()))
                        }),
                    }
                }
            }
        }
    }

    fn absorb(&mut self, layer: &mut Layer<'_>, key: &str, node: &Node) {
        match (self.sections.contains(key), &node.value) {
            (false, _) => {
                let said = layer.located(node);
                self.leaves.insert(key.to_owned(), said);
            }
            (true, Value::Map(map)) => self.absorb_section(layer, key, map),
            // A section whose keys are all commented out.
            (true, Value::Null) => {}
            (true, Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::List(_)) => {
                let below = self.below(key).join(", ");
                let proposal = format!("write keys with values below it: {below}");
                let problem = layer.problem(node, key, "not a value of its own".to_owned(), Some(proposal));
                self.problems.push(problem);
            }
        }
    }

    fn absorb_section(&mut self, layer: &mut Layer<'_>, section: &str, map: &[(Node, Node)]) {
        let mut seen = BTreeSet::new();
        for (name, node) in map {
            let Value::Text(text) = &name.value else {
                let problem = layer.problem(name, section, "a key that is no text".to_owned(), None);
                self.problems.push(problem);
                continue;
            };
            let key = join(section, text);
            let known = self.leaves.contains_key(&key) || self.sections.contains(&key);
            match (known, seen.insert(text)) {
                (true, true) => self.absorb(layer, &key, node),
                (true, false) => {
                    let proposal = Some("keep one of the two".to_owned());
                    let problem = layer.problem(name, &key, "written twice".to_owned(), proposal);
                    self.problems.push(problem);
                }
                (false, _) => {
                    let proposal = self.nearest_key(section, text);
                    let problem = layer.problem(name, &excerpt(&key), "no such key".to_owned(), Some(proposal));
                    self.problems.push(problem);
                }
            }
        }
    }

    /// The names directly below a section.
    fn below(&self, section: &str) -> Vec<&str> {
        let prefix = join(section, "");
        let names = self.sections.iter().chain(self.leaves.keys()).filter(|key| !key.is_empty());
        names.filter_map(|key| key.strip_prefix(&prefix)).filter(|name| !name.contains('.')).collect()
    }

    fn nearest_key(&self, section: &str, name: &str) -> String {
        let last = |key: &String| key.rsplit('.').next() == Some(name);
        let below = self.below(section);
        match (nearest(name, below.iter().copied()), self.leaves.keys().find(|key| last(key))) {
            _ if matches!(name, "token" | "api_token" | "api_key" | "key") => {
                "the token never stands here: put it into a file of its own and name that in api.token_file".to_owned()
            }
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(elsewhere)) => format!("did you mean `{elsewhere}`?"),
            (None, None) => format!("known here: {}", below.join(", ")),
        }
    }

    fn nearest_variable(&self, variable: &str) -> String {
        let variables: Vec<String> = self.leaves.keys().map(|key| variable_of(key)).collect();
        match nearest(variable, variables.iter().map(String::as_str)) {
            _ if variable.ends_with("TOKEN") || variable.ends_with("KEY") => {
                "the token's variable is JIMENGD_API_TOKEN, with single underscores; a file with it is named in api.token_file"
                    .to_owned()
            }
            Some(near) => format!("did you mean {near}?"),
            None => "two underscores go one level down, as in JIMENGD_API__BASE_URL".to_owned(),
        }
    }

    fn finish(mut self, overrides: &Overrides) -> Result<Effective, ConfigError> {
        let (config, problems) = meaning::config(&self.leaves, overrides);
        self.problems.extend(problems);
        if !self.problems.is_empty() {
            return Err(ConfigError { problems: self.problems });
        }
        let mut origins: BTreeMap<String, Origin> =
            self.leaves.into_iter().map(|(key, said)| (key, said.origin)).collect();
        if overrides.root.is_some() {
            self.sources.push(Origin::Flag(reader::ROOT_FLAG));
            origins.insert("root".to_owned(), Origin::Flag(reader::ROOT_FLAG));
        }
        Ok(Effective { config, origins, sources: self.sources })
    }
}

fn join(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

/// A foreign name on one line, and not too long.
fn excerpt(name: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{FFFD}' } else { c };
    let mut shown: String = name.chars().take(SHOWN_CHARS).map(visible).collect();
    if name.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn key_of(variable: &str) -> String {
    variable.strip_prefix(VARIABLE_PREFIX).unwrap_or(variable).to_lowercase().replace("__", ".")
}

fn variable_of(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The candidate with the fewest letters to change, if they are few for the length of the word.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match word.len() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    let (distance, candidate) = candidates.map(|candidate| (letters_apart(word, candidate), candidate)).min()?;
    (distance <= allowed).then_some(candidate)
}

/// Letters to insert, delete or replace until one word is the other (Levenshtein).
fn letters_apart(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
