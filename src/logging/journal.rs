//! To the journal, with its fields.
//!
//! Priorities are those of syslog, so that `journalctl -p warning` shows what an operator expects: 3 error, 4 warning,
//! 6 informational, 7 debug.

use std::io;

use log::kv::Value as LogValue;
use systemd_journal_logger::JournalLog;
use tracing::Level;

use super::entry::Entry;

/// Writes one entry to the journal.
pub(super) fn send(journal: &JournalLog, entry: &Entry) -> io::Result<()> {
    let fields = journal_fields(entry);
    let values: Vec<(&str, LogValue<'_>)> =
        fields.iter().map(|(name, value)| (name.as_str(), LogValue::from(value.as_str()))).collect();
    journal.journal_send(
        &log::Record::builder()
            .level(carrier(entry.level))
            .target(&entry.target)
            .module_path(entry.module.as_deref())
            .file(entry.file.as_deref())
            .line(entry.line)
            .args(format_args!("{}", entry.message))
            .key_values(&values)
            .build(),
    )
}

/// The fields beside the journal's own, with their names there.
fn journal_fields(entry: &Entry) -> Vec<(String, String)> {
    let own = entry.fields.0.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.to_string()));
    let span = Some(entry.span.clone()).filter(|span| !span.is_empty()).map(|span| ("SPAN".to_owned(), span));
    own.chain(span).collect()
}

/// The level of the `log` crate that `systemd-journal-logger` turns into the right priority: it makes 5 of info, 6 of debug and
/// 7 of trace.
fn carrier(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Debug,
        Level::DEBUG | Level::TRACE => log::Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entries;
    use super::*;

    #[test]
    fn fields_have_the_names_that_outside_tools_rely_on() {
        let entries = entries(|| {
            let span = tracing::info_span!("job", job_id = "j1", pair = "cat");
            let _span = span.enter();
            tracing::warn!(
                task_id = "t",
                business_code = 50412,
                reason = "text_risk_not_pass",
                state = "failed",
                message_id = "0123456789abcdef0123456789abcdef",
                "rejected"
            );
        });
        let fields = journal_fields(&entries[0]);
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        let wanted = ["TASK_ID", "BUSINESS_CODE", "REASON", "STATE", "MESSAGE_ID", "JOB_ID", "PAIR", "SPAN"];
        assert_eq!(names, wanted);
        assert_eq!(fields[1].1, "50412");
    }

    #[test]
    fn levels_travel_as_the_right_priority() {
        // The payload itself cannot be asked for, so this holds the table of `systemd-journal-logger`'s documentation.
        let priority = |level| match level {
            log::Level::Error => 3,
            log::Level::Warn => 4,
            log::Level::Info => 5,
            log::Level::Debug => 6,
            log::Level::Trace => 7,
        };
        let priorities =
            [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(|level| priority(carrier(level)));
        assert_eq!(priorities, [3, 4, 6, 7, 7]);
    }
}
