#![no_main]

use floodplain_fuzz::{begin, chunk};

libfuzzer_sys::fuzz_target!(init: begin("histograms"), |bytes: &[u8]| chunk::histograms(bytes));
