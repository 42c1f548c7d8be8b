//! The command `jimengd`: parse, run, turn the end into an exit code.

use std::process::ExitCode;

use clap::Parser;
use jimengd::cli::{self, Cli};

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
            eprintln!("jimengd: cannot start: {error}");
            return ExitCode::from(cli::ExitCode::Software.code());
        }
    };
    let ended = runtime.block_on(cli::execute(cli));
    // Files that are being moved get there; everything else has ended by now.
    drop(runtime);
    match ended {
        Ok(code) => ExitCode::from(code.code()),
        Err(failure) => {
            eprintln!("jimengd: {:#}", failure.error);
            ExitCode::from(failure.code.code())
        }
    }
}
