//! The ledger of a flood: what was about to be sent, and what was acknowledged.
//!
//! Append-only. A request's intent is written before its first byte is sent, its outcome after the answer has been read;
//! each with one `write(2)`, so that what a killed generator knew is in the file. (It is not synced: it survives the
//! generator's end and the server's, not a power cut of the machine that floods.)
//! ```text
//! ledger   "FPLEDGE1" │ header │ record*                                             integers little-endian
//! header   len u32 │ crc32 of the JSON u32 │ JSON of `Header`, len bytes
//! record   kind u8 │ 0 u8 │ HTTP status u16 │ first series u32 │ series count u32 │ step u32 │ crc32 of these u32
//! kind     1 intent (status 0), 2 acknowledged (a 2xx that confirms every sample), 3 answered otherwise
//! ```
//! Invariants: an outcome follows an intent of the same series and step; series ranges are the same in every step and
//! do not overlap. A cut last record is what a full disk leaves and is ignored; any other damage is an error, because
//! it could hide an acknowledgement.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::body::{Protocol, SeriesRange};
use crate::population::Population;
use crate::population::mixture::Mixture;
use crate::timeline::Timeline;

const MAGIC: &[u8; 8] = b"FPLEDGE1";
const RECORD_BYTES: usize = 20;
const HEADER_BYTES_MAX: usize = 1 << 20;

/// What has to be known to compute every sample of the flood again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`Population::checksum_with`] of the build that wrote the ledger.
    pub population: u32,
    /// The flood's seed.
    pub seed: u64,
    /// How many series it had at any moment.
    pub series: u32,
    /// Steps of a generation, if the flood churned.
    pub generation_steps: Option<u32>,
    /// Its clock.
    pub timeline: Timeline,
    /// The protocol, for people.
    pub protocol: Protocol,
    /// What it had beside floats. Ledgers written before there was anything else do not say.
    #[serde(default)]
    pub mixture: Mixture,
    /// Where it went, for people.
    pub url: String,
}

impl Header {
    /// The series of the flood.
    ///
    /// # Errors
    /// This build makes other series and values from a seed than the one that wrote the ledger.
    pub fn population(&self) -> Result<Population, LedgerError> {
        if self.population != Population::checksum_with(self.mixture) {
            return Err(LedgerError::OtherBuild);
        }
        let population = Population::new(self.seed, self.series, self.generation_steps);
        Ok(population.with_mixture(self.mixture))
    }
}

/// Why a ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("ledger {path}: cannot {doing}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is a file already.
    #[error("ledger {path} exists; a flood starts a new one: name another file or remove it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not those of a ledger.
    #[error("ledger byte {offset}: {what}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Another build wrote it.
    #[error(
        "the ledger was written by a build that makes other series from a seed; verify with that build"
    )]
    OtherBuild,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx that confirms every sample.
    Acknowledged,
    /// Any other answer: some of the samples may have been stored.
    Otherwise,
}

/// A ledger being written, by all connections at once.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
}

impl Writer {
    /// Starts the ledger of a flood.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, LedgerError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => LedgerError::Exists { path: path.to_owned() },
            _ => LedgerError::Io { path: path.to_owned(), doing: "be created", source },
        })?;
        let writer = Self { file, path: path.to_owned() };
        let json = serde_json::to_vec(header).unwrap_or_default();
        let len = u32::try_from(json.len()).unwrap_or(0);
        let mut start = MAGIC.to_vec();
        start.extend(len.to_le_bytes());
        start.extend(crc32fast::hash(&json).to_le_bytes());
        start.extend(json);
        writer.write(&start)?;
        Ok(writer)
    }

    /// Notes that `series` are about to be sent for `step`.
    ///
    /// # Errors
    /// The file cannot be written: then the request must not be sent.
    pub fn intent(&self, series: &SeriesRange, step: u32) -> Result<(), LedgerError> {
        self.write(&record(1, 0, series, step))
    }

    /// Notes how that ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn outcome(
        &self,
        series: &SeriesRange,
        step: u32,
        outcome: Outcome,
        status: u16,
    ) -> Result<(), LedgerError> {
        let kind = match outcome {
            Outcome::Acknowledged => 2,
            Outcome::Otherwise => 3,
        };
        self.write(&record(kind, status, series, step))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), LedgerError> {
        let io = |source| LedgerError::Io { path: self.path.clone(), doing: "be written", source };
        (&self.file).write_all(bytes).map_err(io)
    }
}

fn record(kind: u8, status: u16, series: &SeriesRange, step: u32) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let fields = [
        &[kind, 0][..],
        &status.to_le_bytes(),
        &series.start.to_le_bytes(),
        &(series.end - series.start).to_le_bytes(),
        &step.to_le_bytes(),
    ]
    .concat();
    let sum = crc32fast::hash(&fields).to_le_bytes();
    for (place, byte) in record.iter_mut().zip(fields.into_iter().chain(sum)) {
        *place = byte;
    }
    record
}

