//! How a Socket.IO application is asked: path, namespace and names of events. Must not know
//! sockets.

/// How a Socket.IO application is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Path of all sockets.
    pub path: String,
    /// The namespace they enter.
    pub namespace: String,
    /// What publishers emit, with the topic and the frame.
    pub publish_event: String,
    /// What subscribers emit, with a topic.
    pub subscribe_event: String,
    /// Whether the server acknowledges that.
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

/// The namespace that packets do not name.
pub const ROOT: &str = "/";
