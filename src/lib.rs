//! jimengd turns picture and YAML pairs in a folder into videos.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod job;
pub mod ledger;
pub mod logging;
pub mod simulator;
pub mod spool;
pub mod systemd;
pub mod throttle;
