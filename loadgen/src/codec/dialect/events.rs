//! The names a Socket.IO application uses: path, namespace and events. Must not know sockets.

/// The names a Socket.IO application uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Path of all sockets.
    pub path: String,
    /// The namespace that sockets connect to.
    pub namespace: String,
    /// The event that publishers emit, with the topic and the frame.
    pub publish_event: String,
    /// The event that subscribers emit, with a topic.
    pub subscribe_event: String,
    /// Whether the server acknowledges the subscribe event.
    pub subscribe_acks: bool,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            path: "/socket.io/?EIO=4&transport=websocket".to_owned(),
            namespace: ROOT.to_owned(),
            publish_event: "publish".to_owned(),
            subscribe_event: "subscribe".to_owned(),
            subscribe_acks: true,
        }
    }
}

/// The default namespace, which packets omit.
pub const ROOT: &str = "/";
