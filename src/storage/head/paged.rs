//! An array that grows without moving what it holds, so that no append ever pays for the copy of a million series, and
//! that gives memory back page by page.
//!
//! An element that was removed leaves the default in its place, so that reading one asks nothing more than where it is;
//! a page whose elements are all gone is freed. Indexes only grow: none is ever used again.

/// Elements a page. Series that begin together end together: small pages are freed with them.
const PAGE: usize = 128;

const _: () = assert!(PAGE <= u8::MAX as usize, "a page's elements are counted in a byte");

/// A growing array of pages of 128 elements; addressed by `u32`.
#[derive(Clone, Debug)]
pub struct Paged<T> {
    pages: Vec<Option<Box<[T; PAGE]>>>,
    /// How many elements of each page are there.
    live: Vec<u8>,
    len: u32,
    removed: u32,
}

impl<T: Default> Paged<T> {
    /// An array without elements.
    #[must_use]
    pub fn new() -> Self {
        Self { pages: Vec::new(), live: Vec::new(), len: 0, removed: 0 }
    }

    /// How many elements there ever were: the next one's index.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// How many elements there are.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.len - self.removed
    }

    /// Were there never any?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an element and returns its index; `None` if there are 2^32 - 1 already.
    pub fn push(&mut self, element: T) -> Option<u32> {
        let index = self.len;
        let next = index.checked_add(1)?;
        let (page, at) = (index as usize / PAGE, index as usize % PAGE);
        if at == 0 {
            self.pages.push(Some(new_page()));
            self.live.push(0);
        }
        *self.pages.get_mut(page)?.as_mut()?.get_mut(at)? = element;
        *self.live.get_mut(page)? += 1;
        self.len = next;
        Some(index)
    }

    /// The element at `index`; the default if it was removed, or nothing.
    #[inline]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.pages.get(index as usize / PAGE)?.as_ref()?.get(index as usize % PAGE)
    }

    /// The element at `index`, to be changed; the default if it was removed, or nothing.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.pages.get_mut(index as usize / PAGE)?.as_mut()?.get_mut(index as usize % PAGE)
    }

    /// Takes the element at `index` out, which is there. Frees its page if it was the last one of a full page.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let page = index as usize / PAGE;
        let element = std::mem::take(self.get_mut(index)?);
        let live = self.live.get_mut(page)?;
        *live = live.saturating_sub(1);
        if *live == 0 && self.len as usize / PAGE > page {
            *self.pages.get_mut(page)? = None;
        }
        self.removed += 1;
        Some(element)
    }

    /// How many pages are in memory.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.iter().flatten().count()
    }
}

fn new_page<T: Default>() -> Box<[T; PAGE]> {
    let elements: Box<[T]> = (0..PAGE).map(|_| T::default()).collect();
    match elements.try_into() {
        Ok(page) => page,
        Err(_) => unreachable!("collected to this length"),
    }
}

impl<T: Default> Default for Paged<T> {
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
        assert_eq!((paged.get(100_000), paged.len()), (None, 3001));
    }

    #[test]
    fn a_page_is_freed_when_its_last_element_is_gone_and_it_takes_no_more() {
        let mut paged = Paged::new();
        (0..130u32).for_each(|i| {
            paged.push(i + 1);
        });
        for i in 0..128 {
            assert_eq!(paged.remove(i), Some(i + 1));
        }
        assert_eq!((paged.pages(), paged.live(), paged.get(5)), (1, 2, None));
        paged.remove(128);
        paged.remove(129);
        assert_eq!((paged.pages(), paged.get(129)), (1, Some(&0)));
        assert_eq!(paged.push(7), Some(130), "an index is not used again");
        assert_eq!(paged.get(130), Some(&7));
    }
}
