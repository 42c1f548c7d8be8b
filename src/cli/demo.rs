//! To come.
use super::{ExitCode, Failure};
/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {}
/// To come.
pub async fn run(_: Demo) -> Result<ExitCode, Failure> {
    Ok(ExitCode::Ok)
}
