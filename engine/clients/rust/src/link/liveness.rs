//! Whether the other side lives, judged by what was heard of it and when. Must not touch a socket
//! or wait: it is asked at intervals.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;

/// Between two looks at a connection, at most: how late a machine that slept notices it.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Time that passes between two looks, from which on they are in doubt, however rare heartbeats
/// are.
const DOUBT_MAX: Duration = Duration::from_secs(30);
/// How long a ping may take when the clocks say that this machine slept: its network may need a
/// moment, and a program that stood still because it was short of CPU still is.
pub const PROBE: Duration = Duration::from_secs(5);

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lives.
    Alive,
    /// This program or machine stood still: what was heard before says nothing. A ping decides.
    Doubtful,
    /// Nothing came for too long.
    Dead,
    /// The ping was not answered.
    Unanswered,
}

/// Keeps when something was heard last, by two clocks.
pub struct Liveness {
    clock: Arc<dyn Clock>,
    /// Silence from which on the other side counts as dead.
    pub silence_max: Duration,
    /// How often to look.
    pub look: Duration,
    count: Option<u64>,
    heard: Duration,
    looked: Duration,
    looked_wall: Duration,
    /// Since when an answer to a ping is waited for.
    asked: Option<Duration>,
}

impl Liveness {
    /// Of a server whose heartbeats come this often.
    pub fn new(heartbeat: Duration, clock: Arc<dyn Clock>) -> Self {
        let (now, wall) = (clock.monotonic(), clock.wall());
        Self {
            clock,
            silence_max: heartbeat.saturating_mul(2),
            look: (heartbeat / 4).clamp(Duration::from_millis(1), LOOK_MAX),
            count: None,
            heard: now,
            looked: now,
            looked_wall: wall,
            asked: None,
        }
    }

    /// Judges; `count` grows whenever anything comes.
    pub fn look(&mut self, count: u64) -> Verdict {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let passed = now.saturating_sub(self.looked);
        let since_look = passed.max(wall.saturating_sub(self.looked_wall));
        (self.looked, self.looked_wall) = (now, wall);
        if self.count.replace(count) != Some(count) {
            self.heard = now;
        }
        if let Some(asked) = self.asked {
            let is_late = now.saturating_sub(asked) >= PROBE;
            return if is_late { Verdict::Unanswered } else { Verdict::Alive };
        }
        if since_look > self.silence_max.min(DOUBT_MAX) {
            self.asked = Some(now);
            return Verdict::Doubtful;
        }
        let is_dead = now.saturating_sub(self.heard) >= self.silence_max;
        if is_dead { Verdict::Dead } else { Verdict::Alive }
    }

    /// The ping was answered.
    pub fn answered(&mut self) {
        self.asked = None;
        self.heard = self.clock.monotonic();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Set(Mutex<(u64, u64)>);

    impl Clock for Set {
        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().0)
        }

        fn wall(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().1)
        }
    }

    fn passes(clock: &Set, monotonic_s: u64, wall_s: u64) {
        let mut now = clock.0.lock().unwrap();
        *now = (now.0 + monotonic_s, now.1 + wall_s);
    }

    #[test]
    fn silence_of_two_heartbeats_is_death() {
        let clock = Arc::new(Set::default());
        let mut liveness = Liveness::new(Duration::from_secs(10), Arc::clone(&clock) as _);
        passes(&clock, 10, 10);
        assert_eq!(liveness.look(1), Verdict::Alive);
        passes(&clock, 19, 19);
        assert_eq!(liveness.look(1), Verdict::Alive);
        passes(&clock, 1, 1);
        assert_eq!(liveness.look(1), Verdict::Dead);
        assert_eq!(liveness.look(2), Verdict::Alive);
    }

    #[test]
    fn a_machine_that_slept_asks_before_it_judges() {
        let clock = Arc::new(Set::default());
        let mut liveness = Liveness::new(Duration::from_secs(10), Arc::clone(&clock) as _);
        assert_eq!(liveness.look(1), Verdict::Alive);
        passes(&clock, 0, 3600);
        assert_eq!(liveness.look(1), Verdict::Doubtful);
        liveness.answered();
        assert_eq!(liveness.look(1), Verdict::Alive);
        passes(&clock, 3600, 3600);
        assert_eq!(liveness.look(1), Verdict::Doubtful);
        passes(&clock, 4, 4);
        assert_eq!(liveness.look(2), Verdict::Alive, "what comes may have been underway");
        passes(&clock, 1, 1);
        assert_eq!(liveness.look(2), Verdict::Unanswered);
    }
}
