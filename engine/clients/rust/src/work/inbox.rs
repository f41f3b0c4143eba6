//! The bounded queue between the task and the program. Owns what is given up when it is full, and
//! that this is told. Must not know the wire.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;

use crate::error::Error;
use crate::items::{Gap, Item, Message, Position, Reason, Restarted};
use crate::options::{Mode, Overflow, SubscribeOptions};

/// Items in order. With [`Mode::Latest`], of each topic only the newest message waits.
pub struct Inbox {
    target: Arc<str>,
    size_max: usize,
    conflates: bool,
    pauses: bool,
    items: BTreeMap<u64, Item>,
    /// Where the newest message of each topic waits, where only that is kept.
    newest: HashMap<Arc<str>, u64>,
    next: u64,
    /// What was given up since the last item was taken: told before all that waits.
    restarted: Option<Restarted>,
    lost: Option<Gap>,
    /// What the server jumped over behind all that waits.
    jumped: Option<Gap>,
    is_paused: bool,
    end: Option<Error>,
    waker: Option<Waker>,
    /// Behind what came last, which may still wait.
    pub position: Option<Position>,
}

/// What a step asks of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    None,
    /// It is full: give the subscription up for now.
    Pause,
    /// There is room again.
    GoOn,
}

/// What there is for the program.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// The next item.
    Item(Item),
    /// Nothing yet.
    Wait,
    /// It has ended so.
    Ended(Error),
}

