#![no_main]

use floodplain_fuzz::{begin, body};

libfuzzer_sys::fuzz_target!(init: begin("snappy"), |bytes: &[u8]| body::snappy(bytes));
