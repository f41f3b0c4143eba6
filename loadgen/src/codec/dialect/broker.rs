//! The client side of the protocol that a broker speaks inside WebSocket messages, for one socket:
//! selects the protocol, sends the opening frames, and holds what all protocols share. Must not
//! judge payloads.

use crate::codec::dialect::centrifugo::Centrifugo;
use crate::codec::dialect::conversation::{
    Carried, Conversation, ConversationEvent, Exchange, Introduction, push_text,
};
use crate::codec::dialect::dialect::Dialect;
use crate::codec::dialect::pusher::Pusher;
use crate::codec::dialect::socketio::SocketIo;
use crate::codec::dialect::stream::{Stream, StreamProtocol};
use crate::codec::incoming::ServerEvent;
use crate::codec::inflate::Inflater;
use crate::codec::memo::Memo;
use crate::codec::wire::{MASK, Message, Opcode, Scanner};
use crate::codec::{incoming, inflate, wire};

/// The protocol state of one socket.
#[derive(Debug)]
pub struct Broker {
    talk: Box<dyn Conversation>,
}

/// Bytes read from a connection.
#[derive(Debug)]
pub struct ReadResult<'b> {
    /// The bytes as they were read.
    pub bytes: &'b [u8],
    /// The longest message that is accepted.
    pub message_bytes_max: usize,
    /// When it was read.
    pub now_ns: u64,
    /// Payloads by the texts that hold them, for all sockets of a thread.
    pub texts: &'b mut Memo<Carried>,
    /// The inflater, if messages may be compressed.
    pub inflater: &'b mut Option<Inflater>,
}

impl Broker {
    /// The protocol state for a server of this dialect, and the frames that open it. `None` if the
    /// dialect has no protocol inside messages.
    pub fn new(dialect: &Dialect, who: &Introduction<'_>) -> Option<(Broker, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut stream = |protocol| {
            let (stream, said) = Stream::new(protocol, who);
            wire::encode(Opcode::Binary, &said, MASK, &mut frames);
            stream
        };
        let talk: Box<dyn Conversation> = match dialect {
            Dialect::Gridcast | Dialect::Raw(_) | Dialect::Nchan(_) => return None,
            Dialect::Nats => Box::new(stream(StreamProtocol::Nats)),
            Dialect::Mqtt => Box::new(stream(StreamProtocol::Mqtt)),
            Dialect::SocketIo(events) => Box::new(SocketIo::new(events, who)),
            Dialect::Centrifugo { .. } => {
                let (centrifugo, said) = Centrifugo::new(who);
                push_text(&said, &mut frames);
                Box::new(centrifugo)
            }
            Dialect::Pusher { path } => Box::new(Pusher::new(path, who)),
        };
        Some((Broker { talk }, frames))
    }

    /// Whether the server has confirmed the connection and all subscriptions.
    pub fn is_confirmed(&self) -> bool {
        self.talk.is_confirmed()
    }

    /// Checks timers; called about once a second. Frames that a client must send on its own are
    /// appended to `out`.
    ///
    /// # Errors
    /// That the server has been silent for too long.
    pub fn look(&mut self, now_ns: u64, out: &mut Vec<u8>) -> Result<(), String> {
        self.talk.look(now_ns, out)
    }

    /// Handles the bytes that were read. Pongs and answers to the server are appended to `pongs`.
    ///
    /// # Errors
    /// Why the connection is over.
    #[inline]
    pub fn hear(
        &mut self,
        scanner: &mut Scanner,
        read_result: ReadResult<'_>,
        pongs: &mut Vec<u8>,
        mut told: impl FnMut(ConversationEvent<'_>),
    ) -> Result<(), String> {
        let (mut answers, mut ended) = (Vec::new(), Ok(()));
        let ReadResult { bytes, message_bytes_max, now_ns, texts, inflater } = read_result;
        incoming::scan(scanner, bytes, message_bytes_max, pongs, |heard| {
            if let (ServerEvent::Message(message), Ok(())) = (heard, &ended) {
                let told = &mut told;
                let mut exchange = Exchange { now_ns, answers: &mut answers, texts, told };
                ended = match inflate::whole(message.bytes, message.is_deflated, inflater) {
                    Some(bytes) => self.talk.hear(Message { bytes, ..message }, &mut exchange),
                    None => Err("protocol: damaged compression".to_owned()),
                };
            }
        })?;
        pongs.append(&mut answers);
        ended
    }
}

#[cfg(test)]
pub mod fixtures {
    //! A server simulated for the tests of each protocol.

    use super::*;
    use crate::codec::claim::Reject;

    /// The result of one message.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Reaction {
        /// The payloads, or why the message was rejected.
        pub told: Vec<Result<Vec<u8>, Reject>>,
        /// Texts that were sent back.
        pub answers: Vec<String>,
        /// Why the connection is over, if it is.
        pub ended: Option<String>,
    }

    impl Reaction {
        /// A result with texts only.
        pub fn answers(answers: &[&str]) -> Reaction {
            let answers = answers.iter().map(|text| (*text).to_owned()).collect();
            Reaction { told: Vec::new(), answers, ended: None }
        }

        /// A result with payloads only.
        pub fn payloads(payloads: &[&[u8]]) -> Reaction {
            let told = payloads.iter().map(|payload| Ok(payload.to_vec())).collect();
            Reaction { told, answers: Vec::new(), ended: None }
        }

        /// A message that is rejected.
        pub fn rejected(reject: Reject) -> Reaction {
            Reaction { told: vec![Err(reject)], answers: Vec::new(), ended: None }
        }
    }

    /// Frames that a client sends, as the texts in them.
    pub fn texts_of(mut frames: &[u8]) -> Vec<String> {
        let mut texts = Vec::new();
        while let [opcode, length, rest @ ..] = frames {
            assert_eq!((opcode & 0x8F, length & 0x80), (0x81, 0x80), "masked text");
            let (length, rest) = match length & 0x7F {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                length => (usize::from(length), rest),
            };
            let (mask, rest) = rest.split_at(4);
            let (masked, rest) = rest.split_at(length);
            let bytes = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            texts.push(String::from_utf8(bytes.collect()).unwrap());
            frames = rest;
        }
        texts
    }

    impl Broker {
        /// Handles a message at an instant.
        pub fn hears(&mut self, bytes: &[u8], is_text: bool, now_ns: u64) -> Reaction {
            let (mut told, mut answers, mut texts) = (Vec::new(), Vec::new(), Memo::new(1));
            let mut keep = |heard: ConversationEvent<'_>| match heard {
                ConversationEvent::Payload(payload, _) => told.push(Ok(payload.to_vec())),
                ConversationEvent::Rejected(reject) => told.push(Err(reject)),
            };
            let mut exchange =
                Exchange { now_ns, answers: &mut answers, texts: &mut texts, told: &mut keep };
            let message = Message { bytes, is_text, is_deflated: false };
            let ended = self.talk.hear(message, &mut exchange).err();
            Reaction { told, answers: texts_of(&answers), ended }
        }

        /// Checks timers.
        pub fn looks(&mut self, now_ns: u64) -> Reaction {
            let mut said = Vec::new();
            let ended = self.look(now_ns, &mut said).err();
            Reaction { told: Vec::new(), answers: texts_of(&said), ended }
        }

        /// Handles a text message.
        pub fn hears_text(&mut self, text: &str) -> Reaction {
            self.hears(text.as_bytes(), true, 0)
        }
    }
}
