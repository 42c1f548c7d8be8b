//! What is logged, independent of its form, and the layer that makes it of events and spans.
//!
//! An inner span's field wins over an outer one's of the same name, and the event's own over both. Names are lower case with
//! underscores; a name that the forms use themselves gets the prefix `f_`.

use std::error::Error;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Names that the forms or the journal use themselves.
const TAKEN: [&str; 9] = ["time", "level", "message", "target", "span", "priority", "errno", "tid", "invocation_id"];
/// Beginnings of such names.
const TAKEN_BEGINNINGS: [&str; 5] = ["code_", "syslog_", "object_", "coredump_", "_"];

/// A value of a field.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(flag) => flag.fmt(f),
        }
    }
}

/// Fields in the order of their writing, each name once.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, Value)>);

impl Fields {
    /// Keeps what is there under the name.
    fn add(&mut self, name: &str, value: &Value) {
        if !self.0.iter().any(|(there, _)| there == name) {
            self.0.push((name.to_owned(), value.clone()));
        }
    }

    /// Replaces what is there under the name.
    fn set(&mut self, name: String, value: Value) {
        match self.0.iter_mut().find(|(there, _)| *there == name) {
            Some((_, there)) => *there = value,
            None => self.0.push((name, value)),
        }
    }
}

/// One line of the log.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) time: jiff::Timestamp,
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) fields: Fields,
    /// Names of the spans from the outermost, joined by `:`; empty outside of any.
    pub(super) span: String,
    pub(super) target: String,
    pub(super) module: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// Where entries go; must not block for long and must not log.
pub(super) trait Sink: Send + Sync + 'static {
    fn write(&self, entry: Entry);
}

/// The layer.
pub(super) struct Entries {
    sink: Box<dyn Sink>,
}

impl Entries {
    pub(super) fn new(sink: impl Sink) -> Self {
        Self { sink: Box::new(sink) }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Entries {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut collector = Collector::default();
        attributes.record(&mut collector);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(collector.fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // Values are written out before the span is locked: one that panics would log while we hold the lock.
        let mut collector = Collector::default();
        values.record(&mut collector);
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            collector.fields.0.into_iter().for_each(|(name, value)| fields.set(name, value));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut collector = Collector::default();
        event.record(&mut collector);
        let Collector { message, mut fields } = collector;
        let mut names = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            add_span(&span, &mut fields);
            names.push(span.name());
        }
        names.reverse();
        let normalized = event.normalized_metadata();
        let metadata: &Metadata<'_> = normalized.as_ref().unwrap_or_else(|| event.metadata());
        self.sink.write(Entry {
            time: jiff::Timestamp::now(),
            level: *metadata.level(),
            message,
            fields,
            span: names.join(":"),
            target: metadata.target().to_owned(),
            module: metadata.module_path().map(str::to_owned),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
        });
    }
}

fn add_span<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>, fields: &mut Fields) {
    if let Some(outer) = span.extensions().get::<Fields>() {
        outer.0.iter().for_each(|(name, value)| fields.add(name, value));
    }
}

#[derive(Default)]
struct Collector {
    message: String,
    fields: Fields,
}

impl Collector {
    fn take(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.to_string(),
            // Where a record of the `log` crate comes from is in the normalized metadata.
            name if name.starts_with("log.") => {}
            name => self.fields.set(our_name(name), value),
        }
    }
}

impl Visit for Collector {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, Value::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut chain = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            // Writing into a `String` cannot fail.
            let _ = write!(chain, ": {error}");
            cause = error.source();
        }
        self.take(field, Value::Text(chain));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, Value::Text(format!("{value:?}")));
    }
}

/// Lower case with underscores, as both `job_id` and `job.id` mean `JOB_ID`; `f_` before what is taken.
fn our_name(name: &str) -> String {
    let other = |c: char| !c.is_ascii_alphanumeric();
    let name = name.trim_start_matches("r#").to_ascii_lowercase().replace(other, "_");
    let taken = TAKEN.contains(&name.as_str()) || TAKEN_BEGINNINGS.iter().any(|start| name.starts_with(start));
    match taken {
        true => format!("f_{name}"),
        false => name,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<Entry>>>);

    impl Sink for Captured {
        fn write(&self, entry: Entry) {
            self.0.lock().unwrap().push(entry);
        }
    }

    /// The entries that `code` logs.
    pub(crate) fn entries(code: impl FnOnce()) -> Vec<Entry> {
        let captured = Captured::default();
        let subscriber = tracing_subscriber::registry().with(Entries::new(captured.clone()));
        tracing::subscriber::with_default(subscriber, code);
        let entries = captured.0.lock().unwrap();
        entries.clone()
    }

    fn fields(entry: &Entry) -> Vec<(&str, String)> {
        entry.fields.0.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect()
    }

    #[test]
    fn an_entry_joins_its_own_fields_and_those_of_its_spans() {
        let entries = entries(|| {
            let outer = tracing::info_span!("job", job_id = "j1", attempt = 1);
            let _outer = outer.enter();
            let inner = tracing::info_span!("step", attempt = 2, task_id = tracing::field::Empty);
            let _inner = inner.enter();
            inner.record("task_id", "t9");
            tracing::info!(state = "submitted", "submitted {}", "cat");
        });
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(entry.message, "submitted cat");
        assert_eq!(entry.span, "job:step");
        let wanted = [("state", "submitted"), ("attempt", "2"), ("task_id", "t9"), ("job_id", "j1")];
        assert_eq!(fields(entry), wanted.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn names_are_ours_or_out_of_the_way() {
        let cases = [
            ("job_id", "job_id"),
            ("job.id", "job_id"),
            ("message_id", "message_id"),
            ("target", "f_target"),
            ("code_file", "f_code_file"),
            ("_pid", "f__pid"),
        ];
        for (name, wanted) in cases {
            assert_eq!(our_name(name), wanted);
        }
    }

    #[test]
    fn an_error_is_written_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read /x")]
        struct Outer(#[source] std::io::Error);
        let entries = entries(|| {
            let error = Outer(std::io::Error::other("disk on fire"));
            tracing::error!(error = &error as &dyn Error, "failed");
        });
        assert_eq!(fields(&entries[0]), [("error", "cannot read /x: disk on fire".to_owned())]);
    }

    #[test]
    fn a_panic_while_a_span_is_written_to_does_not_block_it() {
        struct Panics;
        impl fmt::Debug for Panics {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("on purpose")
            }
        }
        let entries = entries(|| {
            let span = tracing::info_span!("job", odd = tracing::field::Empty);
            let record = std::panic::AssertUnwindSafe(|| {
                span.record("odd", tracing::field::debug(Panics));
            });
            assert!(std::panic::catch_unwind(record).is_err());
            span.in_scope(|| tracing::info!("still here"));
        });
        assert_eq!(entries[0].message, "still here");
    }
}
