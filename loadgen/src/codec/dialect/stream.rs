//! A byte protocol carried in binary messages; a packet may span several messages. Owns the
//! outstanding confirmations and the incomplete packet. Must not judge payloads.

use crate::codec::dialect::packet::{Malformed, Packet, PacketContent};
use crate::codec::dialect::protocol::{
    ClientSetup, MessageContext, Protocol, ProtocolEvent, refusal,
};
use crate::codec::dialect::{mqtt, nats};
use crate::codec::wire;
use crate::codec::wire::{Message, Opcode};

/// The byte protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamProtocol {
    /// See `nats`.
    Nats,
    /// See `mqtt`.
    Mqtt,
}

/// The protocol state of one socket.
#[derive(Debug)]
pub struct Stream {
    protocol: StreamProtocol,
    /// Confirmations that have not arrived yet.
    awaited: u32,
    /// The start of an incomplete packet.
    rest: Vec<u8>,
}

impl StreamProtocol {
    /// Appends a publish.
    pub fn publish(self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            StreamProtocol::Nats => nats::publish(topic, payload, out),
            StreamProtocol::Mqtt => mqtt::publish(topic, payload, out),
        }
    }

    fn greeting(self, token: Option<&str>) -> Vec<u8> {
        match self {
            StreamProtocol::Nats => nats::greeting(token),
            StreamProtocol::Mqtt => mqtt::greeting(),
        }
    }

    fn subscribe(self, topics: &[&str]) -> Vec<u8> {
        match self {
            StreamProtocol::Nats => nats::subscribe(topics),
            StreamProtocol::Mqtt => mqtt::subscribe(topics),
        }
    }

    /// How many confirmations a subscriber waits for.
    fn confirmations(self) -> u32 {
        match self {
            // A PING after the subscriptions: its answer proves that they are in place.
            StreamProtocol::Nats => 1,
            // One for the connection and one for the subscription.
            StreamProtocol::Mqtt => 2,
        }
    }

    #[inline]
    fn packet(self, bytes: &[u8]) -> Packet<'_> {
        match self {
            StreamProtocol::Nats => nats::packet(bytes),
            StreamProtocol::Mqtt => mqtt::packet(bytes),
        }
    }
}

impl Stream {
    /// The state of a new socket, and the bytes that open it. A publisher waits for no
    /// confirmation.
    pub fn new(protocol: StreamProtocol, client: &ClientSetup<'_>) -> (Stream, Vec<u8>) {
        let mut opening = protocol.greeting(client.token);
        let mut awaited = 0;
        if !client.publishes {
            opening.extend(protocol.subscribe(client.topics));
            awaited = protocol.confirmations();
        }
        (Stream { protocol, awaited, rest: Vec::new() }, opening)
    }
}

impl Protocol for Stream {
    fn is_confirmed(&self) -> bool {
        self.awaited == 0
    }

    fn on_message(
        &mut self,
        message: Message<'_>,
        context: &mut MessageContext<'_>,
    ) -> Result<(), String> {
        let mut answers = Vec::new();
        let on_event = &mut context.on_event;
        let taken = self.take(message.bytes, &mut answers, |payload, channel| {
            on_event(ProtocolEvent::Payload(payload, Some(channel)));
        });
        if !answers.is_empty() {
            wire::encode(Opcode::Binary, &answers, crate::codec::wire::MASK, context.answers);
        }
        taken
    }
}

impl Stream {
    /// Handles the bytes of a message. Packets to send back are appended to `answers`.
    #[inline]
    fn take(
        &mut self,
        message: &[u8],
        answers: &mut Vec<u8>,
        mut payload: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), String> {
        if self.rest.is_empty() {
            let taken = self.take_whole(message, answers, &mut payload)?;
            self.rest.extend_from_slice(message.get(taken..).unwrap_or_default());
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(message);
            let taken = self.take_whole(&bytes, answers, &mut payload)?;
            bytes.drain(..taken);
            self.rest = bytes;
        }
        if self.rest.len() > PACKET_BYTES_MAX { Err(Malformed.to_string()) } else { Ok(()) }
    }

