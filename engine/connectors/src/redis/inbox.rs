//! What Redis pushes, on its way from the client library's task to the bridge. Owns the bound of
//! its memory: what is beyond is dropped and counted, as the library cannot be made to wait. Takes
//! our own messages out before, so that none of them is among what is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::redis::echoes::Echoes;

/// Payloads and channels that wait, bytes.
const BYTES_MAX: usize = 16 << 20;
/// Messages that wait, however short.
const MESSAGES_MAX: usize = 1 << 16;

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub channel: Vec<u8>,
    pub payload: Vec<u8>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Message(Message),
    /// So many messages were too many.
    Dropped(u64),
    /// The connection is lost, and everything before has been handed out.
    Lost,
}

/// See the file header. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Message>,
    bytes: usize,
    dropped: u64,
    is_lost: bool,
    echoes: Echoes,
}

impl Inbox {
    /// Takes what the library hands over.
    pub fn push(&self, info: PushInfo) {
        let mut state = self.state();
        match message(info) {
            Pushed::Message(message) => state.add(message),
            Pushed::Lost => state.is_lost = true,
            Pushed::Other => return,
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// A message of ours is sent, and comes back so many times.
    pub fn expect(&self, channel: &[u8], payload: &[u8], times: u32) {
        self.state().echoes.expect(channel, payload, times);
    }

    /// A message of ours was refused.
    pub fn withdraw(&self, channel: &[u8], payload: &[u8], times: u32) {
        self.state().echoes.withdraw(channel, payload, times);
    }

    /// The next event. May be cancelled.
    pub async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.state().take() {
                return event;
            }
            self.0.changed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; if one did, what it holds is still whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, message: Message) {
        if self.echoes.take(&message.channel, &message.payload) {
            return;
        }
        let bytes = self.bytes + message.bytes();
        if bytes > BYTES_MAX || self.waiting.len() >= MESSAGES_MAX {
            self.dropped += 1;
        } else {
            self.bytes = bytes;
            self.waiting.push_back(message);
        }
    }

    fn take(&mut self) -> Option<Event> {
        if let Some(message) = self.waiting.pop_front() {
            self.bytes -= message.bytes();
            return Some(Event::Message(message));
        }
        match std::mem::take(&mut self.dropped) {
            0 => self.is_lost.then_some(Event::Lost),
            dropped => Some(Event::Dropped(dropped)),
        }
    }
}

impl Message {
    fn bytes(&self) -> usize {
        self.channel.len() + self.payload.len()
    }
}

enum Pushed {
    Message(Message),
    Lost,
    Other,
}

fn message(info: PushInfo) -> Pushed {
    let mut data = info.data.into_iter().rev();
    let (payload, channel) = match info.kind {
        // Channel and payload; before them stands the pattern where there is one.
        PushKind::Message | PushKind::PMessage => (data.next(), data.next()),
        PushKind::Disconnection => return Pushed::Lost,
        _ => return Pushed::Other,
    };
    match (channel, payload) {
        (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) => {
            Pushed::Message(Message { channel, payload })
        }
        _ => Pushed::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(inbox: &Inbox, payload: &[u8]) {
        let data = vec![Value::BulkString(b"a".to_vec()), Value::BulkString(payload.to_vec())];
        inbox.push(PushInfo { kind: PushKind::Message, data });
    }

    fn taken(inbox: &Inbox) -> Option<Event> {
        inbox.state().take()
    }

    fn is_message(event: Option<Event>, payload: &[u8]) -> bool {
        matches!(event, Some(Event::Message(message)) if message.payload == payload)
    }

    #[test]
    fn what_is_too_much_is_counted_and_told_after_what_is_there() {
        let inbox = Inbox::default();
        let big = vec![b'x'; BYTES_MAX / 2 - 1];
        (0..4).for_each(|_| push(&inbox, &big));
        inbox.push(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
        assert!(is_message(taken(&inbox), &big) && is_message(taken(&inbox), &big));
        assert_eq!(taken(&inbox), Some(Event::Dropped(2)));
        assert_eq!(taken(&inbox), Some(Event::Lost));
    }

    #[test]
    fn messages_of_ours_do_not_come_in() {
        let inbox = Inbox::default();
        inbox.expect(b"a", b"1", 1);
        push(&inbox, b"1");
        push(&inbox, b"1");
        assert!(is_message(taken(&inbox), b"1"));
        assert_eq!(taken(&inbox), None);
    }
}
