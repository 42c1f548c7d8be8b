//! How much to ask of the API, and when. Pure: time and chance are arguments.
//!
//! - [`window`]: how many tasks the account runs at once, found by trying.
//! - [`rate`]: how many requests a second.
//! - [`durations`]: how long tasks take.
//! - [`cadence`]: and so when asking is worth a request.
//! - [`budget`]: how much money may be spent in an hour and in a day.

pub mod budget;
pub mod cadence;
pub mod durations;
pub mod rate;
pub mod window;
