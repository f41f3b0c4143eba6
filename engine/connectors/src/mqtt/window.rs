//! Messages with QoS 1 that were sent and are not acknowledged. Owns their numbers, the bound on
//! their bytes, and what is sent again after a connection is lost. Must not send.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::mqtt::encode::Publish;

/// The highest number of a message; numbers above it are for subscriptions.
const ID_MAX: u16 = 60_000;

/// Bytes of payloads and topics that wait, before one more.
const BYTES_MAX: usize = 16 << 20;

/// A message that a broker has to acknowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub retain: bool,
    pub is_text: bool,
    pub payload: Bytes,
}

/// See the file header.
#[derive(Debug, Default)]
pub struct Window {
    /// In the order in which they came.
    entries: VecDeque<Entry>,
    /// So many of the first ones were sent over the present connection.
    sent: usize,
    bytes: usize,
    last_id: u16,
}

#[derive(Debug)]
struct Entry {
    id: u16,
    /// An earlier connection sent it too.
    is_again: bool,
    message: Message,
}

impl Window {
    /// Whether another message may be added where there may be `messages_max`.
    pub fn has_room(&self, messages_max: usize) -> bool {
        self.entries.len() < messages_max && self.bytes < BYTES_MAX
    }

    /// Keeps `message` until it is acknowledged. As there are far fewer than [`ID_MAX`] in it, and
    /// they end mostly in order, a free number is found at once.
    pub fn add(&mut self, message: Message) {
        let mut id = self.last_id % ID_MAX + 1;
        while self.entries.len() < ID_MAX.into() && self.entries.iter().any(|e| e.id == id) {
            id = id % ID_MAX + 1;
        }
        self.last_id = id;
        self.bytes += message.bytes();
        self.entries.push_back(Entry { id, is_again: false, message });
    }

    /// The next that is to be sent over this connection; none while a broker that takes
    /// `in_flight_max` of them has as many.
    pub fn next(&mut self, in_flight_max: usize) -> Option<Publish<'_>> {
        if self.sent >= in_flight_max {
            return None;
        }
        let Entry { id, is_again, message } = self.entries.get(self.sent)?;
        self.sent += 1;
        Some(message.publish(Some(*id), *is_again))
    }

    /// Forgets a message that the broker has answered; none if it was not awaited.
    pub fn remove(&mut self, id: u16) -> Option<Message> {
        let at = self.entries.iter().take(self.sent).position(|entry| entry.id == id)?;
        let message = self.entries.remove(at)?.message;
        self.sent -= 1;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// The connection was lost: all are to be sent over the next one, but those that `keep`
    /// refuses. Answers how many that are.
    pub fn restart(&mut self, keep: impl Fn(&Message) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.iter_mut().take(self.sent).for_each(|entry| entry.is_again = true);
        self.sent = 0;
        self.entries.retain(|entry| keep(&entry.message));
        self.bytes = self.entries.iter().map(|entry| entry.message.bytes()).sum();
        before - self.entries.len()
    }
}

impl Message {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }

    /// As it is encoded.
    pub fn publish(&self, id: Option<u16>, is_again: bool) -> Publish<'_> {
        let Self { topic, retain, is_text, payload } = self;
        Publish { topic, id, is_again, retain: *retain, is_text: *is_text, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(number: u8) -> Message {
        let payload = Bytes::copy_from_slice(&[number]);
        Message { topic: "a".to_owned(), retain: false, is_text: false, payload }
    }

    /// What is sent now: numbers, whether again, and first bytes.
    fn sent(window: &mut Window, max: usize) -> Vec<(u16, bool, u8)> {
        let mut sent = Vec::new();
        while let Some(publish) = window.next(max) {
            sent.push((publish.id.unwrap(), publish.is_again, publish.payload[0]));
        }
        sent
    }

    #[test]
    fn what_is_not_answered_is_sent_again_over_the_next_connection() {
        let mut window = Window::default();
        (1..=4).for_each(|number| window.add(message(number)));
        assert_eq!(sent(&mut window, 3), [(1, false, 1), (2, false, 2), (3, false, 3)]);
        assert_eq!(window.remove(4), None, "it was not sent");
        assert_eq!(window.remove(2), Some(message(2)));
        assert_eq!(window.remove(2), None);
        assert_eq!(window.restart(|message| message.payload[0] != 3), 1);
        assert_eq!(sent(&mut window, 9), [(1, true, 1), (4, false, 4)]);
    }

    #[test]
    fn bytes_have_a_bound_as_well_and_one_message_always_fits() {
        let mut window = Window::default();
        assert!(window.has_room(1));
        let payload = Bytes::from(vec![0; BYTES_MAX]);
        window.add(Message { payload, ..message(0) });
        assert!(!window.has_room(100));
        sent(&mut window, 1);
        assert!(window.remove(1).is_some() && window.has_room(100));
    }

    #[test]
    fn a_number_in_use_is_passed_over() {
        let mut window = Window::default();
        window.add(message(0));
        assert_eq!(sent(&mut window, 1), [(1, false, 0)]);
        for _ in 0..ID_MAX - 1 {
            window.add(message(1));
            let id = sent(&mut window, 2)[0].0;
            assert!(window.remove(id).is_some());
        }
        window.add(message(2));
        assert_eq!(sent(&mut window, 2), [(2, false, 2)], "1 still waits");
    }

    proptest! {
        /// Against a list that only knows what was added and what was answered.
        #[test]
        fn nothing_is_lost_and_order_is_kept(steps in prop::collection::vec(0..24_u8, 0..120)) {
            let mut window = Window::default();
            let (mut waiting, mut on_its_way) = (Vec::new(), Vec::<(u16, u8)>::new());
            for (number, step) in (0..).zip(steps) {
                match step {
                    0..12 => {
                        window.add(message(number));
                        waiting.push(number);
                    }
                    12..20 if !on_its_way.is_empty() => {
                        let (id, number) = on_its_way.remove(usize::from(step) % on_its_way.len());
                        prop_assert_eq!(window.remove(id), Some(message(number)));
                        waiting.retain(|waiting| *waiting != number);
                    }
                    20..22 => {
                        window.restart(|_| true);
                        on_its_way.clear();
                    }
                    _ => on_its_way.extend(sent(&mut window, 8).iter().map(|s| (s.0, s.2))),
                }
                let ids: std::collections::BTreeSet<u16> = on_its_way.iter().map(|s| s.0).collect();
                prop_assert_eq!(ids.len(), on_its_way.len());
                let numbers: Vec<u8> = on_its_way.iter().map(|s| s.1).collect();
                prop_assert_eq!(&numbers[..], &waiting[..numbers.len()]);
                prop_assert_eq!(window.entries.len(), waiting.len());
                prop_assert_eq!(window.bytes, 2 * waiting.len());
                prop_assert_eq!(window.has_room(8), waiting.len() < 8);
            }
        }
    }
}
