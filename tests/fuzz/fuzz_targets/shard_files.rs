#![no_main]

use floodplain_fuzz::{begin, log};

libfuzzer_sys::fuzz_target!(init: begin("shard_files"), |bytes: &[u8]| log::shard_files(bytes));
