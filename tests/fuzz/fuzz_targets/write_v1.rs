#![no_main]

use floodplain_fuzz::{begin, wire};

libfuzzer_sys::fuzz_target!(init: begin("write_v1"), |bytes: &[u8]| wire::write_v1(bytes));
