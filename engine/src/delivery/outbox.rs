//! The outbox: bytes for one connection only (pong, close, notices, replies). Owns their order and
//! how many of them are sent. Holds no frame of a feed, except the rest of one that was torn when
//! its lane moved on. Costs one pointer until it is used.

/// Private bytes of one connection. Once the first of them is out, all go before anything else: the
/// end of the outbox is always a frame boundary, its inside need not be.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Adds whole frames behind what is there.
    pub fn push(&mut self, frames: &[u8]) {
        if !frames.is_empty() {
            self.0.get_or_insert_default().bytes.extend_from_slice(frames);
        }
    }

    /// Puts the rest of a torn frame before everything; it counts as begun.
    pub fn push_torn_rest(&mut self, rest: &[u8]) {
        debug_assert!(!self.is_begun(), "two frames cannot be torn at once");
        let queue = self.0.get_or_insert_default();
        // One byte that counts as sent marks the queue as begun.
        let mut bytes = Vec::with_capacity(1 + rest.len() + queue.bytes.len());
        bytes.push(0);
        bytes.extend_from_slice(rest);
        bytes.append(&mut queue.bytes);
        **queue = Queue { bytes, sent: 1 };
        self.release_if_sent();
    }

    /// What is still to be sent.
    pub fn pending(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |queue| &queue.bytes[queue.sent..])
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// True when part of it is out, so that only its rest may follow.
    pub fn is_begun(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.sent > 0)
    }

    /// Notes that `count` bytes of [`pending`](Self::pending) are out.
    pub fn advance(&mut self, count: usize) {
        if let Some(queue) = &mut self.0 {
            debug_assert!(queue.sent + count <= queue.bytes.len());
            queue.sent += count;
        }
        self.release_if_sent();
    }

    /// Bytes of user memory held.
    pub fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| size_of::<Queue>() + queue.bytes.capacity())
    }

    fn release_if_sent(&mut self) {
        if self.0.as_ref().is_some_and(|queue| queue.sent == queue.bytes.len()) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_held_only_while_bytes_wait() {
        let mut outbox = Outbox::default();
        assert!(outbox.is_empty() && outbox.memory_bytes() == 0);
        outbox.push(b"abc");
        outbox.advance(2);
        assert!(outbox.is_begun());
        outbox.advance(1);
        assert!(outbox.is_empty() && outbox.memory_bytes() == 0);
    }

    #[test]
    fn a_torn_rest_goes_first_and_counts_as_begun() {
        let mut outbox = Outbox::default();
        outbox.push(b"later");
        outbox.push_torn_rest(b"rest");
        assert!(outbox.is_begun());
        assert_eq!(outbox.pending(), b"restlater");
    }
}
