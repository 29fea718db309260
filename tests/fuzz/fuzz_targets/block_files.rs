#![no_main]

use floodplain_fuzz::{begin, block};

libfuzzer_sys::fuzz_target!(init: begin("block_files"), |bytes: &[u8]| block::files(bytes));
