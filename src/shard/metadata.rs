//! What is said of metric families: taken with a write, and answered.

use super::life::Life;
use crate::io::Disk;
use crate::model::{Family, LabelText, MetadataAt, TimestampMs};
use crate::rt::pace::Slice;

/// Entries that are taken without a pause: most are known, and cost 100 ns.
const ENTRIES_AT_ONCE: usize = 64;
/// Families that are copied without a pause.
const FAMILIES_AT_ONCE: usize = 256;

/// Takes what a part says of families; it is durable with the next commit.
#[cold]
pub(super) async fn append<D: Disk>(
    life: &Life<D>,
    metadata: &[MetadataAt],
    text: &LabelText,
    now: TimestampMs,
    slice: &mut Slice,
) {
    for some in metadata.chunks(ENTRIES_AT_ONCE) {
        slice.breathe().await;
        let (mut head, mut log) = (life.head.borrow_mut(), life.commits.log().borrow_mut());
        head.append_metadata(some, text, now, &mut log);
    }
}

/// What is said of the family of this name, or of all.
pub(super) async fn said<D: Disk>(life: &Life<D>, name: Option<&str>) -> Vec<Family> {
    if let Some(name) = name {
        return life.head.borrow().families().of(name).into_iter().collect();
    }
    let (mut all, mut slice) = (Vec::new(), Slice::start());
    let mut from = 0;
    loop {
        {
            let head = life.head.borrow();
            let families = head.families();
            all.extend((from..from + FAMILIES_AT_ONCE).map_while(|index| families.at(index)));
            if families.len() <= from + FAMILIES_AT_ONCE {
                return all;
            }
        }
        from += FAMILIES_AT_ONCE;
        slice.breathe().await;
    }
}
