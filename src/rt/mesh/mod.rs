//! Calls between shards: each shard may ask every other one, and itself, and awaits the answer.
//!
//! Two channels join each pair of shards, one each way; a channel carries its sender's calls and its sender's answers.
//! ```text
//!  shard a                                           shard b
//!  peers.call(b, req) ── window ──► Call { slot } ──► receiver task ──► handler(a, req), a task of its own
//!  slot table ◄── receiver task ◄── Answer { slot } ◄──────────────────────┘
//! ```
//! Invariants:
//! - A channel never fills. At most `window` calls of a shard to one peer are open, each with at most one answer, so a
//!   channel holds at most `window` calls, `window` answers and a farewell. Who sends therefore never waits for room,
//!   and two shards cannot wait for each other (rule R8); who calls waits for the window, in its own task.
//! - A channel's receiver is one task that only receives and dispatches (rule R7).
//! - A call ends: with the answer, or with an error if the handler panicked or the peer is gone.
//! - Calls from one shard to another begin there in the order in which they passed the window.
//! - A caller may leave at any time. The handler, once called, runs to its end all the same, on either shard.
//!
//! A handler must not itself call and wait: windows full of calls that wait for calls wait for ever. Let it answer, and
//! let whoever asked it ask the next.

mod slots;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use slots::Slots;

use super::local::{Notify, Semaphore};
use super::pace::Slice;
use super::task::{self, JoinHandle};
use crate::model::ShardId;

/// How many messages a receiver takes before it looks at the clock.
const BURST: u32 = 8;

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer has stopped, or this shard has.
    #[error("shard {peer} has stopped")]
    Gone {
        /// The shard that was called.
        peer: ShardId,
    },
    /// The peer's handler panicked or was cancelled; the peer's log says more.
    #[error("shard {peer} failed while it worked on the request; its log says how")]
    Failed {
        /// The shard that was called.
        peer: ShardId,
    },
}

/// What travels between two shards.
enum Message<Req, Resp> {
    Call {
        slot: u32,
        req: Req,
    },
    /// `None`: the handler ended without an answer.
    Answer {
        slot: u32,
        resp: Option<Resp>,
    },
    /// The sender will call no more, only answer.
    Farewell,
}

type Sender<Req, Resp> = SharedSender<Message<Req, Resp>>;
type Receiver<Req, Resp> = SharedReceiver<Message<Req, Resp>>;

/// One shard's place in a mesh, to be moved to that shard and joined there.
pub struct Seat<Req: Send, Resp: Send> {
    me: ShardId,
    window: u64,
    /// One for every shard of the mesh.
    lines: Vec<Line<Req, Resp>>,
}

/// The two channels between a shard and another; none between a shard and itself.
struct Line<Req: Send, Resp: Send> {
    sender: Option<Sender<Req, Resp>>,
    receiver: Option<Receiver<Req, Resp>>,
}

/// The seats of a mesh of `shard_count` shards, in the order of their [`ShardId`]s.
///
/// - `window`: how many calls of one shard to one other may be open at a time; more wait in their tasks. Each pair of
///   shards holds room for four times as many messages or less, allocated here: a large `Req` or `Resp` belongs behind
///   a pointer.
#[must_use]
pub fn mesh<Req, Resp>(shard_count: u16, window: u16) -> Vec<Seat<Req, Resp>>
where
    Req: Send + 'static,
    Resp: Send + 'static,
{
    assert!(window > 0, "a window of no calls lets none through");
    let mut seats: Vec<Seat<Req, Resp>> = (0..shard_count)
        .map(|me| Seat {
            me: ShardId(me),
            window: u64::from(window),
            lines: (0..shard_count).map(|_| Line { sender: None, receiver: None }).collect(),
        })
        .collect();
    for from in 0..usize::from(shard_count) {
        for to in (0..usize::from(shard_count)).filter(|to| *to != from) {
            let (sender, receiver) = new_bounded(2 * usize::from(window) + 1);
            if let Some(line) = seats.get_mut(from).and_then(|seat| seat.lines.get_mut(to)) {
                line.sender = Some(sender);
            }
            if let Some(line) = seats.get_mut(to).and_then(|seat| seat.lines.get_mut(from)) {
                line.receiver = Some(receiver);
            }
        }
    }
    seats
}

