//! To come.

pub mod durable;
pub mod judge;
pub mod pairing;
pub mod scan;
pub mod settle;
pub mod watch;
