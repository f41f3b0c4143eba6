//! One socket's conversation with a broker: packets that may straddle messages, those that must be
//! answered, and what is still to be confirmed. Must not know what a payload is worth.

use super::{Tongue, mqtt, nats};
use crate::connection::{Connection, Heard, MASK};
use crate::wire::{self, Opcode};

/// A conversation.
#[derive(Debug)]
pub struct Broker {
    tongue: Tongue,
    /// Confirmations still to come.
    awaited: u32,
    /// The beginning of a packet.
    rest: Vec<u8>,
}

/// What a connection brought.
#[derive(Debug, Clone, Copy)]
pub struct Brought<'b> {
    /// As it was read.
    pub bytes: &'b [u8],
    /// Length of the longest message that is taken.
    pub message_bytes_max: usize,
}

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'p> {
    /// What was published.
    Payload(&'p [u8]),
    /// A subscription, or the connection, is taken.
    Confirmed,
    /// This has to be sent back.
    Answer(&'static [u8]),
    /// Something was refused: what the broker says about it.
    Refused(&'p [u8]),
    /// Nothing that matters.
    Nothing,
}

/// Bytes that are no packet of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protocol: no packet of the broker")]
pub struct Malformed;

/// The first packet of some bytes, and its length; `None` if it is not whole.
pub type Packet<'p> = Result<Option<(usize, Said<'p>)>, Malformed>;

impl Tongue {
    /// What a publisher says first.
    pub fn greeting(self) -> Vec<u8> {
        match self {
            Tongue::Nats => nats::greeting(),
            Tongue::Mqtt => mqtt::greeting(),
        }
    }

    /// Appends a publish.
    pub fn publish(self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Tongue::Nats => nats::publish(topic, payload, out),
            Tongue::Mqtt => mqtt::publish(topic, payload, out),
        }
    }

    fn subscribe(self, topics: &[&str]) -> Vec<u8> {
        match self {
            Tongue::Nats => nats::subscribe(topics),
            Tongue::Mqtt => mqtt::subscribe(topics),
        }
    }

    #[inline]
    fn packet(self, bytes: &[u8]) -> Packet<'_> {
        match self {
            Tongue::Nats => nats::packet(bytes),
            Tongue::Mqtt => mqtt::packet(bytes),
        }
    }
}

impl Broker {
    /// A publisher's: nothing is waited for.
    pub fn publisher(tongue: Tongue) -> Broker {
        Broker { tongue, awaited: 0, rest: Vec::new() }
    }

    /// A subscriber's, and what it has to say.
    pub fn subscriber(tongue: Tongue, topics: &[&str]) -> (Broker, Vec<u8>) {
        let mut said = tongue.greeting();
        said.extend(tongue.subscribe(topics));
        let awaited = match tongue {
            // A ping behind the subscriptions: its answer comes after they are in place.
            Tongue::Nats => 1,
            // The connection and the subscription.
            Tongue::Mqtt => 2,
        };
        (Broker { tongue, awaited, rest: Vec::new() }, said)
    }

    /// Whether everything is confirmed.
    pub fn is_confirmed(&self) -> bool {
        self.awaited == 0
    }

    /// Takes what a connection brought. Pongs, and answers to the broker, are appended to `pongs`.
    ///
    /// # Errors
    /// Why the connection is over.
    #[inline]
    pub fn hear(
        &mut self,
        connection: &mut Connection,
        brought: Brought<'_>,
        pongs: &mut Vec<u8>,
        mut payload: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let (mut answers, mut ended) = (Vec::new(), Ok(()));
        let Brought { bytes, message_bytes_max } = brought;
        connection.scan(bytes, message_bytes_max, pongs, |heard| {
            if let (Heard::Message(message), Ok(())) = (heard, &ended) {
                ended = self.take(message.bytes, &mut answers, &mut payload);
            }
        })?;
        if !answers.is_empty() {
            wire::encode(Opcode::Binary, &answers, MASK, pongs);
        }
        ended
    }