impl<Req: Send + 'static, Resp: Send + 'static> Seat<Req, Resp> {
    /// The shard that this seat is for.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.me
    }

    /// Takes part from now on: `handler` answers the calls of all shards, this one included, each in a task of its own.
    /// Its first stretch runs while the call is received: let it be short, or breathe.
    ///
    /// Resolves when every other shard has joined too or has dropped its seat.
    pub async fn join<H, F>(self, handler: H) -> Peers<Req, Resp>
    where
        H: Fn(ShardId, Req) -> F + 'static,
        F: Future<Output = Resp> + 'static,
    {
        let (me, window) = (self.me, self.window);
        let lines = self.lines.into_iter().map(|line| (line.sender, line.receiver));
        let (senders, receivers): (Vec<_>, Vec<_>) = lines.unzip();
        // All at once: a channel is connected when both its ends try, and the other side waits for ours likewise.
        let connect = |sender: Sender<Req, Resp>| task::spawn("mesh connect", sender.connect());
        let senders: Vec<_> = senders.into_iter().map(|sender| sender.map(connect)).collect();
        let connect =
            |receiver: Receiver<Req, Resp>| task::spawn("mesh connect", receiver.connect());
        let receivers: Vec<_> = receivers.into_iter().map(|end| end.map(connect)).collect();

        let mut links = Vec::with_capacity(senders.len());
        for sender in senders {
            links.push(Link::new(window, connected(sender).await));
        }
        let shared = Rc::new(Shared {
            me,
            links,
            slots: RefCell::new(Slots::new()),
            serve: serve_with(handler),
            serving: Cell::new(0),
            progress: Notify::new(),
        });
        for (from, receiver) in (0u16..).map(ShardId).zip(receivers) {
            match connected(receiver).await {
                Some(receiver) => {
                    let receiving = receive(Rc::clone(&shared), from, receiver);
                    let task = task::spawn("mesh receive", receiving);
                    *shared.link(from).receiving.borrow_mut() = Some(task);
                }
                None if from != me => shared.lose(from),
                None => {}
            }
        }
        Peers { handle: Rc::new(Handle { shared }) }
    }
}

/// The connected end of a channel, or none where there is none to be had.
async fn connected<T>(end: Option<JoinHandle<T>>) -> Option<T> {
    end?.await.ok()
}

/// This shard's line to all shards. Clones are the same line; when the last is dropped the line is cut, and calls of
/// other shards to this one fail with [`CallError::Gone`]. To end in good order, see [`Peers::leave`].
pub struct Peers<Req: Send + 'static, Resp: Send + 'static> {
    handle: Rc<Handle<Req, Resp>>,
}

impl<Req: Send + 'static, Resp: Send + 'static> Clone for Peers<Req, Resp> {
    fn clone(&self) -> Self {
        Self { handle: Rc::clone(&self.handle) }
    }
}

impl<Req: Send + 'static, Resp: Send + 'static> Peers<Req, Resp> {
    /// This shard.
    #[must_use]
    pub fn me(&self) -> ShardId {
        self.handle.shared.me
    }

    /// How many shards there are, this one included.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.handle.shared.links.len()
    }

    /// Asks shard `to`. A call to this shard itself takes no channel, and is otherwise the same; it may be answered
    /// without a wait, so that a loop of such calls has to breathe.
    ///
    /// Nothing is sent before the future is first polled. Dropping it gives up the answer; the request is then not
    /// sent, or is worked on nevertheless.
    pub fn call(
        &self,
        to: ShardId,
        req: Req,
    ) -> impl Future<Output = Result<Resp, CallError>> + use<Req, Resp> {
        let shared = Rc::clone(&self.handle.shared);
        async move {
            let link = shared.link(to);
            let Some(permit) = link.window.acquire(1).await else {
                return Err(CallError::Gone { peer: to });
            };
            let slot = shared.slots.borrow_mut().open(to, permit);
            let open = OpenCall { shared: &shared, slot };
            if to == shared.me {
                (shared.serve)(&shared, to, slot, req);
            } else if !link.send(Message::Call { slot, req }) {
                shared.settle(slot, Err(CallError::Gone { peer: to }));
            }
            let answer = poll_fn(|cx| shared.slots.borrow_mut().poll(slot, cx)).await;
            std::mem::forget(open);
            shared.progress.notify();
            answer
        }
    }

    /// Leaves in good order: calls no more, waits for the answers that are still to come, and goes on answering until
    /// every other shard has left or is gone, and every handler here is done. All shards have to leave for it to
    /// resolve. To be called on one clone; calls on the others then fail with [`CallError::Gone`].
    pub async fn leave(self) {
        let shared = &self.handle.shared;
        for link in &shared.links {
            link.window.close();
        }
        shared.until(|| shared.slots.borrow().is_empty()).await;
        for link in &shared.links {
            link.send(Message::Farewell);
        }
        let others_done = || shared.links.iter().all(|link| link.quiet.get());
        shared.until(|| shared.serving.get() == 0 && others_done()).await;
        for link in &shared.links {
            link.hang_up();
        }
        for link in &shared.links {
            let receiving = link.receiving.borrow_mut().take();
            if let Some(receiving) = receiving {
                // It panics only if glommio does; then the peer is lost, which is what we wait for.
                let _ = receiving.await;
            }
        }
    }
}