impl Inbox {
    /// An empty one for the subscription `target`.
    #[must_use]
    pub fn new(target: &Arc<str>, options: &SubscribeOptions) -> Self {
        Self {
            target: Arc::clone(target),
            size_max: options.queue_max,
            conflates: options.mode == Mode::Latest,
            pauses: options.overflow == Overflow::Pause,
            items: BTreeMap::new(),
            newest: HashMap::new(),
            next: 0,
            restarted: None,
            lost: None,
            jumped: None,
            is_paused: false,
            end: None,
            waker: None,
            position: None,
        }
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes an item.
    pub fn put(&mut self, item: Item) -> Pressure {
        if self.end.is_some() {
            return Pressure::None;
        }
        match item {
            Item::Gap(gap) if self.conflates && gap.reason == Reason::Conflated => {
                self.jumped = Some(merged(self.jumped.take(), gap));
            }
            item => {
                if let Some(jumped) = self.jumped.take() {
                    self.lose(Item::Gap(jumped), Reason::Conflated);
                }
                self.append(item);
            }
        }
        self.wake();
        let is_full = self.pauses && self.items.len() >= self.size_max;
        if is_full && !std::mem::replace(&mut self.is_paused, true) {
            return Pressure::Pause;
        }
        Pressure::None
    }

    /// The next item, or that `waker` will be woken.
    pub fn take(&mut self, waker: &Waker) -> (Next, Pressure) {
        match (self.pop(), &self.end) {
            (Some(item), _) => (Next::Item(item), self.room()),
            (None, Some(end)) => (Next::Ended(end.clone()), Pressure::None),
            (None, None) => {
                self.waker = Some(waker.clone());
                (Next::Wait, Pressure::None)
            }
        }
    }

    /// Nothing comes any more: `error` is told behind what waits, or in its place.
    pub fn end(&mut self, error: Error, at_once: bool) {
        self.end.get_or_insert(error);
        if at_once {
            self.items.clear();
            (self.restarted, self.lost, self.jumped) = (None, None, None);
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn append(&mut self, item: Item) {
        let key = self.next;
        self.next += 1;
        if self.conflates
            && let Item::Message(Message { topic, .. }) = &item
            && let Some(older) = self.newest.insert(Arc::clone(topic), key)
            && let Some(older) = self.items.remove(&older)
        {
            self.lose(older, Reason::Conflated);
        }
        self.items.insert(key, item);
        if !self.pauses
            && self.items.len() > self.size_max
            && let Some((_, oldest)) = self.items.pop_first()
        {
            self.forget(&oldest);
            self.lose(oldest, Reason::Queue);
        }
    }

    fn pop(&mut self) -> Option<Item> {
        if let Some(restarted) = self.restarted.take() {
            return Some(Item::Restarted(restarted));
        }
        if let Some(lost) = self.lost.take() {
            return Some(Item::Gap(lost));
        }
        if let Some((_, item)) = self.items.pop_first() {
            self.forget(&item);
            return Some(item);
        }
        self.jumped.take().map(Item::Gap)
    }

    /// A message waits no longer. Its topic is forgotten: there may be no end of topics.
    fn forget(&mut self, item: &Item) {
        if let Item::Message(Message { topic, .. }) = item {
            self.newest.remove(topic);
        }
    }

    fn room(&mut self) -> Pressure {
        if self.is_paused && self.items.len() <= self.size_max / 2 {
            self.is_paused = false;
            return Pressure::GoOn;
        }
        Pressure::None
    }

    fn lose(&mut self, item: Item, reason: Reason) {
        let gap = match item {
            Item::Message(Message { position: Position { epoch, seq }, .. }) => {
                let topic = Arc::clone(&self.target);
                Gap { topic, epoch, from: seq, to: seq, frames: Some(1), reason }
            }
            Item::Gap(gap) => Gap { reason, ..gap },
            Item::Restarted(Restarted { topic, epoch_before, epoch }) => {
                let older = self.restarted.take().map(|older| older.epoch_before);
                let epoch_before = older.unwrap_or(epoch_before);
                self.restarted = Some(Restarted { topic, epoch_before, epoch });
                return;
            }
            // What it announced is told by the gap.
            Item::Resumed(_) => return,
        };
        self.lost = Some(merged(self.lost.take(), gap));
    }
}

/// One gap for two. Across a restart only the end of it has a meaning.
fn merged(older: Option<Gap>, gap: Gap) -> Gap {
    let Some(older) = older else { return gap };
    let frames = older.frames.zip(gap.frames).map(|(one, other)| one.saturating_add(other));
    let is_one_life = older.epoch == gap.epoch;
    let (from, to) = match is_one_life {
        true => (older.from.min(gap.from), older.to.max(gap.to)),
        false => (0, gap.to),
    };
    let reason = if older.reason == Reason::Queue { Reason::Queue } else { gap.reason };
    Gap { from, to, frames, reason, topic: gap.topic, epoch: gap.epoch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(topic: &str, seq: u64) -> Item {
        let position = Position { epoch: "k1".into(), seq };
        let (topic, payload) = (topic.into(), bytes::Bytes::new());
        Item::Message(Message { topic, pattern: None, position, payload, is_text: true })
    }

    fn gap(from: u64, to: u64, frames: Option<u64>, reason: Reason) -> Gap {
        Gap { topic: "t".into(), epoch: "k1".into(), from, to, frames, reason }
    }

    fn inbox(size_max: usize, mode: Mode, overflow: Overflow) -> Inbox {
        let options = SubscribeOptions::new().queue_max(size_max).mode(mode).overflow(overflow);
        Inbox::new(&"t".into(), &options)
    }

    fn take(inbox: &mut Inbox) -> Option<Item> {
        match inbox.take(Waker::noop()).0 {
            Next::Item(item) => Some(item),
            _ => None,
        }
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_tells_it_first() {
        let mut inbox = inbox(2, Mode::Lossless, Overflow::Drop);
        for seq in 1..=5 {
            inbox.put(message("t", seq));
        }
        assert_eq!(take(&mut inbox), Some(Item::Gap(gap(1, 3, Some(3), Reason::Queue))));
        assert_eq!(take(&mut inbox), Some(message("t", 4)));
        assert_eq!(take(&mut inbox), Some(message("t", 5)));
        assert_eq!(take(&mut inbox), None);
    }

    #[test]
    fn a_restart_is_not_forgotten_by_a_full_queue() {
        let mut inbox = inbox(1, Mode::Lossless, Overflow::Drop);
        let restarted = |before: &str, epoch: &str| {
            let (epoch_before, epoch) = (before.into(), epoch.into());
            Item::Restarted(Restarted { topic: "t".into(), epoch_before, epoch })
        };
        for item in [restarted("k0", "k1"), restarted("k1", "k2"), message("t", 9)] {
            inbox.put(item);
        }
        assert_eq!(take(&mut inbox), Some(restarted("k0", "k2")));
        assert_eq!(take(&mut inbox), Some(message("t", 9)));
    }

    #[test]
    fn the_newest_of_each_topic_waits_where_that_is_asked_for() {
        let mut inbox = inbox(10, Mode::Latest, Overflow::Drop);
        for (topic, seq) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
            inbox.put(message(topic, seq));
        }
        inbox.put(Item::Gap(gap(5, 6, None, Reason::Conflated)));
        assert_eq!(take(&mut inbox), Some(Item::Gap(gap(1, 3, Some(2), Reason::Conflated))));
        assert_eq!(take(&mut inbox), Some(message("b", 2)));
        assert_eq!(take(&mut inbox), Some(message("a", 4)));
        assert_eq!(take(&mut inbox), Some(Item::Gap(gap(5, 6, None, Reason::Conflated))));
        assert!(inbox.newest.is_empty());
    }

    #[test]
    fn a_queue_that_pauses_says_when_and_drops_nothing() {
        let mut inbox = inbox(4, Mode::Lossless, Overflow::Pause);
        let put: Vec<_> = (1..=6).map(|seq| inbox.put(message("t", seq))).collect();
        let (none, pause) = (Pressure::None, Pressure::Pause);
        assert_eq!(put, [none, none, none, pause, none, none]);
        let taken: Vec<_> = (0..6).map(|_| inbox.take(Waker::noop()).1).collect();
        assert_eq!(taken, [none, none, none, Pressure::GoOn, none, none]);
    }

    #[test]
    fn an_end_is_told_behind_what_waits_or_at_once() {
        let mut inbox = inbox(4, Mode::Lossless, Overflow::Drop);
        inbox.put(message("t", 1));
        inbox.end(Error::Closed, false);
        inbox.put(message("t", 2));
        assert_eq!(take(&mut inbox), Some(message("t", 1)));
        assert_eq!(inbox.take(Waker::noop()).0, Next::Ended(Error::Closed));
    }

    proptest! {
        /// Every message is taken or counted as lost, and none twice.
        #[test]
        fn what_is_not_brought_is_told(
            steps in proptest::collection::vec(0_u8..4, 1..200),
            conflates in any::<bool>(),
        ) {
            let mode = if conflates { Mode::Latest } else { Mode::Lossless };
            let mut inbox = inbox(5, mode, Overflow::Drop);
            let (mut seq, mut told) = (0, 0);
            let mut count = |item: Option<Item>| match item {
                Some(Item::Message(_)) => told += 1,
                Some(Item::Gap(gap)) => told += gap.frames.unwrap_or(0),
                _ => {}
            };
            for step in steps {
                match step {
                    3 => count(take(&mut inbox)),
                    topic => {
                        seq += 1;
                        inbox.put(message(&topic.to_string(), seq));
                    }
                }
                prop_assert!(inbox.len() <= 5);
            }
            while let Some(item) = take(&mut inbox) {
                count(Some(item));
            }
            prop_assert_eq!(told, seq);
        }
    }
}
