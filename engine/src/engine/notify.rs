//! Tells the service manager (systemd, at `NOTIFY_SOCKET`) that the process is started, reloads its
//! settings, drains, and that no core is stuck. Owns when it is told. Must not end or restart
//! anything: that is for the manager. Without that variable nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::engine::Engine;

/// Looks at the cores within the time after which the manager takes the process for stuck: one that
/// is late by a whole look is no harm.
const LOOKS_PER_TIMEOUT: u32 = 4;
/// The shortest time between two looks, whatever the manager asks for.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// Between two lines about connections.
const STATUS_NS: u64 = 5_000_000_000;
/// What stopping may take beside the drain.
const STOP: Duration = Duration::from_secs(10);

/// See the file header.
#[derive(Debug)]
pub struct Notifier {
    watchdog: Option<Watchdog>,
    has_warned: bool,
    is_stopping: bool,
    is_silent: bool,
    status: String,
    status_due_ns: u64,
}

/// Whether the manager may be told that the process is alive: when every core has turned since it
/// last was.
#[derive(Debug)]
struct Watchdog {
    every_ns: u64,
    due_ns: u64,
    /// Turns of each core when the manager was last told.
    turns: Vec<u64>,
}

impl Notifier {
    /// Tells that the engine listens, and begins to watch its cores where the manager wants that.
    #[must_use]
    pub fn ready(engine: &Engine) -> Self {
        let mut notifier = Self {
            watchdog: sd_notify::watchdog_enabled()
                .filter(|limit| !limit.is_zero())
                .map(Watchdog::new),
            has_warned: false,
            is_stopping: false,
            is_silent: false,
            status: String::new(),
            status_due_ns: 0,
        };
        notifier.tell(&[NotifyState::Ready]);
        notifier.look(engine);
        notifier
    }

    /// Tells that settings are read again, or that another process is to take over, until
    /// [`Self::reloaded`], [`Self::succeeded`] or the end.
    pub fn reloading(&mut self) {
        // Without the time a unit of Type=notify-reload would wait for it; there is always one.
        let time = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(time).collect();
        self.tell(&states);
    }

    /// Tells that this process goes on.
    pub fn reloaded(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// How long the caller may wait before it looks again.
    #[must_use]
    pub fn until_look(&self, engine: &Engine) -> Duration {
        let until = |dog: &Watchdog| dog.due_ns.saturating_sub(engine.clock.now_ns());
        self.watchdog.as_ref().map_or(Duration::MAX, |dog| Duration::from_nanos(until(dog)))
    }

    /// Tells what has changed, and that the cores are alive where that is due and true.
    pub fn look(&mut self, engine: &Engine) {
        if engine.shared.is_draining() {
            self.stopping(engine);
        }
        let now_ns = engine.clock.now_ns();
        if now_ns >= self.status_due_ns {
            self.status_due_ns = now_ns + STATUS_NS;
            self.tell_status(engine);
        }
        if self.watchdog.as_ref().is_none_or(|dog| now_ns < dog.due_ns) {
            return;
        }
        let is_alive = self.watchdog.as_mut().is_some_and(|dog| dog.look(now_ns, turns(engine)));
        if is_alive {
            self.tell(&[NotifyState::Watchdog]);
        }
        // A core that has nothing to do sleeps without end: before the next look it has to turn.
        engine.shared.wake_all();
    }

    /// Tells that another process serves from now on, and nothing more. Of one that this process
    /// did not start the manager knows, if it did.
    pub fn succeeded(&mut self, pid: Option<u32>) {
        if let Some(pid) = pid {
            // What the other has told before it was named may not have counted.
            self.tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
        }
        self.watchdog = None;
        self.is_silent = true;
    }

    /// Keeps to itself that the engine drains: a manager that knew would end the process that
    /// waits for it as well.
    pub fn drains_for_another(&mut self) {
        self.is_stopping = true;
    }

    /// Tells once that the engine drains or ends, and how long that may take.
    pub fn stopping(&mut self, engine: &Engine) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        let drain = Duration::from_millis(engine.shared.config.load().drain.deadline_ms);
        let limit_us = u32::try_from((drain + STOP).as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit_us)]);
        self.tell_status(engine);
    }

    fn tell_status(&mut self, engine: &Engine) {
        let state = if engine.shared.is_draining() { "draining" } else { "serving" };
        let status = format!("{state}; connections: {}", engine.shared.admission.total());
        if status != self.status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if self.is_silent {
            return;
        }
        if let Err(error) = sd_notify::notify(states)
            && !std::mem::replace(&mut self.has_warned, true)
        {
            tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
        }
    }
}

impl Watchdog {
    fn new(timeout: Duration) -> Self {
        let every = (timeout / LOOKS_PER_TIMEOUT).max(LOOK_MIN);
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        Self { every_ns, due_ns: 0, turns: Vec::new() }
    }

    /// Whether every core has turned since this was last true. The first time it always is: each
    /// core has just begun to listen.
    fn look(&mut self, now_ns: u64, turns: Vec<u64>) -> bool {
        self.due_ns = now_ns.saturating_add(self.every_ns);
        let has_turned = self.turns.iter().zip(&turns).all(|(before, now)| before != now);
        if has_turned {
            self.turns = turns;
        }
        has_turned
    }
}

/// How often each core has turned.
fn turns(engine: &Engine) -> Vec<u64> {
    let cores = 0..engine.shared.cores();
    cores.map(|core| engine.shared.port(core).metrics.turn_ns.count()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_that_does_not_turn_is_enough_for_silence() {
        let mut dog = Watchdog::new(Duration::from_secs(4));
        assert!(dog.look(0, vec![1, 7]), "nothing is known yet");
        assert!(!dog.look(1, vec![2, 7]));
        assert!(!dog.look(2, vec![3, 7]));
        assert!(dog.look(3, vec![3, 8]), "both have turned since they were last alive");
        assert!(!dog.look(4, vec![3, 8]));
    }

    #[test]
    fn cores_are_looked_at_four_times_within_the_time_allowed() {
        let mut dog = Watchdog::new(Duration::from_secs(4));
        assert_eq!(dog.due_ns, 0);
        dog.look(5, vec![]);
        assert_eq!(dog.due_ns, 1_000_000_005);
    }
}
