//! Paths and the first message for a plain server, with the topic filled in. Must not know sockets.

/// Paths and the first message for a plain server. `{topic}` stands for the topic (or pattern),
/// `{topics}` for all topics of a socket separated by commas. Both are percent-encoded in paths and
/// unchanged in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Path of a publisher's socket.
    pub publish_path: String,
    /// Path of a subscriber's socket.
    pub subscribe_path: String,
    /// Text a subscriber sends once it is connected.
    pub subscribe_message: Option<String>,
}

impl Default for Templates {
    fn default() -> Templates {
        Templates {
            publish_path: "/publish/{topic}".to_owned(),
            subscribe_path: "/subscribe/{topic}".to_owned(),
            subscribe_message: None,
        }
    }
}

impl Templates {
    /// The locations of nchan's documentation, where a request names several channels.
    pub fn of_nchan() -> Templates {
        Templates {
            publish_path: "/pub?id={topic}".to_owned(),
            subscribe_path: "/sub?id={topics}".to_owned(),
            subscribe_message: None,
        }
    }
}
