#![no_main]

use floodplain_fuzz::{begin, wire};

libfuzzer_sys::fuzz_target!(init: begin("read_request"), |bytes: &[u8]| wire::read_request(bytes));
