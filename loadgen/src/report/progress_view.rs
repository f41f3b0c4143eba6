//! The display of a run in progress: lines that are redrawn on a terminal, or else a plain line
//! every two seconds. Must not influence the run.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::observe::progress::{Phase, Progress, Snapshot};
use crate::report::screen::{Counted, Screen};
use crate::time::clock::mono_ns;
use crate::time::units::{format_count, format_exact};

/// The thread that shows progress.
pub struct ProgressView {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ProgressView {
    /// Starts the display; `sockets` is the number of planned subscribers.
    pub fn start(progress: Arc<Progress>, sockets: u64) -> io::Result<ProgressView> {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new().name("progress".into()).spawn(move || {
            let mut display = Display::new(sockets);
            // Rates are means over two seconds, independent of the refresh interval.
            let mut looks = VecDeque::from([Reading::of(&progress)]);
            while stopped.recv_timeout(display.interval()) == Err(RecvTimeoutError::Timeout) {
                let now = Reading::of(&progress);
                looks.push_back(now);
                while looks.len() > 2 && now.at_ns - looks[1].at_ns >= RATE_NS {
                    looks.pop_front();
                }
                let line = describe(&looks[0], &now, sockets);
                display.show(&line, &now, sockets, &progress.snapshot());
            }
            display.close();
        })?;
        Ok(ProgressView { stop, thread })
    }

    /// Clears the display.
    pub fn finish(self) {
        // A closed channel ends the thread as well as a message does.
        drop(self.stop);
        // A display that panicked has nothing left to clear.
        let _ = self.thread.join();
    }
}

/// One reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    at_ns: u64,
    phase: Phase,
    connected: u64,
    errors: u64,
    sent: u64,
    received: u64,
    lost: u64,
    closed: u64,
}

impl Reading {
    fn of(progress: &Progress) -> Reading {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            at_ns: mono_ns(),
            phase: progress.phase(),
            connected: read(&progress.connected),
            errors: read(&progress.errors),
            sent: read(&progress.sent),
            received: read(&progress.received),
            lost: read(&progress.lost),
            closed: read(&progress.closed),
        }
    }
}

fn describe(last: &Reading, now: &Reading, sockets: u64) -> String {
    let seconds = now.at_ns.saturating_sub(last.at_ns).max(1) as f64 / 1e9;
    let rate = |from: u64, to: u64| {
        let per_s = to.saturating_sub(from) as f64 / seconds;
        format_count(if per_s < 10_000.0 { per_s.round() } else { per_s })
    };
    let mut text = format!(
        "{:<7}  {} of {} connected  sent {}/s  received {}/s  lost {}",
        phase_name(now.phase),
        format_exact(now.connected),
        format_exact(sockets),
        rate(last.sent, now.sent),
        rate(last.received, now.received),
        format_exact(now.lost),
    );
    for (count, what) in [(now.errors, "connect errors"), (now.closed, "closed by the server")] {
        if count > 0 {
            text.push_str(&format!("  {} {what}", format_exact(count)));
        }
    }
    text
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Ramp => "ramp",
        Phase::Ready => "ready",
        Phase::Warmup => "warm-up",
        Phase::Measure => "measure",
        Phase::Drain => "drain",
        Phase::Done => "done",
    }
}

enum Display {
    Terminal(ProgressBar, Box<Screen>),
    Lines,
}

impl Display {
    fn new(sockets: u64) -> Display {
        if !io::stderr().is_terminal() {
            return Display::Lines;
        }
        let bar = ProgressBar::with_draw_target(
            Some(sockets),
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S_MAX),
        );
        // The template is a constant; if the library rejected it, its default would be used.
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {msg}") {
            bar.set_style(style);
        }
        Display::Terminal(bar, Box::default())
    }

    fn interval(&self) -> Duration {
        match self {
            Display::Terminal(..) => Duration::from_millis(250),
            Display::Lines => Duration::from_secs(2),
        }
    }

    fn show(&mut self, text: &str, now: &Reading, sockets: u64, snapshot: &Snapshot) {
        match self {
            Display::Terminal(bar, screen) => {
                screen.note(snapshot);
                let missing = now.lost + now.closed;
                let counted = Counted { missing, connected: (now.connected, sockets) };
                bar.set_message(format!("{text}\n{}", screen.lines(snapshot, counted)));
            }
            // The output may be closed; the run continues.
            Display::Lines => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    fn close(&self) {
        if let Display::Terminal(bar, _) = self {
            bar.finish_and_clear();
        }
    }
}

const DRAWS_PER_S_MAX: u8 = 8;
const RATE_NS: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let last = Reading::of(&Progress::default());
        let now = Reading {
            at_ns: last.at_ns + 2_000_000_000,
            phase: Phase::Measure,
            connected: 2_000,
            sent: 1_200,
            received: 120_000,
            lost: 3,
            ..last
        };
        assert_eq!(
            describe(&last, &now, 2_000),
            "measure  2,000 of 2,000 connected  sent 600/s  received 60.0 k/s  lost 3"
        );
        let troubled = Reading { errors: 4, closed: 1_000, ..now };
        let text = describe(&now, &troubled, 2_000);
        assert!(text.ends_with("4 connect errors  1,000 closed by the server"), "{text}");
    }
}
