//! How much memory queries may take: each one, and all together.
//!
//! An [`Account`] is one query's, on all cores at once; it charges what the query holds before the query goes on, and gives
//! all of it back when it ends. What is charged is what grows with the data: values, labels, cells of groups. A refusal names
//! the flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::QueryError;

/// What all queries of a process may take. Clones are the same.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Total>);

#[derive(Debug)]
struct Total {
    held: AtomicUsize,
    held_max: usize,
    of_one_max: usize,
    refused: AtomicUsize,
}

/// What one query has taken of a budget. Clones are the same; the last one gives it back.
#[derive(Clone, Debug)]
pub struct Account(Arc<Held>);

#[derive(Debug)]
struct Held {
    budget: Budget,
    bytes: AtomicUsize,
}

/// Adds up what is to be charged to an account, and charges it in lots: all cores charge to the same one.
#[derive(Debug)]
pub struct Tab {
    account: Account,
    open: usize,
}

impl Tab {
    /// As much is charged at once.
    const LOT: usize = 64 << 10;

    /// Nothing yet.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        Self { account: account.clone(), open: 0 }
    }

    /// Adds `bytes`.
    ///
    /// # Errors
    /// As [`Account::charge`].
    pub fn add(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.open = self.open.saturating_add(bytes);
        if self.open < Self::LOT { Ok(()) } else { self.settle() }
    }

    /// Takes `bytes` off that were added.
    pub fn take_back(&mut self, bytes: usize) {
        let open = self.open.min(bytes);
        self.open -= open;
        self.account.release(bytes - open);
    }

    /// Charges what is left.
    ///
    /// # Errors
    /// As [`Account::charge`].
    pub fn settle(&mut self) -> Result<(), QueryError> {
        self.account.charge(std::mem::take(&mut self.open))
    }
}

/// What a budget has come to, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetStatus {
    /// Bytes that running queries hold.
    pub held: usize,
    /// Bytes that they may hold.
    pub held_max: usize,
    /// Bytes that one of them may hold.
    pub of_one_max: usize,
    /// Queries that were refused more.
    pub refused: usize,
}

impl Budget {
    /// A budget of which one query may take `of_one_max` bytes, and all together `held_max`.
    #[must_use]
    pub fn new(of_one_max: usize, held_max: usize) -> Self {
        let (held, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Total { held, held_max, of_one_max, refused }))
    }

    /// One without bounds: for tests and tools.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }

    /// An account for a query that begins.
    #[must_use]
    pub fn open(&self) -> Account {
        Account(Arc::new(Held { budget: self.clone(), bytes: AtomicUsize::new(0) }))
    }

    /// What it has come to.
    #[must_use]
    pub fn status(&self) -> BudgetStatus {
        let Total { held, held_max, of_one_max, refused } = &*self.0;
        BudgetStatus {
            held: held.load(Ordering::Relaxed),
            held_max: *held_max,
            of_one_max: *of_one_max,
            refused: refused.load(Ordering::Relaxed),
        }
    }
}

impl Account {
    /// Notes that the query holds `bytes` more.
    ///
    /// # Errors
    /// It, or all queries together, would hold more than they may. It is noted all the same: whoever is refused gives up.
    pub fn charge(&self, bytes: usize) -> Result<(), QueryError> {
        if bytes == 0 {
            return Ok(());
        }
        let total = &*self.0.budget.0;
        let mine = self.0.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let all = total.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if mine > total.of_one_max {
            total.refused.fetch_add(1, Ordering::Relaxed);
            return Err(QueryError::TooMuchMemory { of_all: false, bytes_max: total.of_one_max });
        }
        if all > total.held_max {
            total.refused.fetch_add(1, Ordering::Relaxed);
            return Err(QueryError::TooMuchMemory { of_all: true, bytes_max: total.held_max });
        }
        Ok(())
    }

    /// Notes that the query does not hold `bytes` any more.
    pub fn release(&self, bytes: usize) {
        let less = |held: usize| Some(held - bytes.min(held));
        if let Ok(before) = self.0.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            self.0.budget.0.held.fetch_sub(bytes.min(before), Ordering::Relaxed);
        }
    }

    /// How many bytes the query holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.held.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_holds_is_given_back_when_it_ends() {
        let budget = Budget::new(100, 150);
        let (one, other) = (budget.open(), budget.open());
        one.charge(80).unwrap();
        one.release(30);
        other.charge(90).unwrap();
        assert_eq!((one.held(), budget.status().held), (50, 140));
        drop(one.clone());
        assert_eq!(budget.status().held, 140);
        drop(one);
        assert_eq!(budget.status().held, 90);
        other.release(1000);
        assert_eq!(budget.status().held, 0);
    }

    #[test]
    fn one_query_and_all_together_have_a_bound() {
        let budget = Budget::new(100, 150);
        let (one, other) = (budget.open(), budget.open());
        one.charge(100).unwrap();
        let refused = one.charge(1).unwrap_err().to_string();
        assert!(refused.contains("--query.max-bytes"), "{refused}");
        let refused = other.charge(60).unwrap_err().to_string();
        assert!(refused.contains("--query.max-bytes-total"), "{refused}");
        drop((one, other));
        assert_eq!((budget.status().held, budget.status().refused), (0, 2));
    }
}
