//! The address that the server listens on, and the connections that come in, shared out evenly among the shards.
//!
//! One socket listens, and shard 0 accepts. Each connection goes to the shard with the fewest open ones, as a message
//! of a mesh. Sharing the port instead (SO_REUSEPORT, as glommio's listeners do) spreads by a hash of the addresses:
//! of two senders both often end on one core, while the other idles. It would also let a second server take part of our
//! connections without an error; a socket of our own is refused to it by the kernel (rule R13).
//! ```text
//!  Door of shard 0: accept ──► shard with the fewest ──mesh──► Door of that shard: Stream, one task each
//! ```

mod accept;
mod deadline;
mod stream;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use accept::Places;
pub use deadline::ReadDeadline;
use glommio::net::AcceptedTcpStream;
pub use stream::Stream;

use self::accept::{Listening, Load};
use super::local::{Event, Notify};
use super::mesh::{Seat, mesh};
use super::preflight::StartError;
use super::task;
use crate::model::ShardId;

/// How many connections may wait to be accepted; the kernel allows `net.core.somaxconn` of them.
const BACKLOG: libc::c_int = 4096;
/// A server that was killed keeps its port for some milliseconds, while the kernel tears its rings down.
const BIND_ATTEMPTS: u32 = 20;
const BIND_PAUSE: Duration = Duration::from_millis(50);
/// Connections on their way to one shard.
const WINDOW: u16 = 64;

/// One shard's part of the listening, to be moved to that shard.
pub struct Door {
    seat: Seat<AcceptedTcpStream, ()>,
    /// With shard 0.
    listening: Option<Listening>,
    load: Arc<Load>,
}

/// Listens on `address`, and gives the address (with the port that the kernel chose, if that was 0) and the doors of
/// the shards in the order of their [`ShardId`]s. To be called before the executors start; may take a second.
///
/// - `connections_max`: how many connections may be open at a time; more wait in the kernel until one closes.
/// - `places`: those for the connections of all addresses; who finds none is accepted and turned away.
///
/// Fails with [`StartError::PortInUse`] or [`StartError::Listen`].
pub fn listen(
    address: SocketAddr,
    shard_count: u16,
    connections_max: usize,
    places: &Arc<Places>,
) -> Result<(SocketAddr, Vec<Door>), StartError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { address },
        _ => StartError::Listen { address, source },
    };
    let accepting = bind(address).map_err(failed)?;
    let bound = accepting.local_addr().map_err(failed)?;
    let stopping = accepting.try_clone().map_err(failed)?;
    let load = Load::new(usize::from(shard_count), connections_max.max(1), Arc::clone(places));
    let load = Arc::new(load);
    let mut doors: Vec<Door> = mesh(shard_count, WINDOW)
        .into_iter()
        .map(|seat| Door { seat, listening: None, load: Arc::clone(&load) })
        .collect();
    if let Some(first) = doors.first_mut() {
        first.listening = Some(Listening { accepting, stopping });
    }
    Ok((bound, doors))
}

/// A listening socket. It sets SO_REUSEADDR, so that connections of a former server that linger do not matter.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 1..BIND_ATTEMPTS;
    let listener = loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts.next().is_some() => {
                #[expect(clippy::disallowed_methods, reason = "no shard runs yet")]
                thread::sleep(BIND_PAUSE);
            }
            outcome => break outcome?,
        }
    };
    // SAFETY: listen(2) takes integers; the descriptor is a bound socket's.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener)
}

impl Door {
    /// The shard that this door is for.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.seat.shard()
    }

    /// Serves connections until `stop` is set: `handler` gets each in a task of its own, in which a panic costs that
    /// connection only. The handler has to watch `stop` by itself and to end in good order. `turn_away` gets, on shard 0,
    /// the connections for which there is no place; it should be done with each within a moment.
    ///
    /// Resolves when no connection is accepted any more, on any shard, and all of this shard have ended. Every door has
    /// to be served for that.
    pub async fn serve<H, F, T, G>(self, stop: Event, handler: H, turn_away: T)
    where
        H: Fn(Stream) -> F + 'static,
        F: Future<Output = ()> + 'static,
        T: Fn(Stream) -> G,
        G: Future<Output = ()> + 'static,
    {
        let open = Rc::new(Open::default());
        let (counted, me, load) = (Rc::clone(&open), self.seat.shard(), Arc::clone(&self.load));
        let receive = move |_, accepted: AcceptedTcpStream| {
            let guard = Connection::begin(&counted, &load, me);
            let serving = handler(Stream::new(accepted));
            drop(task::spawn("connection", async move {
                let _guard = guard;
                serving.await;
            }));
            std::future::ready(())
        };
        let peers = self.seat.join(receive).await;
        match self.listening {
            Some(listening) => {
                accept::accept_until(listening, &peers, &self.load, stop, turn_away).await;
            }
            None => stop.wait().await,
        }
        peers.leave().await;
        while open.count.get() > 0 {
            open.fewer.wait().await;
        }
    }
}

/// The connections of one shard.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    fewer: Notify,
}

/// An open connection, for as long as it lives.
struct Connection {
    open: Rc<Open>,
    load: Arc<Load>,
    shard: ShardId,
}

impl Connection {
    /// Counts a connection here; in the load it was counted when it was accepted.
    fn begin(open: &Rc<Open>, load: &Arc<Load>, shard: ShardId) -> Self {
        open.count.set(open.count.get() + 1);
        Self { open: Rc::clone(open), load: Arc::clone(load), shard }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.load.remove(self.shard);
        self.open.count.set(self.open.count.get() - 1);
        self.open.fewer.notify();
    }
}

#[cfg(test)]
mod tests;
