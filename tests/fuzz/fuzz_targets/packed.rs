#![no_main]

use floodplain_fuzz::{begin, body};

libfuzzer_sys::fuzz_target!(init: begin("packed"), |bytes: &[u8]| body::packed(bytes));
