//! What every protocol inside messages shares: the client's side of a conversation, who speaks, and
//! what it hands on. Must not know any single protocol.

use std::fmt;

use crate::codec::claim::Reject;
use crate::codec::memo::Memo;
use crate::codec::wire;
use crate::codec::wire::{MASK, Message, Opcode};

/// The client's side of a protocol, on one socket.
pub trait Conversation: fmt::Debug + Send {
    /// Whether everything is confirmed.
    fn is_confirmed(&self) -> bool;

    /// Takes a message.
    ///
    /// # Errors
    /// Why the conversation is over.
    fn hear(&mut self, message: Message<'_>, exchange: &mut Exchange<'_>) -> Result<(), String>;

    /// Looks at the time, every second or so: frames that a client sends by itself are appended to
    /// `out`.
    ///
    /// # Errors
    /// That the server has been silent for too long.
    fn look(&mut self, _now_ns: u64, _out: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

/// Who is speaking.
#[derive(Debug, Clone, Copy, Default)]
pub struct Introduction<'i> {
    /// What a subscriber follows, or the one topic of a publisher.
    pub topics: &'i [&'i str],
    /// What shows the server who is asking.
    pub token: Option<&'i str>,
    /// Whether it is a publisher.
    pub publishes: bool,
}

/// What a conversation has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationEvent<'p> {
    /// What was published.
    Payload(&'p [u8]),
    /// A message that holds nothing of this run.
    Rejected(Reject),
}

/// What a conversation has at hand when it hears a message.
pub struct Exchange<'x> {
    /// When it arrived.
    pub now_ns: u64,
    /// Frames to be sent back.
    pub answers: &'x mut Vec<u8>,
    /// Payloads by the texts that hold them.
    pub texts: &'x mut Memo<Vec<u8>>,
    /// Takes what was published.
    pub told: &'x mut dyn FnMut(ConversationEvent<'_>),
}

impl Exchange<'_> {
    /// Sends a text back.
    pub fn say(&mut self, text: &str) {
        push_text(text, self.answers);
    }

    /// Tells the payload that a text holds, or answers what else it holds.
    #[inline]
    pub fn understand<N>(
        &mut self,
        text: &[u8],
        read: impl FnOnce(&[u8]) -> Result<Vec<u8>, N>,
    ) -> Option<N> {
        match self.texts.of(text, read) {
            Ok(payload) => {
                (self.told)(ConversationEvent::Payload(payload));
                None
            }
            Err(notice) => Some(notice),
        }
    }

    /// Tells that a message holds nothing of this run.
    pub fn reject(&mut self, reject: Reject) {
        (self.told)(ConversationEvent::Rejected(reject));
    }
}

/// Why a conversation is over that the server refuses, in its words as far as they are short.
pub fn refusal(words: &str) -> String {
    let words: String = words.trim().chars().take(WORDS_MAX).collect();
    format!("refused: {words}")
}

/// Characters of a server's own in the name of an end: there may be many ends.
const WORDS_MAX: usize = 160;

/// Appends a text message as a frame.
pub fn push_text(text: &str, out: &mut Vec<u8>) {
    wire::encode(Opcode::Text, text.as_bytes(), MASK, out);
}
