#![no_main]

use floodplain_fuzz::{begin, log};

libfuzzer_sys::fuzz_target!(init: begin("records"), |bytes: &[u8]| log::records(bytes));
