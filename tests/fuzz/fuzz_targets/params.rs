#![no_main]

use floodplain_fuzz::{begin, text};

libfuzzer_sys::fuzz_target!(init: begin("params"), |bytes: &[u8]| text::params(bytes));
