//! One commit of a shard's log: a header, the records, zeros up to the next 4 KiB.
//!
//! ```text
//! at  bytes                                                                  integers little-endian
//!  0  4   magic "FPWL"
//!  4  2   version, 1
//!  6  2   shards: how many shards the run has that wrote this
//!  8  8   segment: number of the segment; a file in its next life has another one
//! 16  8   run: how often the data directory has been started, this time included
//! 24  8   salt: drawn at random for every segment, so that no payload can carry a forged batch
//! 32  8   sequence: one more than that of the shard's batch before
//! 40  4   length of the payload in bytes
//! 44  4   crc32 (IEEE) of bytes 0..44 and the payload
//! 48      payload: records, see `record`
//!         zeros to the next multiple of 4096
//! ```
//! Invariants: a batch begins on a multiple of 4096 and its blocks are written once, so that a torn write can only hit
//! what was not acknowledged; sequences of one shard have no gap; within a segment segment, run, shards and salt
//! are the same in every batch. Golden bytes: `tests/golden/wal_batch.hex`.

/// Batches begin and end on multiples of this, in bytes: what a disk tears no finer than.
pub const ALIGN_BYTES: usize = 4096;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 48;
/// The longest payload, in bytes. Bounds what a reader has to hold.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const MAGIC: [u8; 4] = *b"FPWL";
const VERSION: u16 = 1;
const CHECKED_BYTES: usize = 44;

const _: () = assert!(HEADER_BYTES < ALIGN_BYTES, "a header lies within one block");
const _: () = assert!(PAYLOAD_BYTES_MAX <= u32::MAX as usize, "the length field holds it");

/// What a batch says about where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// How many shards the run has that wrote this.
    pub shards: u16,
    /// Number of the segment.
    pub segment: u64,
    /// How often the data directory has been started.
    pub run: u64,
    /// Drawn at random for every segment.
    pub salt: u64,
    /// One more than that of the shard's batch before.
    pub sequence: u64,
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The magic is missing: nothing was ever written here, or something else.
    #[error("no batch begins here")]
    NoMagic,
    /// A format that this version does not read.
    #[error(
        "batch of version {version}, this is a reader of version {VERSION}; start the version that wrote it"
    )]
    Version {
        /// The version it has.
        version: u16,
    },
    /// More is promised than there is.
    #[error("batch promises a payload of {promised} bytes, {left} are left")]
    Cut {
        /// Length of the payload according to the header.
        promised: usize,
        /// Bytes behind the header.
        left: usize,
    },
    /// Header or payload are not what was written.
    #[error("batch has crc32 {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
}

/// Bytes that a batch with a payload of `payload` bytes takes on disk.
#[must_use]
pub fn disk_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(ALIGN_BYTES)
}

/// Turns `buffer`, which holds [`HEADER_BYTES`] of room and then the payload, into a batch: fills the header in and pads.
///
/// # Panics
/// If the room is missing or the payload is longer than [`PAYLOAD_BYTES_MAX`].
pub fn seal(buffer: &mut Vec<u8>, header: BatchHeader) {
    let payload =
        buffer.len().checked_sub(HEADER_BYTES).expect("the buffer begins with room for the header");
    assert!(payload <= PAYLOAD_BYTES_MAX, "the writer splits what is longer");
    let len = u32::try_from(payload).expect("bounded above");
    {
        let (head, payload) = buffer.split_at_mut(HEADER_BYTES);
        let mut rest = &mut *head;
        for bytes in [
            &MAGIC[..],
            &VERSION.to_le_bytes(),
            &header.shards.to_le_bytes(),
            &header.segment.to_le_bytes(),
            &header.run.to_le_bytes(),
            &header.salt.to_le_bytes(),
            &header.sequence.to_le_bytes(),
            &len.to_le_bytes(),
        ] {
            let (to, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            to.copy_from_slice(bytes);
            rest = after;
        }
        let (checked, crc) = head.split_at_mut(CHECKED_BYTES);
        crc.copy_from_slice(&checksum(checked, payload).to_le_bytes());
    }
    buffer.resize(disk_bytes(payload), 0);
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// Length in bytes of the payload that the header at the front of `bytes` promises. Nothing is verified but the magic.
///
/// # Errors
/// No magic, another version, or fewer bytes than a header.
pub fn promised_payload(bytes: &[u8]) -> Result<usize, BatchError> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(BatchError::NoMagic);
    };
    let (fields, _) = Fields::of(header);
    if fields.magic != MAGIC {
        return Err(BatchError::NoMagic);
    }
    if fields.version != VERSION {
        return Err(BatchError::Version { version: fields.version });
    }
    Ok(fields.len as usize)
}

