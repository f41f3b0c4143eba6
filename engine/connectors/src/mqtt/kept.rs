//! What outlives a connection to a broker: the settings, the messages that the broker has not
//! acknowledged, and whether it knows what was subscribed to. Must not connect.

use gridcast::feed::topic::Topic;

use crate::mqtt::settings::{Settings, Topics};
use crate::mqtt::window::Window;

/// See the file header.
#[derive(Debug)]
pub struct Kept {
    pub settings: Settings,
    pub topics: Topics,
    pub window: Window,
    /// The broker knows what comes in.
    pub is_subscribed: bool,
    /// It has been asked for once in the life of this engine.
    pub has_subscribed: bool,
}

impl Kept {
    /// Before the first connection.
    pub fn new(settings: Settings, topics: Topics) -> Self {
        let window = Window::default();
        Self { settings, topics, window, is_subscribed: false, has_subscribed: false }
    }

    /// Whether the broker is asked to retain messages of a topic.
    pub fn retains(&self, topic: &str) -> bool {
        let retain = &self.topics.retain;
        let is_asked = |topic| retain.iter().any(|target| target.matches(&topic));
        !retain.is_empty() && Topic::new(topic).is_ok_and(is_asked)
    }
}
