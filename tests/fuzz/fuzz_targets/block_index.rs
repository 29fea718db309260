#![no_main]

use floodplain_fuzz::{begin, block};

libfuzzer_sys::fuzz_target!(init: begin("block_index"), |bytes: &[u8]| block::index(bytes));
