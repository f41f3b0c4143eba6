//! What a domain is, as the first node wrote it into the engine: its mode, shards and epoch. Owns
//! the text of it, and who may take part. Must not know where it is kept.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use gridcast::clock::unix_ns;
use serde::{Deserialize, Serialize};

use crate::backplane::link::within_positions;
use crate::backplane::settings::Mode;

/// See the file header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this text.
    pub version: u32,
    /// What its nodes promise.
    pub mode: Mode,
    /// How many shards it has.
    pub shards: u16,
    /// The numbering of its positions; 0 in a relay, where each node has its own.
    pub epoch: u64,
    /// The first message of the log that it holds for, as far as a node had read further.
    pub from: u64,
}

/// A node that may not take part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// What the engine keeps cannot be read.
    #[error("the record of the domain cannot be read ({0}): is it another program's?")]
    Unreadable(String),
    /// A newer gridcast wrote it.
    #[error("the record of the domain has version {0}, and this gridcast knows {VERSION}")]
    Version(u32),
    /// The nodes were told different things.
    #[error(
        "the domain was begun with {key} = {theirs}, and this node has {key} = {ours}: say the \
         same on all nodes, or choose another backplane.name"
    )]
    Other {
        /// The setting.
        key: &'static str,
        /// What the record says.
        theirs: String,
        /// What this node was told.
        ours: String,
    },
}

impl Record {
    /// The record of a domain that begins now.
    #[must_use]
    pub fn new(mode: Mode, shards: u16) -> Self {
        let epoch = if mode == Mode::Log { random_epoch() } else { 0 };
        Self { version: VERSION, mode, shards, epoch, from: 1 }
    }

    /// The same domain in another epoch, from this message on.
    #[must_use]
    pub fn raised(&self, from: u64) -> Self {
        Self { epoch: random_epoch(), from, ..self.clone() }
    }

    /// The text that is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what is kept, and compares it with what this node was told.
    ///
    /// # Errors
    /// [`Disagreement`]: the node may not take part.
    pub fn agree(text: &[u8], mode: Mode, shards: u16) -> Result<Self, Disagreement> {
        let record: Self = serde_json::from_slice(text)
            .map_err(|error| Disagreement::Unreadable(error.to_string()))?;
        if record.version != VERSION {
            return Err(Disagreement::Version(record.version));
        }
        if record.from == 0 || within_positions(record.from - 1).is_none() {
            let from = record.from;
            return Err(Disagreement::Unreadable(format!("no log has a message {from}")));
        }
        let other = |key, theirs: String, ours: String| Disagreement::Other { key, theirs, ours };
        if record.mode != mode {
            return Err(other("mode", record.mode.to_string(), mode.to_string()));
        }
        if record.shards != shards {
            return Err(other("shards", record.shards.to_string(), shards.to_string()));
        }
        Ok(record)
    }
}

/// A number that no other node and no other life of this one has chosen.
#[must_use]
pub fn random() -> u64 {
    // Its keys come from the system, once a process, and differ with every call.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(unix_ns());
    hasher.finish() | 1
}

/// Short enough to be read out: what counts is that it differs.
fn random_epoch() -> u64 {
    random() >> 16 | 1
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_compared() {
        let record = Record::new(Mode::Log, 1);
        let text = record.to_text();
        assert_eq!(Record::agree(text.as_bytes(), Mode::Log, 1), Ok(record.clone()));
        let error = |mode, shards| Record::agree(text.as_bytes(), mode, shards).unwrap_err();
        assert!(error(Mode::Relay, 1).to_string().contains("mode = log"), "{text}");
        assert!(error(Mode::Log, 2).to_string().contains("shards = 1"), "{text}");
        for from in [0, u64::MAX] {
            let text = Record { from, ..record.clone() }.to_text();
            let error = Record::agree(text.as_bytes(), Mode::Log, 1);
            assert!(matches!(error, Err(Disagreement::Unreadable(_))), "{text}");
        }
        let newer = Record { version: 2, ..record }.to_text();
        let error = Record::agree(newer.as_bytes(), Mode::Log, 1);
        assert_eq!(error, Err(Disagreement::Version(2)));
        let bad = Record::agree(b"OK", Mode::Log, 1);
        assert!(matches!(bad, Err(Disagreement::Unreadable(_))));
    }

    #[test]
    fn every_epoch_is_another() {
        let record = Record::new(Mode::Log, 1);
        assert!(record.epoch != 0 && record.raised(1).epoch != record.epoch);
        assert_eq!(Record::new(Mode::Relay, 1).epoch, 0);
    }
}
