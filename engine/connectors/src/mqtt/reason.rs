//! What the codes of a broker mean, in words and in what to do about it. Must not act on them.

use crate::mqtt::settings::Version;

/// The lowest code that is a refusal.
pub const REFUSED: u8 = 0x80;
/// Another client has connected with the same client identifier.
pub const TAKEN_OVER: u8 = 0x8e;

/// Whether trying again cannot help until somebody changes something: credentials or rights.
pub fn is_denied(version: Version, code: u8) -> bool {
    match version {
        Version::V311 => matches!(code, 4 | 5),
        Version::V5 => matches!(code, 0x86 | 0x87 | 0x8a | 0x8c),
    }
}

/// The words for a code of a CONNACK.
pub fn connect(version: Version, code: u8) -> &'static str {
    match (version, code) {
        (Version::V311, 1) => "the broker does not speak MQTT 3.1.1: try `version = \"5\"`",
        (Version::V311, 2) => "the broker refuses this `client_id`",
        (Version::V311, 3) => "the broker is unavailable",
        (Version::V311, 4) => "user or password are wrong",
        (Version::V311, 5) => "not authorized: user or password are wrong, or may not connect",
        (Version::V5, 0x84) => "the broker does not speak MQTT 5: try `version = \"3.1.1\"`",
        (Version::V5, code) => general(code),
        (Version::V311, _) => "for a reason that MQTT 3.1.1 does not have",
    }
}

/// The words for a code of MQTT 5.
pub fn general(code: u8) -> &'static str {
    match code {
        0x80 => "for a reason that it does not name",
        0x81 | 0x82 => "the broker does not understand what was sent",
        0x83 => "the broker's implementation does not take it",
        0x85 => "the broker refuses this `client_id`",
        0x86 => "user or password are wrong",
        0x87 => "not authorized",
        0x88 => "the broker is unavailable",
        0x89 => "the broker is busy",
        0x8a => "the broker has banned this client",
        0x8b => "the broker shuts down",
        0x8c => "the broker wants another way of authentication",
        0x8d => "the broker heard nothing for too long",
        TAKEN_OVER => "another client connected with the same `client_id`: each needs its own",
        0x8f => "the broker does not take this topic filter",
        0x90 => "the broker does not take this topic",
        0x91 => "the broker uses this packet identifier already",
        0x93 => "more messages were on their way than the broker takes",
        0x95 => "the packet is longer than the broker takes",
        0x96 => "messages came faster than the broker takes them",
        0x97 => "a quota is used up",
        0x98 => "an administrator ended it",
        0x99 => "the payload is not of the format that was said",
        0x9a => "the broker does not retain messages",
        0x9b => "the broker does not take this QoS",
        0x9c | 0x9d => "the broker wants another server to be used",
        0x9e => "the broker has no shared subscriptions",
        0x9f => "connections came too fast",
        0xa2 => "the broker has no wildcard subscriptions",
        _ => "for a reason that MQTT 5 does not have",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_credentials_are_told_from_a_busy_broker() {
        assert!(is_denied(Version::V311, 4) && is_denied(Version::V311, 5));
        assert!(!is_denied(Version::V311, 3));
        assert!(is_denied(Version::V5, 0x87) && !is_denied(Version::V5, 0x89));
        assert_eq!(connect(Version::V5, 0x86), connect(Version::V311, 4));
    }
}
