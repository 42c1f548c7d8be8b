//! To come.
use super::{ExitCode, Failure};
/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Status {}
/// To come.
pub fn run(_: &Status) -> Result<ExitCode, Failure> {
    Ok(ExitCode::Ok)
}
