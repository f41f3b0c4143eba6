//! What of a capture is no part of the recording made of it, counted by reason, so that nothing is
//! left out in silence. Must not decide what is left out.

use std::collections::BTreeMap;
use std::fmt;

use crate::time::units::format_exact;

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// Neither UDP nor TCP over IP, or no C37.118 frame in it.
    Other,
    /// A request of a consumer.
    Command,
    /// A header frame.
    Header,
    /// A frame with a wrong checksum.
    Damaged,
    /// A frame with the SOC and FRACSEC of one before it.
    Repeated,
    /// A fragment of an IP packet.
    Fragment,
    /// Captured only in part.
    CutShort,
    /// Headers that contradict themselves.
    Malformed,
    /// A link layer that is not read.
    Link,
    /// Without an instant of arrival.
    Untimed,
    /// Bytes of a TCP connection that are not in the capture.
    Hole,
    /// Bytes of a TCP connection around frames.
    Stray,
    /// A segment of one TCP connection too many.
    Crowd,
}

impl Skip {
    fn text(self) -> &'static str {
        match self {
            Skip::Other => "packet without a C37.118 frame",
            Skip::Command => "command",
            Skip::Header => "header frame",
            Skip::Damaged => "frame with a wrong checksum",
            Skip::Repeated => "frame with the SOC and FRACSEC of an earlier one",
            Skip::Fragment => "fragment of an IP packet (not put together)",
            Skip::CutShort => "packet captured in part only (capture with a larger snap length)",
            Skip::Malformed => "packet with malformed headers",
            Skip::Link => "packet of a link layer other than Ethernet, Linux cooked and plain IP",
            Skip::Untimed => "packet without a time",
            Skip::Hole => "gap in a TCP stream",
            Skip::Stray => "byte of a TCP stream that belongs to no whole C37.118 frame",
            Skip::Crowd => "segment of too many TCP connections at once",
        }
    }
}

/// How much was left out, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skipped {
    counts: BTreeMap<Skip, u64>,
}

impl Skipped {
    /// Counts what was left out.
    pub fn add(&mut self, skip: Skip, count: u64) {
        if count > 0 {
            *self.counts.entry(skip).or_default() += count;
        }
    }

    /// Adds what was left out elsewhere.
    pub fn merge(&mut self, other: &Skipped) {
        other.counts.iter().for_each(|(skip, count)| self.add(*skip, *count));
    }

    /// How much was left out for a reason.
    pub fn count(&self, skip: Skip) -> u64 {
        self.counts.get(&skip).copied().unwrap_or(0)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.counts.iter();
        let told = told.map(|(skip, count)| format!("{} x {}", format_exact(*count), skip.text()));
        match self.counts.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&told.collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_told_by_reason() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.to_string(), "nothing");
        skipped.add(Skip::Fragment, 0);
        skipped.add(Skip::Command, 1_234);
        skipped.add(Skip::Other, 2);
        assert_eq!(skipped.to_string(), "2 x packet without a C37.118 frame, 1,234 x command");
        assert_eq!(skipped.count(Skip::Command), 1_234);
    }
}