/// What a ledger says about a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Never sent.
    Unsent,
    /// Sent, and not acknowledged: it may be stored or not.
    Unknown,
    /// Acknowledged: it must be stored.
    Acknowledged,
}

/// A ledger that has been read.
#[derive(Debug)]
pub struct Ledger {
    /// The flood.
    pub header: Header,
    /// By first series: how many series the request has, and its fate in each step.
    requests: BTreeMap<u32, (u32, Vec<Fate>)>,
}

impl Ledger {
    /// Reads a ledger file.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let io = |source| LedgerError::Io { path: path.to_owned(), doing: "be read", source };
        Self::parse(&std::fs::read(path).map_err(io)?)
    }

    /// Reads the bytes of a ledger.
    ///
    /// # Errors
    /// They are not those of one.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let (header, records) = parse_header(bytes)?;
        let start = bytes.len() - records.len();
        let mut ledger = Self { header, requests: BTreeMap::new() };
        let (records, _cut) = records.as_chunks::<RECORD_BYTES>();
        for (number, record) in records.iter().enumerate() {
            let damaged =
                |what| LedgerError::Damaged { offset: start + number * RECORD_BYTES, what };
            let (fields, sum) = record.split_at(RECORD_BYTES - 4);
            if crc32fast::hash(fields) != word(sum) {
                return Err(damaged("the checksum of a record does not match"));
            }
            ledger.apply(record, records.len()).map_err(damaged)?;
        }
        let mut end = 0;
        for (first, (count, _)) in &ledger.requests {
            let damaged = |what| LedgerError::Damaged { offset: start, what };
            if *first < end {
                return Err(damaged("requests of different series overlap"));
            }
            end = first
                .checked_add(*count)
                .filter(|end| *end <= ledger.header.series)
                .ok_or_else(|| damaged("a request names series that the flood does not have"))?;
        }
        Ok(ledger)
    }

    fn apply(&mut self, record: &[u8], records: usize) -> Result<(), &'static str> {
        let field = |at: usize| word(record.get(at..at + 4).unwrap_or_default());
        let (first, count, step) = (field(4), field(8), field(12) as usize);
        // Every step before has a record of its own: what claims to be later would only fill memory.
        if step >= records {
            return Err("a step that the ledger is too short for");
        }
        let (known, fates) = self.requests.entry(first).or_insert((count, Vec::new()));
        if *known != count {
            return Err("a request changes its number of series");
        }
        if fates.len() <= step {
            fates.resize(step + 1, Fate::Unsent);
        }
        let fate = fates.get_mut(step).ok_or("no such step")?;
        match (record.first(), *fate) {
            (Some(1), _) => *fate = Fate::Unknown.max(*fate),
            (Some(2 | 3), Fate::Unsent) => return Err("an answer without a request"),
            (Some(2), _) => *fate = Fate::Acknowledged,
            (Some(3), _) => {}
            _ => return Err("a record of unknown kind"),
        }
        Ok(())
    }

    /// What became of the sample of `series` at `step`.
    #[must_use]
    pub fn fate(&self, series: u32, step: u32) -> Fate {
        self.fates(series).get(step as usize).copied().unwrap_or(Fate::Unsent)
    }

    /// What became of `series` in every step, up to the last in which it was sent.
    #[must_use]
    pub fn fates(&self, series: u32) -> &[Fate] {
        match self.requests.range(..=series).next_back() {
            Some((first, (count, fates))) if series - first < *count => fates,
            _ => &[],
        }
    }

    /// From the first step to behind the last.
    #[must_use]
    pub fn steps(&self) -> Range<u32> {
        let end = self.requests.values().map(|(_, fates)| fates.len()).max().unwrap_or(0);
        0..u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// How many samples have this fate; `Unsent` counts only gaps before the last step of a request.
    #[must_use]
    pub fn count(&self, fate: Fate) -> u64 {
        let of = |(count, fates): &(u32, Vec<Fate>)| {
            u64::from(*count) * fates.iter().filter(|known| **known == fate).count() as u64
        };
        self.requests.values().map(of).sum()
    }
}

