//! To come.
use super::{ExitCode, Failure};
/// Arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Reload {}
/// To come.
pub async fn run(_: &Reload) -> Result<ExitCode, Failure> {
    Ok(ExitCode::Ok)
}
