//! The sockets that connected during the run: since when each is connected, whether it has received
//! a frame, and where its topics began. Only those are stored, so a socket that stays connected
//! from the ramp to the end costs nothing. Must not know sockets, and reads no clock.

use rustc_hash::FxHashMap;

/// The sessions of one thread's sockets.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: FxHashMap<u32, Session>,
    /// The first frame of each topic, by tracker.
    first: FxHashMap<u32, u32>,
}

#[derive(Debug)]
struct Session {
    came_ns: u64,
    since_ns: u64,
    has_frame: bool,
    /// Topics without a frame so far.
    topics_left: u32,
}

/// Since when a socket has waited for its first frames, ns; `None` if this frame ends no wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waited {
    /// For its first frame.
    pub first: Option<u64>,
    /// For a frame of every topic: this one belongs to the last topic without any.
    pub all: Option<u64>,
}

impl Sessions {
    /// A socket with so many topics connected at `came_ns`; it has waited for frames since it
    /// disconnected or first tried.
    pub fn begin(&mut self, account: u32, since_ns: u64, came_ns: u64, topics_left: u32) {
        self.sessions.insert(account, Session { came_ns, since_ns, has_frame: false, topics_left });
    }

    /// A socket disconnected.
    pub fn end(&mut self, account: u32) {
        self.sessions.remove(&account);
    }

    /// The first frame of a topic has arrived. Returns since when the socket has waited, if it is
    /// the first of all topics, or that of the last topic.
    pub fn first_frame(&mut self, account: u32, tracker: u32, number: u32) -> Waited {
        let is_new = self.first.insert(tracker, number).is_none();
        let Some(session) = self.sessions.get_mut(&account) else { return Waited::default() };
        session.topics_left -= u32::from(is_new && session.topics_left > 0);
        let is_first = !std::mem::replace(&mut session.has_frame, true);
        let since = |is_so: bool| is_so.then_some(session.since_ns);
        Waited { first: since(is_first), all: since(is_new && session.topics_left == 0) }
    }

    /// Frames of a topic from before the socket connected.
    pub fn missed(&self, tracker: u32) -> u32 {
        self.first.get(&tracker).copied().unwrap_or(0)
    }

    /// Forgets where a topic began.
    pub fn forget(&mut self, tracker: u32) {
        self.first.remove(&tracker);
    }

    /// Whether a socket was connected early enough to receive a frame that was due at an instant.
    pub fn should_have(&self, account: u32, due_ns: u64) -> bool {
        self.sessions.get(&account).is_some_and(|session| due_ns >= session.came_ns + GRACE_NS)
    }
}

/// A frame that is due this long after a socket connected must reach it.
const GRACE_NS: u64 = crate::time::units::SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_and_that_of_the_last_topic_end_waits() {
        let mut sessions = Sessions::default();
        sessions.begin(3, 1_000, 4_000, 2);
        let since = Some(1_000);
        assert_eq!(sessions.first_frame(3, 30, 17), Waited { first: since, all: None });
        assert_eq!(sessions.first_frame(3, 31, 19), Waited { first: None, all: since });
        assert_eq!((sessions.missed(30), sessions.missed(31), sessions.missed(32)), (17, 19, 0));
        sessions.forget(30);
        sessions.end(3);
        assert_eq!((sessions.missed(30), sessions.first_frame(3, 30, 40)), (0, Waited::default()));
    }

    #[test]
    fn frames_due_a_second_after_a_socket_came_must_reach_it() {
        let mut sessions = Sessions::default();
        sessions.begin(3, 0, GRACE_NS, 1);
        assert!(
            !sessions.should_have(3, 2 * GRACE_NS - 1) && sessions.should_have(3, 2 * GRACE_NS)
        );
        assert!(!sessions.should_have(4, 9 * GRACE_NS), "it was never away");
    }
}