fn parse_header(bytes: &[u8]) -> Result<(Header, &[u8]), LedgerError> {
    let damaged = |offset, what| LedgerError::Damaged { offset, what };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged(0, "this is no ledger"))?;
    let (len, rest) = rest.split_at_checked(4).ok_or_else(|| damaged(8, "no header"))?;
    let (sum, rest) = rest.split_at_checked(4).ok_or_else(|| damaged(12, "no header"))?;
    let len = word(len) as usize;
    if len > HEADER_BYTES_MAX {
        return Err(damaged(8, "a header of more than 1 MiB"));
    }
    let (json, records) =
        rest.split_at_checked(len).ok_or_else(|| damaged(16, "the header is cut"))?;
    if crc32fast::hash(json) != word(sum) {
        return Err(damaged(16, "the checksum of the header does not match"));
    }
    let header = serde_json::from_slice(json)
        .map_err(|_| damaged(16, "the header is not the JSON it should be"))?;
    Ok((header, records))
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            population: Population::checksum(),
            seed: 7,
            series: 100,
            generation_steps: None,
            timeline: Timeline {
                start_ms: 1_780_000_000_000,
                interval_ms: 1000,
                value_period: None,
            },
            protocol: Protocol::V1,
            mixture: Mixture::default(),
            url: "http://127.0.0.1:9090/api/v1/write".to_owned(),
        }
    }

    /// The bytes of a ledger to which `write` wrote.
    fn written(write: impl Fn(&Writer)) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        write(&Writer::create(&path, &header()).unwrap());
        std::fs::read(path).unwrap()
    }

    fn some_requests(writer: &Writer) {
        for step in 0..3 {
            for series in [0..40, 40..100] {
                writer.intent(&series, step).unwrap();
                match (step, series.start) {
                    (1, 0) => {}
                    (2, 40) => writer.outcome(&series, step, Outcome::Otherwise, 400).unwrap(),
                    _ => writer.outcome(&series, step, Outcome::Acknowledged, 204).unwrap(),
                }
            }
        }
    }

    /// The bytes of a ledger with [`some_requests`].
    fn some_ledger() -> Vec<u8> {
        static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| written(some_requests));
        BYTES.clone()
    }

    #[test]
    fn a_ledger_remembers_the_fate_of_every_sample() {
        let ledger = Ledger::parse(&some_ledger()).unwrap();
        assert_eq!(ledger.header, header());
        assert_eq!(ledger.steps(), 0..3);
        assert_eq!(ledger.fate(39, 0), Fate::Acknowledged);
        assert_eq!(ledger.fate(39, 1), Fate::Unknown, "sent and never answered");
        assert_eq!(ledger.fate(99, 2), Fate::Unknown, "refused, and who knows in which part");
        assert_eq!(ledger.fate(99, 3), Fate::Unsent);
        assert_eq!(ledger.fate(100, 0), Fate::Unsent);
        assert_eq!(ledger.count(Fate::Acknowledged), 40 + 60 + 60 + 40);
        assert_eq!(ledger.count(Fate::Unknown), 40 + 60);
    }

    #[test]
    fn a_ledger_from_before_there_were_histograms_is_a_ledger_of_floats() {
        let mut json = serde_json::to_value(header()).unwrap();
        json.as_object_mut().unwrap().remove("mixture").unwrap();
        assert_eq!(serde_json::from_value::<Header>(json).unwrap(), header());
    }

    #[test] // golden bytes: ledgers outlive the build that wrote them
    fn a_record_has_these_bytes() {
        let bytes: String =
            record(2, 204, &(40..100), 3).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, "0200cc00280000003c00000003000000d2a3ce5d");
    }

    #[test]
    fn a_request_acknowledged_at_the_second_try_is_acknowledged() {
        let ledger = Ledger::parse(&written(|writer| {
            writer.intent(&(0..10), 0).unwrap();
            writer.outcome(&(0..10), 0, Outcome::Otherwise, 500).unwrap();
            writer.intent(&(0..10), 0).unwrap();
            writer.outcome(&(0..10), 0, Outcome::Acknowledged, 204).unwrap();
            writer.intent(&(0..10), 0).unwrap();
        }));
        assert_eq!(ledger.unwrap().fate(5, 0), Fate::Acknowledged);
    }

    #[test]
    fn a_cut_last_record_is_ignored() {
        let whole = some_ledger();
        for cut in 1..RECORD_BYTES {
            let ledger = Ledger::parse(&whole[..whole.len() - cut]).unwrap();
            assert_eq!(ledger.count(Fate::Acknowledged), 200);
        }
    }

    #[test]
    fn a_second_flood_does_not_overwrite_the_ledger_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        Writer::create(&path, &header()).unwrap();
        let error = Writer::create(&path, &header()).unwrap_err();
        assert!(matches!(error, LedgerError::Exists { .. }));
    }

    #[test]
    fn a_ledger_of_another_build_is_refused() {
        let other = Header { population: 1, ..header() };
        assert!(matches!(other.population(), Err(LedgerError::OtherBuild)));
        assert!(header().population().is_ok());
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = some_ledger();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Ledger::parse(&bytes).is_err(), "byte {}", at);
        }

        #[test]
        fn no_bytes_panic_or_fill_memory(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let whole = some_ledger();
            prop_assert!(Ledger::parse(&bytes).is_err());
            let _any = Ledger::parse(&[&whole[..], &bytes[..]].concat());
            let sealed: Vec<u8> = bytes.chunks_exact(16).flat_map(|fields| {
                [fields, &crc32fast::hash(fields).to_le_bytes()].concat()
            }).collect();
            let _any = Ledger::parse(&[&whole[..], &sealed[..]].concat());
        }
    }
}
