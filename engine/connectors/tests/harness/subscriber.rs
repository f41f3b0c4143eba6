//! A subscriber of another system that comes back through whatever happens to the server. Owns its
//! thread, and how often each message came. Must not know a protocol.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::node::Seen;

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// A connection of a subscriber.
pub trait Subscription {
    /// The text of the next message; `WouldBlock` where none comes for a while.
    fn text(&mut self) -> io::Result<String>;
}

/// See the file header.
pub struct Subscriber {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Subscribes now by `connect`, and again whenever the connection is lost.
    pub fn start<S, F>(connect: F) -> Self
    where
        S: Subscription + Send + 'static,
        F: Fn() -> io::Result<S> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut connection = Some(connect().unwrap());
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match connection.as_mut().map(S::text) {
                    Some(Ok(text)) => *shared.lock().unwrap().entry(text).or_default() += 1,
                    Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => {
                        thread::sleep(PAUSE);
                        connection = connect().ok();
                    }
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}
