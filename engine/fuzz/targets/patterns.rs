//! Topics and patterns: checked text is within the rules of the wire, and matching agrees with the
//! shortest definition there is. Input: a pattern, a line break, a topic.
#![no_main]

use gridcast::feed::topic::{Pattern, Target, Topic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let target = first.parse::<Target>();
    assert_eq!(target.is_ok(), Pattern::new(first).is_ok() || Topic::new(first).is_ok());
    let Ok(topic) = Topic::new(second) else { return };
    assert!((1..=255).contains(&second.len()) && !second.contains(['+', '#']));
    let Ok(target) = target else { return };
    assert_eq!(target.as_str(), first, "kept as it was written");
    assert_eq!(target.matches(&topic), matches(first, second), "{first} on {second}");
});

/// MQTT's definition, segment by segment.
fn matches(pattern: &str, topic: &str) -> bool {
    if topic.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let pattern: Vec<&str> = pattern.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    segments_match(&pattern, &topic)
}

fn segments_match(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        (["#"], _) | ([], []) => true,
        (["+", pattern @ ..], [_, topic @ ..]) => segments_match(pattern, topic),
        ([wanted, pattern @ ..], [segment, topic @ ..]) => {
            wanted == segment && segments_match(pattern, topic)
        }
        _ => false,
    }
}
