//! Whether a payload of another system is published as text or as binary. Must not change it.

use gridcast::frame::Kind;
use serde::Deserialize;

/// The rule of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// What is UTF-8 is text: right for JSON and the like.
    #[default]
    Auto,
    /// Everything is binary: right where numbers are sent as bytes, which may look like text.
    Binary,
}

impl Payload {
    /// The kind of a payload.
    #[must_use]
    pub fn kind(self, payload: &[u8]) -> Kind {
        match self {
            Self::Auto if std::str::from_utf8(payload).is_ok() => Kind::Text,
            _ => Kind::Binary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_utf_8_is_text() {
        assert_eq!(Payload::Auto.kind("{\"ä\":1}".as_bytes()), Kind::Text);
        assert_eq!(Payload::Auto.kind(&[0xaa, 0x01]), Kind::Binary);
        assert_eq!(Payload::Binary.kind(b"1"), Kind::Binary);
    }
}
