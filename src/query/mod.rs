//! PromQL: text and samples in, value out. No runtime, no file, no clock.

pub mod ast;
mod ast_spine;
pub mod function_table;
pub mod parse_error;
pub mod parser;
