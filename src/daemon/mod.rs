//! To come.

pub mod driver;
pub mod intake;
pub mod recovery;
pub mod step;
