//! Cases as data: one table of rows each, and what plays them.

mod public;
