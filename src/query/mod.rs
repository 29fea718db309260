//! PromQL: text and samples in, value out. No runtime, no file, no clock.

pub mod ast;
mod ast_spine;
pub mod durations;
pub mod function_table;
mod names;
pub mod parse_error;
pub mod parser;
mod printer;
pub mod quote;
