//! Reads the sidecar: YAML text in, a [`Sidecar`] or every complaint at once out.
//!
//! Strict on purpose, since a misread sidecar costs money: unknown keys, wrong types and repeated keys are refused, nothing
//! is guessed. Each complaint says what is wrong, where (line and column), and what to write instead. The text may be no
//! YAML at all; then there is that one complaint, in the words of the usual mistake rather than of the parser.
//!
//! Parsing is safe for whatever is dropped: size, brackets and references are bounded before anything is built from them.

use super::{AspectRatio, Problem, Request, Seed};

mod place;
mod syntax;
mod text;
mod values;

use place::{Part, at};
pub use place::{Place, place_of_error};
use text::{Entry, Text, Unread, Value};
use values::Complaint;

/// Bytes that a sidecar may have at most.
pub const BYTES_MAX: usize = 64 * 1024;

/// Unicode code points that a prompt may have at most, by the API's page.
pub const PROMPT_CHARS_MAX: usize = 150;

/// The keys of a sidecar.
const KEYS: [&str; 5] = ["prompt", "aspect_ratio", "seed", "image_urls", "priority"];

/// What a sidecar asks for, before the picture is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sidecar {
    /// 1 to 150 Unicode code points.
    pub prompt: String,
    /// The shape of the video.
    pub aspect_ratio: WantedRatio,
    /// The seed.
    pub seed: WantedSeed,
    /// The address of the picture, for a pair without a picture file. http or https.
    pub image_url: Option<String>,
    /// Higher goes first.
    pub priority: i64,
}

/// The sidecar's `aspect_ratio`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WantedRatio {
    /// One of the seven.
    Fixed(AspectRatio),
    /// The one nearest to the picture as it is shown.
    Auto,
}

/// The sidecar's `seed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WantedSeed {
    /// Absent: the daemon draws one.
    Drawn,
    /// `-1`: the API's own choice.
    Api,
    /// 0 to 4294967295.
    Fixed(u32),
}

impl Sidecar {
    /// What the API is asked for, once the picture is known: `shown` is its width and height as it is shown, `None` for
    /// an address. `drawn_seed` (1 to 2^31-1) is used if the sidecar names no seed.
    pub fn request(&self, shown: Option<(u32, u32)>, drawn_seed: u32) -> Request {
        let aspect_ratio = match (self.aspect_ratio, shown) {
            (WantedRatio::Fixed(ratio), _) => ratio,
            (WantedRatio::Auto, Some((width, height))) => AspectRatio::nearest(width, height),
            (WantedRatio::Auto, None) => AspectRatio::R16x9,
        };
        let seed = match self.seed {
            WantedSeed::Drawn => Seed::Drawn(drawn_seed),
            WantedSeed::Api => Seed::Api,
            WantedSeed::Fixed(seed) => Seed::Fixed(seed),
        };
        Request { prompt: self.prompt.clone(), aspect_ratio, seed, image_url: self.image_url.clone() }
    }
}

/// What was found in a sidecar's bytes.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it asks for, or every complaint.
    pub read: Result<Sidecar, Vec<Problem>>,
    /// Whether it shows its end: it is YAML, whatever it says, or nothing that may still come can mend it.
    pub parses: bool,
    /// Whether it names the address of a picture and so is a job by itself.
    pub names_address: bool,
    /// Whether it ends in zeros, as a file does whose size was set before its content came.
    pub unfilled: bool,
}

/// Looks at a sidecar's bytes. `has_picture` tells whether a picture file belongs to it, which decides about `image_urls`.
pub fn look(bytes: &[u8], has_picture: bool) -> Found {
    match Text::read(bytes) {
        Ok(text) => {
            let urls =
                text.entries.iter().find(|entry| entry.key == "image_urls").and_then(|entry| entry.value.as_ref());
            let names_address = !matches!(urls, None | Some(Value::Null | Value::List(0, _)));
            Found { read: judge(&text, has_picture), parses: true, names_address, unfilled: false }
        }
        Err(unread) => {
            let (problem, parses) = match unread {
                Unread::Unparsed(problem) => (problem, false),
                Unread::Unfit(problem) => (problem, true),
            };
            let unfilled = text::unfilled(bytes).is_some();
            Found { read: Err(vec![*problem]), parses, names_address: false, unfilled }
        }
    }
}

/// Reads a sidecar's bytes; as [`look`], for who asks for the values alone.
///
/// # Errors
/// Every complaint at once, ordered by line; `file` is left to the caller.
pub fn read(bytes: &[u8], has_picture: bool) -> Result<Sidecar, Vec<Problem>> {
    look(bytes, has_picture).read
}

