//! Reads a submission as it streams in and judges it as strictly as the API's page reads.
//!
//! A picture makes a body of six million characters, and there may be many at once, so no body is held: the reader keeps
//! the document without its long strings, and of a long string only what its base64 stands for, as length, digest and
//! first bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::film::Format;
use super::link::hex;

/// Unicode code points in a prompt.
const PROMPT_MAX: usize = 150;

/// What upstream takes, before base64.
const PICTURE_MAX_BYTES: u64 = 4_911_104;

/// Strings up to this length, in bytes as they are written, are kept. The longest prompt, all escapes, is shorter.
const SHORT_STRING: usize = 4096;

/// What stands before the prompt.
const PROMPT_KEY: &[u8] = b"\"prompt\":\"";

/// Characters decoded at once; a multiple of four.
const DECODED_AT_ONCE: usize = 64 * 1024;

/// Range of `seed`.
const SEEDS: std::ops::RangeInclusive<i64> = -1..=u32::MAX as i64;

/// What the API was asked for, in order.
#[derive(Clone)]
pub(super) struct Submission {
    pub(super) prompt: String,
    pub(super) seed: i64,
    pub(super) format: &'static Format,
    pub(super) source: Source,
}

/// Where the first frame comes from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// It came with the request.
    Picture(Picture),
    /// An address, which the simulator does not visit.
    Address(String),
}

/// A picture that came with a submission.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Picture {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in lowercase hex.
    pub sha256: String,
}

/// Why a submission is refused, and who would refuse it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Complaint {
    /// Not a request at all.
    Gateway(String),
    /// A request, but not a good one.
    Jimeng(String),
}

impl Complaint {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Gateway(text) | Self::Jimeng(text) => text,
        }
    }
}

/// A body half read.
#[derive(Default)]
pub(super) struct Reading {
    document: Vec<u8>,
    string: Option<Text>,
    escaped: bool,
    long: Vec<Result<Decoded, String>>,
    prompt: Option<String>,
}

enum Text {
    Short(Vec<u8>),
    Long(Box<Decoder>),
}

impl Reading {
    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first().copied() {
            match &mut self.string {
                None => {
                    let upto = bytes.iter().position(|byte| *byte == b'"').map_or(bytes.len(), |quote| quote + 1);
                    self.document.extend_from_slice(&bytes[..upto]);
                    if bytes[upto - 1] == b'"' {
                        self.string = Some(Text::Short(Vec::new()));
                    }
                    bytes = &bytes[upto..];
                }
                Some(text) if self.escaped => {
                    text.push_escape(first);
                    self.escaped = false;
                    bytes = &bytes[1..];
                }
                Some(text) => {
                    let run = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(bytes.len());
                    text.push(&bytes[..run]);
                    match bytes.get(run) {
                        Some(b'"') => self.end_string(),
                        Some(_) => self.escaped = true,
                        None => return,
                    }
                    bytes = &bytes[run + 1..];
                }
            }
        }
    }

    fn end_string(&mut self) {
        match self.string.take() {
            Some(Text::Short(text)) => {
                if self.document.ends_with(PROMPT_KEY) {
                    self.prompt = serde_json::from_slice(&[b"\"", text.as_slice(), b"\""].concat()).ok();
                }
                self.document.extend_from_slice(&text);
            }
            Some(Text::Long(decoder)) => {
                self.document.extend_from_slice(placeholder(self.long.len()).as_bytes());
                self.long.push(decoder.finish());
            }
            None => {}
        }
        self.document.push(b'"');
    }

    /// The prompt, if it has come since this was asked last. For the record alone: the whole body is judged at its end.
    pub(super) fn take_prompt(&mut self) -> Option<String> {
        self.prompt.take()
    }

    /// Judges the whole body.
    pub(super) fn finish(self) -> Result<Submission, Complaint> {
        // A list of values in the right order would be read as the fields they could stand for.
        if self.document.trim_ascii_start().first() != Some(&b'{') {
            return Err(Complaint::Gateway("bad body: not an object".to_owned()));
        }
        let written: Written =
            serde_json::from_slice(&self.document).map_err(|error| Complaint::Gateway(format!("bad body: {error}")))?;
        judge(written, &self.long).map_err(Complaint::Jimeng)
    }
}

