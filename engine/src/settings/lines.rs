//! The queue of log lines: a thread of its own writes them, and whoever logs never waits for it.
//! Owns the bound and the count of what was dropped. Must not know what a line says.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::Builder;
use std::time::Duration;

use crossbeam::channel::{Receiver, SendTimeoutError, Sender, bounded};

/// Lines that wait to be written: a burst of a whole drain. Beyond it, lines are dropped.
const LINES_MAX: usize = 1024;
/// How long the end of the program waits for the lines that are left.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Of the whole process, as the log is.
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(Vec<u8>),
    /// All lines before it are written when this sender is dropped.
    Flush(Sender<()>),
}

/// Where lines are put. Each write is one line.
#[derive(Clone, Debug)]
pub struct Lines(Sender<Entry>);

/// Log lines that were dropped because nothing took them.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

impl Lines {
    /// Starts the thread that writes lines to `sink`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, queued) = bounded(LINES_MAX);
        Builder::new().name("log".into()).spawn(move || write_all(sink, &queued))?;
        Ok(Self(queue))
    }

    /// Waits, for a bounded time, until the lines there are have been written.
    pub fn wait_written(&self) {
        let (written, waiting) = bounded(0);
        match self.0.send_timeout(Entry::Flush(written), FLUSH_MAX) {
            // It only ever ends: by the drop of the sender, or by the time.
            Ok(()) => drop(waiting.recv_timeout(FLUSH_MAX)),
            Err(SendTimeoutError::Timeout(_) | SendTimeoutError::Disconnected(_)) => {}
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Entry::Line(line.to_vec())).is_err() {
            DROPPED.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what is queued until nobody can queue any more. What the sink refuses is dropped.
fn write_all(mut sink: impl Write, queued: &Receiver<Entry>) {
    let mut told = 0;
    for entry in queued {
        match entry {
            Entry::Line(line) if sink.write_all(&line).is_err() => {
                DROPPED.fetch_add(1, Relaxed);
            }
            Entry::Line(_) => {}
            Entry::Flush(written) => drop(written),
        }
        let lines = dropped() - told;
        if queued.is_empty() && lines > 0 {
            told += lines;
            tracing::warn!(lines, "log lines were dropped: nothing read them in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes a line each time it is allowed to, and passes it on.
    struct Gate {
        allowed: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            self.taken.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_counted_and_hold_nobody_up() {
        let ((allow, allowed), (taken, lines)) = (mpsc::channel(), mpsc::channel());
        let mut queue = Lines::start(Gate { allowed, taken }).unwrap();
        let before = dropped();
        let all = LINES_MAX + 100;
        for line in 0..all {
            queue.write_all(line.to_string().as_bytes()).unwrap();
        }
        // The thread holds one line already, or takes the first while others are dropped.
        let lost = dropped() - before;
        assert!((99..=100).contains(&lost), "{lost} of {all}");
        queue.wait_written(); // It gives up: nothing is taken.
        let mut next = 0;
        for _ in 0..all - lost as usize {
            allow.send(()).unwrap();
            let line: usize = String::from_utf8(lines.recv().unwrap()).unwrap().parse().unwrap();
            assert!((next..all).contains(&line), "in order: {line} after {next}");
            next = line + 1;
        }
        queue.wait_written();
        drop(lines);
        allow.send(()).unwrap();
        queue.write_all(b"refused").unwrap();
        queue.wait_written();
        assert_eq!(dropped() - before, lost + 1, "what the sink refuses is counted too");
    }
}
