//! Logging: to the journal with fields, or as lines of text or JSON on standard error.
//!
//! One layer turns every event into an `Entry`: the message, its fields, the fields of the spans around it. The three forms
//! write the same entry, so a field has one name everywhere: `job_id` in the code, in text and in JSON, `JOB_ID` in the journal.
//!
//! Fields that outside tools rely on: `job_id`, `task_id`, `business_code`, `reason`, `state`, `pair`. Others of ours: `attempt`,
//! `request_id`, `duration_ms`, `size_bytes`. A `message_id` names an entry of a journal catalogue.
//!
//! Logging never stops the daemon: what the journal does not take in time is dropped and counted, and the count is logged. A panic
//! is logged as an error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::thread;

use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

mod entry;
mod journal;
mod lines;

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
    /// Somebody has begun logging before.
    #[error("logging has begun already")]
    Twice,
}

/// Logging, as long as it lives; what is still on its way is written when it is dropped, for a bounded time.
#[must_use = "dropping it flushes the log, so it must live as long as the program"]
#[derive(Debug)]
pub struct Guard {
    format: Format,
    queue: Option<journal::Queue>,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Guard {
    /// The form in use; never [`Format::Auto`].
    pub fn format(&self) -> Format {
        self.format
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
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }
}

/// Begins logging for the whole process, takes in the `log` crate's records and logs panics. `level` is a level or a filter
/// such as `info,jimengd::spool=debug`.
///
/// # Errors
/// A bad level, no journal although it was asked for, or a second call.
pub fn init(format: Format, level: &str) -> Result<Guard, LoggingError> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let (format, layer, queue) = match format {
        Format::Journal => journal_layer().map_err(LoggingError::Journal)?,
        Format::Auto if connected_to_journal() => journal_layer().unwrap_or_else(|_| text_layer()),
        Format::Auto | Format::Text => text_layer(),
        Format::Json => (Format::Json, entry::Entries::new(lines::Json::new(io::stderr())), None),
    };
    let subscriber = Registry::default().with(filter).with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)?;
    LogTracer::builder().with_max_level(LevelFilter::current().as_log()).init().map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Guard { format, queue, filter: handle })
}

type Chosen = (Format, entry::Entries, Option<journal::Queue>);

fn journal_layer() -> io::Result<Chosen> {
    let journal = JournalLog::empty()?.with_syslog_identifier(IDENTIFIER.to_owned());
    let queue = journal::Queue::start(move |entry| journal::send(&journal, entry))?;
    Ok((Format::Journal, entry::Entries::new(queue.clone()), Some(queue)))
}

fn text_layer() -> Chosen {
    let stderr = io::stderr();
    let colour = stderr.is_terminal();
    (Format::Text, entry::Entries::new(lines::Text::new(stderr, colour)), None)
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
        location,
        thread = thread::current().name().unwrap_or("unnamed"),
        backtrace,
        "a bug: panicked with: {message}"
    );
}
