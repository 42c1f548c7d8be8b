//! The program from outside, and the rules of its house.

mod architecture;
mod house;
