//! To come.

pub mod check;
pub mod demo;
pub mod reload;
pub mod run;
pub mod simulate;
pub mod status;
