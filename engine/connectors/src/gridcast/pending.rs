//! Messages that were sent to the far end and that it has not acknowledged yet. Owns their order,
//! their bound, and what is sent again after the link was down. Must not know sockets or time.

use std::collections::VecDeque;

use gridcast_client::link::Utf8Bytes;

/// See the file header.
#[derive(Debug)]
pub struct Pending {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    next_id: u64,
    count_max: usize,
    bytes_max: usize,
    /// Bytes of the shortest command that the far end is known to find too long.
    too_long: usize,
    /// How many of them the far end did not take for now.
    put_off: usize,
}

/// A command without an answer.
#[derive(Debug)]
struct Waiting {
    id: u64,
    command: Utf8Bytes,
    payload_bytes: usize,
    is_put_off: bool,
}

impl Pending {
    /// Nothing is sent yet; `count_max` messages may be, and `bytes_max` bytes.
    #[must_use]
    pub fn new(count_max: usize, bytes_max: usize) -> Self {
        let waiting = VecDeque::new();
        let too_long = usize::MAX;
        Self { waiting, bytes: 0, next_id: 1, count_max, bytes_max, too_long, put_off: 0 }
    }

    /// A number for a command, which no other has.
    pub fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether another message may be sent. Not before those that were put off.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.len() < self.count_max && self.bytes < self.bytes_max && self.put_off == 0
    }

    /// Messages without an answer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when every message was answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes a message of so many bytes that `command` makes, given its number. Answers what is to
    /// be sent; none when the far end would find it too long.
    pub fn send(
        &mut self,
        payload_bytes: usize,
        command: impl FnOnce(u64) -> String,
    ) -> Option<Utf8Bytes> {
        let id = self.number();
        let command = Utf8Bytes::from(command(id));
        if command.len() >= self.too_long {
            return None;
        }
        self.bytes += command.len();
        let waiting = Waiting { id, command: command.clone(), payload_bytes, is_put_off: false };
        self.waiting.push_back(waiting);
        Some(command)
    }

    /// The far end found a message too long, and did not say which. The one it was has no answer,
    /// so the longest without an answer is too long as well, whichever it was. That one is given
    /// up, and from now on whatever is as long. Answers how many without an answer that are.
    pub fn give_up_longest(&mut self) -> u64 {
        let lengths = self.waiting.iter().map(|waiting| waiting.command.len());
        let Some(longest) = lengths.max() else { return 0 };
        self.too_long = longest;
        let (kept, given_up): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|waiting| waiting.command.len() < longest);
        self.waiting = kept;
        self.bytes -= given_up.len() * longest;
        self.put_off -= given_up.iter().filter(|waiting| waiting.is_put_off).count();
        given_up.len() as u64
    }

    /// The far end has taken message `id`, or never will. Answers the bytes of its payload; none
    /// when there is no such message.
    pub fn answered(&mut self, id: u64) -> Option<usize> {
        let answered = self.waiting.remove(self.position(id)?)?;
        self.bytes -= answered.command.len();
        self.put_off -= usize::from(answered.is_put_off);
        Some(answered.payload_bytes)
    }

    /// The far end cannot take message `id` now: it is sent again later. False when there is no
    /// such message.
    pub fn put_off(&mut self, id: u64) -> bool {
        let found = self.position(id).and_then(|at| self.waiting.get_mut(at));
        let Some(waiting) = found else { return false };
        self.put_off += usize::from(!std::mem::replace(&mut waiting.is_put_off, true));
        true
    }

    /// Whether nothing is under way but messages that were put off: then they may be sent again.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.put_off > 0 && self.put_off == self.waiting.len()
    }

    /// All messages without an answer, in their order, to be sent again.
    pub fn again(&mut self) -> impl Iterator<Item = Utf8Bytes> {
        self.put_off = 0;
        self.waiting.iter_mut().map(|waiting| {
            waiting.is_put_off = false;
            waiting.command.clone()
        })
    }

    /// Answers come in the order of the messages: nearly always it is the first.
    fn position(&self, id: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&id, |waiting| waiting.id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn again(pending: &mut Pending) -> Vec<String> {
        pending.again().map(|command| command.to_string()).collect()
    }

    #[test]
    fn what_has_no_answer_is_sent_again_in_order() {
        let mut pending = Pending::new(3, 100);
        for topic in ["a", "b", "c"] {
            assert!(pending.has_room());
            let sent = pending.send(1, |id| format!("{id}{topic}"));
            assert!(sent.unwrap().ends_with(topic));
        }
        assert!(!pending.has_room());
        assert_eq!([2, 2, 9].map(|id| pending.answered(id)), [Some(1), None, None]);
        assert_eq!(again(&mut pending), ["1a", "3c"]);
        assert!(pending.has_room());
    }

    #[test]
    fn bytes_have_a_bound_as_well_and_one_message_always_fits() {
        let mut pending = Pending::new(10, 4);
        pending.send(1, |_| "far more than four".to_owned());
        assert!(!pending.has_room());
        assert!(pending.answered(1).is_some() && pending.has_room() && pending.is_empty());
    }

    #[test]
    fn the_longest_is_given_up_and_whatever_is_as_long() {
        let mut pending = Pending::new(10, 100);
        assert_eq!(pending.give_up_longest(), 0);
        for text in ["12345", "123", "54321", "1234"] {
            assert!(pending.send(1, |_| text.to_owned()).is_some());
        }
        assert!(pending.put_off(1));
        assert_eq!(pending.give_up_longest(), 2);
        assert!(pending.has_room(), "what was put off is gone");
        assert_eq!(again(&mut pending), ["123", "1234"]);
        assert!(pending.send(1, |_| "abcdef".to_owned()).is_none());
        assert!(pending.send(1, |_| "abcde".to_owned()).is_none());
        assert!(pending.send(1, |_| "abcd".to_owned()).is_some());
        assert_eq!(pending.give_up_longest(), 2);
        assert_eq!(again(&mut pending), ["123"]);
        assert!(pending.answered(2).is_some() && pending.is_empty() && pending.bytes == 0);
    }

    #[test]
    fn nothing_new_is_sent_before_what_was_put_off() {
        let mut pending = Pending::new(10, 100);
        (0..3).for_each(|_| drop(pending.send(1, |id| id.to_string())));
        assert!(pending.put_off(2) && pending.put_off(2) && !pending.put_off(7));
        assert!(!pending.has_room() && !pending.is_stuck());
        assert!(pending.answered(1).is_some() && pending.answered(3).is_some());
        assert!(pending.is_stuck());
        assert_eq!(again(&mut pending), ["2"]);
        assert!(pending.has_room() && !pending.is_stuck());
    }

    proptest! {
        /// Whatever is answered when, no message is forgotten and none changes its place.
        #[test]
        fn every_message_is_there_until_it_is_answered(
            steps in proptest::collection::vec(0_u64..12, 1..200),
        ) {
            let (mut pending, mut model, mut next) = (Pending::new(8, 1_000), Vec::new(), 1);
            for step in steps {
                match step {
                    0..4 if pending.has_room() => {
                        pending.send(1, |id| id.to_string());
                        model.push(next);
                        next += 1;
                    }
                    4..8 => {
                        let id = model.get(step as usize - 4).copied().unwrap_or(0);
                        prop_assert_eq!(pending.answered(id).is_some(), model.contains(&id));
                        model.retain(|own| *own != id);
                    }
                    8..10 => {
                        let id = model.get(step as usize - 8).copied().unwrap_or(0);
                        prop_assert_eq!(pending.put_off(id), model.contains(&id));
                    }
                    10 => {
                        let expected: Vec<String> = model.iter().map(u64::to_string).collect();
                        prop_assert_eq!(again(&mut pending), expected);
                    }
                    _ => prop_assert!(pending.len() == model.len() && model.len() <= 8),
                }
            }
        }
    }
}
