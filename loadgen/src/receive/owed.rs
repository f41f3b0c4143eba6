//! What a socket was owed of one publisher, and what is missing of it once the run is over: lost,
//! undelivered, left out on purpose. Must not know other sockets, or who is to blame.

use crate::codec::form::Pace;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::verify::Tracker;
use crate::scenario::groups::ClassKind;
use crate::time::units::SECOND_NS;

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Still open when the run was over.
    Open,
    /// The server ended it, or broke the protocol.
    Closed,
    /// The run's own fault plan.
    Killed,
}

/// What a publisher has for a socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owed {
    /// Its frames.
    pub published: u32,
    /// Those of before the socket came, which the tracker counts as received.
    pub missed: u32,
    /// Whether the last has been due for so long that nothing excuses its absence.
    pub is_overdue: bool,
}

/// How long a feed may hold the newest frame back, and a second for the way, ns.
pub fn patience_ns(pace: Pace) -> u64 {
    SECOND_NS + pace.rate.map_or(0, |rate| SECOND_NS / u64::from(rate.max(1)))
}

/// Settles what a socket was owed; the first frame of the tail that did not come, if there is one.
pub fn charge(class: &mut ClassOutcome, end: End, tracker: &Tracker, owed: Owed) -> Option<u32> {
    let Owed { published, missed, is_overdue } = owed;
    let is_thinned = class.pace.is_thinned();
    let tail = match (end, class.kind) {
        (End::Killed, _) => 0,
        (End::Closed, _) => tracker.tail(published),
        (End::Open, ClassKind::Healthy) if !is_thinned => tracker.tail(published),
        // Any frame may be left out, but not the newest for ever.
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
