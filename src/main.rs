//! The command `jimengd`.

fn main() {}