/// What stands in the document for the long string with that index.
fn placeholder(index: usize) -> String {
    format!("\\u0000{index}")
}

fn index_of(text: &str) -> Option<usize> {
    text.strip_prefix('\0').and_then(|index| index.parse().ok())
}

impl Text {
    fn push(&mut self, run: &[u8]) {
        match self {
            Self::Short(text) if text.len() + run.len() <= SHORT_STRING => text.extend_from_slice(run),
            Self::Short(text) => {
                let mut decoder = Box::<Decoder>::default();
                // `\/` is the one escape that base64 may be written with.
                match String::from_utf8_lossy(text).replace("\\/", "/") {
                    plain if plain.contains('\\') => decoder.bad = Some("has an escape".to_owned()),
                    plain => decoder.push(plain.as_bytes()),
                }
                decoder.push(run);
                *self = Self::Long(decoder);
            }
            Self::Long(decoder) => decoder.push(run),
        }
    }

    fn push_escape(&mut self, escaped: u8) {
        match self {
            Self::Short(text) => text.extend_from_slice(&[b'\\', escaped]),
            Self::Long(decoder) if escaped == b'/' => decoder.push(b"/"),
            Self::Long(decoder) => decoder.bad = Some("has an escape".to_owned()),
        }
    }
}

/// What a base64 string stands for.
struct Decoded {
    bytes: u64,
    sha256: String,
    head: Vec<u8>,
}

#[derive(Default)]
struct Decoder {
    carry: Vec<u8>,
    bytes: u64,
    head: Vec<u8>,
    hash: Sha256,
    ended: bool,
    bad: Option<String>,
}

impl Decoder {
    fn push(&mut self, mut text: &[u8]) {
        if !self.carry.is_empty() {
            let missing = text.len().min(4 - self.carry.len());
            self.carry.extend_from_slice(&text[..missing]);
            text = &text[missing..];
            if self.carry.len() == 4 {
                let carry = std::mem::take(&mut self.carry);
                self.decode(&carry);
            }
        }
        let (whole, rest) = text.split_at(text.len() / 4 * 4);
        for piece in whole.chunks(DECODED_AT_ONCE) {
            self.decode(piece);
        }
        self.carry.extend_from_slice(rest);
    }

    fn decode(&mut self, text: &[u8]) {
        if self.ended {
            self.bad.get_or_insert_with(|| "goes on after its padding".to_owned());
        }
        if self.bad.is_some() {
            return;
        }
        match STANDARD.decode(text) {
            Ok(bytes) => {
                self.ended = bytes.len() < text.len() / 4 * 3;
                self.bytes += bytes.len() as u64;
                self.hash.update(&bytes);
                let missing = MAGIC_BYTES.saturating_sub(self.head.len());
                self.head.extend(bytes.into_iter().take(missing));
            }
            Err(error) => self.bad = Some(error.to_string()),
        }
    }

    fn finish(mut self) -> Result<Decoded, String> {
        if !self.carry.is_empty() {
            let carry = std::mem::take(&mut self.carry);
            self.decode(&carry);
        }
        match self.bad {
            Some(bad) => Err(bad),
            None => Ok(Decoded { bytes: self.bytes, sha256: hex(&self.hash.finalize()), head: self.head }),
        }
    }
}