/// What the clones of [`Peers`] share, to know the last one. Tasks of the mesh hold [`Shared`] instead.
struct Handle<Req: Send + 'static, Resp: Send + 'static> {
    shared: Rc<Shared<Req, Resp>>,
}

impl<Req: Send + 'static, Resp: Send + 'static> Drop for Handle<Req, Resp> {
    fn drop(&mut self) {
        let shared = &self.shared;
        for peer in (0u16..).map(ShardId).take(shared.links.len()) {
            shared.lose(peer);
            let receiving = shared.link(peer).receiving.borrow_mut().take();
            if let Some(receiving) = receiving {
                receiving.cancel();
            }
        }
    }
}

/// Starts the task that answers a call: `(shared, from, slot, req)`.
type Serve<Req, Resp> = Box<dyn Fn(&Rc<Shared<Req, Resp>>, ShardId, u32, Req)>;

/// One shard's half of the mesh.
struct Shared<Req: Send + 'static, Resp: Send + 'static> {
    me: ShardId,
    /// By shard, this one included.
    links: Vec<Link<Req, Resp>>,
    slots: RefCell<Slots<Result<Resp, CallError>>>,
    serve: Serve<Req, Resp>,
    /// Handlers that run now.
    serving: Cell<usize>,
    /// Told whenever something changes that [`Peers::leave`] may wait for.
    progress: Notify,
}

/// What a shard has of one peer.
struct Link<Req: Send + 'static, Resp: Send + 'static> {
    /// None for the shard itself and for a peer that is gone.
    sender: RefCell<Option<ConnectedSender<Message<Req, Resp>>>>,
    window: Semaphore,
    receiving: RefCell<Option<JoinHandle<()>>>,
    /// The peer will not call any more.
    quiet: Cell<bool>,
}

impl<Req: Send + 'static, Resp: Send + 'static> Link<Req, Resp> {
    fn new(window: u64, sender: Option<ConnectedSender<Message<Req, Resp>>>) -> Self {
        Self {
            quiet: Cell::new(sender.is_none()),
            sender: RefCell::new(sender),
            window: Semaphore::new(window),
            receiving: RefCell::new(None),
        }
    }

    /// Puts a message into the channel, for which there is always room. False if the peer is gone.
    fn send(&self, message: Message<Req, Resp>) -> bool {
        let sender = self.sender.borrow();
        sender.as_ref().is_some_and(|sender| match sender.try_send(message) {
            Ok(()) => true,
            Err(glommio::GlommioError::WouldBlock(_)) => {
                unreachable!("the window is smaller than the channel")
            }
            Err(_) => false,
        })
    }

    fn hang_up(&self) {
        let sender = self.sender.borrow_mut().take();
        drop(sender);
    }
}

