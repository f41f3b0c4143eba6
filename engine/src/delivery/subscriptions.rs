//! The subscriptions of one connection, and which of them may have frames to send. Owns the
//! indexes and the order of turns, so that a write costs what it carries, not what is subscribed or
//! waits. Must not send anything.

use std::collections::VecDeque;

use crate::delivery::sweep::Lanes;
use crate::feed::cursor::Cursor;
use crate::feed::options::{LagPolicy, Mode};

/// A subscription of one connection: a cursor, and what to do when it falls behind.
#[derive(Clone, Copy, Debug)]
pub struct Subscription {
    /// The core's key of the lane.
    pub lane: u32,
    /// Index among the lane's members, kept by [`Lanes`].
    pub member: u32,
    /// Where it stands.
    pub cursor: Cursor,
    /// What lagging means to it.
    pub mode: Mode,
    /// What to do when retention passes it.
    pub lag: LagPolicy,
    /// Whether it is among those of its connection that are known to be behind.
    is_behind: bool,
}

impl Subscription {
    /// A subscription that begins at `cursor` of the lane `lane`, whose member `member` it is.
    pub fn new((lane, member): (u32, u32), cursor: Cursor, mode: Mode, lag: LagPolicy) -> Self {
        Self { lane, member, cursor, mode, lag, is_behind: true }
    }

    /// True when it has been sent all there is.
    pub fn is_caught_up(&self, lanes: &Lanes) -> bool {
        self.cursor.pos() == lanes.reader(self.lane).head().pos
    }
}

/// All subscriptions of one connection.
#[derive(Debug)]
pub enum Subscriptions {
    /// At most one, which costs no allocation and is looked at in every flush.
    One(Option<Subscription>),
    /// Any number: the connection is multiplexed.
    Many(Box<Many>),
}

/// The subscriptions of a multiplexed connection.
#[derive(Debug, Default)]
pub struct Many {
    all: Vec<Subscription>,
    /// Indexes of those that may have something to send. They take turns: whoever was sent its
    /// share goes behind the others, and only the first can have a torn frame.
    behind: VecDeque<u32>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::One(None)
    }
}

impl Subscriptions {
    /// For a multiplexed connection.
    pub fn many() -> Self {
        Self::Many(Box::default())
    }

    /// True for a multiplexed connection.
    pub fn is_many(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    /// Every subscription, in no particular order.
    pub fn all(&self) -> &[Subscription] {
        match self {
            Self::One(one) => one.as_slice(),
            Self::Many(many) => &many.all,
        }
    }

    /// Every subscription, to be changed.
    pub fn all_mut(&mut self) -> &mut [Subscription] {
        match self {
            Self::One(one) => one.as_mut_slice(),
            Self::Many(many) => &mut many.all,
        }
    }

    /// Every subscription, taken out.
    pub fn into_all(self) -> Vec<Subscription> {
        match self {
            Self::One(one) => one.into_iter().collect(),
            Self::Many(many) => many.all,
        }
    }

    /// The one that has its turn after `before` others, of those that may have something to send.
    pub fn behind(&self, before: usize) -> Option<u32> {
        match self {
            Self::One(one) => (one.is_some() && before == 0).then_some(0),
            Self::Many(many) => many.behind.get(before).copied(),
        }
    }

    /// Bytes of user memory held beside its own.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(many) => {
                let all = many.all.capacity() * size_of::<Subscription>();
                size_of::<Many>() + all + many.behind.capacity() * size_of::<u32>()
            }
        }
    }

    /// Adds a subscription; its index is the number there were.
    pub fn add(&mut self, subscription: Subscription) {
        match self {
            Self::One(one) => {
                debug_assert!(one.is_none(), "a second subscription needs `many`");
                *one = Some(subscription);
            }
            Self::Many(many) => {
                many.behind.push_back(many.all.len() as u32);
                many.all.push(Subscription { is_behind: true, ..subscription });
            }
        }
    }

    /// Takes one out. The last one takes its index.
    pub fn remove(&mut self, index: u32) -> Option<Subscription> {
        match self {
            Self::One(one) => one.take(),
            Self::Many(many) => many.remove(index),
        }
    }

    /// Notes that one of many may have something to send.
    pub fn mark(&mut self, index: u32) {
        if let Self::Many(many) = self
            && let Some(subscription) = many.all.get_mut(index as usize)
            && !std::mem::replace(&mut subscription.is_behind, true)
        {
            many.behind.push_back(index);
        }
    }

    /// Passes over those at the front that have nothing to send: the first then has, if any.
    pub fn pass_caught_up(&mut self, lanes: &Lanes) {
        if let Self::Many(many) = self {
            while let Some(&first) = many.behind.front()
                && many.all[first as usize].is_caught_up(lanes)
            {
                many.forget_first();
            }
        }
    }

    /// Ends the turn of one that was sent bytes; those before it had nothing to send. One with a
    /// torn frame stays first.
    pub fn end_turn(&mut self, index: u32, lanes: &Lanes) {
        let Self::Many(many) = self else { return };
        while many.behind.front().is_some_and(|first| *first != index) {
            many.forget_first();
        }
        let served = &many.all[index as usize];
        if served.is_caught_up(lanes) {
            many.forget_first();
        } else if !served.cursor.is_torn() {
            many.behind.rotate_left(1);
        }
    }
}

impl Many {
    fn forget_first(&mut self) {
        if let Some(first) = self.behind.pop_front() {
            self.all[first as usize].is_behind = false;
        }
    }

    fn remove(&mut self, index: u32) -> Option<Subscription> {
        let last = self.all.len().checked_sub(1)? as u32;
        if index > last {
            return None;
        }
        let removed = self.all.swap_remove(index as usize);
        if removed.is_behind {
            self.behind.retain(|&behind| behind != index);
        }
        let moved = self.all.get(index as usize).filter(|moved| moved.is_behind);
        if moved.is_some()
            && let Some(place) = self.behind.iter_mut().find(|behind| **behind == last)
        {
            *place = index;
        }
        Some(removed)
    }
}
