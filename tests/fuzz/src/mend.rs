//! Checksums put right.
//!
//! A fuzzer does not guess a checksum, and every change that it makes would end there. So what has checksums is changed to
//! have the right ones, wherever the bytes say that they lie, before a decoder sees it. Checksums that are wrong are what
//! property tests are for.

/// Writes what `crc` gives for `covered` behind it.
fn put(bytes: &mut [u8], covered: std::ops::Range<usize>, crc: fn(&[u8]) -> [u8; 4]) -> Option<()> {
    let sum = crc(bytes.get(covered.clone())?);
    bytes.get_mut(covered.end..covered.end.checked_add(4)?)?.copy_from_slice(&sum);
    Some(())
}

fn castagnoli(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).to_be_bytes()
}

fn ieee(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}

/// The varint at `at`, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (n, rest) = floodplain::encoding::varint::split_unsigned(bytes.get(at..)?)?;
    Some((usize::try_from(n).ok()?, bytes.len() - rest.len()))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let of = bytes.get(at..at.checked_add(N)?)?;
    usize::try_from(of.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte))).ok()
}

/// The sum at the end of a file that covers all between `from` and it.
pub fn at_end(bytes: &mut [u8], from: usize) {
    if let Some(end) = bytes.len().checked_sub(4).filter(|end| *end >= from) {
        put(bytes, from..end, castagnoli);
    }
}

/// The sums of a block's chunk segment.
pub fn segment(bytes: &mut [u8]) {
    let mut at = floodplain::encoding::block::chunks::HEADER_BYTES;
    while let Some((len, start)) = varint(bytes, at) {
        let Some(end) = start.checked_add(len).and_then(|end| end.checked_add(1)) else { return };
        if put(bytes, start..end, castagnoli).is_none() {
            return;
        }
        at = end + 4;
    }
}

/// The sum of a section, or of a list of postings, that begins at `at`; where it ends.
fn section(bytes: &mut [u8], at: usize) -> Option<usize> {
    let end = at.checked_add(4)?.checked_add(number::<4>(bytes, at)?)?;
    put(bytes, at + 4..end, castagnoli)?;
    Some(end + 4)
}

/// All sums of a block's index.
pub fn index(bytes: &mut [u8]) {
    const TOC_BYTES: usize = 52;
    let Some(toc) = bytes.len().checked_sub(TOC_BYTES) else { return };
    let place = |bytes: &[u8], nth: usize| number::<8>(bytes, toc + nth * 8);
    if let Some(symbols) = place(bytes, 0) {
        section(bytes, symbols);
    }
    let is_first = bytes.get(4) == Some(&1);
    let mut at = place(bytes, 1).unwrap_or(toc);
    while let Some((len, start)) = varint(bytes, at).filter(|_| at < toc) {
        let Some(end) = start.checked_add(len) else { break };
        if len > 0 && put(bytes, start..end, castagnoli).is_some() {
            at = end + 4;
        } else {
            at += 1;
        }
        if !is_first {
            at = at.next_multiple_of(16);
        }
    }
    let mut at = place(bytes, 4).unwrap_or(toc);
    while let Some(end) = Some(at).filter(|at| *at < toc).and_then(|at| section(bytes, at)) {
        at = end;
    }
    if let Some(table) = place(bytes, 5) {
        section(bytes, table);
    }
    put(bytes, toc..toc + TOC_BYTES - 4, castagnoli);
}

/// The sum of a batch of the log.
pub fn batch(bytes: &mut [u8]) {
    let len = bytes.get(40..44).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes);
    let Some(len) = len.and_then(|len| usize::try_from(len).ok()) else { return };
    let Some(payload) = 48usize.checked_add(len).and_then(|end| bytes.get(48..end)) else { return };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..44]);
    hasher.update(payload);
    let sum = hasher.finalize().to_le_bytes();
    bytes[44..48].copy_from_slice(&sum);
}

/// The sum of a chunk of a spill file.
pub fn spilled(bytes: &mut [u8]) {
    let len = bytes.get(25..29).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes);
    let end = len.and_then(|len| usize::try_from(len).ok()?.checked_add(29));
    if let Some(end) = end {
        put(bytes, 0..end, ieee);
    }
}
