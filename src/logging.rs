//! Logging: to the journal with fields, or as lines of text or JSON on standard error.
//!
//! One layer turns every event into an `Entry`: the message, its fields, the fields of the spans around it. The three forms
//! write the same entry, so a field has one name everywhere: `job_id` in the code, in text and in JSON, `JOB_ID` in the journal.
//!
//! Fields that outside tools rely on: `job_id`, `task_id`, `business_code`, `reason`, `state`, `pair`. Others of ours: `attempt`,
//! `request_id`, `duration_ms`, `size_bytes`. A `message_id` names an entry of a journal catalogue.
//!
//! Logging never stops the daemon: what the journal or the reader of standard error does not take in time is dropped and counted,
//! and the count is logged. A panic is logged as an error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::thread;

use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};
use uuid::Uuid;

mod entry;
mod journal;
mod lines;
mod queue;

use lines::{Form, Through};
use queue::Queue;

/// The name of the message that entries were lost, see [`message_id`].
pub const ENTRIES_LOST: &str = "entries_lost";

/// The name of the message that the program is wrong.
pub const BUG: &str = "bug";

/// The room of our names of messages.
const NAMESPACE: Uuid = uuid::uuid!("5b0c64a9-9d5e-4a55-8d0e-6f1c6a1f2b7e");

/// What we are called in the journal and in the syslog.
const IDENTIFIER: &str = "jimengd";

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The journal where standard error is connected to it, else text.
    Auto,
    /// The journal.
    Journal,
    /// Readable lines on standard error.
    Text,
    /// JSON lines on standard error.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is neither a level nor a filter.
    #[error("the log level {level:?} is neither a level nor a filter")]
    Level {
        /// As it was given.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// There is no journal to write to.
    #[error("the journal cannot be reached; set log.format to text or json")]
    Journal(#[source] io::Error),
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
    /// Somebody has begun logging before.
    #[error("logging has begun already")]
    Twice,
}

/// Logging, as long as it lives; what is still on its way is written when it is dropped, for a bounded time.
#[must_use = "dropping it flushes the log, so it must live as long as the program"]
#[derive(Debug)]
pub struct Guard {
    format: Format,
    queue: Queue,
    through: Through,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Guard {
    /// The form in use; never [`Format::Auto`].
    pub fn format(&self) -> Format {
        self.format
    }

    /// From now on `print` gets each line, without its end, in place of standard error: for a display that owns the terminal.
    /// It is called on a thread of its own and may block; it must not log. The journal is not concerned.
    pub fn print_through(&self, print: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) {
        self.through.set(Some(Arc::new(print)));
    }

    /// From now on lines go to standard error again.
    pub fn print_directly(&self) {
        self.through.set(None);
    }

    /// Changes what is logged from now on.
    ///
    /// # Errors
    /// `level` is neither a level nor a filter; then everything stays as it was.
    pub fn set_level(&self, level: &str) -> Result<(), LoggingError> {
        let filter = filter(level)?;
        match self.filter.reload(filter) {
            Ok(()) => {
                log::set_max_level(LevelFilter::current().as_log());
                Ok(())
            }
            // The subscriber is global and never goes away, so only a panic inside it can bring us here.
            Err(error) => {
                tracing::warn!("the log level stays as it was: {error}");
                Ok(())
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

/// The value of the field `message_id` for the kind of entry called `name`: 32 hexadecimal digits, the same for ever (a UUID of
/// version 5, RFC 9562), under which a journal catalogue explains it.
pub fn message_id(name: &str) -> String {
    Uuid::new_v5(&NAMESPACE, name.as_bytes()).simple().to_string()
}

/// Whether what is written on standard error gets into the journal.
pub fn stderr_is_the_journal() -> bool {
    connected_to_journal()
}

/// `text` in lines for standard error; where that leads to the journal, each is marked as an error there (`sd-daemon(3)`).
pub fn grave(text: &str) -> String {
    let mark = if stderr_is_the_journal() { "<3>" } else { "" };
    text.lines().map(|line| format!("{mark}{line}\n")).collect()
}

/// Begins logging for the whole process, takes in the `log` crate's records and logs panics. `level` is a level or a filter
/// such as `info,jimengd::spool=debug`.
///
/// # Errors
/// A bad level, no journal although it was asked for, or a second call.
pub fn init(format: Format, level: &str) -> Result<Guard, LoggingError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let through = Through::default();
    let (format, queue) = match format {
        Format::Journal => (Format::Journal, journal_queue().map_err(LoggingError::Journal)?),
        Format::Auto => match connected_to_journal().then(journal_queue) {
            Some(Ok(queue)) => (Format::Journal, queue),
            Some(Err(_)) | None => (Format::Text, text_queue(&through)?),
        },
        Format::Text => (Format::Text, text_queue(&through)?),
        Format::Json => (Format::Json, lines_queue(Form::Json, &through)?),
    };
    let layer = entry::Entries::new(queue.clone());
    let subscriber = Registry::default().with(filter).with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)?;
    LogTracer::builder().with_max_level(LevelFilter::current().as_log()).init().map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Guard { format, queue, through, filter: handle })
}

fn journal_queue() -> io::Result<Queue> {
    let journal = JournalLog::empty()?.with_syslog_identifier(IDENTIFIER.to_owned());
    Queue::start(move |entry| journal::send(&journal, entry))
}

fn text_queue(through: &Through) -> Result<Queue, LoggingError> {
    lines_queue(Form::Text { colour: io::stderr().is_terminal() }, through)
}

fn lines_queue(form: Form, through: &Through) -> Result<Queue, LoggingError> {
    Queue::start(lines::writer(form, io::stderr(), through.clone())).map_err(LoggingError::Thread)
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::builder().parse(level).map_err(|source| LoggingError::Level { level: level.to_owned(), source })
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    let message = payload.downcast_ref::<&str>().copied().or(owned).unwrap_or("no message");
    let location = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => Some(backtrace.to_string()),
        // Not asked for by RUST_BACKTRACE, or not to be had.
        _ => None,
    };
    tracing::error!(
        message_id = message_id(BUG),
        location,
        thread = thread::current().name().unwrap_or("unnamed"),
        backtrace,
        "a bug: panicked with: {message}"
    );
}
