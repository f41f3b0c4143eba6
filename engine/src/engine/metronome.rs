//! The metronome: a thread that has rated feeds publish at the instants of the UTC grid. Owns only
//! which instant it has reached. Must not know what the feeds hold.

use crate::clock;
use crate::clock::Clock;
use crate::core::shared::Shared;

/// Instants further back than this are passed over: after a suspended machine or a corrected clock
/// the grid goes on from now.
const CATCH_UP_NS_MAX: u64 = 1_000_000_000;

/// Runs until `rated` is stopped; counts what it has encoded in `metrics`.
pub fn run(shared: &Shared, clock: &Clock) {
    let (rated, metrics) = (shared.registry.rated(), &shared.metronome);
    let mut done_ns = clock::unix_ns();
    while rated.wait(done_ns, clock::unix_ns()) {
        let now_ns = clock::unix_ns();
        // The clock went back: what is held waits no longer than it would have.
        let from_ns = done_ns.clamp(now_ns.saturating_sub(CATCH_UP_NS_MAX), now_ns);
        let _quiet = shared.publishing();
        for feed in rated.due(from_ns, now_ns) {
            let (encodes, deflates) = feed.release(clock.now_ns());
            metrics.encoded(encodes, deflates);
        }
        done_ns = now_ns;
    }
}