fn judge(text: &Text<'_>, has_picture: bool) -> Result<Sidecar, Vec<Problem>> {
    let mut reading = Reading { text, problems: strays(text) };

    let prompt = reading.key("prompt", values::prompt);
    let aspect_ratio = reading.key("aspect_ratio", values::aspect_ratio);
    let seed = reading.key("seed", values::seed);
    let image_url = reading.key("image_urls", values::image_url);
    let priority = reading.key("priority", values::priority);

    match &image_url {
        Read::Good(Some(_)) if has_picture => reading.complain(
            "image_urls",
            Part::Key,
            Complaint::new("an address and a picture file are both given", "remove the line, or the picture"),
        ),
        Read::Good(Some(_)) if matches!(aspect_ratio, Read::Good(WantedRatio::Auto)) => reading.complain(
            "aspect_ratio",
            Part::Value,
            Complaint::new(
                "auto needs a picture file, and this sidecar has an address",
                "write one of the seven ratios, such as \"16:9\"",
            ),
        ),
        Read::Absent | Read::Good(None) if !has_picture => reading.problems.push(problem(
            "no picture belongs to this sidecar",
            "put a JPEG or PNG of the same name beside it, or name one address in image_urls",
        )),
        Read::Absent | Read::Good(_) | Read::Bad => {}
    }
    // Who has mended a key that was meant for it needs no second one.
    let is_told = |problem: &Problem| {
        problem.key.as_deref() == Some("prompt") || problem.proposal.as_deref() == Some("write prompt")
    };
    if matches!(prompt, Read::Absent) && !reading.problems.iter().any(is_told) {
        reading.problems.push(Problem {
            key: Some("prompt".to_owned()),
            ..problem("the prompt is missing", "add a line such as prompt: A dog runs along the beach")
        });
    }

    let mut problems = reading.problems;
    // What has no place concerns the whole file and comes last.
    problems.sort_by_key(|p| (p.line.is_none(), p.line, p.column));
    match (prompt, problems.is_empty()) {
        (Read::Good(prompt), true) => Ok(Sidecar {
            prompt,
            aspect_ratio: aspect_ratio.or(WantedRatio::Fixed(AspectRatio::R16x9)),
            seed: seed.or(WantedSeed::Drawn),
            image_url: image_url.or(None),
            priority: priority.or(0),
        }),
        (_, _) => Err(problems),
    }
}

/// What became of one key.
enum Read<T> {
    Absent,
    Good(T),
    /// Complained of.
    Bad,
}

impl<T> Read<T> {
    fn or(self, default: T) -> T {
        match self {
            Self::Good(value) => value,
            Self::Absent | Self::Bad => default,
        }
    }
}

/// The text and the complaints so far.
struct Reading<'a> {
    text: &'a Text<'a>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn key<T>(&mut self, key: &'static str, judge: impl FnOnce(&Value) -> Result<T, Complaint>) -> Read<T> {
        match self.text.entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.as_ref()) {
            None => Read::Absent,
            Some(value) => match judge(value) {
                Ok(value) => Read::Good(value),
                Err(complaint) => {
                    let complaint = match value {
                        Value::Null if key == "prompt" => self.hidden(key).unwrap_or(complaint),
                        Value::Null
                        | Value::Bool(_)
                        | Value::Integer(_)
                        | Value::Float(_)
                        | Value::Text(_)
                        | Value::List(..)
                        | Value::Mapping
                        | Value::Tagged(_) => complaint,
                    };
                    let part = if complaint.in_element { Part::Element } else { Part::Value };
                    self.complain(key, part, complaint);
                    Read::Bad
                }
            },
        }
    }

    /// The complaint about a text that is there, but not for YAML.
    fn hidden(&self, key: &str) -> Option<Complaint> {
        let entry = self.text.entries.iter().find(|entry| entry.key == key)?;
        let (sign, meaning) = syntax::hidden(self.text.line(entry.number)?)?;
        let message = format!("the prompt is empty: {sign} begins {meaning}");
        Some(Complaint::new(
            message,
            "write what the video should show; a text that begins with such a sign must stand in quotes",
        ))
    }

    fn complain(&mut self, key: &str, part: Part, complaint: Complaint) {
        let entry = self.text.entries.iter().find(|entry| entry.key == key);
        let place = entry.and_then(|entry| self.text.place(entry.number, part));
        let key = if part == Part::Element { format!("{key}[0]") } else { key.to_owned() };
        let found = Problem { key: Some(key), ..problem(complaint.message, &complaint.proposal) };
        self.problems.push(match place {
            Some(place) => at(place, found),
            None => found,
        });
    }
}

/// The complaints of unknown and repeated keys.
fn strays(text: &Text<'_>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for entry in text.entries.iter().filter(|entry| entry.value.is_none()) {
        let found = stray(text, entry);
        let found = Problem { key: found.key.clone().or_else(|| Some(entry.key.clone())), ..found };
        problems.push(match text.place(entry.number, Part::Key) {
            Some(place) => at(place, found),
            None => found,
        });
    }
    if text.more > 0 {
        problems.push(problem(format!("{} more keys are unknown or repeated", text.more), "remove them"));
    }
    problems
}

fn stray(text: &Text<'_>, entry: &Entry) -> Problem {
    if KEYS.contains(&entry.key.as_str()) {
        let first = text.entries.iter().find(|other| other.key == entry.key);
        let message = match first.and_then(|first| text.place(first.number, Part::Key)) {
            Some(place) => format!("the key was there before, in line {}", place.line),
            None => "the key was there before".to_owned(),
        };
        return problem(message, "keep one of the two");
    }
    if let Some((key, rest)) = syntax::without_colon(&entry.key) {
        return syntax::colon_missing(key, rest);
    }
    match values::nearest_key(&entry.key) {
        Some(key) => problem("there is no such key", &format!("write {key}")),
        None => problem("there is no such key", &format!("the keys are {}", KEYS.join(", "))),
    }
}

fn problem(message: impl Into<String>, proposal: &str) -> Problem {
    Problem { message: message.into(), proposal: Some(proposal.to_owned()), ..Problem::default() }
}

#[cfg(test)]
mod tests;
