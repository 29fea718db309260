#![no_main]

use floodplain_fuzz::{begin, text};

libfuzzer_sys::fuzz_target!(init: begin("matcher"), |bytes: &[u8]| text::matcher(bytes));
