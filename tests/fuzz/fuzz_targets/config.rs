#![no_main]

use floodplain_fuzz::{begin, text};

libfuzzer_sys::fuzz_target!(init: begin("config"), |bytes: &[u8]| text::config(bytes));
