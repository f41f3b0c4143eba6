//! What the kernel says of this process, for the metrics. Owns the reading of `/proc`. Must not
//! fail: what cannot be read is zero.

use std::fs;

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system CPU time, s.
    pub cpu_s: f64,
    /// When it started, s since 1970.
    pub start_s: f64,
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Memory mapped.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
}

impl Process {
    /// This process now.
    #[must_use]
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let ticks_per_s = rustix::param::clock_ticks_per_second();
        let page_bytes = rustix::param::page_size() as u64;
        Self::parse(&text("/proc/self/stat"), &text("/proc/stat"), ticks_per_s, page_bytes)
    }

    /// From the text of `/proc/self/stat` and of `/proc/stat`.
    fn parse(stat: &str, machine: &str, ticks_per_s: u64, page_bytes: u64) -> Self {
        // The name, in brackets, may hold anything; field 3 follows the last bracket.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        let field = |number: usize| -> u64 {
            fields.get(number - 3).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let seconds = |ticks: u64| ticks as f64 / ticks_per_s.max(1) as f64;
        let booted = machine.lines().find_map(|line| line.strip_prefix("btime "));
        let booted_s: f64 = booted.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0);
        Self {
            cpu_s: seconds(field(14) + field(15)),
            start_s: booted_s + seconds(field(22)),
            resident_bytes: field(24) * page_bytes,
            virtual_bytes: field(23),
            threads: field(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 5 0 1000 8192 3 1";
        let process = Process::parse(stat, "cpu 1 2\nbtime 1700000000\n", 100, 4096);
        let expected = Process {
            cpu_s: 3.0,
            start_s: 1_700_000_010.0,
            resident_bytes: 3 * 4096,
            virtual_bytes: 8192,
            threads: 5,
        };
        assert_eq!(process, expected);
        assert_eq!(Process::parse("", "", 0, 4096), Process::default());
        assert!(Process::read().threads > 0);
    }
}
