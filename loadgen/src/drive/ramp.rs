//! Opens many sockets over time: pacing, time-outs, bounded retries, errors by kind. Pure
//! bookkeeping for one subscriber thread's share; the caller owns the sockets and the clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::receive::outcome::RampOutcome;
use crate::time::units::SECOND_NS;

/// One attempt to open the socket of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Index into the plan's subscribers.
    pub subscriber: u32,
    /// Number of attempts before this one.
    pub tries: u8,
}

/// One thread's part of the ramp.
#[derive(Debug)]
pub struct Ramp {
    fresh: VecDeque<u32>,
    retries: VecDeque<(u64, Attempt)>,
    interval_ns: u64,
    next_ns: u64,
    pending: VecDeque<(u64, u32)>,
    in_flight: usize,
    outcome: RampOutcome,
    began_ns: u64,
}

impl Ramp {
    /// A ramp of these subscribers at `rate` sockets per second, from now on.
    pub fn new(subscribers: VecDeque<u32>, rate: f64, now_ns: u64) -> Ramp {
        Ramp {
            fresh: subscribers,
            retries: VecDeque::new(),
            interval_ns: (SECOND_NS as f64 / rate.max(RATE_MIN)) as u64,
            next_ns: now_ns,
            pending: VecDeque::new(),
            in_flight: 0,
            outcome: RampOutcome::default(),
            began_ns: now_ns,
        }
    }

    /// The next attempt, if one is due. It must end in `succeeded` or `failed`.
    pub fn due(&mut self, now_ns: u64) -> Option<Attempt> {
        if now_ns < self.next_ns || self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let attempt = self.due_retry(now_ns).or_else(|| self.due_fresh())?;
        // A delayed thread does not catch up in a burst, because the server would see a storm.
        self.next_ns = (self.next_ns + self.interval_ns).max(now_ns.saturating_sub(CATCH_UP_NS));
        self.in_flight += 1;
        self.pending.push_back((now_ns + ATTEMPT_NS_MAX, attempt.subscriber));
        Some(attempt)
    }

    /// A socket was upgraded.
    pub fn succeeded(&mut self, now_ns: u64) {
        self.in_flight -= 1;
        self.outcome.connected += 1;
        self.outcome.elapsed = self.elapsed(now_ns);
    }

    /// An attempt failed; failures that may be temporary are retried later.
    pub fn failed(&mut self, attempt: Attempt, reason: &str, now_ns: u64) {
        self.in_flight -= 1;
        *self.outcome.errors.entry(reason.to_string()).or_default() += 1;
        self.outcome.elapsed = self.elapsed(now_ns);
        if attempt.tries + 1 < TRIES_MAX && RETRIED.contains(&reason) {
            let backoff_ns = BACKOFF_NS << attempt.tries;
            let retry = Attempt { tries: attempt.tries + 1, ..attempt };
            self.retries.push_back((now_ns + backoff_ns, retry));
        }
    }

    /// Keeps what the server said to the first socket that it refused.
    pub fn note_refusal(&mut self, refusal: Option<String>) {
        self.outcome.said = self.outcome.said.take().or(refusal);
    }

    /// The subscribers whose attempts have timed out. The caller fails those that are still in
    /// progress.
    pub fn overdue(&mut self, now_ns: u64) -> Option<u32> {
        let (deadline_ns, subscriber) = *self.pending.front()?;
        (deadline_ns <= now_ns).then(|| {
            self.pending.pop_front();
            subscriber
        })
    }

    /// Whether every socket is open or given up.
    pub fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.retries.is_empty() && self.in_flight == 0
    }

    /// Gives up everything that was not attempted yet.
    pub fn abandon(&mut self) {
        self.fresh.clear();
        self.retries.clear();
    }

    /// The result of the ramp.
    pub fn outcome(&self) -> &RampOutcome {
        &self.outcome
    }

    /// Failed attempts so far.
    pub fn errors(&self) -> u64 {
        self.outcome.errors.values().sum()
    }

    fn due_retry(&mut self, now_ns: u64) -> Option<Attempt> {
        // Backoffs differ, so the queue is not sorted by time; a linear search is enough because it
        // is short.
        let at = self.retries.iter().position(|(due_ns, _)| *due_ns <= now_ns)?;
        self.retries.remove(at).map(|(_, attempt)| attempt)
    }

    fn due_fresh(&mut self) -> Option<Attempt> {
        let subscriber = self.fresh.pop_front()?;
        self.outcome.attempted += 1;
        Some(Attempt { subscriber, tries: 0 })
    }

    fn elapsed(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(now_ns.saturating_sub(self.began_ns))
    }
}

