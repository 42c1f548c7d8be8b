//! The command `jimengd`: parse, run, turn the end into an exit code.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use jimengd::cli::{self, Cli};
use jimengd::logging;

/// How long the last words may take: nobody may be reading standard error.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// How long what still reads a file may take to end when everything else has.
const READERS_END_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, too; where they cannot be printed nobody reads them.
            drop(error.print());
            let code = if error.use_stderr() { cli::ExitCode::Usage } else { cli::ExitCode::Ok };
            return ExitCode::from(code.code());
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format!("jimengd: cannot start: {error}\n"));
            return ExitCode::from(cli::ExitCode::Software.code());
        }
    };
    // Nothing is used after a panic but the runtime, which keeps its own order.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(cli::execute(cli))));
    // Files that are being moved get there, or at the next start; what still reads, perhaps from a disk that does not answer, may be
    // left alone.
    runtime.shutdown_timeout(READERS_END_WITHIN);
    match ended {
        Ok(Ok(code)) => ExitCode::from(code.code()),
        Ok(Err(failure)) => {
            if !failure.logged {
                say(logging::grave(&format!("jimengd: {:#}", failure.error)));
            }
            ExitCode::from(failure.code.code())
        }
        // The panic has been told where it happened.
        Err(_) => ExitCode::from(cli::ExitCode::Software.code()),
    }
}

/// Says `text` on standard error, if somebody takes it.
fn say(text: String) {
    let (done, said) = mpsc::channel();
    thread::spawn(move || {
        // There is no place left to complain.
        drop(std::io::stderr().write_all(text.as_bytes()));
        let _ = done.send(());
    });
    let _ = said.recv_timeout(LAST_WORDS_MAX);
}