/// The batch at the front of `bytes`: its header and its payload. Takes any bytes.
///
/// # Errors
/// Anything that is not a whole batch with the right checksum.
pub fn open(bytes: &[u8]) -> Result<(BatchHeader, &[u8]), BatchError> {
    let promised = promised_payload(bytes)?;
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(BatchError::NoMagic)?;
    let (fields, checked) = Fields::of(header);
    let Some(payload) = rest.get(..promised) else {
        return Err(BatchError::Cut { promised, left: rest.len() });
    };
    let computed = checksum(checked, payload);
    if fields.crc != computed {
        return Err(BatchError::Checksum { stored: fields.crc, computed });
    }
    Ok((fields.header, payload))
}

struct Fields {
    magic: [u8; 4],
    version: u16,
    header: BatchHeader,
    len: u32,
    crc: u32,
}

impl Fields {
    /// The fields of a header, and those of its bytes that the checksum covers.
    fn of(bytes: &[u8; HEADER_BYTES]) -> (Self, &[u8]) {
        let mut rest = &bytes[..];
        let fields = Self {
            magic: take(&mut rest),
            version: u16::from_le_bytes(take(&mut rest)),
            header: BatchHeader {
                shards: u16::from_le_bytes(take(&mut rest)),
                segment: u64::from_le_bytes(take(&mut rest)),
                run: u64::from_le_bytes(take(&mut rest)),
                salt: u64::from_le_bytes(take(&mut rest)),
                sequence: u64::from_le_bytes(take(&mut rest)),
            },
            len: u32::from_le_bytes(take(&mut rest)),
            crc: u32::from_le_bytes(take(&mut rest)),
        };
        (fields, bytes.get(..CHECKED_BYTES).unwrap_or_default())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, after) = rest.split_first_chunk::<N>().expect("the fields add up to the header");
    *rest = after;
    *field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: BatchHeader =
        BatchHeader { shards: 2, segment: 3, run: 4, salt: 0x1122_3344_5566_7788, sequence: 9 };

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER_BYTES];
        buffer.extend_from_slice(payload);
        seal(&mut buffer, HEADER);
        buffer
    }

    #[test] // golden bytes: the format cannot drift unseen
    fn a_batch_has_these_bytes() {
        let batch = sealed(b"records");
        assert_eq!(batch.len(), 4096);
        let hex: String = batch[..HEADER_BYTES + 8].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            include_str!("../../tests/golden/wal_batch.hex").split_whitespace().collect::<String>()
        );
        assert!(batch[HEADER_BYTES + 7..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_batch_opens_to_what_was_sealed() {
        assert_eq!(open(&sealed(b"records")), Ok((HEADER, &b"records"[..])));
        assert_eq!(open(&sealed(b"")), Ok((HEADER, &b""[..])));
    }

    #[test]
    fn untouched_blocks_hold_no_batch() {
        assert_eq!(open(&[0; ALIGN_BYTES]), Err(BatchError::NoMagic));
        assert_eq!(open(&[]), Err(BatchError::NoMagic));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
            let mut batch = sealed(&payload);
            let bit = at.index((HEADER_BYTES + payload.len()) * 8);
            batch[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&batch).is_err());
        }

        #[test]
        fn a_cut_batch_is_noticed(payload in proptest::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>()) {
            let batch = sealed(&payload);
            prop_assert!(open(&batch[..at.index(HEADER_BYTES + payload.len())]).is_err());
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = open(&bytes);
            for (to, from) in bytes.iter_mut().zip([b'F', b'P', b'W', b'L', 1, 0]) {
                *to = from;
            }
            prop_assert!(open(&bytes).is_err());
        }
    }
}
