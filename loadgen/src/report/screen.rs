//! The terminal lines of a run in progress: status, rates, latencies of the last second, and bars
//! of their recent history. Pure text; must not draw or read counters.

use std::collections::VecDeque;

use console::{StyledObject, style};

use crate::observe::clocks;
use crate::observe::progress::Snapshot;
use crate::report::spark::spark;

/// The values shown so far.
#[derive(Debug, Default)]
pub struct Screen {
    received: VecDeque<u64>,
    p99_ns: VecDeque<u64>,
    late_max_ns: u64,
    busy_max: f64,
    shown_s: Option<u32>,
}

/// The values that are not among the per-second figures.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Frames skipped, and sockets that the server closed.
    pub missing: u64,
    /// Open sockets, and planned sockets.
    pub connected: (u64, u64),
}

/// The state of a condition of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Good,
    Doubtful,
    Bad,
}

impl Screen {
    /// Adds the figures since the last reading.
    pub fn note(&mut self, snapshot: &Snapshot) {
        let newer = snapshot.window.as_ref().filter(|window| self.shown_s < Some(window.t_s));
        let Some(window) = newer else {
            self.late_max_ns = self.late_max_ns.max(snapshot.late_max_ns);
            self.busy_max = self.busy_max.max(snapshot.busy_max);
            return;
        };
        self.shown_s = Some(window.t_s);
        (self.late_max_ns, self.busy_max) = (snapshot.late_max_ns, snapshot.busy_max);
        push(&mut self.received, window.received);
        push(&mut self.p99_ns, u64::try_from(window.e2e_p99_ns).unwrap_or(0));
    }

    /// The lines after the first one; the caller writes the first.
    pub fn lines(&self, snapshot: &Snapshot, counted: Counted) -> String {
        let mut lines = vec![self.statuses(counted)];
        if let Some(window) = &snapshot.window {
            let [p50, p99, max] = [window.e2e_p50_ns, window.e2e_p99_ns, window.e2e_max_ns]
                .map(|ns| clocks::within(ns as f64, snapshot.bound_ns));
            lines.push(format!("end to end, last second   p50 {p50}   p99 {p99}   max {max}"));
            let bars = |of: &VecDeque<u64>| spark(of.iter().map(|value| *value as f64));
            lines.push(format!("received {}   p99 {}", bars(&self.received), bars(&self.p99_ns)));
        }
        lines.join("\n")
    }

    fn statuses(&self, counted: Counted) -> String {
        let (connected, planned) = counted.connected;
        let statuses = [
            (status(self.late_max_ns as f64, LATE_NS), "publishing on time"),
            (status(self.busy_max, BUSY), "generator has CPU"),
            (if counted.missing == 0 { Status::Good } else { Status::Bad }, "nothing missing"),
            (if connected == planned { Status::Good } else { Status::Doubtful }, "all connected"),
        ];
        statuses.map(|(status, what)| status.show(what).to_string()).join("   ")
    }
}

impl Status {
    /// The state is shown by shape as well as by colour.
    fn show(self, what: &str) -> StyledObject<String> {
        match self {
            Status::Good => style(format!("● {what}")).green(),
            Status::Doubtful => style(format!("◐ {what}?")).yellow(),
            Status::Bad => style(format!("○ NOT {what}")).red(),
        }
    }
}

fn status(value: f64, (doubtful, bad): (f64, f64)) -> Status {
    match value {
        _ if value > bad => Status::Bad,
        _ if value > doubtful => Status::Doubtful,
        _ => Status::Good,
    }
}

fn push(history: &mut VecDeque<u64>, value: u64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}

/// The number of seconds shown; two such rows fit into 80 columns.
const HISTORY: usize = 30;
/// The lateness of a publish for a warning, and for an alarm; the second is too much for most
/// scenarios.
const LATE_NS: (f64, f64) = (2e6, 10e6);
/// The CPU share of a thread for a warning, and for an alarm; the second is beyond its limit.
const BUSY: (f64, f64) = (0.6, 0.8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::outcome::window::Window;

    fn window(t_s: u32, received: u64, e2e_p99_ns: i64) -> Window {
        let (e2e_p50_ns, e2e_max_ns) = (1_000, e2e_p99_ns);
        Window { t_s, sent: 1, received, e2e_p50_ns, e2e_p99_ns, e2e_max_ns, ..Window::default() }
    }

    fn shown(screen: &mut Screen, snapshot: &Snapshot, missing: u64) -> String {
        screen.note(snapshot);
        let text = screen.lines(snapshot, Counted { missing, connected: (9, 10) });
        console::strip_ansi_codes(&text).into_owned()
    }

    #[test]
    fn lamps_tell_by_their_shape() {
        let mut screen = Screen::default();
        let window = Some(window(1, 100, 2_000_000));
        let snapshot = Snapshot { window, busy_max: 0.7, ..Snapshot::default() };
        let text = shown(&mut screen, &snapshot, 3);
        for part in [
            "● publishing on time",
            "◐ generator has CPU?",
            "○ NOT nothing missing",
            "◐ all connected?",
            "p99 2.00 ms",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn latencies_between_hosts_are_shown_with_what_the_clocks_leave_open() {
        let window = Some(window(1, 100, 2_000_000));
        let snapshot = Snapshot { window, bound_ns: 84_000, ..Snapshot::default() };
        let text = shown(&mut Screen::default(), &snapshot, 0);
        assert!(text.contains("p50 (1.00 µs ±84.0 µs)   p99 2.00 ms ±84.0 µs"), "{text}");
    }

    #[test]
    fn a_minute_is_kept_and_each_second_counts_once() {
        let mut screen = Screen::default();
        for t_s in 0..70 {
            let window = Some(window(t_s, u64::from(t_s), 1_000));
            let snapshot = Snapshot { window, ..Snapshot::default() };
            (0..3).for_each(|_| screen.note(&snapshot));
        }
        assert_eq!((screen.received.len(), screen.received.back()), (HISTORY, Some(&69)));
    }
}
