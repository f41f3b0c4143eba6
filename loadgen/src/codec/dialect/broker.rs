//! The client side of the protocol that a broker speaks inside WebSocket messages, for one socket:
//! selects the protocol, sends the opening frames, and holds what all protocols share. Must not
//! judge payloads.

use crate::codec::dialect::centrifugo::Centrifugo;
use crate::codec::dialect::dialect::Dialect;
use crate::codec::dialect::protocol::{
    ClientSetup, MessageContext, Protocol, ProtocolEvent, TextPayload, push_text,
};
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
    protocol: Box<dyn Protocol>,
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
    pub texts: &'b mut Memo<TextPayload>,
    /// The inflater, if messages may be compressed.
    pub inflater: &'b mut Option<Inflater>,
}

impl Broker {
    /// The protocol state for a server of this dialect, and the frames that open it. `None` if the
    /// dialect has no protocol inside messages.
    pub fn new(dialect: &Dialect, client: &ClientSetup<'_>) -> Option<(Broker, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut stream = |protocol| {
            let (stream, opening) = Stream::new(protocol, client);
            wire::encode(Opcode::Binary, &opening, MASK, &mut frames);
            stream
        };
        let protocol: Box<dyn Protocol> = match dialect {
            Dialect::Gridcast | Dialect::Raw(_) | Dialect::Nchan(_) => return None,
            Dialect::Nats => Box::new(stream(StreamProtocol::Nats)),
            Dialect::Mqtt => Box::new(stream(StreamProtocol::Mqtt)),
            Dialect::SocketIo(events) => Box::new(SocketIo::new(events, client)),
            Dialect::Centrifugo { .. } => {
                let (centrifugo, opening) = Centrifugo::new(client);
                push_text(&opening, &mut frames);
                Box::new(centrifugo)
            }
            Dialect::Pusher { path } => Box::new(Pusher::new(path, client)),
        };
        Some((Broker { protocol }, frames))
    }

    /// Whether the server has confirmed the connection and all subscriptions.
    pub fn is_confirmed(&self) -> bool {
        self.protocol.is_confirmed()
    }

    /// Checks timers; called about once a second. Frames that a client must send on its own are
    /// appended to `out`.
    ///
    /// # Errors
    /// That the server has been silent for too long.
    pub fn check_timers(&mut self, now_ns: u64, out: &mut Vec<u8>) -> Result<(), String> {
        self.protocol.check_timers(now_ns, out)
    }

    /// Handles the bytes that were read. Pongs and answers to the server are appended to `pongs`.
    ///
    /// # Errors
    /// Why the connection is over.
    #[inline]
    pub fn on_bytes(
        &mut self,
        scanner: &mut Scanner,
        read_result: ReadResult<'_>,
        pongs: &mut Vec<u8>,
        mut on_event: impl FnMut(ProtocolEvent<'_>),
    ) -> Result<(), String> {
        let (mut answers, mut ended) = (Vec::new(), Ok(()));
        let ReadResult { bytes, message_bytes_max, now_ns, texts, inflater } = read_result;
        incoming::scan(scanner, bytes, message_bytes_max, pongs, |event| {
            if let (ServerEvent::Message(message), Ok(())) = (event, &ended) {
                let on_event = &mut on_event;
                let mut context = MessageContext { now_ns, answers: &mut answers, texts, on_event };
                ended = match inflate::whole(message.bytes, message.is_deflated, inflater) {
                    Some(bytes) => {
                        self.protocol.on_message(Message { bytes, ..message }, &mut context)
                    }
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
        pub events: Vec<Result<Vec<u8>, Reject>>,
        /// Texts that were sent back.
        pub answers: Vec<String>,
        /// Why the connection is over, if it is.
        pub ended: Option<String>,
    }

    impl Reaction {
        /// A result with texts only.
        pub fn answers(answers: &[&str]) -> Reaction {
            let answers = answers.iter().map(|text| (*text).to_owned()).collect();
            Reaction { events: Vec::new(), answers, ended: None }
        }

        /// A result with payloads only.
        pub fn payloads(payloads: &[&[u8]]) -> Reaction {
            let events = payloads.iter().map(|payload| Ok(payload.to_vec())).collect();
            Reaction { events, answers: Vec::new(), ended: None }
        }

        /// A message that is rejected.
        pub fn rejected(reject: Reject) -> Reaction {
            Reaction { events: vec![Err(reject)], answers: Vec::new(), ended: None }
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
        pub fn receive(&mut self, bytes: &[u8], is_text: bool, now_ns: u64) -> Reaction {
            let (mut events, mut answers, mut texts) = (Vec::new(), Vec::new(), Memo::new(1));
            let mut keep = |event: ProtocolEvent<'_>| match event {
                ProtocolEvent::Payload(payload, _) => events.push(Ok(payload.to_vec())),
                ProtocolEvent::Rejected(reject) => events.push(Err(reject)),
            };
            let mut context = MessageContext {
                now_ns,
                answers: &mut answers,
                texts: &mut texts,
                on_event: &mut keep,
            };
            let message = Message { bytes, is_text, is_deflated: false };
            let ended = self.protocol.on_message(message, &mut context).err();
            Reaction { events, answers: texts_of(&answers), ended }
        }

        /// Checks timers.
        pub fn advance_to(&mut self, now_ns: u64) -> Reaction {
            let mut opening = Vec::new();
            let ended = self.check_timers(now_ns, &mut opening).err();
            Reaction { events: Vec::new(), answers: texts_of(&opening), ended }
        }

        /// Handles a text message.
        pub fn receive_text(&mut self, text: &str) -> Reaction {
            self.receive(text.as_bytes(), true, 0)
        }
    }
}
