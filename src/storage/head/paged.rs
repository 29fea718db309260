//! An array that grows without moving what it holds, so that no append ever pays for the copy of a million series.

/// Elements a page.
const PAGE: usize = 1024;

/// A growing array of pages of 1,024 elements; addressed by `u32`.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    pages: Vec<Vec<T>>,
    len: u32,
}

impl<T> Paged<T> {
    /// An array without elements.
    #[must_use]
    pub fn new() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }

    /// How many elements there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// None at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an element and returns its index; `None` if there are 2^32 - 1 already.
    pub fn push(&mut self, element: T) -> Option<u32> {
        let index = self.len;
        self.len = index.checked_add(1)?;
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE => page.push(element),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(element);
                self.pages.push(page);
            }
        }
        Some(index)
    }

    /// The element at `index`, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)
    }

    /// The element at `index`, if there is one, to be changed.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }

    /// The elements in order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks the CPU to fetch the cache lines of `element`, which is about to be used.
#[inline(always)]
pub fn prefetch<T>(element: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(element).cast::<i8>();
        let mut at = 0;
        while at < size_of::<T>() {
            // SAFETY: a prefetch is a hint; it neither reads nor faults, and the address lies within a live reference.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
            at += 64;
        }
        if size_of::<T>() > 64 {
            // An element that does not begin on a line may end on one more.
            // SAFETY: as above; the last byte of the element.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(size_of::<T>() - 1)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_are_across_pages() {
        let mut paged = Paged::new();
        for i in 0..3000u32 {
            assert_eq!(paged.push(i), Some(i));
        }
        let first = std::ptr::from_ref(paged.get(0).unwrap());
        paged.push(3000);
        assert_eq!(first, std::ptr::from_ref(paged.get(0).unwrap()));
        assert_eq!(paged.get(2047), Some(&2047));
        assert_eq!(paged.get(3001), None);
        assert_eq!(paged.iter().count(), 3001);
    }
}
