//! Counts the parts of a capture that are not in the recording, by reason, so that nothing is left
//! out silently. Must not decide what is left out.

use std::collections::BTreeMap;
use std::fmt;

use crate::time::units::format_exact;

/// Why a part was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// Neither UDP nor TCP over IP, or a payload without a C37.118 frame.
    Other,
    /// A command frame of a consumer.
    Command,
    /// A header frame.
    Header,
    /// A frame with a wrong checksum.
    Damaged,
    /// A frame with the SOC and FRACSEC of an earlier frame.
    Repeated,
    /// A fragment of an IP packet.
    Fragment,
    /// A truncated packet.
    CutShort,
    /// Contradictory headers.
    Malformed,
    /// An unsupported link layer.
    Link,
    /// A packet without a capture instant.
    Untimed,
    /// Bytes of a TCP connection that are missing in the capture.
    Hole,
    /// Bytes of a TCP connection between frames.
    Stray,
    /// A segment of a TCP connection beyond the connection limit.
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

/// Counts of omitted parts, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skipped {
    counts: BTreeMap<Skip, u64>,
}

impl Skipped {
    /// Counts an omitted part.
    pub fn add(&mut self, skip: Skip, count: u64) {
        if count > 0 {
            *self.counts.entry(skip).or_default() += count;
        }
    }

    /// Adds the counts of another instance.
    pub fn merge(&mut self, other: &Skipped) {
        other.counts.iter().for_each(|(skip, count)| self.add(*skip, *count));
    }

    /// The count of a reason.
    pub fn count(&self, skip: Skip) -> u64 {
        self.counts.get(&skip).copied().unwrap_or(0)
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.counts.iter();
        let parts =
            parts.map(|(skip, count)| format!("{} x {}", format_exact(*count), skip.text()));
        match self.counts.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&parts.collect::<Vec<_>>().join(", ")),
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
