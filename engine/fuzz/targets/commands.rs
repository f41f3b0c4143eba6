//! JSON commands: whatever is taken for a publish names a topic and carries a payload that an
//! independent parser agrees with. Owns no rule of its own.
#![no_main]

use std::borrow::Cow;

use gridcast::wire::command;
use gridcast::wire::command::Parser;
use gridcast::frame::Kind;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    // The parser of multiplexed commands overwrites what it reads, and is used again.
    let mut parser = Parser::default();
    for _ in 0..2 {
        let command = parser.command(&mut data.to_vec()).is_ok();
        assert!(!command || serde_json::from_slice::<Value>(data).is_ok(), "taken, but no JSON");
    }
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
