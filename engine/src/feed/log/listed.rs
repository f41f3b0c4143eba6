//! How a topic is, for whoever looks after the engine. Owns how its rate is found without counting
//! for it. Must not know who asks, or how it is written.

use crate::feed::epoch::Position;
use crate::feed::log::Feed;
use crate::feed::topic::Topic;

/// The time over which a rate is taken.
const RATE_NS: u64 = 10_000_000_000;
/// The shortest such time: a topic that is younger has not had a second to show its rate.
const RATE_NS_MIN: u64 = 1_000_000_000;

/// See the file header.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub topic: Topic,
    /// Where its newest message stands.
    pub position: Position,
    /// When that came, on the engine's clock, ns; none before there is one.
    pub newest_ns: Option<u64>,
    /// Messages a second, over the last ten seconds or for as long as any are retained.
    pub rate_per_s: f64,
    /// Messages that are retained.
    pub messages: u64,
    /// Bytes that these are.
    pub bytes: u64,
    /// How many follow it, by itself or by a pattern.
    pub subscribers: u64,
}

impl Feed {
    /// How `topic`, which this feed is of, is at `now_ns`.
    pub fn listed(&self, topic: &Topic, now_ns: u64) -> Listed {
        let subscribers = self.subscribers();
        let state = self.lock();
        let (tail, head) = (state.kept.raw.writer.tail(), state.kept.raw.writer.head());
        let is_published = head.ordinal > 1;
        let since_ns = now_ns.saturating_sub(RATE_NS);
        let (times, is_cut) = (&state.kept.times, tail.ordinal > 1);
        let oldest_ns = times.first_ns().unwrap_or(now_ns).max(since_ns);
        let shortest_ns = if is_cut { 1 } else { RATE_NS_MIN };
        let span_ns = now_ns.saturating_sub(oldest_ns).max(shortest_ns);
        Listed {
            topic: topic.clone(),
            position: Position { epoch: self.epoch(), seq: self.positions.before(head.ordinal) },
            newest_ns: is_published.then_some(state.last_publish_ns),
            rate_per_s: times.count_since(since_ns, head.ordinal) * 1e9 / span_ns as f64,
            messages: head.ordinal.saturating_sub(tail.ordinal),
            bytes: head.pos.saturating_sub(tail.pos()),
            subscribers,
        }
    }
}