/// Bytes that tell a picture's type.
const MAGIC_BYTES: usize = 8;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// The fields of the API's page, and no others. A `null` is not an absent field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, deserialize_with = "present")]
    prompt: Option<String>,
    #[serde(default, deserialize_with = "present")]
    seed: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    aspect_ratio: Option<String>,
    #[serde(default, deserialize_with = "present")]
    binary_data_base64: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    image_urls: Option<Vec<String>>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn judge(written: Written, long: &[Result<Decoded, String>]) -> Result<Submission, String> {
    let prompt = written.prompt.ok_or("no prompt")?;
    if prompt.trim().is_empty() {
        return Err("empty prompt".to_owned());
    }
    if prompt.starts_with('\0') || prompt.chars().count() > PROMPT_MAX {
        return Err(format!("prompt over {PROMPT_MAX} characters"));
    }
    let seed = written.seed.unwrap_or(-1);
    if !SEEDS.contains(&seed) {
        return Err(format!("seed {seed} out of range"));
    }
    let ratio = written.aspect_ratio.unwrap_or_else(|| "16:9".to_owned());
    let format = Format::of(&ratio).ok_or_else(|| format!("unknown aspect_ratio {ratio:?}"))?;
    let source = match (written.binary_data_base64, written.image_urls) {
        (Some(pictures), None) => Source::Picture(picture(&one("binary_data_base64", pictures)?, long)?),
        (None, Some(addresses)) => Source::Address(address(one("image_urls", addresses)?)?),
        (Some(_), Some(_)) => return Err("both binary_data_base64 and image_urls".to_owned()),
        (None, None) => return Err("neither binary_data_base64 nor image_urls".to_owned()),
    };
    Ok(Submission { prompt, seed, format, source })
}

fn one(field: &str, list: Vec<String>) -> Result<String, String> {
    match <[String; 1]>::try_from(list) {
        Ok([item]) => Ok(item),
        Err(list) => Err(format!("{field} holds {} items instead of one", list.len())),
    }
}

fn picture(text: &str, long: &[Result<Decoded, String>]) -> Result<Picture, String> {
    if text.starts_with("data:") {
        return Err("the picture is a data address, not raw base64".to_owned());
    }
    let short;
    let decoded = match index_of(text).and_then(|index| long.get(index)) {
        Some(decoded) => decoded,
        None => {
            let mut decoder = Decoder::default();
            decoder.push(text.as_bytes());
            short = decoder.finish();
            &short
        }
    };
    let decoded = decoded.as_ref().map_err(|bad| format!("the picture is not base64: {bad}"))?;
    if !decoded.head.starts_with(PNG) && !decoded.head.starts_with(JPEG) {
        return Err("the picture is neither JPEG nor PNG".to_owned());
    }
    if decoded.bytes > PICTURE_MAX_BYTES {
        return Err(format!("the picture has {} bytes, over {PICTURE_MAX_BYTES}", decoded.bytes));
    }
    Ok(Picture { bytes: decoded.bytes, sha256: decoded.sha256.clone() })
}

