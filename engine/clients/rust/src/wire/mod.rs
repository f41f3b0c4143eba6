//! The words and bytes of gridcast.v1.bin and gridcast.v1.json, as docs/protocol.md has them. Must
//! not know connections or subscriptions.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub mod command;
pub mod envelope;
pub mod events;
pub mod page;
pub mod told;

/// Messages in a binary envelope: asked for first.
pub const BIN: &str = "gridcast.v1.bin";
/// Everything in JSON.
pub const JSON: &str = "gridcast.v1.json";

/// A topic or pattern as it stands in the path of a URL.
#[must_use]
pub fn in_path(topic: &str) -> String {
    // What was a percent sign before is encoded itself.
    utf8_percent_encode(topic, NON_ALPHANUMERIC).to_string().replace("%2F", "/")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_topic_keeps_its_segments_in_a_path() {
        assert_eq!(super::in_path("pmu/grüße 1/#"), "pmu/gr%C3%BC%C3%9Fe%201/%23");
        assert_eq!(super::in_path("a%2Fb/."), "a%252Fb/%2E");
    }
}
