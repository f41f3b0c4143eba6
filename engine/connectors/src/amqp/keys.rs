//! Topics as routing keys: `a/b` is `a.b`. Owns what is done about the characters that
//! only one of the two has. Must not know queues.

/// The routing key of a topic; none where a segment holds a dot or is itself a wildcard of AMQP,
/// because it would come back as another topic.
#[must_use]
pub fn key_of(topic: &str) -> Option<String> {
    let is_plain = |segment: &str| !segment.contains('.') && segment != "*";
    topic.split('/').all(is_plain).then(|| topic.replace('/', "."))
}

/// The topic of a routing key, before it is mapped.
#[must_use]
pub fn topic_of(key: &str) -> String {
    key.replace('.', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_keys_are_each_others_inverse() {
        for topic in ["a", "pmu/1001/json", "ä/b c"] {
            assert_eq!(topic_of(&key_of(topic).unwrap()), topic);
        }
        assert_eq!(key_of("host.example/cpu"), None);
        assert_eq!(key_of("a/*"), None);
    }
}
