//! The interface of every protocol inside messages: the client state, its setup, and the events
//! it reports. Must not know any single protocol.

use std::fmt;

use crate::codec::claim::Reject;
use crate::codec::memo::Memo;
use crate::codec::wire;
use crate::codec::wire::{MASK, Message, Opcode};

/// The client side of a protocol, on one socket.
pub trait Protocol: fmt::Debug + Send {
    /// Whether the server has confirmed the connection and all subscriptions.
    fn is_confirmed(&self) -> bool;

    /// Handles a message.
    ///
    /// # Errors
    /// Why the connection is over.
    fn on_message(
        &mut self,
        message: Message<'_>,
        context: &mut MessageContext<'_>,
    ) -> Result<(), String>;

    /// Checks timers; called about once a second. Frames that a client must send on its own are
    /// appended to `out`.
    ///
    /// # Errors
    /// That the server has been silent for too long.
    fn check_timers(&mut self, _now_ns: u64, _out: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

/// What a client subscribes to or publishes, and its credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientSetup<'i> {
    /// The topics of a subscriber, or the one topic of a publisher.
    pub topics: &'i [&'i str],
    /// The credentials of the client.
    pub token: Option<&'i str>,
    /// Whether the client is a publisher.
    pub publishes: bool,
}

/// An event reported to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolEvent<'p> {
    /// A published payload, with the channel that the message names, if it names one.
    Payload(&'p [u8], Option<&'p [u8]>),
    /// A message with nothing of this run.
    Rejected(Reject),
}

/// A payload as a text carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPayload {
    /// What was published.
    pub payload: Vec<u8>,
    /// The channel that the text names, if it names one.
    pub channel: Option<String>,
}

/// What a protocol needs while it handles a message.
pub struct MessageContext<'x> {
    /// When it arrived.
    pub now_ns: u64,
    /// Frames to send back.
    pub answers: &'x mut Vec<u8>,
    /// Cached payloads, by the texts that hold them.
    pub texts: &'x mut Memo<TextPayload>,
    /// Receives the events.
    pub on_event: &'x mut dyn FnMut(ProtocolEvent<'_>),
}

impl MessageContext<'_> {
    /// Sends a text back.
    pub fn reply(&mut self, text: &str) {
        push_text(text, self.answers);
    }

    /// Reports the payload in a text, or returns the other meaning of the text.
    #[inline]
    pub fn payload_or_notice<N>(
        &mut self,
        text: &[u8],
        read: impl FnOnce(&[u8]) -> Result<TextPayload, N>,
    ) -> Option<N> {
        match self.texts.of(text, read) {
            Ok(TextPayload { payload, channel }) => {
                let channel = channel.as_ref().map(String::as_bytes);
                (self.on_event)(ProtocolEvent::Payload(payload, channel));
                None
            }
            Err(notice) => Some(notice),
        }
    }

    /// Reports that a message holds nothing of this run.
    pub fn reject(&mut self, reject: Reject) {
        (self.on_event)(ProtocolEvent::Rejected(reject));
    }
}

/// Why the server refused, in the server's words, shortened.
pub fn refusal(words: &str) -> String {
    let words: String = words.trim().chars().take(WORDS_MAX).collect();
    format!("refused: {words}")
}

/// The most characters of a server's text in a close reason. Reasons are counted by text, so long
/// texts would make many different counters.
const WORDS_MAX: usize = 160;

/// Appends a text message as a frame.
pub fn push_text(text: &str, out: &mut Vec<u8>) {
    wire::encode(Opcode::Text, text.as_bytes(), MASK, out);
}
