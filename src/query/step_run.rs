//! Something for each step from a first to a last one, growing at both ends as steps are asked for.

/// One `T` a step over a run of steps.
#[derive(Clone, Debug)]
pub(super) struct StepRun<T> {
    first: usize,
    cells: Vec<T>,
}

impl<T: Clone> StepRun<T> {
    /// No steps yet.
    pub(super) fn new() -> Self {
        Self { first: 0, cells: Vec::new() }
    }

    /// The first step.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// All cells, from the first step on.
    pub(super) fn cells(&self) -> &[T] {
        &self.cells
    }

    /// The cell of `step`, if there is one.
    pub(super) fn get(&self, step: usize) -> Option<&T> {
        self.cells.get(step.checked_sub(self.first)?)
    }

    /// All cells, from the first step on.
    pub(super) fn cells_mut(&mut self) -> &mut [T] {
        &mut self.cells
    }

    /// The cells of the steps from `first` to before `end`; those that were not there are `empty`.
    pub(super) fn grown_to(&mut self, first: usize, end: usize, empty: &T) -> &mut [T] {
        if self.cells.is_empty() {
            self.first = first;
        }
        if first < self.first {
            self.cells.splice(0..0, std::iter::repeat_n(empty.clone(), self.first - first));
            self.first = first;
        }
        if end > self.first + self.cells.len() {
            self.cells.resize(end - self.first, empty.clone());
        }
        self.cells.get_mut(first - self.first..end - self.first).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_grows_at_both_ends_and_keeps_what_it_holds() {
        let mut run = StepRun::new();
        run.grown_to(5, 7, &0).fill(1);
        run.grown_to(3, 4, &0).fill(2);
        run.grown_to(8, 9, &0).fill(3);
        assert_eq!((run.first(), run.cells()), (3, &[2, 0, 1, 1, 0, 3][..]));
        assert_eq!(run.grown_to(5, 6, &0), [1]);
    }
}
