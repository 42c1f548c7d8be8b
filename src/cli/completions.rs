//! `jimengd completions`: what lets a shell complete commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, ExitCode, Failure, print};

/// What `--help` says first.
pub(super) const LONG_ABOUT: &str = "Print what completes jimengd's commands in a shell. The Debian package installs it for bash, zsh and \
     fish; elsewhere put it where the shell looks, for instance\n\n  \
     jimengd completions bash > ~/.local/share/bash-completion/completions/jimengd";

/// Arguments of `jimengd completions`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Standard output takes nothing.
pub fn run(args: &Completions) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "jimengd", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Ok)
}
