//! How long a bridge was away from a system that keeps nothing for it. Owns that this is told once
//! it is back. Must not know systems.

use std::time::Duration;

use gridcast::clock::Clock;

use crate::bridge::context::Context;

/// See the file header.
#[derive(Debug)]
pub struct Absence {
    clock: Clock,
    began_ns: Option<u64>,
}

impl Default for Absence {
    fn default() -> Self {
        Self { clock: Clock::start(), began_ns: None }
    }
}

impl Absence {
    /// The connection is lost; the first time counts, until it is back.
    pub fn begin(&mut self) {
        let now_ns = self.clock.now_ns();
        self.began_ns.get_or_insert(now_ns);
    }

    /// The connection is back: what was published there meanwhile did not come in, and nobody knows
    /// how much that was.
    pub fn end(&mut self, context: &Context) {
        let Some(began_ns) = self.began_ns.take() else { return };
        if context.common().inputs.is_empty() {
            return;
        }
        context.counters().error("gap");
        let away = Duration::from_nanos(self.clock.now_ns().saturating_sub(began_ns));
        let (bridge, away_ms) = (&context.common().name, away.as_millis() as u64);
        tracing::warn!(bridge, away_ms, "what was published there meanwhile did not come in");
    }
}
