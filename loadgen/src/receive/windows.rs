//! The run second by second: every thread reports each second after its end, and the run adds the
//! reports up. Must not read clocks; second numbers count from the common start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::receive::histograms::SecondHistogram;
use crate::receive::latency_map::LatencyMap;
use crate::receive::outcome::window::Window;

/// The report of one thread for one second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WindowPart {
    /// Seconds since the start.
    pub t_s: u32,
    /// Frames published.
    pub sent: u64,
    /// Distinct frames received.
    pub received: u64,
    /// Their end-to-end latency; absent for publishers.
    pub e2e: Option<Box<SecondHistogram>>,
    /// Frames found missing.
    pub missing: u64,
    /// Gaps reported.
    pub gaps: u64,
}

/// Adds up the reports. Histograms are kept only for the newest seconds, so memory stays small on a
/// long run.
#[derive(Debug, Default)]
pub struct Windows {
    open: BTreeMap<u32, WindowPart>,
    closed: BTreeMap<u32, Window>,
    /// The last second that was displayed.
    shown_s: Option<u32>,
    latencies: LatencyMap,
}

impl Windows {
    /// Adds a thread's report.
    pub fn add(&mut self, part: WindowPart) {
        let newest = part.t_s;
        match self.closed.get_mut(&part.t_s) {
            Some(window) => {
                add_late(window, &part);
                self.add_latencies(&part);
            }
            None => add(self.open.entry(part.t_s).or_default(), part),
        }
        while let Some(oldest) = self.open.first_entry() {
            if *oldest.key() + OPEN_SECONDS > newest {
                break;
            }
            let (t_s, part) = oldest.remove_entry();
            self.close(t_s, part);
        }
    }

    /// The newest second that all threads on time have reported, for display; returned once.
    pub fn take_latest(&mut self) -> Option<Window> {
        let (t_s, part) = self.open.iter().rev().nth(1)?;
        if self.shown_s >= Some(*t_s) {
            return None;
        }
        self.shown_s = Some(*t_s);
        Some(Window { t_s: *t_s, ..close(part) })
    }

    /// All seconds in order.
    pub fn finish(mut self) -> Vec<Window> {
        while let Some((t_s, part)) = self.open.pop_first() {
            self.close(t_s, part);
        }
        for (t_s, counts) in self.latencies.finish() {
            // At least one second of the step exists, because the counts belong to it.
            if let Some((_, window)) = self.closed.range_mut(t_s..).next() {
                window.e2e_counts = counts;
            }
        }
        self.closed.into_values().collect()
    }

    fn close(&mut self, t_s: u32, part: WindowPart) {
        let part = WindowPart { t_s, ..part };
        self.add_latencies(&part);
        self.closed.insert(t_s, close(&part));
    }

    fn add_latencies(&mut self, part: &WindowPart) {
        if let Some(e2e) = &part.e2e {
            self.latencies.add(part.t_s, e2e);
        }
    }
}

fn add(into: &mut WindowPart, part: WindowPart) {
    into.sent += part.sent;
    into.received += part.received;
    into.missing += part.missing;
    into.gaps += part.gaps;
    match (&mut into.e2e, part.e2e) {
        (Some(into), Some(e2e)) => into.merge(&e2e),
        (into @ None, e2e) => *into = e2e,
        (Some(_), None) => {}
    }
}

/// A thread was blocked for seconds: its counts and maximum are still added, its percentiles are
/// not.
fn add_late(window: &mut Window, part: &WindowPart) {
    window.sent += part.sent;
    window.received += part.received;
    window.missing += part.missing;
    window.gaps += part.gaps;
    let max_ns = part.e2e.as_ref().map_or(0, |e2e| e2e.max());
    window.e2e_max_ns = window.e2e_max_ns.max(max_ns);
}

fn close(part: &WindowPart) -> Window {
    let quantile = |q| part.e2e.as_ref().map_or(0, |e2e| e2e.quantile(q));
    Window {
        t_s: part.t_s,
        sent: part.sent,
        received: part.received,
        e2e_p50_ns: quantile(0.5),
        e2e_p99_ns: quantile(0.99),
        e2e_max_ns: part.e2e.as_ref().map_or(0, |e2e| e2e.max()),
        missing: part.missing,
        gaps: part.gaps,
        ..Window::default()
    }
}

/// The number of seconds kept open for late threads.
const OPEN_SECONDS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(t_s: u32, latencies_ns: &[i64]) -> WindowPart {
        let mut e2e = SecondHistogram::new();
        latencies_ns.iter().for_each(|ns| e2e.record(*ns));
        let received = latencies_ns.len() as u64;
        WindowPart { t_s, received, e2e: Some(Box::new(e2e)), ..WindowPart::default() }
    }

    #[test]
    fn parts_of_a_second_add_up() {
        let mut windows = Windows::default();
        windows.add(WindowPart { t_s: 3, sent: 60, ..WindowPart::default() });
        windows.add(received(3, &[1_000, 2_000]));
        windows.add(WindowPart { missing: 2, gaps: 1, ..received(3, &[64_000]) });
        let windows = windows.finish();
        let [window] = &windows[..] else { panic!("one second, got {windows:?}") };
        assert_eq!((window.t_s, window.sent, window.received), (3, 60, 3));
        assert_eq!(window.e2e_max_ns, 64_000);
        assert!((1_980..=2_020).contains(&window.e2e_p50_ns), "{}", window.e2e_p50_ns);
        assert_eq!(window.e2e_counts.values().sum::<u64>(), 3);
        assert_eq!((window.missing, window.gaps), (2, 1));
    }

    #[test]
    fn a_second_is_shown_once_when_the_next_has_begun() {
        let mut windows = Windows::default();
        windows.add(received(3, &[1_000]));
        assert_eq!(windows.take_latest(), None);
        windows.add(received(4, &[1_000]));
        assert_eq!(windows.take_latest().map(|window| window.t_s), Some(3));
        assert_eq!(windows.take_latest(), None);
    }

    #[test]
    fn a_late_part_still_counts() {
        let mut windows = Windows::default();
        (0..30).for_each(|t_s| windows.add(received(t_s, &[1_000])));
        assert!(windows.open.len() <= OPEN_SECONDS as usize);
        windows.add(received(2, &[5_000_000]));
        let seconds = windows.finish();
        assert_eq!(seconds.len(), 30);
        assert_eq!((seconds[2].received, seconds[2].e2e_max_ns), (2, 5_000_000));
        assert_eq!(seconds[2].e2e_counts.values().sum::<u64>(), 2);
    }
}
