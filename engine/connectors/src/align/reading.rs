//! The instant of a message: what it says itself. Reads C37.118 frames, and JSON objects with a
//! `time`. Must not know groups.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use gridcast::frame::Kind;
use serde::Deserialize;

use crate::c37118::fragments::Fragments;
use crate::c37118::frame::{First, Frame};
use crate::c37118::stamp::parse_rfc3339;

/// Reads messages. Keeps what configurations say of the unit of fractions of a second.
#[derive(Debug)]
pub struct Reader {
    /// Units of FRACSEC in a second, where a topic has no configuration beside it.
    time_base: u32,
    time_bases: HashMap<Arc<str>, u32>,
}

/// Topics whose configurations are kept.
const TOPICS_MAX: usize = 10_000;

/// What a topic's configuration is published on, after the topic.
pub const CONFIGURATION: &str = "/cfg";

impl Reader {
    /// Knows no configuration yet.
    #[must_use]
    pub fn new(time_base: u32) -> Self {
        Self { time_base, time_bases: HashMap::new() }
    }

    /// Takes the configuration of a topic.
    pub fn configure(&mut self, topic: &str, payload: &[u8]) {
        let has_room = self.time_bases.len() < TOPICS_MAX || self.time_bases.contains_key(topic);
        if let Some(time_base) = time_base(payload).filter(|_| has_room) {
            self.time_bases.insert(topic.into(), time_base);
        }
    }

    /// The instant that a message says, in nanoseconds since 1970, UTC. None where it says none.
    #[must_use]
    pub fn instant_ns(&self, topic: &str, kind: Kind, payload: &[u8]) -> Option<u64> {
        match kind {
            Kind::Binary => {
                let First::Whole(frame) = Frame::first(payload) else { return None };
                let known = self.time_bases.get(topic).copied();
                let is_data = frame.kind.is_data() && frame.bytes.len() == payload.len();
                is_data.then(|| frame.stamp.utc_ns(known.unwrap_or(self.time_base)))?
            }
            // The whole text is looked at, so that it is known to be JSON where a tick repeats it.
            Kind::Text => {
                let timed: Timed<'_> = serde_json::from_slice(payload).ok()?;
                parse_rfc3339(&timed.time)
            }
        }
    }
}

/// What is read of a JSON message.
#[derive(Deserialize)]
struct Timed<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// TIME_BASE of a configuration, whose parts stand one after the other.
fn time_base(mut payload: &[u8]) -> Option<u32> {
    let mut fragments = Fragments::default();
    while let First::Whole(frame) = Frame::first(payload) {
        if let Some((configuration, _)) = fragments.take(&frame).ok()? {
            return Some(configuration.time_base);
        }
        payload = payload.get(frame.bytes.len()..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::samples;

    const INSTANT_NS: u64 = 1_767_225_600_016_667_000;

    #[test]
    fn frames_and_json_say_their_instant() {
        let reader = Reader::new(1_000_000);
        let instant = |kind, payload: &[u8]| reader.instant_ns("a", kind, payload);
        assert_eq!(instant(Kind::Binary, &samples::data(16_667, 0)), Some(INSTANT_NS));
        let json = br#"{"a":[1,{"time":"no"}],"time":"2026-01-01T00:00:00.016667Z","b":null}"#;
        assert_eq!(instant(Kind::Text, json), Some(INSTANT_NS));
        for text in ["{}", "[]", r#"{"time":5}"#, r#"{"time":"2026-01-01T00:00:00Z"} x"#] {
            assert_eq!(instant(Kind::Text, text.as_bytes()), None, "{text}");
        }
        assert_eq!(instant(Kind::Binary, &samples::config2()), None);
        assert_eq!(instant(Kind::Binary, b"anything"), None);
    }

    #[test]
    fn the_unit_of_fractions_is_that_of_the_configuration() {
        let mut reader = Reader::new(100_000);
        let data = samples::data(16_667, 0);
        assert_eq!(reader.instant_ns("a", Kind::Binary, &data), Some(INSTANT_NS + 150_003_000));
        reader.configure("a", &samples::config2());
        reader.configure("b", b"no configuration");
        assert_eq!(reader.instant_ns("a", Kind::Binary, &data), Some(INSTANT_NS));
    }
}
