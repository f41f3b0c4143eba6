//! Commands that are to be sent, in order, and what each asked for. Owns which publish counts as
//! sent. Must not know the socket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use super::request::Attempt;
use crate::wire::command;

/// What a command asked for.
pub enum Asked {
    /// A publish.
    Publish(Attempt),
    /// A subscription, by the number of its feed.
    Subscribe(u64),
    /// The end of one.
    Unsubscribe(u64),
    /// That the connection is judged by this token.
    Authenticate(String),
}

/// See the file header. It holds as many commands as there are subscriptions and publishes.
#[derive(Default)]
pub struct Outbox {
    last_id: u64,
    queued: VecDeque<(u64, String)>,
    asked: BTreeMap<u64, Asked>,
}

impl Outbox {
    /// Queues a command that `text` writes, given its number.
    pub fn ask(&mut self, asked: Asked, text: impl FnOnce(u64) -> String) {
        self.last_id += 1;
        self.queued.push_back((self.last_id, text(self.last_id)));
        self.asked.insert(self.last_id, asked);
    }

    /// Queues a publish.
    pub fn publish(&mut self, attempt: Attempt) {
        self.last_id += 1;
        // It is written when it is sent: nothing is encoded that nobody waits for any more.
        self.queued.push_back((self.last_id, String::new()));
        self.asked.insert(self.last_id, Asked::Publish(attempt));
    }

    /// The next text to be sent, which counts as sent.
    pub fn next(&mut self) -> Option<String> {
        loop {
            let (id, text) = self.queued.pop_front()?;
            let Some(Asked::Publish(attempt)) = self.asked.get(&id) else { return Some(text) };
            if attempt.reply.is_closed() {
                self.asked.remove(&id);
                continue;
            }
            attempt.was_sent.store(true, Ordering::Release);
            let payload = &attempt.payload;
            return Some(command::publish(id, &attempt.topic, &payload.bytes, payload.is_text));
        }
    }

    /// A command was answered: what it asked for.
    pub fn answered(&mut self, id: u64) -> Option<Asked> {
        self.asked.remove(&id)
    }

    /// The publishes without an answer, in their order.
    pub fn attempts(self) -> impl Iterator<Item = Attempt> {
        self.asked.into_values().filter_map(|asked| match asked {
            Asked::Publish(attempt) => Some(attempt),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use tokio::sync::oneshot;

    #[test]
    fn a_publish_counts_as_sent_from_when_it_is_and_one_nobody_waits_for_is_not() {
        let mut outbox = Outbox::default();
        let mut publish = |text: &str| {
            let (reply, waiting) = oneshot::channel();
            let was_sent = Arc::new(AtomicBool::new(false));
            let attempt = Attempt {
                topic: "t".into(),
                payload: text.into(),
                retry: false,
                was_sent: Arc::clone(&was_sent),
                reply,
            };
            outbox.publish(attempt);
            (was_sent, waiting)
        };
        let (given_up, (sent, _waits), (unsent, _too)) = (publish("1"), publish("2"), publish("3"));
        drop(given_up.1);
        assert!(outbox.next().unwrap().contains(r#""id":2"#));
        assert!(sent.load(Ordering::Acquire) && !unsent.load(Ordering::Acquire));
        assert!(!given_up.0.load(Ordering::Acquire));
        let left: Vec<_> = outbox.attempts().map(|attempt| attempt.was_sent()).collect();
        assert_eq!(left, [true, false]);
    }
}
