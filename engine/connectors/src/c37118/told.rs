//! What was told in the log, so that whoever says or does the same over and over is told of once a
//! minute. Owns when that was, and how often it was left out since. Must not write lines itself.

use std::collections::HashMap;

/// See the file header. `K` says of whom and of what a line is; there are few of them.
#[derive(Debug)]
pub struct Told<K> {
    lines: HashMap<K, Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    told_ns: u64,
    left_out: u64,
}

/// The least time between two lines about the same.
const EVERY_NS: u64 = 60_000_000_000;

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self { lines: HashMap::new() }
    }
}

impl<K: Eq + std::hash::Hash> Told<K> {
    /// Something has happened. Where a line is to be written about it, answers how many were left
    /// out since the last one.
    pub fn tell(&mut self, of: K, now_ns: u64) -> Option<u64> {
        let now = Line { told_ns: now_ns, left_out: 0 };
        let Some(line) = self.lines.get_mut(&of) else {
            self.lines.insert(of, now);
            return Some(0);
        };
        if now_ns.saturating_sub(line.told_ns) < EVERY_NS {
            line.left_out += 1;
            return None;
        }
        Some(std::mem::replace(line, now).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute_with_how_often_it_was_left_out() {
        let mut told = Told::default();
        let lines = [0, 1, EVERY_NS - 1, EVERY_NS, EVERY_NS + 1, 3 * EVERY_NS];
        let lines = lines.map(|now_ns| told.tell("closed", now_ns));
        assert_eq!(lines, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(told.tell("silent", 1), Some(0), "something else");
    }
}
