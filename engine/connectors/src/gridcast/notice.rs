//! Notices that messages are missing, for whoever reads the topic of notices. Must not decide that
//! any are.

/// Messages that did not get over the link.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// `in` or `out`, as the bridge sees it.
    pub direction: &'static str,
    /// The topic or pattern they were of, where that is known.
    pub topic: Option<&'a str>,
    /// How many, where that is known.
    pub messages: Option<u64>,
    /// Why.
    pub reason: &'a str,
}

impl Notice<'_> {
    /// The notice as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let mut gap = serde_json::json!({
            "bridge": self.bridge,
            "direction": self.direction,
            "reason": self.reason,
        });
        if let Some(topic) = self.topic {
            gap["topic"] = topic.into();
        }
        if let Some(messages) = self.messages {
            gap["messages"] = messages.into();
        }
        serde_json::json!({ "gap": gap }).to_string()
    }
}
