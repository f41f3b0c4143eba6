//! Absent subscribers and when each attempts to connect again: waits, attempts, time-outs. Pure
//! bookkeeping for one subscriber thread's share; the caller owns the sockets and the clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rustc_hash::FxHashMap;

use crate::codec::events::EventId;
use crate::scenario::lifecycle::Wait;
use crate::time::units::SECOND_NS;

/// The subscribers of one thread that have to connect during the run.
#[derive(Debug, Default)]
pub struct ReconnectQueue {
    /// When each makes its next attempt: instant, subscriber.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    away: FxHashMap<u32, Reconnect>,
    /// Attempts in progress in the order of their deadlines: subscriber, and number of attempts
    /// before.
    pending: VecDeque<(u64, u32, u32)>,
    in_flight: usize,
}

/// An absent subscriber.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconnect {
    /// Since when it is absent, or since its first attempt if it was never connected.
    pub since_ns: u64,
    /// Its account at the reception, if it was connected before.
    pub account: Option<u32>,
    /// How long it waits before it retries.
    pub wait: Wait,
    /// What it goes on after, if it resumes.
    pub resumes: Option<Resume>,
    failed: u32,
}

/// How a subscriber goes on that was cut off against its will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The newest frame it has received; none if it has received none.
    pub after: Option<EventId>,
}

impl Reconnect {
    /// A subscriber without any attempt so far.
    pub fn new(since_ns: u64, account: Option<u32>, wait: Wait) -> Reconnect {
        Reconnect { since_ns, account, wait, resumes: None, failed: 0 }
    }
}

impl ReconnectQueue {
    /// A subscriber is absent and attempts to connect at `due_ns`.
    pub fn expect(&mut self, subscriber: u32, absent: Reconnect, due_ns: u64) {
        self.away.insert(subscriber, absent);
        self.due.push(Reverse((due_ns, subscriber)));
    }

    /// The next subscriber to attempt a connection. Must end in `connected` or `failed`.
    pub fn due(&mut self, now_ns: u64) -> Option<u32> {
        let Reverse((due_ns, subscriber)) = *self.due.peek()?;
        if due_ns > now_ns || self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        self.due.pop();
        let failed = self.away.get(&subscriber)?.failed;
        self.in_flight += 1;
        self.pending.push_back((now_ns + ATTEMPT_NS_MAX, subscriber, failed));
        Some(subscriber)
    }

    /// A subscriber whose attempt has timed out; the caller fails it.
    pub fn overdue(&mut self, now_ns: u64) -> Option<u32> {
        while let Some((deadline_ns, subscriber, failed)) = self.pending.front().copied() {
            if deadline_ns > now_ns {
                return None;
            }
            self.pending.pop_front();
            if self.away.get(&subscriber).is_some_and(|absent| absent.failed == failed) {
                return Some(subscriber);
            }
        }
        None
    }

    /// What an absent subscriber goes on after.
    pub fn resume_of(&self, subscriber: u32) -> Option<EventId> {
        self.away.get(&subscriber)?.resumes?.after
    }

    /// How many attempts of an absent subscriber have failed.
    pub fn failed_attempts(&self, subscriber: u32) -> u32 {
        self.away.get(&subscriber).map_or(0, |absent| absent.failed)
    }

    /// A subscriber is connected.
    pub fn connected(&mut self, subscriber: u32) -> Option<Reconnect> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.away.remove(&subscriber)
    }

    /// An attempt has failed; the next follows after a wait, for which `word` is random.
    pub fn failed(&mut self, subscriber: u32, now_ns: u64, word: u64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(absent) = self.away.get_mut(&subscriber) {
            absent.failed += 1;
            let due_ns = now_ns + absent.wait.delay_ns(absent.failed, word).max(RETRY_NS_MIN);
            self.due.push(Reverse((due_ns, subscriber)));
        }
    }

    /// The subscribers that are absent after at least one attempt.
    pub fn still_absent(&self) -> impl Iterator<Item = u32> + '_ {
        let tried = self.away.iter().filter(|(_, absent)| absent.failed > 0);
        tried.map(|(subscriber, _)| *subscriber)
    }
}

/// The most handshakes in progress per thread: enough for a storm on the server, too few to fill
/// the queues of the generator's own kernel.
const IN_FLIGHT_MAX: usize = 2048;
const ATTEMPT_NS_MAX: u64 = 10 * SECOND_NS;
/// The wait after a refusal for clients that otherwise reconnect at once; without it the thread
/// would do nothing else.
const RETRY_NS_MIN: u64 = SECOND_NS / 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const WAIT: Wait = Wait::Fixed(Duration::from_secs(1));

    fn one_away() -> ReconnectQueue {
        let mut reconnects = ReconnectQueue::default();
        reconnects.expect(7, Reconnect::new(0, Some(3), WAIT), SECOND_NS);
        reconnects
    }

    #[test]
    fn whoever_is_away_comes_when_due() {
        let mut reconnects = one_away();
        assert_eq!(reconnects.due(SECOND_NS - 1), None);
        assert_eq!((reconnects.due(SECOND_NS), reconnects.due(SECOND_NS)), (Some(7), None));
        let absent = reconnects.connected(7).unwrap();
        assert_eq!((absent.since_ns, absent.account), (0, Some(3)));
        assert_eq!(reconnects.overdue(60 * SECOND_NS), None);
        assert_eq!(reconnects.still_absent().count(), 0);
    }

    #[test]
    fn a_failed_try_is_repeated_after_a_wait() {
        let mut reconnects = one_away();
        assert_eq!(reconnects.due(SECOND_NS), Some(7));
        reconnects.failed(7, 2 * SECOND_NS, 0);
        assert_eq!(reconnects.still_absent().collect::<Vec<_>>(), [7]);
        assert_eq!(reconnects.due(3 * SECOND_NS - 1), None);
        assert_eq!(reconnects.due(3 * SECOND_NS), Some(7));
    }

    #[test]
    fn a_try_that_hangs_is_told_once_and_not_for_the_next() {
        let mut reconnects = one_away();
        assert_eq!(reconnects.due(SECOND_NS), Some(7));
        reconnects.failed(7, 2 * SECOND_NS, 0);
        assert_eq!(reconnects.due(3 * SECOND_NS), Some(7));
        assert_eq!(reconnects.overdue(11 * SECOND_NS), None, "the first has failed already");
        assert_eq!(reconnects.overdue(13 * SECOND_NS), Some(7));
        assert_eq!(reconnects.overdue(13 * SECOND_NS), None);
    }

    #[test]
    fn tries_under_way_are_bounded() {
        let mut reconnects = ReconnectQueue::default();
        (0..3_000).for_each(|n| reconnects.expect(n, Reconnect::new(0, None, WAIT), 0));
        assert_eq!(std::iter::from_fn(|| reconnects.due(0)).count(), IN_FLIGHT_MAX);
        assert!(reconnects.connected(0).is_some() && reconnects.due(0).is_some());
    }
}
