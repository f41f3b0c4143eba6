//! JSON commands: whatever is taken for a publish names a topic and carries a payload that an
//! independent parser agrees with. Owns no rule of its own.
#![no_main]

use std::borrow::Cow;

use gridcast::command;
use gridcast::frame::Kind;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|&byte| byte == b'\n').count() as u64;
    for (line, publish) in command::publishes(data) {
        assert!((1..=lines).contains(&line), "line {line} of {lines}");
        let Ok(publish) = publish else { continue };
        assert!(!publish.topic.is_engines());
        match (publish.kind, publish.payload) {
            (Kind::Text, Cow::Borrowed(json)) => {
                serde_json::from_slice::<Value>(json).expect("`data` is JSON");
            }
            (Kind::Text, Cow::Owned(text)) => {
                String::from_utf8(text).expect("text is UTF-8");
            }
            (Kind::Binary, bytes) => assert!(bytes.len() <= data.len()),
        }
    }
});
