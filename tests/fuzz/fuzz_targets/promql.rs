#![no_main]

use floodplain_fuzz::{begin, text};

libfuzzer_sys::fuzz_target!(init: begin("promql"), |bytes: &[u8]| text::promql(bytes));
