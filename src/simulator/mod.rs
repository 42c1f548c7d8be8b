//! To come.

pub mod faults;
pub mod world;
