//! The frames of one publisher that a socket had to receive, and which of them are missing once the
//! run is over: lost, undelivered, or left out on purpose. Must not know other sockets or causes.

use crate::codec::form::Pace;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::verify::Tracker;
use crate::scenario::groups::ClassKind;
use crate::time::units::SECOND_NS;

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was still open when the run was over.
    Open,
    /// The server closed it, or violated the protocol.
    Closed,
    /// The scenario's own fault killed it.
    Killed,
}

/// The frames of a publisher that a socket has to receive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// All frames that the publisher published.
    pub published: u32,
    /// Those from before the socket connected, which the tracker counts as received.
    pub missed: u32,
    /// Whether the last one was due so long ago that a rate limit cannot be holding it back.
    pub is_overdue: bool,
}

/// The longest that a rate limit may hold back the newest frame, plus a second of transit, ns.
pub fn hold_ns_max(pace: Pace) -> u64 {
    SECOND_NS + pace.rate.map_or(0, |rate| SECOND_NS / u64::from(rate.max(1)))
}

/// Counts what a socket should have received and did not. Returns the first frame of the
/// undelivered tail, if there is one.
pub fn count_missing(
    class: &mut ClassOutcome,
    end: End,
    tracker: &Tracker,
    expected: Expected,
) -> Option<u32> {
    let Expected { published, missed, is_overdue } = expected;
    let is_thinned = class.pace.is_thinned();
    let tail = match (end, class.kind) {
        (End::Killed, _) => 0,
        (End::Closed, _) => tracker.tail(published),
        (End::Open, ClassKind::Healthy) if !is_thinned => tracker.tail(published),
        // Any frame may be left out, except the newest one.
        (End::Open, ClassKind::Healthy) if is_overdue => tracker.tail(published).min(1),
        (End::Open, _) => 0,
    };
    let from = (tail > 0).then(|| published - tail);
    let tail = u64::from(tail);
    let holes = u64::from(tracker.holes());
    let lost = if is_thinned { 0 } else { holes };
    class.left_out += holes - lost;
    class.expected += u64::from(tracker.received() - missed) + lost + tail;
    class.lost += lost;
    match end {
        End::Closed => class.undelivered_after_close += tail,
        End::Open | End::Killed => class.undelivered += tail,
    }
    from
}
