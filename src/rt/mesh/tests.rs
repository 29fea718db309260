//! Tests of the mesh on real executors. A main that panics fails its test; a rule that is broken shows as a hang or a
//! panic of the executor.

use std::cell::RefCell;
use std::time::Duration;

use futures_lite::future::poll_once;

use super::*;
use crate::rt::executor::testing::on_shards;
use crate::rt::local::Event;
use crate::rt::timer;

/// Runs `main` on every shard of a mesh whose shards answer with `handler`, and lets all leave in good order.
fn on_mesh<Req, Resp, H, HF, M, MF>(shard_count: u16, window: u16, handler: H, main: M)
where
    Req: Send + 'static,
    Resp: Send + 'static,
    H: Fn(ShardId, Req) -> HF + Clone + Send + 'static,
    HF: Future<Output = Resp> + 'static,
    M: Fn(Peers<Req, Resp>) -> MF + Clone + Send + 'static,
    MF: Future<Output = ()> + 'static,
{
    let start = |seat: Seat<Req, Resp>| {
        let (handler, main) = (handler.clone(), main.clone());
        move |_| async move {
            let peers = seat.join(handler).await;
            main(peers.clone()).await;
            peers.leave().await;
        }
    };
    on_shards(mesh(shard_count, window).into_iter().map(start).collect());
}

fn all(peers: &Peers<u32, u32>) -> impl Iterator<Item = ShardId> + use<> {
    (0..u16::try_from(peers.shard_count()).unwrap()).map(ShardId)
}

#[test]
fn every_shard_reaches_every_shard_and_itself() {
    let handler = |from: ShardId, req: u32| async move { req + u32::from(from.0) };
    on_mesh(3, 2, handler, |peers| async move {
        for to in all(&peers) {
            assert_eq!(peers.call(to, 100).await, Ok(100 + u32::from(peers.me().0)));
        }
    });
}

#[test]
fn a_handler_that_panics_fails_its_call_and_no_other() {
    let handler = |_, req: u32| async move {
        assert_ne!(req, 13, "out of luck");
        req
    };
    on_mesh(2, 2, handler, |peers| async move {
        for to in all(&peers) {
            assert_eq!(peers.call(to, 13).await, Err(CallError::Failed { peer: to }));
            assert_eq!(peers.call(to, 7).await, Ok(7));
        }
    });
}

#[test]
fn r7_a_receiver_may_wait_more_often_than_a_task_has_references() {
    // 32,768 waits of one receiver for one message each were the end of a shard that polled its channel carelessly.
    on_mesh(
        2,
        1,
        |_, req: u32| async move { req },
        |peers| async move {
            if peers.me() == ShardId(0) {
                for req in 0..33_000 {
                    assert_eq!(peers.call(ShardId(1), req).await, Ok(req));
                }
            }
        },
    );
}

#[test]
fn r8_two_shards_that_flood_each_other_both_finish() {
    on_mesh(
        2,
        4,
        |_, req: u32| async move { req },
        |peers| async move {
            let other = ShardId(1 - peers.me().0);
            let calls: Vec<_> = (0..1000)
                .map(|req| {
                    let call = peers.call(other, req);
                    (req, task::spawn("call", call))
                })
                .collect();
            for (req, call) in calls {
                assert_eq!(call.await.unwrap(), Ok(req));
            }
        },
    );
}

#[test]
fn calls_begin_in_the_order_in_which_they_were_made() {
    thread_local!(static SEEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) });
    let handler = |_, req: u32| async move {
        SEEN.with_borrow_mut(|seen| seen.push(req));
        timer::sleep(Duration::from_micros(u64::from(req % 3))).await;
        SEEN.with_borrow(Vec::clone)
    };
    on_mesh(2, 2, handler, |peers| async move {
        if peers.me() == ShardId(0) {
            let calls: Vec<_> =
                (0..100).map(|req| task::spawn("call", peers.call(ShardId(1), req))).collect();
            for call in calls {
                let seen = call.await.unwrap().unwrap();
                assert!(seen.is_sorted(), "{seen:?}");
            }
        }
    });
}

#[test]
fn a_caller_that_leaves_keeps_its_place_in_the_window_until_the_answer() {
    thread_local!(static GATE: Event = Event::new());
    // 0 waits for the gate, 1 opens it.
    let handler = |_, req: u32| async move {
        let gate = GATE.with(Event::clone);
        if req == 0 {
            gate.wait().await
        } else {
            gate.set()
        }
        req
    };
    on_mesh(2, 2, handler, |peers| async move {
        let other = ShardId(1 - peers.me().0);
        let mut unwanted = Box::pin(peers.call(other, 0));
        assert_eq!(poll_once(&mut unwanted).await, None);
        drop(unwanted);
        let free = || peers.handle.shared.link(other).window.free();
        assert_eq!(free(), 1);
        // Opens the gate, and goes on until the answer to 0 has come: for ever, if it were never accounted for.
        while free() < 2 {
            assert_eq!(peers.call(other, 1).await, Ok(1));
        }
    });
}

#[test]
fn a_peer_that_cuts_its_line_fails_the_calls_that_wait_for_it() {
    // Shard 0 calls and is never answered; shard 1 leaves without a word as soon as it was asked.
    let main = |seat: Seat<u32, u32>| {
        move |_| async move {
            let asked = Event::new();
            let heard = asked.clone();
            let handler = move |_, _| {
                heard.set();
                std::future::pending()
            };
            let peers = seat.join(handler).await;
            if peers.me() == ShardId(1) {
                asked.wait().await;
            } else {
                let gone = Err(CallError::Gone { peer: ShardId(1) });
                assert_eq!(peers.call(ShardId(1), 0).await, gone);
                assert_eq!(peers.call(ShardId(1), 0).await, gone, "and so do later ones");
            }
        }
    };
    on_shards(mesh(2, 2).into_iter().map(main).collect());
}

#[test]
fn a_shard_that_never_joins_is_gone_not_awaited() {
    let mut seats = mesh::<u32, u32>(2, 2);
    drop(seats.pop());
    let seat = seats.pop().unwrap();
    crate::rt::executor::testing::on_one_shard(|_| async {
        let peers = seat.join(|_, req| async move { req }).await;
        let gone = Err(CallError::Gone { peer: ShardId(1) });
        assert_eq!(peers.call(ShardId(1), 7).await, gone);
        assert_eq!(peers.call(ShardId(0), 7).await, Ok(7));
        peers.leave().await;
    });
}

#[test]
fn leaving_waits_for_the_handlers_that_still_work() {
    let handler = |_, req: u32| async move {
        timer::sleep(Duration::from_millis(5)).await;
        req
    };
    on_mesh(2, 8, handler, |peers| async move {
        // Shard 1 leaves at once; shard 0 is answered nevertheless.
        if peers.me() == ShardId(0) {
            let calls: Vec<_> =
                (0..20).map(|req| task::spawn("call", peers.call(ShardId(1), req))).collect();
            for (call, req) in calls.into_iter().zip(0..) {
                assert_eq!(call.await.unwrap(), Ok(req));
            }
        }
    });
}
