#![no_main]

use floodplain_fuzz::{begin, chunk};

libfuzzer_sys::fuzz_target!(init: begin("floats"), |bytes: &[u8]| chunk::floats(bytes));