fn address(text: String) -> Result<String, String> {
    match text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text),
        false => Err("the address in image_urls is not http or https".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Submission, Complaint> {
        let mut reading = Reading::default();
        reading.push(body.as_bytes());
        reading.finish()
    }

    fn png(bytes: usize) -> Vec<u8> {
        let mut picture = PNG.to_vec();
        picture.extend((0..bytes).map(|n| (n * 7 % 251) as u8));
        picture
    }

    #[test]
    fn a_picture_of_any_size_arrives_whole_however_it_is_cut_into_chunks() {
        for size in [0, 1, 2, 3, 3000, 4096, 200_000] {
            let picture = png(size);
            let base64 = STANDARD.encode(&picture);
            for base64 in [base64.clone(), base64.replace('/', "\\/")] {
                let body = format!(r#"{{"prompt":"a \"cat\" 猫","seed":7,"binary_data_base64":["{base64}"]}}"#);
                for chunk in [1, 3, 4093, body.len()] {
                    let mut reading = Reading::default();
                    body.as_bytes().chunks(chunk).for_each(|chunk| reading.push(chunk));
                    assert!(reading.document.len() < 2 * SHORT_STRING, "the document is short");
                    let submission = reading.finish().unwrap_or_else(|complaint| panic!("{}", complaint.text()));
                    assert_eq!(submission.prompt, "a \"cat\" 猫");
                    let sha256 = hex(&Sha256::digest(&picture));
                    assert_eq!(submission.source, Source::Picture(Picture { bytes: picture.len() as u64, sha256 }));
                }
            }
        }
    }

    #[test]
    fn what_the_page_does_not_know_is_refused() {
        let picture = STANDARD.encode(png(10));
        let long = STANDARD.encode(png(9000));
        let too_large = STANDARD.encode(png(PICTURE_MAX_BYTES as usize));
        let good = format!(r#""binary_data_base64":["{picture}"]"#);
        let cases = [
            ("[]".to_owned(), "bad body"),
            ("{".to_owned(), "bad body"),
            (format!(r#"{{"prompt":"p",{good}}} x"#), "bad body"),
            (format!(r#"{{"prompt":"p",{good},"model":"x"}}"#), "unknown field `model`"),
            (format!(r#"{{"prompt":"p","prompt":"q",{good}}}"#), "duplicate field"),
            (format!(r#"{{"prompt":"p","seed":null,{good}}}"#), "invalid type: null"),
            (format!(r#"{{"prompt":"p","seed":"1",{good}}}"#), "invalid type: string"),
            (format!(r#"{{"prompt":"p","seed":1.5,{good}}}"#), "invalid type: floating point"),
            (format!(r#"{{"prompt":"p","seed":-2,{good}}}"#), "seed -2 out of range"),
            (format!(r#"{{"prompt":"p","seed":4294967296,{good}}}"#), "out of range"),
            (format!(r#"{{{good}}}"#), "no prompt"),
            (format!(r#"{{"prompt":" ",{good}}}"#), "empty prompt"),
            (format!(r#"{{"prompt":"{}",{good}}}"#, "猫".repeat(151)), "over 150"),
            (format!(r#"{{"prompt":"{}",{good}}}"#, "a".repeat(9000)), "over 150"),
            (format!(r#"{{"prompt":"p","aspect_ratio":"",{good}}}"#), "unknown aspect_ratio"),
            (format!(r#"{{"prompt":"p","aspect_ratio":"2:1",{good}}}"#), "unknown aspect_ratio"),
            (r#"{"prompt":"p"}"#.to_owned(), "neither"),
            (format!(r#"{{"prompt":"p",{good},"image_urls":["https://a.example/b.png"]}}"#), "both"),
            (r#"{"prompt":"p","image_urls":["ftp://a.example/b.png"]}"#.to_owned(), "not http"),
            (r#"{"prompt":"p","image_urls":[]}"#.to_owned(), "0 items"),
            (format!(r#"{{"prompt":"p","binary_data_base64":["{picture}","{picture}"]}}"#), "2 items"),
            (format!(r#"{{"prompt":"p","binary_data_base64":"{picture}"}}"#), "invalid type: string"),
            (format!(r#"{{"prompt":"p","binary_data_base64":["data:image/png;base64,{picture}"]}}"#), "data address"),
            (format!(r#"{{"prompt":"p","binary_data_base64":["{long}="]}}"#), "not base64"),
            (format!(r#"{{"prompt":"p","binary_data_base64":["{}"]}}"#, &long[1..]), "not base64"),
            (format!(r#"{{"prompt":"p","binary_data_base64":["{long}\n"]}}"#), "not base64"),
            (r#"{"prompt":"p","binary_data_base64":["R0lGODlhAQABAAAAACw="]}"#.to_owned(), "neither JPEG nor PNG"),
            (format!(r#"{{"prompt":"p","binary_data_base64":["{too_large}"]}}"#), "over 4911104"),
        ];
        for (body, wanted) in cases {
            let shown = &body[..body.floor_char_boundary(120)];
            match read(&body) {
                Ok(_) => panic!("accepted: {shown}"),
                Err(complaint) => assert!(complaint.text().contains(wanted), "{shown}: {}", complaint.text()),
            }
        }
    }

    #[test]
    fn what_the_page_knows_is_accepted() {
        let prompt = "猫".repeat(150);
        let submission =
            read(&format!(r#"{{"prompt":"{prompt}","aspect_ratio":"9:21","image_urls":["https://a.example/b.png"]}}"#));
        let submission = submission.unwrap_or_else(|complaint| panic!("{}", complaint.text()));
        assert_eq!((submission.seed, submission.format.width, submission.format.height), (-1, 720, 1680));
        assert_eq!(submission.source, Source::Address("https://a.example/b.png".to_owned()));
    }
}
