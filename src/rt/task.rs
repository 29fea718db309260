//! Tasks that cannot take their shard down (rule R9): a panic ends the task, is logged and counted, and reaches who
//! waits for the task as an error.
//!
//! A task runs on the executor of the core that spawned it. Its first stretch, up to the first wait, runs inside
//! [`spawn`]: hold no borrow over that call.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

/// Why a task gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It panicked. The shard lives on; what the task held is dropped.
    #[error("task {task} panicked: {message}")]
    Panicked {
        /// The name it was spawned with.
        task: &'static str,
        /// What the panic said.
        message: String,
    },
    /// It was cancelled.
    #[error("task {task} was cancelled")]
    Cancelled {
        /// The name it was spawned with.
        task: &'static str,
    },
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// How many tasks of this core, blocking closures included, have panicked so far.
#[must_use]
pub fn panics() -> u64 {
    PANICS.get()
}

/// Starts `future` as a task of this core. `name` appears in the log if it panics. Dropping the handle leaves the task
/// running.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
{
    let caught = Caught { name, future: Some(future) };
    JoinHandle { name, task: glommio::spawn_local(caught).detach() }
}

/// Runs `work`, which may block, on the core's helper thread and gives what it returns. There is one such thread a core:
/// work that takes long delays the next. If the future is dropped the work is done all the same.
///
/// Fails with [`TaskError::Panicked`] if `work` panics.
pub async fn spawn_blocking<T, W>(name: &'static str, work: W) -> Result<T, TaskError>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    // glommio's own way to return the value leaks it if nobody waits any more, so it has a place of ours.
    let place = Arc::new(Mutex::new(None));
    let result = Arc::clone(&place);
    glommio::executor()
        .spawn_blocking(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        })
        .await;
    let outcome = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(payload)) => Err(panicked(name, payload.as_ref())),
        None => Err(TaskError::Cancelled { task: name }),
    }
}

/// Logs and counts a panic on this core.
fn panicked(task: &'static str, payload: &(dyn Any + Send)) -> TaskError {
    let message = panic_message(payload);
    PANICS.set(PANICS.get() + 1);
    tracing::error!(task, panic = message, "a task panicked; its shard lives on");
    TaskError::Panicked { task, message }
}

/// What a panic said, if it said it in words.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let words = payload.downcast_ref::<&str>().copied();
    let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("(no message)").to_owned()
}

/// A running task. Resolves to what the task gives.
pub struct JoinHandle<T> {
    name: &'static str,
    task: glommio::task::JoinHandle<Result<T, TaskError>>,
}

impl<T> JoinHandle<T> {
    /// Ends the task at the point where it waits; if it is done already, does nothing.
    pub fn cancel(&self) {
        self.task.cancel();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.task).poll(cx));
        Poll::Ready(outcome.unwrap_or(Err(TaskError::Cancelled { task: self.name })))
    }
}

pin_project! {
    /// A future whose panics, also those of its drop, become its output.
    struct Caught<F> {
        name: &'static str,
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let name = *this.name;
        let polled = catch_unwind(AssertUnwindSafe(|| match this.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx).map(Ok),
            None => Poll::Ready(Err(TaskError::Cancelled { task: name })),
        }));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(payload) => Err(panicked(name, payload.as_ref())),
        };
        // Here and not in the executor, which aborts the process if a task's drop panics.
        let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        Poll::Ready(match dropped {
            Ok(()) => outcome,
            Err(payload) => outcome.and(Err(panicked(name, payload.as_ref()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::rt::timer;

    #[test]
    fn r9_a_task_that_panics_leaves_its_shard_alive_and_is_counted() {
        on_one_shard(|_| async {
            let outcome = spawn::<_>("unlucky", async {
                timer::sleep(std::time::Duration::from_micros(1)).await;
                panic!("out of luck");
            });
            let outcome: Result<(), _> = outcome.await;
            let message = "out of luck".to_owned();
            assert_eq!(outcome, Err(TaskError::Panicked { task: "unlucky", message }));
            assert_eq!(panics(), 1);
            assert_eq!(spawn("lucky", async { 7 }).await, Ok(7));
        });
    }

    #[test]
    fn r9_a_blocking_closure_that_panics_is_an_error_and_the_next_one_runs() {
        on_one_shard(|_| async {
            let outcome: Result<(), _> = spawn_blocking("unlucky", || panic!("{}", 1 + 1)).await;
            let message = "2".to_owned();
            assert_eq!(outcome, Err(TaskError::Panicked { task: "unlucky", message }));
            assert_eq!(spawn_blocking("lucky", || 7).await, Ok(7));
        });
    }

    #[test]
    fn r9_a_panic_while_a_finished_task_is_dropped_is_caught_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("late");
            }
        }
        struct Done(Bomb);
        impl Future for Done {
            type Output = ();
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                Poll::Ready(())
            }
        }
        on_one_shard(|_| async {
            let outcome = spawn("bomb", Done(Bomb)).await;
            assert!(
                matches!(outcome, Err(TaskError::Panicked { task: "bomb", .. })),
                "{outcome:?}"
            );
        });
    }

    #[test]
    fn a_cancelled_task_is_an_error_not_a_hang() {
        on_one_shard(|_| async {
            let endless = spawn("endless", std::future::pending::<()>());
            endless.cancel();
            assert_eq!(endless.await, Err(TaskError::Cancelled { task: "endless" }));
        });
    }

    #[test]
    fn a_task_outlives_its_handle() {
        on_one_shard(|_| async {
            let (sender, receiver) = crate::rt::local::oneshot();
            drop(spawn("detached", async move {
                timer::sleep(std::time::Duration::from_micros(1)).await;
                sender.send(7)
            }));
            assert_eq!(receiver.await, Ok(7));
        });
    }
}
