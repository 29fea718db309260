//! What does it cost to ask another shard? Round trips and calls a second over the mesh, printed as a table.
//!
//! `cargo bench --bench mesh`; runs for about 12 seconds on two cores.

use std::time::{Duration, Instant};

use floodplain::model::ShardId;
use floodplain::rt::executor::{self, End, Options};
use floodplain::rt::mesh::{Peers, mesh};
use floodplain::rt::task;
use hdrhistogram::Histogram;

/// As many samples as a remote-write request has for one shard, about.
const SAMPLES: usize = 1000;
const WINDOW: u16 = 128;
const TIME: Duration = Duration::from_secs(2);

/// A message of the size of a real one: what it owns is on the heap and crosses as a pointer.
type Batch = Vec<(i64, f64)>;

fn main() {
    println!(
        "{:<34} {:>10} {:>10} {:>10} {:>12}",
        "calls to", "p50 us", "p99 us", "max us", "calls/s"
    );
    for (name, to, in_flight) in [
        ("the other shard, 1 at a time", 1, 1),
        ("the other shard, 4 at a time", 1, 4),
        ("the other shard, 16 at a time", 1, 16),
        ("the other shard, 64 at a time", 1, 64),
        ("the other shard, 128 at a time", 1, 128),
        ("itself, 1 at a time", 0, 1),
    ] {
        measure(name, ShardId(to), in_flight);
    }
}

/// Runs two shards, of which the first calls shard `to` from as many tasks as are to be in flight.
fn measure(name: &'static str, to: ShardId, in_flight: usize) {
    let main = |seat: floodplain::rt::mesh::Seat<Batch, usize>| {
        move |_| async move {
            let peers = seat.join(|_, batch: Batch| async move { batch.len() }).await;
            if peers.me() == ShardId(0) {
                flood(name, &peers, to, in_flight).await;
            }
            peers.leave().await;
        }
    };
    let mains = mesh(2, WINDOW).into_iter().map(main).collect();
    let exits = executor::start(&Options::default(), mains).expect("executors start").join();
    assert!(exits.iter().all(|exit| exit.end == End::Finished), "{exits:?}");
}

async fn flood(name: &str, peers: &Peers<Batch, usize>, to: ShardId, in_flight: usize) {
    let started = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let peers = peers.clone();
            task::spawn("caller", async move {
                let mut took = histogram();
                while started.elapsed() < TIME {
                    let batch = vec![(0, 0.0); SAMPLES];
                    let called = Instant::now();
                    assert_eq!(peers.call(to, batch).await, Ok(SAMPLES));
                    took.saturating_record(
                        u64::try_from(called.elapsed().as_nanos()).unwrap_or(u64::MAX),
                    );
                }
                took
            })
        })
        .collect();
    let mut took = histogram();
    for caller in callers {
        took.add(caller.await.expect("callers do not panic")).expect("the same bounds");
    }
    let seconds = started.elapsed().as_secs_f64();
    let us = |nanos: u64| nanos as f64 / 1000.0;
    println!(
        "{name:<34} {:>10.1} {:>10.1} {:>10.1} {:>12.0}",
        us(took.value_at_quantile(0.5)),
        us(took.value_at_quantile(0.99)),
        us(took.max()),
        took.len() as f64 / seconds
    );
}

/// For times in nanoseconds up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}