    /// Handles the complete packets in the bytes; returns how many bytes they take.
    fn take_whole(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        payload: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, String> {
        let mut taken = 0;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let packet = self.protocol.packet(left).map_err(|error| error.to_string())?;
            let Some((length, content)) = packet else { break };
            match content {
                PacketContent::Payload(bytes, channel) => payload(bytes, channel),
                PacketContent::Confirmed => self.awaited = self.awaited.saturating_sub(1),
                PacketContent::Answer(answer) => answers.extend_from_slice(answer),
                PacketContent::Refused(why) => {
                    return Err(refusal(&String::from_utf8_lossy(why)));
                }
                PacketContent::Nothing => {}
            }
            taken += length;
        }
        Ok(taken)
    }
}

/// Larger than any message a broker accepts by default.
const PACKET_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publisher(protocol: StreamProtocol) -> Stream {
        Stream::new(protocol, &ClientSetup { publishes: true, ..ClientSetup::default() }).0
    }

    fn subscriber(protocol: StreamProtocol) -> (Stream, Vec<u8>) {
        let topics = &["pmu/#"];
        Stream::new(protocol, &ClientSetup { topics, ..ClientSetup::default() })
    }

    /// Three payloads as a broker sends them.
    fn stream(protocol: StreamProtocol) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in [&b"one"[..], b"", &[0x0d, 0x0a, 0x30, 0xff]] {
            match protocol {
                StreamProtocol::Nats => {
                    bytes.extend(format!("MSG pmu.1 1 {}\r\n", payload.len()).bytes());
                    bytes.extend(payload);
                    bytes.extend(b"\r\nPING\r\n");
                }
                StreamProtocol::Mqtt => protocol.publish("pmu/1", payload, &mut bytes),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn packets_may_straddle_messages(cuts in prop::collection::vec(1usize..9, 1..40)) {
            for protocol in [StreamProtocol::Nats, StreamProtocol::Mqtt] {
                let (mut broker, bytes) = (publisher(protocol), stream(protocol));
                let (mut payloads, mut answers, mut at) = (Vec::new(), Vec::new(), 0);
                for cut in cuts.iter().cycle() {
                    let end = (at + cut).min(bytes.len());
                    let keep = |payload: &[u8], _: &[u8]| payloads.push(payload.to_vec());
                    broker.take(&bytes[at..end], &mut answers, keep).unwrap();
                    at = end;
                    if at == bytes.len() {
                        break;
                    }
                }
                let sent = [b"one".to_vec(), vec![], vec![0x0d, 0x0a, 0x30, 0xff]];
                prop_assert_eq!(&payloads, &sent);
                let pongs = if protocol == StreamProtocol::Nats { 3 } else { 0 };
                prop_assert_eq!(answers, b"PONG\r\n".repeat(pongs));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for protocol in [StreamProtocol::Nats, StreamProtocol::Mqtt] {
                // Any answer will do.
                let _ = publisher(protocol).take(&bytes, &mut Vec::new(), |_, _| ());
            }
        }
    }

    #[test]
    fn a_refusal_ends_the_conversation_with_its_words() {
        let refused = |protocol, bytes: &[u8]| {
            publisher(protocol).take(bytes, &mut Vec::new(), |_, _| ()).unwrap_err()
        };
        let words = refused(StreamProtocol::Nats, b"-ERR 'Authorization Violation'\r\n");
        assert_eq!(words, "refused: 'Authorization Violation'");
        assert!(refused(StreamProtocol::Mqtt, &[0x20, 2, 0, 5]).starts_with("refused"));
        assert!(refused(StreamProtocol::Mqtt, &[0x90, 3, 0, 1, 0x80]).starts_with("refused"));
        assert!(refused(StreamProtocol::Nats, b"HELLO\r\n").starts_with("protocol"));
    }

    #[test]
    fn a_subscriber_is_open_once_all_is_confirmed() {
        let mut answers = Vec::new();
        let (mut nats, opening) = subscriber(StreamProtocol::Nats);
        assert!(
            opening.ends_with(b"SUB pmu.> 1\r\nPING\r\n"),
            "{}",
            String::from_utf8_lossy(&opening)
        );
        nats.take(b"INFO {}\r\n+OK\r\n", &mut answers, |_, _| ()).unwrap();
        assert!(!nats.is_confirmed());
        nats.take(b"PONG\r\n", &mut answers, |_, _| ()).unwrap();
        assert!(nats.is_confirmed() && answers.is_empty());
        let (mut mqtt, _) = subscriber(StreamProtocol::Mqtt);
        mqtt.take(&[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0], &mut answers, |_, _| ()).unwrap();
        assert!(mqtt.is_confirmed());
        assert!(publisher(StreamProtocol::Nats).is_confirmed());
    }
}
