#![no_main]

use floodplain_fuzz::{begin, log};

libfuzzer_sys::fuzz_target!(init: begin("replay"), |bytes: &[u8]| log::replay(bytes));
