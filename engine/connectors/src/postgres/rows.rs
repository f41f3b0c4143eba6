//! Messages as rows of the table. Must not copy them.

use bytes::Bytes;
use gridcast::frame::Kind;

use crate::store::spill::Weighed;
use crate::store::writer::{Intake, Message};

/// What a row occupies beside its payload and the text of its topic: itself, its place in a queue
/// and the headers of two allocations.
const ROW_BYTES: usize = 160;

/// A message that waits.
#[derive(Clone, Debug)]
pub struct Row {
    /// When it was published, ns of UTC since 1970.
    pub time_ns: u64,
    /// Where.
    pub topic: String,
    /// The numbering of its topic.
    pub epoch: i64,
    /// Its number there.
    pub seq: i64,
    /// Text or binary.
    pub kind: Kind,
    /// As published.
    pub payload: Bytes,
}

impl Weighed for Row {
    fn bytes(&self) -> usize {
        ROW_BYTES + self.topic.len() + self.payload.len()
    }

    fn payload_bytes(&self) -> usize {
        self.payload.len()
    }
}

/// Makes rows: every message has a place in the table.
#[derive(Debug)]
pub struct Rows;

impl Intake for Rows {
    type Row = Row;

    fn row(&mut self, message: Message) -> Result<Row, &'static str> {
        let Message { time_ns, topic, kind, payload, position } = message;
        // Numbers of this engine are below 2^63; those of a position from elsewhere are not stored.
        let epoch = i64::try_from(position.epoch.0).map_err(|_| "foreign_position")?;
        let seq = i64::try_from(position.seq).map_err(|_| "foreign_position")?;
        Ok(Row { time_ns, topic, epoch, seq, kind, payload })
    }
}

/// The word for a kind in the table.
#[must_use]
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Binary => "binary",
    }
}

/// The kind of a word in the table; what somebody else wrote there is sent as bytes.
#[must_use]
pub fn kind_of(word: &str) -> Kind {
    if word == "text" { Kind::Text } else { Kind::Binary }
}
