//! Commands, as they are sent. Must not know what they are for.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Follows a topic or pattern; `fields` are further members of the command.
#[must_use]
pub fn subscribe(id: u64, target: &str, from: &str, fields: &str) -> String {
    let (topic, from) = (quoted(target), quoted(from));
    format!(r#"{{"id":{id},"subscribe":{{"topic":{topic},"from":{from}{fields}}}}}"#)
}

/// Gives a subscription up.
#[must_use]
pub fn unsubscribe(id: u64, target: &str) -> String {
    format!(r#"{{"id":{id},"unsubscribe":{{"topic":{}}}}}"#, quoted(target))
}

/// Has the server judge the connection by another token.
#[must_use]
pub fn auth(id: u64, token: &str) -> String {
    format!(r#"{{"id":{id},"auth":{{"token":{}}}}}"#, quoted(token))
}

/// Publishes exactly these bytes, as text or not.
#[must_use]
pub fn publish(id: u64, topic: &str, payload: &[u8], is_text: bool) -> String {
    let mut command = String::with_capacity(payload.len() + topic.len() + 64);
    // Writing to memory cannot fail.
    let _ = write!(command, r#"{{"id":{id},"publish":{{"topic":{},"#, quoted(topic));
    match std::str::from_utf8(payload) {
        Ok(text) if is_text => {
            // As above.
            let _ = write!(command, r#""data":{},"text":true}}}}"#, quoted(text));
        }
        _ => {
            command.push_str(r#""data64":""#);
            STANDARD.encode_string(payload, &mut command);
            command.push_str(r#""}}"#);
        }
    }
    command
}

/// A text as JSON has it.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(command: &str) -> Value {
        serde_json::from_str(command).unwrap()
    }

    #[test]
    fn commands_are_those_of_the_protocol() {
        let command = read(&subscribe(1, "pmu/#", "k3-41", r#","lag":"skip-to-oldest""#));
        let fields = json!({"topic": "pmu/#", "from": "k3-41", "lag": "skip-to-oldest"});
        assert_eq!(command, json!({"id": 1, "subscribe": fields}));
        let expected = json!({"id": 2, "unsubscribe": {"topic": "a"}});
        assert_eq!(read(&unsubscribe(2, "a")), expected);
        let expected = json!({"id": 4, "auth": {"token": "a.b"}});
        assert_eq!(read(&auth(4, "a.b")), expected);
        let expected = json!({"id": 3, "publish": {"topic": "a", "data64": "AP8="}});
        assert_eq!(read(&publish(3, "a", &[0, 255], false)), expected);
    }

    proptest! {
        #[test]
        fn every_command_is_json(topic in ".{0,10}", text in ".{0,40}") {
            let command = read(&publish(1, &topic, text.as_bytes(), true));
            prop_assert_eq!(&command["publish"]["topic"], &topic);
            prop_assert_eq!(&command["publish"]["data"], &text);
        }
    }
}
