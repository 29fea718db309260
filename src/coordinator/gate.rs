//! Where requests wait until the shards are open: on the core that took them, before they go to any shard.
//!
//! However many wait, one task looks; and while they do they hold no call to a shard open, so that those who ask for the state
//! of the shards are answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::rt::local::Event;
use crate::rt::{task, timer};

/// How often is looked.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A gate that opens and may close again. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Rc<Inner>);

struct Inner {
    is_open: Box<dyn Fn() -> bool>,
    /// Set when it opens; there is one while somebody waits.
    opening: RefCell<Option<Event>>,
}

impl Gate {
    /// A gate that is open when `is_open` says so, which only reads a few fields.
    #[must_use]
    pub fn new(is_open: impl Fn() -> bool + 'static) -> Self {
        Self(Rc::new(Inner { is_open: Box::new(is_open), opening: RefCell::new(None) }))
    }

    /// Resolves when it is open. May be dropped at any time.
    pub async fn pass(&self) {
        if (self.0.is_open)() {
            return;
        }
        let begun = self.0.opening.borrow().clone();
        begun.unwrap_or_else(|| self.watch()).wait().await;
    }

    /// Begins to look whether it is open.
    fn watch(&self) -> Event {
        let (gate, opening) = (self.clone(), Event::new());
        *self.0.opening.borrow_mut() = Some(opening.clone());
        let opened = opening.clone();
        task::spawn("gate", async move {
            while !(gate.0.is_open)() {
                timer::sleep(LOOK_AGAIN).await;
            }
            gate.0.opening.borrow_mut().take();
            opened.set();
        });
        opening
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::rt::executor::testing::on_one_shard;

    #[test]
    fn all_who_wait_pass_when_it_opens_and_it_may_close_again() {
        on_one_shard(|_| async {
            let (is_open, looks) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
            let (state, looked) = (Rc::clone(&is_open), Rc::clone(&looks));
            let gate = Gate::new(move || {
                looked.set(looked.get() + 1);
                state.get()
            });
            for _ in 0..2 {
                is_open.set(false);
                let pass = |gate: Gate| task::spawn("pass", async move { gate.pass().await });
                let waiting: Vec<_> = (0..100).map(|_| pass(gate.clone())).collect();
                looks.set(0);
                while looks.get() < 3 {
                    timer::sleep(Duration::from_millis(1)).await;
                }
                is_open.set(true);
                for waiting in waiting {
                    waiting.await.unwrap();
                }
                gate.pass().await;
            }
        });
    }
}