/// The sum over all threads, whose ramps ran in parallel.
pub fn merge(parts: impl IntoIterator<Item = RampOutcome>) -> RampOutcome {
    let mut whole = RampOutcome { errors: BTreeMap::new(), ..RampOutcome::default() };
    for part in parts {
        whole.attempted += part.attempted;
        whole.connected += part.connected;
        crate::receive::outcome::counts::merge_counts(&mut whole.errors, &part.errors);
        whole.elapsed = whole.elapsed.max(part.elapsed);
        whole.said = whole.said.or(part.said);
    }
    whole
}

/// The reason of an attempt that timed out.
pub const TIMEOUT: &str = "timeout";

/// Failures that may be temporary: a full accept queue, ports still in TIME_WAIT, a busy host.
const RETRIED: [&str; 4] = ["refused", "no free port", "reset", TIMEOUT];
const TRIES_MAX: u8 = 3;
const BACKOFF_NS: u64 = SECOND_NS / 10;
const ATTEMPT_NS_MAX: u64 = 10 * SECOND_NS;
/// The most handshakes in progress per thread; well below the accept queue of a server.
const IN_FLIGHT_MAX: usize = 512;
const CATCH_UP_NS: u64 = SECOND_NS / 50;
const RATE_MIN: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = SECOND_NS / 1000;

    fn ramp(subscribers: u32, rate: f64) -> Ramp {
        Ramp::new((0..subscribers).collect(), rate, 0)
    }

    #[test]
    fn sockets_are_paced() {
        let mut ramp = ramp(100, 1000.0);
        let due: Vec<u64> = (0..20 * 10)
            .map(|tenth| tenth * MS / 10)
            .filter(|now_ns| ramp.due(*now_ns).is_some())
            .collect();
        assert_eq!(due.len(), 20);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == MS), "{due:?}");
    }

    #[test]
    fn a_held_up_thread_does_not_storm() {
        let mut ramp = ramp(400, 100.0);
        let now_ns = 60 * SECOND_NS;
        let burst = std::iter::from_fn(|| ramp.due(now_ns)).count();
        assert!(burst <= 4, "{burst} sockets at once");
    }

    #[test]
    fn refusals_are_retried_with_growing_distance_and_then_given_up() {
        let mut ramp = ramp(1, 1e9);
        let mut now_ns = 0;
        let mut tried_at_ms = vec![];
        while !ramp.is_done() {
            if let Some(attempt) = ramp.due(now_ns) {
                tried_at_ms.push(now_ns / MS);
                ramp.failed(attempt, "refused", now_ns);
            }
            now_ns += MS;
        }
        assert_eq!(tried_at_ms, [0, 100, 300]);
        assert_eq!(ramp.errors(), 3);
        assert_eq!((ramp.outcome().attempted, ramp.outcome().connected), (1, 0));
    }

    #[test]
    fn a_refused_upgrade_is_final() {
        let mut ramp = ramp(1, 1e9);
        let attempt = ramp.due(0).unwrap();
        ramp.failed(attempt, "status 403", 1);
        assert!(ramp.is_done());
        assert_eq!(ramp.outcome().errors["status 403"], 1);
    }

    #[test]
    fn handshakes_under_way_are_bounded_and_time_out() {
        let mut ramp = ramp(2000, 1e9);
        let begun = std::iter::from_fn(|| ramp.due(MS)).count();
        assert_eq!(begun, IN_FLIGHT_MAX);
        assert_eq!(ramp.overdue(SECOND_NS), None);
        assert_eq!(ramp.overdue(11 * SECOND_NS), Some(0));
        assert_eq!(ramp.overdue(11 * SECOND_NS), Some(1));
    }
}
