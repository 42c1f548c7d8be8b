//! To come.

pub mod record;
pub mod sqlite;
