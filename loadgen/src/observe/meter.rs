//! Measures one generator thread each second: its CPU share, and when to report the second's
//! counts. Must not know sockets.

use crate::time::clock::{mono_ns, thread_cpu_ns};
use crate::time::units::SECOND_NS;

/// Detects the end of each second of a run, for the calling thread.
#[derive(Debug)]
pub struct Meter {
    start_ns: u64,
    second: u32,
    busy_from: (u64, u64),
    measured: (u64, u64),
    busy_max: f64,
    busy_last: f64,
}

impl Meter {
    /// A meter of a run that starts at `start_ns` and measures between two monotonic instants.
    pub fn new(start_ns: u64, measured: (u64, u64)) -> Meter {
        let busy_from = (mono_ns(), thread_cpu_ns());
        Meter { start_ns, second: 0, busy_from, measured, busy_max: 0.0, busy_last: 0.0 }
    }

    /// The second that just ended, if one did. If the thread was delayed, several seconds count as
    /// one.
    pub fn passed(&mut self, now_ns: u64) -> Option<u32> {
        let second = u32::try_from(now_ns.checked_sub(self.start_ns)? / SECOND_NS).ok()?;
        (second > self.second).then(|| {
            self.note_busy(now_ns);
            std::mem::replace(&mut self.second, second)
        })
    }

    /// The current second.
    pub fn second(&self) -> u32 {
        self.second
    }

    /// The largest share of a CPU the thread used in a second of the measured phase.
    pub fn busy_max(&self) -> f64 {
        self.busy_max
    }

    /// The share of a CPU in the last completed second.
    pub fn busy_last(&self) -> f64 {
        self.busy_last
    }

    fn note_busy(&mut self, now_ns: u64) {
        let cpu_ns = thread_cpu_ns();
        let (from_ns, cpu_from_ns) = std::mem::replace(&mut self.busy_from, (now_ns, cpu_ns));
        let share = (cpu_ns - cpu_from_ns) as f64 / (now_ns - from_ns).max(1) as f64;
        self.busy_last = share;
        let (measured_from, measured_to) = self.measured;
        // A second is closed a little after its end, so one whose middle lies in the phase counts
        // as inside.
        let middle_ns = from_ns + (now_ns - from_ns.min(now_ns)) / 2;
        if (measured_from..measured_to).contains(&middle_ns) {
            self.busy_max = self.busy_max.max(share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_pass_once_each() {
        let start_ns = mono_ns() + 5 * SECOND_NS;
        let mut meter = Meter::new(start_ns, (start_ns, start_ns + 10 * SECOND_NS));
        assert_eq!(meter.passed(start_ns - 1), None);
        assert_eq!(meter.passed(start_ns + 1), None);
        assert_eq!(meter.passed(start_ns + SECOND_NS + 1), Some(0));
        assert_eq!(meter.passed(start_ns + SECOND_NS + 2), None);
        assert_eq!((meter.passed(start_ns + 4 * SECOND_NS), meter.second()), (Some(1), 4));
        assert!(meter.busy_max() >= 0.0);
    }
}
