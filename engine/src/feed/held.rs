//! The newest message of each topic since the last instant of a rated feed's grid, until that feed
//! publishes them. Owns one copy per topic. Must not know when the next instant is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::feed::message::{Message, Origin};
use crate::frame::Kind;

/// A copy larger than this is not kept for the next message: one large one must not cost for ever.
const COPY_BYTES_KEPT: usize = 4 << 10;

/// See the file header.
#[derive(Debug, Default)]
pub struct Held {
    newest: BTreeMap<Arc<str>, Newest>,
    /// Topics that sent something, in the order of their first message.
    fresh: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Newest {
    origin: Arc<Origin>,
    kind: Kind,
    payload: Vec<u8>,
    is_fresh: bool,
}

impl Held {
    /// Takes the place of what is held for the same topic.
    pub fn hold(&mut self, origin: &Arc<Origin>, message: Message<'_>) {
        let newest = self.newest.entry(Arc::clone(&origin.topic)).or_insert_with(|| Newest {
            origin: Arc::clone(origin),
            kind: message.kind,
            payload: Vec::new(),
            is_fresh: false,
        });
        // A topic that was forgotten and came back has another number.
        if newest.origin.number != origin.number {
            newest.origin = Arc::clone(origin);
        }
        newest.kind = message.kind;
        newest.payload.clear();
        newest.payload.extend_from_slice(message.payload);
        if !std::mem::replace(&mut newest.is_fresh, true) {
            self.fresh.push(Arc::clone(&origin.topic));
        }
    }

    /// Hands everything held to `publish` and holds nothing any more.
    pub fn release(&mut self, mut publish: impl FnMut(&Arc<Origin>, Message<'_>)) {
        for topic in self.fresh.drain(..) {
            let Some(newest) = self.newest.get_mut(&topic) else { continue };
            publish(&newest.origin, Message { kind: newest.kind, payload: &newest.payload });
            newest.is_fresh = false;
            if newest.payload.capacity() > COPY_BYTES_KEPT {
                newest.payload = Vec::new();
            }
        }
    }

    /// Forgets a topic that is no more, once what it sent last is out.
    pub fn forget(&mut self, topic: &str) {
        if self.newest.get(topic).is_some_and(|newest| !newest.is_fresh) {
            self.newest.remove(topic);
        }
    }
}
