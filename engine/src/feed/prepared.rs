//! A message on its way into lanes. Owns what is worked out from its payload: once, however many
//! lanes and feeds take it, and only if one of them asks. Must not know what they make of it.

use crate::feed::message::{Message, Stamp};
use crate::frame::Kind;
use crate::wire::deflate;
use crate::wire::json;

/// See the file header.
#[derive(Debug)]
pub struct Prepared<'m> {
    message: Message<'m>,
    is_json: Option<bool>,
    /// The payload, deflated in each of the ways that were asked for.
    deflated: Vec<Deflated>,
    deflates: u32,
    stamp: Option<Stamp>,
}

#[derive(Debug)]
struct Deflated {
    window_bits: u8,
    level: u8,
    bytes: Vec<u8>,
}

impl<'m> Prepared<'m> {
    /// Of which nothing is worked out yet.
    #[must_use]
    pub fn new(message: Message<'m>) -> Self {
        Self { message, is_json: None, deflated: Vec::new(), deflates: 0, stamp: None }
    }

    /// Where and when it was published: what the first feed that took it says, which is its topic.
    pub fn stamp(&mut self, of_feed: Stamp) -> Stamp {
        *self.stamp.get_or_insert(of_feed)
    }

    /// What was published.
    #[must_use]
    pub fn message(&self) -> Message<'m> {
        self.message
    }

    /// Whether it is text that every client reads as JSON.
    pub fn is_json(&mut self) -> bool {
        let Message { kind, payload, .. } = self.message;
        *self.is_json.get_or_insert_with(|| kind == Kind::Text && json::is_portable(payload))
    }

    /// The payload, deflated.
    pub fn deflated(&mut self, window_bits: u8, level: u8) -> &[u8] {
        let is_it = |made: &Deflated| (made.window_bits, made.level) == (window_bits, level);
        let index = self.deflated.iter().position(is_it).unwrap_or_else(|| {
            let mut bytes = Vec::new();
            deflate::message(&mut bytes, window_bits, level, self.message.payload);
            self.deflates += 1;
            self.deflated.push(Deflated { window_bits, level, bytes });
            self.deflated.len() - 1
        });
        &self.deflated[index].bytes
    }

    /// Counts that a frame made of it was deflated as a whole.
    pub fn count_deflate(&mut self) {
        self.deflates += 1;
    }

    /// How often something was deflated for it so far.
    #[must_use]
    pub fn deflates(&self) -> u32 {
        self.deflates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_deflating_is_gone_once() {
        let payload = b"again and again and again and again".as_slice();
        let mut prepared = Prepared::new(Message::of_client(Kind::Text, payload));
        for (window_bits, level, deflates) in [(15, 6, 1), (12, 6, 2), (15, 6, 2), (15, 9, 3)] {
            let mut expected = Vec::new();
            deflate::message(&mut expected, window_bits, level, payload);
            assert_eq!(prepared.deflated(window_bits, level), expected);
            assert_eq!(prepared.deflates(), deflates);
        }
    }

    #[test]
    fn only_text_is_json() {
        for (kind, payload, expected) in [
            (Kind::Text, "{\"a\":1}", true),
            (Kind::Text, "{\"a\":1e999}", false),
            (Kind::Text, "a", false),
            (Kind::Binary, "{\"a\":1}", false),
        ] {
            let mut prepared = Prepared::new(Message::of_client(kind, payload.as_bytes()));
            assert_eq!([prepared.is_json(), prepared.is_json()], [expected; 2], "{payload}");
        }
    }
}
