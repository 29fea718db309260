//! A list that grows page by page, so that growing never moves what is there: with a million entries that takes long, and holds
//! both copies.

/// Entries of a page.
const PAGE: usize = 1024;

/// A list of things.
#[derive(Clone, Debug)]
pub(super) struct Pages<T> {
    /// All but the last have the same length.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    /// Appends one.
    pub(super) fn push(&mut self, one: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(one),
            before => {
                let room = if before.is_some() { PAGE } else { 0 };
                let mut page = Vec::with_capacity(room);
                page.push(one);
                self.pages.push(page);
            }
        }
    }

    /// The one at `index`, to be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

impl<T> FromIterator<T> for Pages<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut pages = Self::default();
        all.into_iter().for_each(|one| pages.push(one));
        pages
    }
}

impl<T> IntoIterator for Pages<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.pages.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_like_what_was_pushed() {
        let count = PAGE * 2 + 5;
        let mut pages: Pages<usize> = (0..count).collect();
        assert_eq!(pages.len(), count);
        assert_eq!(pages.get_mut(PAGE).copied(), Some(PAGE));
        assert_eq!(pages.get_mut(count), None);
        assert!(pages.iter().copied().eq(0..count));
        assert!(pages.into_iter().eq(0..count));
    }
}
