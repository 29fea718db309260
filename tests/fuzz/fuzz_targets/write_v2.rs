#![no_main]

use floodplain_fuzz::{begin, wire};

libfuzzer_sys::fuzz_target!(init: begin("write_v2"), |bytes: &[u8]| wire::write_v2(bytes));
