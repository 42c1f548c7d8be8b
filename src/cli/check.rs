//! To come.
use super::{ExitCode, Failure};
/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {}
/// To come.
pub async fn run(_: Check) -> Result<ExitCode, Failure> {
    Ok(ExitCode::Ok)
}
