//! Accepting: which shard a new connection goes to, and what becomes of a connection that fails before it begins.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use glommio::net::AcceptedTcpStream;

use super::Stream;
use crate::model::ShardId;
use crate::rt::local::Event;
use crate::rt::mesh::Peers;
use crate::rt::pace::Slice;
use crate::rt::{task, timer};

/// How long to leave the kernel's queue alone when no connection may be added.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// How long to wait when the system has no descriptor or memory for one more.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// So many connections are turned away at the same time; more are closed without a word.
const TURNED_AWAY_MAX: usize = 32;

/// The connections that may be open at once, on all addresses together. Each takes a descriptor, of which the files of
/// the data directory need some, too.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    /// `max` places, all free.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    /// Takes a place, if one is free.
    fn take(&self) -> bool {
        let take = |taken: usize| Some(taken + 1).filter(|taken| *taken <= self.max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections each shard has open. Shared by all shards; written once a connection.
pub(super) struct Load {
    open: Vec<AtomicUsize>,
    connections_max: usize,
    places: Arc<Places>,
}

impl Load {
    pub(super) fn new(shard_count: usize, connections_max: usize, places: Arc<Places>) -> Self {
        let open = (0..shard_count).map(|_| AtomicUsize::new(0)).collect();
        Self { open, connections_max, places }
    }

    fn is_full(&self) -> bool {
        let open: usize = self.open.iter().map(|open| open.load(Ordering::Relaxed)).sum();
        open >= self.connections_max
    }

    /// Counts a new connection, which has its place, where the fewest are open. Equals take turns, beginning at place `turn`.
    fn add(&self, turn: usize) -> ShardId {
        let open: Vec<usize> = self.open.iter().map(|open| open.load(Ordering::Relaxed)).collect();
        let shard = fewest(&open, turn);
        if let Some(open) = self.open.get(shard.index()) {
            open.fetch_add(1, Ordering::Relaxed);
        }
        shard
    }

    pub(super) fn remove(&self, shard: ShardId) {
        if let Some(open) = self.open.get(shard.index()) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        self.places.give_back();
    }
}

/// The place of the smallest number; of several the first from place `turn` on, going around.
fn fewest(open: &[usize], turn: usize) -> ShardId {
    let count = open.len().max(1);
    let distance = |index: usize| (index + count - turn % count) % count;
    let least = open.iter().enumerate().min_by_key(|(index, open)| (**open, distance(*index)));
    ShardId(least.and_then(|(index, _)| u16::try_from(index).ok()).unwrap_or(0))
}

/// The listening socket.
pub(super) struct Listening {
    pub(super) accepting: TcpListener,
    /// Another descriptor of the same socket, to shut it down by.
    pub(super) stopping: TcpListener,
}

/// Accepts connections and hands them to the shards until `stop` is set. Those for which there is no place go to
/// `turn_away`.
pub(super) async fn accept_until<T, G>(
    listening: Listening,
    peers: &Peers<AcceptedTcpStream, ()>,
    load: &Arc<Load>,
    stop: Event,
    turn_away: T,
) where
    T: Fn(Stream) -> G,
    G: Future<Output = ()> + 'static,
{
    let Listening { accepting, stopping } = listening;
    // The stop shuts the socket down instead of dropping an accept halfway, which could lose a connection.
    let stopped = stop.clone();
    drop(task::spawn("stop listening", async move {
        stopped.wait().await;
        // SAFETY: shutdown(2) takes integers; `stopping` keeps the descriptor open.
        unsafe { libc::shutdown(stopping.as_raw_fd(), libc::SHUT_RDWR) };
    }));
    // SAFETY: the descriptor is an open listening socket's, and `into_raw_fd` gives it away to this one owner.
    let listener = unsafe { glommio::net::TcpListener::from_raw_fd(accepting.into_raw_fd()) };
    let mut slice = Slice::start();
    let turning_away = Rc::new(Cell::new(0));
    let mut turn = 0;
    while !stop.is_set() {
        if load.is_full() {
            timer::sleep(FULL_PAUSE).await;
            continue;
        }
        match listener.shared_accept().await {
            Ok(accepted) if !load.places.take() => {
                let stream = Stream::new(accepted);
                if turning_away.get() < TURNED_AWAY_MAX {
                    let (counted, turned_away) = (Rc::clone(&turning_away), turn_away(stream));
                    counted.set(counted.get() + 1);
                    drop(task::spawn("turn away", async move {
                        turned_away.await;
                        counted.set(counted.get() - 1);
                    }));
                }
            }
            Ok(accepted) => {
                let shard = load.add(turn);
                turn = shard.index() + 1;
                drop(task::spawn(
                    "hand over",
                    hand_over(peers.clone(), Arc::clone(load), shard, accepted),
                ));
            }
            Err(_) if stop.is_set() => break,
            Err(error) => {
                let error = io::Error::from(error);
                if is_shortage(&error) {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                    timer::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
        slice.breathe().await;
    }
}

/// Is it the system that is short of something? Everything else is about one peer that has left already.
fn is_shortage(error: &io::Error) -> bool {
    let short = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_none_or(|errno| short.contains(&errno))
}

async fn hand_over(
    peers: Peers<AcceptedTcpStream, ()>,
    load: Arc<Load>,
    shard: ShardId,
    accepted: AcceptedTcpStream,
) {
    if peers.call(shard, accepted).await.is_err() {
        // The shard is gone, and the process is about to end with it.
        load.remove(shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_take_turns() {
        assert_eq!(fewest(&[0, 0, 0], 0), ShardId(0));
        assert_eq!(fewest(&[1, 1, 1], 1), ShardId(1));
        assert_eq!(fewest(&[1, 1, 1], 3), ShardId(0));
        assert_eq!(fewest(&[7], 1), ShardId(0));
    }

    #[test]
    fn a_peer_that_left_early_is_no_shortage() {
        let error = io::Error::from_raw_os_error;
        assert!(is_shortage(&error(libc::EMFILE)) && !is_shortage(&error(libc::ECONNABORTED)));
    }

    #[test]
    fn the_shard_with_the_fewest_is_first_whoever_is_next() {
        assert_eq!(fewest(&[2, 1, 2], 2), ShardId(1));
        assert_eq!(fewest(&[5, 3, 3], 2), ShardId(2));
    }

    #[test]
    fn short_connections_in_between_do_not_push_long_ones_together() {
        // Alternating long and short ones by turns alone would put all long ones on one shard.
        let load = Load::new(2, 100, Places::new(100));
        let mut turn = 0;
        for _ in 0..10 {
            assert!(load.places.take() && load.places.take());
            let long = load.add(turn);
            let short = load.add(long.index() + 1);
            load.remove(short);
            turn = short.index() + 1;
        }
        let open: Vec<_> = load.open.iter().map(|open| open.load(Ordering::Relaxed)).collect();
        assert_eq!(open, [5, 5]);
    }
}
