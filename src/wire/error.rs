//! Why a request's bytes are not the message they are sent as.

/// A request that cannot be read at all; nothing of it is stored. Offsets count from the start of the decompressed body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length that leads out of the message it stands in.
    #[error("byte {offset}: a field of {len} bytes, but its message ends after {left}")]
    Beyond {
        /// Where the field's content would start.
        offset: usize,
        /// How long it says it is.
        len: u64,
        /// How many bytes its message has left.
        left: usize,
    },
    /// A message that ends inside of a number.
    #[error("byte {offset}: the message ends inside of a number")]
    Cut {
        /// Where the number starts.
        offset: usize,
    },
    /// A varint of more than 64 bits.
    #[error("byte {offset}: a varint of more than 64 bits")]
    Varint {
        /// Where it starts.
        offset: usize,
    },
    /// A field number that protobuf does not have.
    #[error("byte {offset}: {number} is not a field number")]
    FieldNumber {
        /// Where the field starts.
        offset: usize,
        /// What stands there.
        number: u64,
    },
    /// A wire type that protobuf does not have, or a group, which no version of remote write has.
    #[error(
        "byte {offset}: field {field} has wire type {wire_type}, which remote write does not use"
    )]
    WireType {
        /// Where the field starts.
        offset: usize,
        /// Its number.
        field: u32,
        /// The wire type.
        wire_type: u8,
    },
    /// A known field of another type than the protocol gives it.
    #[error(
        "byte {offset}: field {field} of {message} is sent as {found}, the protocol has {expected}"
    )]
    FieldType {
        /// Where the field's content starts.
        offset: usize,
        /// The message that the field stands in.
        message: &'static str,
        /// Its number.
        field: u32,
        /// What the protocol has.
        expected: &'static str,
        /// What was sent.
        found: &'static str,
    },
    /// More samples than one request may carry.
    #[error("byte {offset}: more than {max} samples in one request; send smaller ones")]
    TooManySamples {
        /// Where the first one too many stands.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// More exemplars than one request may carry.
    #[error("byte {offset}: more than {max} exemplars in one request; send smaller ones")]
    TooManyExemplars {
        /// Where the first one too many stands.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// Labels of exemplars that, written out, are larger than one request may hold.
    #[error(
        "byte {offset}: the labels of this request's exemplars are larger than {max} bytes when written out; send smaller ones"
    )]
    ExemplarsTooLarge {
        /// Where the exemplar stands that is one too many.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// Native histograms that, read, are larger than one request may hold.
    #[error(
        "byte {offset}: the histograms of this request are larger than {max} bytes when read; send smaller requests"
    )]
    HistogramsTooLarge {
        /// Where the one stands that is one too many.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// More entries of metadata than one request may carry.
    #[error("byte {offset}: more than {max} entries of metadata in one request; send smaller ones")]
    TooMuchMetadata {
        /// Where the first one too many stands.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// A series of more labels than any that could be stored has.
    #[error("byte {offset}: a series of more than {max} labels, which no series may have")]
    TooManyLabels {
        /// Where the first one too many stands.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// More symbols than one request may carry.
    #[error("byte {offset}: more than {max} symbols in one request; send smaller ones")]
    TooManySymbols {
        /// Where the first one too many stands.
        offset: usize,
        /// The limit.
        max: usize,
    },
    /// A body that is larger than anything the store decodes.
    #[error("a body of {len} bytes; at most {max} are decoded: send smaller requests")]
    TooLarge {
        /// How large it is.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Label sets that, written out, are larger than one request may hold.
    #[error(
        "byte {offset}: the label sets of this request are larger than {max} bytes when written out; send smaller ones"
    )]
    LabelsTooLarge {
        /// Where the series stands that is one too many.
        offset: usize,
        /// The limit.
        max: usize,
    },
}
