//! Feeds without an engine around them. Owns what the tests of them take for granted. Must not
//! publish anything.

use std::sync::Arc;

use gridcast::delivery::doorbell::{Doorbell, Wake};
use gridcast::feed::awaited::AwaitedMax;
use gridcast::feed::epoch::Epoch;
use gridcast::feed::log::FeedName;
use gridcast::feed::message::Message;
use gridcast::feed::options::LagPolicy;
use gridcast::feed::registry::{Identity, RegistryOptions};
use gridcast::feed::retention::{Retention, RetentionClasses};
use gridcast::frame::Kind;

/// A second, in ns.
pub const S: u64 = 1_000_000_000;

/// 1 MiB a feed, of any age, and `frames_max` frames.
pub fn retention(frames_max: u64) -> Retention {
    Retention { frames_max, bytes_max: 1 << 20, age_ns_max: None, lag: LagPolicy::Disconnect }
}

/// A registry that keeps `retention` of every feed, and has room for many.
pub fn options(retention: Retention) -> RegistryOptions {
    RegistryOptions {
        topics_max: 1_000_000,
        patterns_max: 1000,
        rates_per_target_max: 16,
        awaited_max: AwaitedMax::default(),
        log_bytes_max: 1 << 30,
        compact_after_ns: 60 * S,
        forget_after_ns: 3600 * S,
        classes: RetentionClasses::new(Vec::new(), retention),
        epoch: Epoch(1),
        identity: Identity::PerFeed,
    }
}

/// The name of a topic's or a pattern's feed.
pub fn name(target: &str) -> FeedName {
    FeedName { target: target.parse().unwrap(), rate: None }
}

/// A binary message.
pub fn message(payload: &[u8]) -> Message<'_> {
    Message::of_client(Kind::Binary, payload)
}

/// The doorbell of a core that never sleeps.
pub fn doorbell() -> Arc<Doorbell> {
    Arc::new(Doorbell::new(Box::new(Awake)))
}

struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}
