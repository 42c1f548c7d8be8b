//! Lines on standard error: for people, and as JSON for programs.
//!
//! A line is written at once and whole. Control characters are escaped in both forms, so that a file's name can neither forge a
//! line nor command a terminal. A line that cannot be written is lost: there is no place left to complain.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde::ser::{SerializeMap, Serializer};
use tracing::Level;

use super::entry::{Entry, Sink, Value};

/// Readable lines: time, level, message, then fields as `key=value`.
pub(super) struct Text<W> {
    out: Mutex<W>,
    colour: bool,
}

impl<W> Text<W> {
    pub(super) fn new(out: W, colour: bool) -> Self {
        Self { out: Mutex::new(out), colour }
    }
}

impl<W: Write + Send + 'static> Sink for Text<W> {
    fn write(&self, entry: Entry) {
        write_line(&self.out, text(&entry, self.colour).as_bytes());
    }
}

/// JSON lines: `time`, `level`, `message`, then the fields beside them, then `target` and `span`.
pub(super) struct Json<W> {
    out: Mutex<W>,
}

impl<W> Json<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out: Mutex::new(out) }
    }
}

impl<W: Write + Send + 'static> Sink for Json<W> {
    fn write(&self, entry: Entry) {
        // A map of texts and numbers can always be written.
        if let Ok(line) = json(&entry) {
            write_line(&self.out, &line);
        }
    }
}

fn write_line(out: &Mutex<impl Write>, line: &[u8]) {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = out.write_all(line).and_then(|()| out.flush());
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
    for (name, value) in &entry.fields.0 {
        // Writing into a `String` cannot fail, here and below.
        let _ = match value {
            Value::Text(text) => write!(line, " {name}={}", quoted(text)),
            Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) | Value::Bool(_) => write!(line, " {name}={value}"),
        };
    }
    if entry.level > Level::INFO {
        let _ = write!(line, " target={}", entry.target);
    }
    line.push('\n');
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

fn json(entry: &Entry) -> serde_json::Result<Vec<u8>> {
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
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::super::entry::Entries;
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

    fn written(sink: impl FnOnce(Shared) -> Entries, code: impl FnOnce()) -> String {
        let shared = Shared::default();
        let subscriber = tracing_subscriber::registry().with(sink(shared.clone()));
        tracing::subscriber::with_default(subscriber, code);
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn delivery() {
        let span = tracing::info_span!("job", job_id = "j1");
        let _span = span.enter();
        tracing::info!(pair = "shoes/red 1", business_code = 10000, duration_ms = 1.5, "delivered");
    }

    #[test]
    fn a_line_of_text_reads_as_time_level_message_fields() {
        let line = written(|out| Entries::new(Text::new(out, false)), delivery);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, " INFO delivered pair=\"shoes/red 1\" business_code=10000 duration_ms=1.5 job_id=j1\n");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == "2026-11-22T07:00:00.000Z".len(), "{time}");
    }

    #[test]
    fn a_line_of_json_holds_the_fields_beside_the_message() {
        let line = written(|out| Entries::new(Json::new(out)), delivery);
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
        let line = written(|out| Entries::new(Text::new(out, false)), code);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains('\x1b'), "{line}");
        assert!(line.contains("took \\u{1b}[31mb\\nc pair=\"a\\nERROR forged\""), "{line}");
        assert_eq!(written(|out| Entries::new(Json::new(out)), code).lines().count(), 1);
    }

    #[test]
    fn colour_is_for_terminals_alone() {
        let plain = written(|out| Entries::new(Text::new(out, false)), delivery);
        let coloured = written(|out| Entries::new(Text::new(out, true)), delivery);
        assert!(!plain.contains('\x1b') && coloured.contains("\x1b[32m INFO\x1b[0m"), "{coloured}");
    }
}
