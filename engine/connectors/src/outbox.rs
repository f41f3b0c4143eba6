//! Messages on their way out that the other side has not confirmed. Owns their order and the bound
//! on their number and bytes, over all sessions. Must not send them.

use std::collections::VecDeque;

use bytes::Bytes;
use gridcast::frame::Kind;

use crate::bridge::context::{Context, Out};

/// Bytes of payloads that wait, before one more.
const BYTES_MAX: usize = 16 << 20;

/// What marks messages of one bridge of one run of an engine: should they come in by it again, it
/// knows them.
#[must_use]
pub fn new_mark() -> String {
    format!("gridcast-{:016x}", rand::random::<u64>())
}

/// A message under its name on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its name there.
    pub name: String,
    /// Text or binary.
    pub kind: Kind,
    /// As published.
    pub payload: Bytes,
}

/// See the file header.
#[derive(Debug)]
pub struct Outbox {
    messages: VecDeque<Outgoing>,
    messages_max: usize,
    bytes: usize,
}

impl Outbox {
    /// An empty one for so many messages.
    #[must_use]
    pub fn new(messages_max: usize) -> Self {
        Self { messages: VecDeque::new(), messages_max, bytes: 0 }
    }

    /// Whether another message may come. Where not, messages stay in the engine's log, and are
    /// lost, and told, once retention has passed them.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.messages.len() < self.messages_max && self.bytes < BYTES_MAX
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message at `index`, counted from the oldest.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Outgoing> {
        self.messages.get(index)
    }

    /// Adds a message under the name that the rules of the settings, and then `name`, make of its
    /// topic. One that has no name there is counted and dropped.
    pub fn push(&mut self, out: Out, context: &Context, name: impl FnOnce(&str) -> Option<String>) {
        // What was missed is counted by who told it.
        let Out::Message { topic, kind, payload, .. } = out else { return };
        match name(&context.map_out(&topic)) {
            Some(name) => self.add(Outgoing { name, kind, payload }),
            None => context.counters().dropped("name", 1),
        }
    }

    fn add(&mut self, message: Outgoing) {
        self.bytes += message.payload.len();
        self.messages.push_back(message);
    }

    /// Forgets the oldest message: the other side has it, or will never take it.
    pub fn settle(&mut self, is_taken: bool, context: &Context) {
        let Some(message) = self.messages.pop_front() else { return };
        self.bytes -= message.payload.len();
        match is_taken {
            true => context.counters().sent_out.add(message.payload.len()),
            false => context.counters().dropped("refused", 1),
        }
    }

    /// Counts what was not confirmed until the end.
    pub fn end(&self, context: &Context) {
        let left = self.messages.len();
        if left > 0 {
            context.counters().dropped("stopped", left as u64);
            let bridge = &context.common().name;
            tracing::warn!(bridge, left, "messages are not confirmed: the engine stopped before");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_bytes_are_bounded() {
        let message = |bytes| Outgoing {
            name: "a".to_owned(),
            kind: Kind::Binary,
            payload: Bytes::from(vec![0; bytes]),
        };
        let mut few = Outbox::new(2);
        few.add(message(1));
        assert!(few.has_room());
        few.add(message(1));
        assert!(!few.has_room());
        let mut large = Outbox::new(100);
        large.add(message(BYTES_MAX));
        assert!(!large.has_room());
    }
}
