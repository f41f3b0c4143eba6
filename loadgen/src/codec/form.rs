//! The wire form in which a class of subscribers gets its frames, and the rate it asks for. Parsed
//! and written back; must not know how the forms are encoded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The wire form of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One WebSocket per topic; each message is the bare payload.
    #[default]
    Raw,
    /// One WebSocket per dashboard, JSON envelopes.
    Json,
    /// One WebSocket per dashboard, binary envelopes.
    Bin,
    /// One stream of Server-Sent Events per topic.
    Sse,
    /// One connection per topic, one request after the other.
    Poll,
    /// One WebSocket per dashboard, the NATS protocol.
    Nats,
    /// One WebSocket per dashboard, MQTT.
    Mqtt,
    /// One WebSocket per dashboard, Socket.IO events.
    SocketIo,
    /// One WebSocket per dashboard, the Centrifugo protocol.
    Centrifugo,
    /// One WebSocket per dashboard, the Pusher protocol.
    Pusher,
}

impl Form {
    /// Whether one socket carries all topics of a dashboard.
    pub fn is_multiplexed(self) -> bool {
        !matches!(self, Form::Raw | Form::Sse | Form::Poll)
    }

    /// The subprotocol to ask for.
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Form::Json => Some("gridcast.v1.json"),
            Form::Bin => Some("gridcast.v1.bin"),
            Form::Mqtt => Some("mqtt"),
            _ => None,
        }
    }

    /// Whether the form has a protocol of its own inside messages.
    pub fn has_protocol(self) -> bool {
        !matches!(self, Form::Raw | Form::Json | Form::Bin | Form::Sse | Form::Poll)
    }

    /// Estimated bytes of a frame with this payload on the wire, with headers and envelope;
    /// accurate enough for planning.
    pub fn frame_bytes(self, payload: u64) -> u64 {
        let header = |bytes: u64| match bytes {
            0..=125 => bytes + 2,
            126..=65_535 => bytes + 4,
            _ => bytes + 10,
        };
        match self {
            Form::Raw => header(payload),
            Form::Bin => header(payload + BIN_ENVELOPE_BYTES),
            Form::Json => header(payload * 4 / 3 + JSON_ENVELOPE_BYTES),
            Form::Sse => payload * 4 / 3 + EVENT_BYTES,
            Form::Poll => payload + ANSWER_BYTES,
            Form::Nats => header(payload + NATS_LINE_BYTES),
            Form::Mqtt => header(payload + MQTT_HEADER_BYTES),
            Form::SocketIo => header(payload) + SOCKETIO_EVENT_BYTES,
            Form::Centrifugo => header(payload * 4 / 3 + PUSH_BYTES),
            Form::Pusher => header(payload * 4 / 3 + PUSH_BYTES),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Raw => "raw",
            Form::Json => "json",
            Form::Bin => "bin",
            Form::Sse => "sse",
            Form::Poll => "poll",
            Form::Nats => "nats",
            Form::Mqtt => "mqtt",
            Form::SocketIo => "socketio",
            Form::Centrifugo => "centrifugo",
            Form::Pusher => "pusher",
        })
    }
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = FORMS.into_iter().find(|form| form.to_string() == text);
        found.ok_or_else(|| {
            format!("`{text}` is no form; write `raw`, `json`, `bin`, `sse` or `poll`")
        })
    }
}

/// Which frames a class asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pace {
    /// The most frames per second and topic; `None` for all.
    pub rate: Option<u32>,
    /// Whether a lagging socket skips to the newest frame.
    pub latest: bool,
}

impl Pace {
    /// The highest rate that may be asked for.
    pub const RATE_MAX: u32 = 1000;

    /// Whether frames are skipped on request, so that a missing frame does not count as lost.
    pub fn is_thinned(self) -> bool {
        self.rate.is_some() || self.latest
    }

    /// The options in the query of a subscription.
    pub fn query(self) -> String {
        let options = [
            self.rate.map(|rate| format!("rate={rate}")),
            self.latest.then(|| "mode=latest".to_owned()),
        ];
        let options: Vec<String> = options.into_iter().flatten().collect();
        if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) }
    }

    /// The options as further keys of a JSON subscription.
    pub fn json(self) -> String {
        let rate = self.rate.map_or_else(String::new, |rate| format!(",\"rate\":{rate}"));
        rate + if self.latest { ",\"mode\":\"latest\"" } else { "" }
    }
}

const FORMS: [Form; 10] = [
    Form::Raw,
    Form::Json,
    Form::Bin,
    Form::Sse,
    Form::Poll,
    Form::Nats,
    Form::Mqtt,
    Form::SocketIo,
    Form::Centrifugo,
    Form::Pusher,
];
const BIN_ENVELOPE_BYTES: u64 = 5;
const JSON_ENVELOPE_BYTES: u64 = 44;
const EVENT_BYTES: u64 = 60;
/// The head of an answer, its end, and what a record has beside the payload.
const ANSWER_BYTES: u64 = 330;
/// `MSG pmu.1001 1 92`, and two line ends.
const NATS_LINE_BYTES: u64 = 22;
const MQTT_HEADER_BYTES: u64 = 12;
/// `451-["pmu/1001",{"_placeholder":true,"num":0}]`, which is a separate message.
const SOCKETIO_EVENT_BYTES: u64 = 50;
/// An object around a string, with the names of the event and the channel.
const PUSH_BYTES: u64 = 68;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_written_as_they_are_read() {
        for form in FORMS {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
        assert!(
            "xml"
                .parse::<Form>()
                .unwrap_err()
                .contains("write `raw`, `json`, `bin`, `sse` or `poll`")
        );
    }

    #[test]
    fn paces_are_options_of_a_subscription() {
        let pace = Pace { rate: Some(4), latest: true };
        assert_eq!((pace.query(), pace.is_thinned()), ("?rate=4&mode=latest".to_owned(), true));
        assert_eq!(pace.json(), r#","rate":4,"mode":"latest""#);
        let all = Pace::default();
        assert_eq!(
            (all.query(), all.json(), all.is_thinned()),
            (String::new(), String::new(), false)
        );
    }
}
