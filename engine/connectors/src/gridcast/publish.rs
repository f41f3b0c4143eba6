//! The command that has a message published at the far end: JSON as it is, which is shorter than a
//! string of it. Must not know sockets, or what a message is for.

use gridcast::frame::Kind;
use gridcast::wire::json;
use gridcast_client::wire::command;

/// Has a message published. The far end publishes these bytes, as text or binary as they were.
#[must_use]
pub fn publish(id: u64, topic: &str, kind: Kind, payload: &[u8]) -> String {
    let is_text = kind == Kind::Text;
    match std::str::from_utf8(payload) {
        // Between commas nothing shows how many spaces there were.
        Ok(text) if is_text && json::is_portable(payload) && text.trim_ascii() == text => {
            let topic = command::quoted(topic);
            format!(r#"{{"id":{id},"publish":{{"topic":{topic},"data":{text}}}}}"#)
        }
        _ => command::publish(id, topic, payload, is_text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn a_message_keeps_its_kind_and_its_bytes() {
        for (kind, payload, expected) in [
            (Kind::Text, &b"{\"v\": 1}"[..], r#"{"topic":"a","data":{"v": 1}}"#),
            (Kind::Text, b" 1", r#"{"topic":"a","data":" 1","text":true}"#),
            (Kind::Text, b"50,02", r#"{"topic":"a","data":"50,02","text":true}"#),
            (Kind::Text, b"1e999", r#"{"topic":"a","data":"1e999","text":true}"#),
            (Kind::Binary, b"{}", r#"{"topic":"a","data64":"e30="}"#),
        ] {
            let expected = format!(r#"{{"id":7,"publish":{expected}}}"#);
            assert_eq!(publish(7, "a", kind, payload), expected);
        }
    }

    proptest! {
        #[test]
        fn every_command_is_json(topic in ".{0,10}", text in ".{0,40}") {
            let command = publish(1, &topic, Kind::Text, text.as_bytes());
            let command: Value = serde_json::from_str(&command).unwrap();
            prop_assert_eq!(&command["publish"]["topic"], &topic);
        }
    }
}