    /// Takes a message. Packets that have to be sent back are appended to `answers`, as they are.
    ///
    /// # Errors
    /// Why the conversation is over.
    #[inline]
    pub fn take(
        &mut self,
        message: &[u8],
        answers: &mut Vec<u8>,
        mut payload: impl FnMut(&[u8]),
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

    /// Takes the whole packets of some bytes; answers how many bytes these are.
    fn take_whole(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        payload: &mut impl FnMut(&[u8]),
    ) -> Result<usize, String> {
        let mut taken = 0;
        while let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) {
            let packet = self.tongue.packet(left).map_err(|error| error.to_string())?;
            let Some((length, said)) = packet else { break };
            match said {
                Said::Payload(bytes) => payload(bytes),
                Said::Confirmed => self.awaited = self.awaited.saturating_sub(1),
                Said::Answer(answer) => answers.extend_from_slice(answer),
                Said::Refused(why) => {
                    return Err(format!("refused: {}", String::from_utf8_lossy(why).trim()));
                }
                Said::Nothing => {}
            }
            taken += length;
        }
        Ok(taken)
    }
}

/// More than any message a broker takes by default.
const PACKET_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three payloads as a broker sends them.
    fn stream(tongue: Tongue) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in [&b"one"[..], b"", &[0x0d, 0x0a, 0x30, 0xff]] {
            match tongue {
                Tongue::Nats => {
                    bytes.extend(format!("MSG pmu.1 1 {}\r\n", payload.len()).bytes());
                    bytes.extend(payload);
                    bytes.extend(b"\r\nPING\r\n");
                }
                Tongue::Mqtt => tongue.publish("pmu/1", payload, &mut bytes),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn packets_may_straddle_messages(cuts in prop::collection::vec(1usize..9, 1..40)) {
            for tongue in [Tongue::Nats, Tongue::Mqtt] {
                let (mut broker, bytes) = (Broker::publisher(tongue), stream(tongue));
                let (mut payloads, mut answers, mut at) = (Vec::new(), Vec::new(), 0);
                for cut in cuts.iter().cycle() {
                    let end = (at + cut).min(bytes.len());
                    let keep = |payload: &[u8]| payloads.push(payload.to_vec());
                    broker.take(&bytes[at..end], &mut answers, keep).unwrap();
                    at = end;
                    if at == bytes.len() {
                        break;
                    }
                }
                let sent = [b"one".to_vec(), vec![], vec![0x0d, 0x0a, 0x30, 0xff]];
                prop_assert_eq!(&payloads, &sent);
                let pongs = if tongue == Tongue::Nats { 3 } else { 0 };
                prop_assert_eq!(answers, b"PONG\r\n".repeat(pongs));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for tongue in [Tongue::Nats, Tongue::Mqtt] {
                let mut broker = Broker::publisher(tongue);
                let _ = broker.take(&bytes, &mut Vec::new(), |_| ()); // any answer will do
            }
        }
    }

    #[test]
    fn a_refusal_ends_the_conversation_with_its_words() {
        let refused = |tongue, bytes: &[u8]| {
            Broker::publisher(tongue).take(bytes, &mut Vec::new(), |_| ()).unwrap_err()
        };
        let words = refused(Tongue::Nats, b"-ERR 'Authorization Violation'\r\n");
        assert_eq!(words, "refused: 'Authorization Violation'");
        assert!(refused(Tongue::Mqtt, &[0x20, 2, 0, 5]).starts_with("refused"));
        assert!(refused(Tongue::Mqtt, &[0x90, 3, 0, 1, 0x80]).starts_with("refused"));
        assert!(refused(Tongue::Nats, b"HELLO\r\n").starts_with("protocol"));
    }

    #[test]
    fn a_subscriber_is_open_once_all_is_confirmed() {
        let mut answers = Vec::new();
        let (mut nats, said) = Broker::subscriber(Tongue::Nats, &["pmu/#"]);
        assert!(said.ends_with(b"SUB pmu.> 1\r\nPING\r\n"), "{}", String::from_utf8_lossy(&said));
        nats.take(b"INFO {}\r\n+OK\r\n", &mut answers, |_| ()).unwrap();
        assert!(!nats.is_confirmed());
        nats.take(b"PONG\r\n", &mut answers, |_| ()).unwrap();
        assert!(nats.is_confirmed() && answers.is_empty());
        let (mut mqtt, _) = Broker::subscriber(Tongue::Mqtt, &["pmu/#"]);
        mqtt.take(&[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0], &mut answers, |_| ()).unwrap();
        assert!(mqtt.is_confirmed());
    }
}
