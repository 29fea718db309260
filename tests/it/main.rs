//! Everything that is tested through more than one room, or against real peers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by panicking"
)]

mod active_queries;
mod attached;
mod block_reader;
mod block_store;
mod block_writer;
mod bounded_reads;
mod clients;
mod compaction;
mod config;
mod crash;
mod crash_blocks;
mod crash_history;
mod crash_snapshot;
mod crash_store;
mod delete;
mod differential;
mod exemplars;
mod fault_history;
mod full_disk;
mod histogram_blocks;
mod history;
mod http;
mod interop_blocks;
mod interop_chunks;
mod interop_clients;
mod interop_histogram_blocks;
mod interop_histograms;
mod interop_promql;
mod interop_retry;
mod interop_scrape;
mod kill;
mod layering;
mod long_answers;
mod metadata;
mod offline;
mod peer;
mod promql_everywhere;
mod promql_parser;
mod promql_scripts;
mod random_requests;
mod remote_read;
mod remote_write;
mod restart;
mod results_cache;
mod script_store;
mod serve;
mod server;
mod snapshot;
mod start_timestamps;
mod unreadable;
mod values;
mod whole_store;