impl<Req: Send + 'static, Resp: Send + 'static> Shared<Req, Resp> {
    #[expect(
        clippy::indexing_slicing,
        reason = "a shard that is not of the mesh is our own mistake"
    )]
    fn link(&self, shard: ShardId) -> &Link<Req, Resp> {
        &self.links[shard.index()]
    }

    /// Gives a call of ours its answer.
    fn settle(&self, slot: u32, answer: Result<Resp, CallError>) {
        let leftover = self.slots.borrow_mut().answer(slot, answer);
        leftover.settle();
        self.progress.notify();
    }

    /// Takes note that `peer` is gone: what waits for it has failed.
    fn lose(&self, peer: ShardId) {
        let link = self.link(peer);
        link.hang_up();
        link.window.close();
        link.quiet.set(true);
        let waiting = self.slots.borrow().sent_to(peer);
        for slot in waiting {
            self.settle(slot, Err(CallError::Gone { peer }));
        }
        self.progress.notify();
    }

    fn dispatch(self: &Rc<Self>, from: ShardId, message: Message<Req, Resp>) {
        match message {
            Message::Call { slot, req } => (self.serve)(self, from, slot, req),
            Message::Answer { slot, resp } => {
                self.settle(slot, resp.ok_or(CallError::Failed { peer: from }));
            }
            Message::Farewell => {
                self.link(from).quiet.set(true);
                self.progress.notify();
            }
        }
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            self.progress.wait().await;
        }
    }
}

/// A call whose caller waits. Dropped only when the caller leaves.
struct OpenCall<'a, Req: Send + 'static, Resp: Send + 'static> {
    shared: &'a Shared<Req, Resp>,
    slot: u32,
}

impl<Req: Send + 'static, Resp: Send + 'static> Drop for OpenCall<'_, Req, Resp> {
    fn drop(&mut self) {
        let unwanted = self.shared.slots.borrow_mut().abandon(self.slot);
        drop(unwanted);
        self.shared.progress.notify();
    }
}

/// A call that a handler of this shard works on. Whatever becomes of the handler, the caller is told.
struct Serving<Req: Send + 'static, Resp: Send + 'static> {
    shared: Rc<Shared<Req, Resp>>,
    from: ShardId,
    slot: u32,
    resp: Option<Resp>,
}

impl<Req: Send + 'static, Resp: Send + 'static> Serving<Req, Resp> {
    fn finish(mut self, resp: Resp) {
        self.resp = Some(resp);
    }
}

impl<Req: Send + 'static, Resp: Send + 'static> Drop for Serving<Req, Resp> {
    fn drop(&mut self) {
        let Self { shared, from, slot, resp } = self;
        if *from == shared.me {
            shared.settle(*slot, resp.take().ok_or(CallError::Failed { peer: *from }));
        } else {
            // If the caller's shard is gone nobody waits.
            shared.link(*from).send(Message::Answer { slot: *slot, resp: resp.take() });
        }
        shared.serving.set(shared.serving.get() - 1);
        shared.progress.notify();
    }
}

fn serve_with<Req, Resp, H, F>(handler: H) -> Serve<Req, Resp>
where
    Req: Send + 'static,
    Resp: Send + 'static,
    H: Fn(ShardId, Req) -> F + 'static,
    F: Future<Output = Resp> + 'static,
{
    let handler = Rc::new(handler);
    Box::new(move |shared, from, slot, req| {
        shared.serving.set(shared.serving.get() + 1);
        let serving = Serving { shared: Rc::clone(shared), from, slot, resp: None };
        let handler = Rc::clone(&handler);
        drop(task::spawn("mesh handler", async move {
            let resp = handler(from, req).await;
            serving.finish(resp);
        }));
    })
}

/// Receives from one peer until it is gone.
async fn receive<Req: Send + 'static, Resp: Send + 'static>(
    shared: Rc<Shared<Req, Resp>>,
    from: ShardId,
    receiver: ConnectedReceiver<Message<Req, Resp>>,
) {
    let mut slice = Slice::start();
    let mut burst = 0;
    loop {
        let (message, waited) = receive_one(&receiver).await;
        let Some(message) = message else { break };
        if waited {
            slice.restart();
            burst = 0;
        }
        shared.dispatch(from, message);
        // Two shards that keep each other busy must not keep the reactor, and with it disk and sockets, from its turn.
        burst += 1;
        if burst == BURST {
            burst = 0;
            slice.breathe().await;
        }
    }
    shared.lose(from);
}

/// The next message, and whether it had to be waited for. This poll of `recv` is the only one there is (rule R7).
async fn receive_one<T: Send>(receiver: &ConnectedReceiver<T>) -> (Option<T>, bool) {
    let mut waited = false;
    let mut next = pin!(receiver.recv());
    let message = poll_fn(|cx| {
        let polled = next.as_mut().poll(cx);
        waited |= polled.is_pending();
        polled
    })
    .await;
    (message, waited)
}

#[cfg(test)]
mod tests;
