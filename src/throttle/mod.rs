//! To come.

pub mod budget;
pub mod durations;
pub mod rate;
pub mod window;
