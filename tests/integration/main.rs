//! The program from outside: as a whole against the simulated vendor, over real HTTP and on a real file system; and the rules of
//! its house.

#![expect(clippy::unwrap_used, reason = "what a test cannot unwrap fails it")]

mod architecture;
mod clocks;
mod commands;
mod crash_loops;
mod crash_recovery;
mod delivery;
mod doubt;
mod house;
mod logs;
mod memory;
mod operations;
mod pauses;
mod poison;
mod regressions;
mod rejection;
#[expect(dead_code, reason = "tests/torture stands on it, too, and uses more of it")]
mod rig;
mod shipped_files;
mod shutdown;
mod slots;
mod slots_aims;
mod tables;
mod throttling;
mod wire_contract;
