//! Messages on their way out that the other side confirms together. Owns its bounds, and that what
//! was not confirmed is kept for the next connection. Must not send.

use bytes::Bytes;

use crate::bridge::context::{Context, Out};

/// Messages that are sent before the first is confirmed.
const MESSAGES_MAX: usize = 512;
/// Their names and payloads, bytes; the last message may go beyond.
const BYTES_MAX: usize = 1 << 20;

/// A message as the other side gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where it goes.
    pub name: String,
    /// The publisher's bytes.
    pub payload: Bytes,
}

impl Sent {
    fn bytes(&self) -> usize {
        self.name.len() + self.payload.len()
    }
}

/// See the file header.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    messages: Vec<Sent>,
    bytes: usize,
    /// That retention passed messages was said.
    has_told_missed: bool,
}

impl Batch {
    /// Takes `first` and what else is there now. `name` says where a message goes, from the name
    /// that the rules give it; none where the other side has no such name, which is counted.
    pub fn gather(
        &mut self,
        first: Out,
        context: &mut Context,
        name: impl Fn(&str) -> Result<String, &'static str>,
    ) {
        let mut next = Some(first);
        while let Some(out) = next {
            match out {
                Out::Message { topic, payload, .. } => match name(&context.map_out(&topic)) {
                    Ok(name) => self.add(Sent { name, payload }),
                    Err(reason) => context.counters().dropped(reason, 1),
                },
                Out::Missed(messages) => self.tell_missed(context, messages),
            }
            next = if self.is_full() { None } else { context.poll_out() };
        }
    }

    /// Whether there is nothing to be sent or confirmed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What is to be sent, in its order.
    #[must_use]
    pub fn messages(&self) -> &[Sent] {
        &self.messages
    }

    /// Leaves out what `keep` refuses; answers how many that were.
    pub fn retain(&mut self, keep: impl Fn(&Sent) -> bool) -> u64 {
        let before = self.messages.len();
        self.messages.retain(keep);
        self.bytes = self.messages.iter().map(Sent::bytes).sum();
        (before - self.messages.len()) as u64
    }

    /// All of it has arrived, but what the other side refused, by its place.
    pub fn confirm(&mut self, context: &Context, is_refused: impl Fn(usize) -> bool) {
        let counters = context.counters();
        for (i, message) in self.messages.drain(..).enumerate() {
            if is_refused(i) {
                counters.dropped("refused", 1);
            } else {
                counters.sent_out.add(message.payload.len());
            }
        }
        self.bytes = 0;
    }

    fn add(&mut self, message: Sent) {
        self.bytes += message.bytes();
        self.messages.push(message);
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= MESSAGES_MAX || self.bytes >= BYTES_MAX
    }

    fn tell_missed(&mut self, context: &Context, messages: u64) {
        if !std::mem::replace(&mut self.has_told_missed, true) {
            let bridge = &context.common().name;
            tracing::warn!(bridge, messages, "not sent: retention had passed them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_bytes_are_bounded() {
        let sent = |bytes| Sent { name: "ab".to_owned(), payload: Bytes::from(vec![0; bytes]) };
        let mut many = Batch::default();
        (1..MESSAGES_MAX).for_each(|_| many.add(sent(0)));
        assert!(!many.is_full());
        many.add(sent(0));
        assert!(many.is_full());
        let mut large = Batch::default();
        large.add(sent(BYTES_MAX - 3));
        assert!(!large.is_full());
        large.add(sent(0));
        assert!(large.is_full());
        assert_eq!(large.retain(|sent| sent.payload.is_empty()), 1);
        assert!(!large.is_full(), "what is left out has no bytes");
    }
}
