//! Answers that may be too long for one buffer, written a slice at a time.
//!
//! A slice is some tens of kilobytes: between two of them the core serves others, and what was written can go out, so that
//! neither a large answer's text nor its writing holds anybody up. Slices are pure: whoever asks decides when.

use super::text;
use super::{Notes, SUCCESS, end_of_success};
use crate::model::Labels;
use crate::query::memory::Account;

/// An answer that is written a slice at a time. The slices, one after the other, are the answer, however they are cut.
pub trait Slices {
    /// Appends the next slice to `out`: about `enough` bytes, or what is left. Is there more? After `false` it is not
    /// called again.
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool;
}

/// A success whose data is an array.
pub struct List<T>(Items<T>);

/// A success whose data is an object.
pub struct Members<T>(Items<T>);

/// What stands between the brackets of an array or an object.
struct Items<T> {
    items: std::vec::IntoIter<T>,
    each: fn(&mut Vec<u8>, &T),
    notes: Notes,
    begun: bool,
    /// What the memory of the items is charged to.
    account: Option<Account>,
}

impl<T> List<T> {
    /// The same array, whose items are charged to `account` until it is written.
    #[must_use]
    pub fn holding(mut self, account: Account) -> Self {
        self.0.account = Some(account);
        self
    }

    /// The array of `items`, of which `each` appends one.
    #[must_use]
    pub fn new(items: Vec<T>, each: fn(&mut Vec<u8>, &T), notes: Notes) -> Self {
        Self(Items { items: items.into_iter(), each, notes, begun: false, account: None })
    }
}

impl<T> Members<T> {
    /// The object of `members`, of which `each` appends one: its name, a colon, its value.
    #[must_use]
    pub fn new(members: Vec<T>, each: fn(&mut Vec<u8>, &T), notes: Notes) -> Self {
        Self(Items { items: members.into_iter(), each, notes, begun: false, account: None })
    }
}

impl<T> Slices for List<T> {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        self.0.fill(out, enough, [b'[', b']'])
    }
}

impl<T> Slices for Members<T> {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        self.0.fill(out, enough, [b'{', b'}'])
    }
}

impl<T> Items<T> {
    fn fill(&mut self, out: &mut Vec<u8>, enough: usize, [open, close]: [u8; 2]) -> bool {
        let start = out.len();
        if !self.begun {
            out.extend_from_slice(SUCCESS);
        }
        for item in self.items.by_ref() {
            out.push(if self.begun { b',' } else { open });
            self.begun = true;
            (self.each)(out, &item);
            if out.len() - start >= enough {
                return true;
            }
        }
        if !self.begun {
            out.push(open);
        }
        out.push(close);
        end_of_success(out, &self.notes);
        false
    }
}

/// Appends a label set as an object: `{"__name__":"up","job":"api"}`.
pub fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, label) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        text::label(out, label.name);
        out.push(b':');
        text::label(out, label.value);
    }
    out.push(b'}');
}

#[cfg(test)]
pub(super) mod testing {
    use super::Slices;

    /// The whole answer, in slices of about `enough` bytes, and how many they were.
    pub(in crate::server) fn read(slices: &mut dyn Slices, enough: usize) -> (String, usize) {
        let (mut all, mut count) = (Vec::new(), 1);
        while slices.fill(&mut all, enough) {
            count += 1;
        }
        (String::from_utf8(all).unwrap(), count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::read;
    use super::*;

    #[test]
    fn a_list_of_series_has_this_text() {
        let series = |pairs: &[(&'static str, &'static str)]| {
            Labels::from_pairs(pairs.iter().copied()).unwrap()
        };
        let items = vec![series(&[("__name__", "up"), ("a", "<\u{2028}")]), series(&[])];
        let mut list = List::new(items, labels, Notes::default());
        assert_eq!(
            read(&mut list, usize::MAX).0,
            "{\"status\":\"success\",\"data\":[{\"__name__\":\"up\",\"a\":\"<\u{2028}\"},{}]}"
        );
    }

    #[test]
    fn an_empty_list_is_an_empty_array() {
        let notes = Notes { warnings: vec!["cut".to_owned()], infos: vec![] };
        let mut list = List::new(Vec::<Labels>::new(), labels, notes);
        assert_eq!(read(&mut list, 0).0, r#"{"status":"success","data":[],"warnings":["cut"]}"#);
    }

    proptest! {
        #[test]
        fn a_list_reads_the_same_however_it_is_cut(items in proptest::collection::vec(".{0,20}", 0..20), enough in 0usize..100) {
            let list = || List::new(items.clone(), |out, item: &String| text::string(out, item), Notes::default());
            let (whole, count) = read(&mut list(), usize::MAX);
            prop_assert_eq!(count, 1);
            prop_assert_eq!(read(&mut list(), enough).0, whole.clone());
            let json: serde_json::Value = serde_json::from_str(&whole).unwrap();
            prop_assert_eq!(json["data"].as_array().unwrap().len(), items.len());
        }
    }
}
