//! Lines on standard error: for people, and as JSON for programs.
//!
//! A line is written whole. Control characters are escaped in both forms, so that a file's name can neither forge a line nor
//! command a terminal. While a display owns the terminal, lines go through it, so that neither writes over the other.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::ser::{SerializeMap, Serializer};
use tracing::Level;

use super::entry::{Entry, Value};

/// How a line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Readable: time, level, message, then fields as `key=value`.
    Text {
        /// Whether the level has a colour.
        colour: bool,
    },
    /// An object: `time`, `level`, `message`, then the fields beside them, then `target` and `span`.
    Json,
}

type Print = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

/// Who prints lines in our place, if somebody does. All clones are one.
#[derive(Clone, Default)]
pub(super) struct Through(Arc<Mutex<Option<Print>>>);

impl Through {
    pub(super) fn set(&self, print: Option<Print>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = print;
    }

    /// Not called under the lock: it may be stuck, and must not keep others from replacing it.
    fn get(&self) -> Option<Print> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Through").field(&self.get().is_some()).finish()
    }
}

/// Writes each entry as a line to `out`, or through who prints in its place.
pub(super) fn writer(form: Form, mut out: impl Write, through: Through) -> impl FnMut(&Entry) -> io::Result<()> {
    move |entry| {
        let mut line = match form {
            Form::Text { colour } => text(entry, colour),
            Form::Json => json(entry)?,
        };
        match through.get() {
            Some(print) => print(&line),
            None => {
                line.push('\n');
                out.write_all(line.as_bytes())?;
                out.flush()
            }
        }
    }
}

fn text(entry: &Entry, colour: bool) -> String {
    let (start, end) = match (colour, entry.level) {
        (false, _) => ("", ""),
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[32m", "\x1b[0m"),
        (true, Level::DEBUG | Level::TRACE) => ("\x1b[2m", "\x1b[0m"),
    };
    let mut line = format!("{:.3} {start}{:>5}{end} {}", entry.time, entry.level, escaped(&entry.message));
    // A number that only the journal's catalogue knows is no use to a reader.
    for (name, value) in entry.fields.0.iter().filter(|(name, _)| name != "message_id") {
        // Writing into a `String` cannot fail, here and below.
        let _ = match value {
            Value::Text(text) => write!(line, " {name}={}", quoted(text)),
            Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) | Value::Bool(_) => write!(line, " {name}={value}"),
        };
    }
    if entry.level > Level::INFO {
        let _ = write!(line, " target={}", entry.target);
    }
    line
}

fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("\"{}\"", escaped(&text.replace('\\', "\\\\").replace('"', "\\\""))),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

fn json(entry: &Entry) -> io::Result<String> {
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("time", &format_args!("{:.3}", entry.time))?;
    map.serialize_entry("level", &entry.level.as_str().to_ascii_lowercase())?;
    map.serialize_entry("message", &entry.message)?;
    for (name, value) in &entry.fields.0 {
        match value {
            Value::Text(text) => map.serialize_entry(name, text)?,
            Value::Signed(number) => map.serialize_entry(name, number)?,
            Value::Unsigned(number) => map.serialize_entry(name, number)?,
            Value::Float(number) => map.serialize_entry(name, number)?,
            Value::Bool(flag) => map.serialize_entry(name, flag)?,
        }
    }
    map.serialize_entry("target", &entry.target)?;
    if !entry.span.is_empty() {
        map.serialize_entry("span", &entry.span)?;
    }
    map.end()?;
    String::from_utf8(line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entries;
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PLAIN: Form = Form::Text { colour: false };

    fn written_through(form: Form, through: Through, code: impl FnOnce()) -> String {
        let shared = Shared::default();
        let mut write = writer(form, shared.clone(), through);
        entries(code).iter().for_each(|entry| write(entry).unwrap());
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn written(form: Form, code: impl FnOnce()) -> String {
        written_through(form, Through::default(), code)
    }

    fn delivery() {
        let span = tracing::info_span!("job", job_id = "j1");
        let _span = span.enter();
        tracing::info!(pair = "shoes/red 1", business_code = 10000, duration_ms = 1.5, "delivered");
    }

    #[test]
    fn a_line_of_text_reads_as_time_level_message_fields() {
        let line = written(PLAIN, delivery);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, " INFO delivered pair=\"shoes/red 1\" business_code=10000 duration_ms=1.5 job_id=j1\n");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == "2026-11-22T07:00:00.000Z".len(), "{time}");
    }

    #[test]
    fn a_line_of_json_holds_the_fields_beside_the_message() {
        let line = written(Form::Json, delivery);
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "info");
        assert_eq!(value["message"], "delivered");
        assert_eq!(value["pair"], "shoes/red 1");
        assert_eq!(value["business_code"], 10000);
        assert_eq!(value["job_id"], "j1");
        assert_eq!(value["span"], "job");
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn a_file_name_can_neither_forge_a_line_nor_command_a_terminal() {
        let code = || tracing::info!(pair = "a\nERROR forged", "took \x1b[31mb\nc");
        let line = written(PLAIN, code);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\x1b'), "{line}");
        assert!(line.contains("took \\u{1b}[31mb\\nc pair=\"a\\nERROR forged\""), "{line}");
        assert_eq!(written(Form::Json, code).lines().count(), 1);
    }

    #[test]
    fn colour_is_for_terminals_alone() {
        let plain = written(PLAIN, delivery);
        let coloured = written(Form::Text { colour: true }, delivery);
        assert!(!plain.contains('\x1b') && coloured.contains("\x1b[32m INFO\x1b[0m"), "{coloured}");
    }

    #[test]
    fn while_somebody_prints_in_our_place_nothing_is_written_beside() {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (through, sink) = (Through::default(), Arc::clone(&printed));
        through.set(Some(Arc::new(move |line| {
            sink.lock().unwrap().push(line.to_owned());
            Ok(())
        })));
        assert_eq!(written_through(PLAIN, through.clone(), delivery), "");
        assert!(printed.lock().unwrap()[0].ends_with("job_id=j1"), "{printed:?}");
        through.set(None);
        assert!(written_through(PLAIN, through, delivery).ends_with("job_id=j1\n"));
        assert_eq!(printed.lock().unwrap().len(), 1);
    }
}
