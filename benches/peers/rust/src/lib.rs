//! What both servers share: topics with a broadcast channel each, as the documentation of tokio
//! shows them. Must not know WebSockets.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Messages a slow subscriber may be behind before it loses some: the size tokio's examples use
/// would lose frames in any burst.
const CAPACITY: usize = 4096;

/// Channels by topic, and by the prefix of a pattern that ends in `#`.
pub struct Hub<M> {
    topics: Mutex<HashMap<String, Sender<M>>>,
    prefixes: Mutex<HashMap<String, Sender<M>>>,
}

impl<M> Default for Hub<M> {
    fn default() -> Self {
        Self { topics: Mutex::default(), prefixes: Mutex::default() }
    }
}

impl<M: Clone> Hub<M> {
    /// What is published to a topic or a pattern from now on.
    pub fn subscribe(&self, topic: &str) -> Receiver<M> {
        let (of, key) = match topic.strip_suffix('#') {
            Some(prefix) => (&self.prefixes, prefix),
            None => (&self.topics, topic),
        };
        let mut senders = of.lock().expect("nobody panics with the lock");
        senders.entry(key.to_owned()).or_insert_with(|| channel(CAPACITY).0).subscribe()
    }

    /// Hands a message to all who want it.
    pub fn publish(&self, topic: &str, message: M) {
        if let Some(sender) = self.topics.lock().expect("see above").get(topic) {
            // Nobody listens.
            let _ = sender.send(message.clone());
        }
        for (prefix, sender) in &*self.prefixes.lock().expect("see above") {
            if topic.starts_with(prefix.as_str()) {
                // Nobody listens.
                let _ = sender.send(message.clone());
            }
        }
    }
}

/// What a request path asks for.
pub enum Wish {
    /// To publish to a topic.
    Publish(String),
    /// To get what is published to a topic or pattern.
    Subscribe(String),
}

impl Wish {
    /// Reads a path.
    pub fn of(path: &str) -> Option<Wish> {
        let path = path.replace("%23", "#");
        let publish = path.strip_prefix("/publish/").map(|t| Wish::Publish(t.to_owned()));
        publish.or_else(|| path.strip_prefix("/subscribe/").map(|t| Wish::Subscribe(t.to_owned())))
    }
}

/// The port of the command line; prints the version and ends if that is asked for.
pub fn port(version: &str) -> u16 {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "--version" {
        println!("{version}");
        std::process::exit(0);
    }
    argument.parse().expect("usage: PORT | --version")
}
