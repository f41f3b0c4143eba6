//! Socket.IO (protocol 5) over Engine.IO (protocol 4), WebSocket transport only. Packets are text
//! messages; a binary payload is a separate message after the event that announces it. Must not
//! know sockets.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::codec::claim::Reject;
use crate::codec::dialect::events::{Events, ROOT};
use crate::codec::dialect::json::{payload_of, quoted};
use crate::codec::dialect::ping_timeout::PingTimeout;
use crate::codec::dialect::protocol::{
    ClientSetup, MessageContext, Protocol, ProtocolEvent, TextPayload, push_text, refusal,
};
use crate::codec::wire::Message;

/// The protocol state of one socket.
#[derive(Debug)]
pub struct SocketIo {
    /// The namespace request, sent after the server's open packet; `None` after it was sent.
    entry: Option<String>,
    /// Frames to send once the namespace is connected; `None` after they were sent.
    requests: Option<Vec<u8>>,
    /// Acknowledgements that have not arrived yet.
    awaited: u32,
    attachments: Attachments,
    ping_timeout: PingTimeout,
}

/// Binary messages that belong to the last event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Attachments {
    /// How many have not arrived yet.
    left: u32,
    /// How many come before the payload; `None` if none is the payload.
    before: Option<u32>,
    /// What the event says its channel is.
    channel: Option<String>,
}

/// The meaning of a text that is not a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Notice {
    /// The open packet: the server sends pings at least this often.
    Opened { patience_ms: u64 },
    /// The namespace is connected.
    Entered,
    /// A subscribe event is acknowledged.
    Acknowledged,
    /// A ping, which must be answered.
    Ping,
    /// The payload follows in binary messages.
    Announced(Attachments),
    /// The server refused something.
    Refused(String),
    /// The server disconnects.
    Ended,
    /// Valid, but not a frame of this run.
    Foreign,
    /// An event that was damaged on the way.
    Garbled,
    /// A packet that the client ignores.
    Nothing,
    /// Not a packet of the protocol.
    Unknown,
}

impl SocketIo {
    /// The state of a new socket. The server speaks first.
    pub fn new(events: &Events, client: &ClientSetup<'_>) -> SocketIo {
        let auth = client.token.map(|token| format!("{{\"token\":{}}}", quoted(token)));
        let entry = events.packet("0", "", &auth.unwrap_or_default());
        let mut requests = Vec::new();
        let topics: &[&str] = if client.publishes { &[] } else { client.topics };
        for (topic, id) in topics.iter().zip(0u32..) {
            let id = if events.subscribe_acks { id.to_string() } else { String::new() };
            let body = format!("{id}[{},{}]", quoted(&events.subscribe_event), quoted(topic));
            push_text(&events.packet("2", "", &body), &mut requests);
        }
        let awaited = if events.subscribe_acks { topics.len() as u32 } else { 0 };
        SocketIo {
            entry: Some(entry),
            requests: Some(requests),
            awaited,
            attachments: Attachments::default(),
            ping_timeout: PingTimeout::default(),
        }
    }
}

impl Protocol for SocketIo {
    /// Whether the namespace is connected and every subscription is acknowledged.
    fn is_confirmed(&self) -> bool {
        self.requests.is_none() && self.awaited == 0
    }

    fn on_message(
        &mut self,
        message: Message<'_>,
        context: &mut MessageContext<'_>,
    ) -> Result<(), String> {
        self.ping_timeout.check(context.now_ns)?;
        if !message.is_text {
            return self.on_attachment(message.bytes, context);
        }
        if self.attachments.left > 0 && message.bytes.first() == Some(&b'4') {
            return Err("protocol: a packet before the attachments of another".to_owned());
        }
        match context.payload_or_notice(message.bytes, read) {
            None => Ok(()),
            Some(notice) => self.act_on(notice, context),
        }
    }

    fn check_timers(&mut self, now_ns: u64, _out: &mut Vec<u8>) -> Result<(), String> {
        self.ping_timeout.check(now_ns)
    }
}

impl SocketIo {
    fn on_attachment(
        &mut self,
        bytes: &[u8],
        context: &mut MessageContext<'_>,
    ) -> Result<(), String> {
        let Attachments { left, before, channel } = &mut self.attachments;
        *left = left.checked_sub(1).ok_or("protocol: an attachment of no event")?;
        if *before == Some(0) {
            (context.on_event)(ProtocolEvent::Payload(
                bytes,
                channel.as_ref().map(String::as_bytes),
            ));
        }
        *before = before.and_then(|before| before.checked_sub(1));
        Ok(())
    }

    fn act_on(&mut self, notice: Notice, context: &mut MessageContext<'_>) -> Result<(), String> {
        match notice {
            Notice::Opened { patience_ms } => {
                let entry = self.entry.take().ok_or("protocol: opened twice")?;
                context.reply(&entry);
                self.ping_timeout = PingTimeout::begin(patience_ms, context.now_ns);
            }
            Notice::Entered => {
                let requests = self.requests.take().filter(|_| self.entry.is_none());
                context.answers.extend(requests.ok_or("protocol: a namespace out of turn")?);
            }
            Notice::Acknowledged => self.awaited = self.awaited.saturating_sub(1),
            Notice::Ping => {
                context.reply(PONG);
                self.ping_timeout.renew(context.now_ns);
            }
            Notice::Announced(attachments) => {
                if attachments.before.is_none() {
                    context.reject(Reject::Corrupt);
                }
                self.attachments = attachments;
            }
            Notice::Refused(why) => return Err(refusal(&why)),
            Notice::Ended => return Err("the server ended the session".to_owned()),
            Notice::Foreign => context.reject(Reject::Foreign),
            Notice::Garbled => context.reject(Reject::Corrupt),
            Notice::Nothing => {}
            Notice::Unknown => return Err("protocol: no packet of Socket.IO".to_owned()),
        }
        Ok(())
    }
}

impl Events {
    /// Starts a packet of a type; if it has attachments, their number and a dash follow.
    fn packet(&self, kind: &str, attachments: &str, body: &str) -> String {
        match self.namespace.as_str() {
            ROOT => format!("4{kind}{attachments}{body}"),
            namespace => format!("4{kind}{attachments}{namespace},{body}"),
        }
    }

    /// The text before a text payload; the payload follows as a string, then `]`.
    pub fn publish_head(&self, topic: &str) -> String {
        let body = format!("[{},{},", quoted(&self.publish_event), quoted(topic));
        self.packet("2", "", &body)
    }

    /// The event that announces a binary payload in the next message.
    pub fn publish_announcement(&self, topic: &str) -> String {
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let body = format!("[{},{},{placeholder}]", quoted(&self.publish_event), quoted(topic));
        self.packet("5", "1-", &body)
    }
}

/// The payload of a text message, or its other meaning.
fn read(text: &[u8]) -> Result<TextPayload, Notice> {
    let text = std::str::from_utf8(text).map_err(|_| Notice::Garbled)?;
    match text.split_at_checked(1) {
        Some(("0", rest)) => Err(opened(rest)),
        Some(("1", _)) => Err(Notice::Ended),
        Some(("2", _)) => Err(Notice::Ping),
        Some(("3" | "6", _)) => Err(Notice::Nothing),
        Some(("4", packet)) => read_packet(packet),
        _ => Err(Notice::Unknown),
    }
}

/// The parameters of the server's open packet.
fn opened(text: &str) -> Notice {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Opening {
        ping_interval: u64,
        ping_timeout: u64,
    }
    match serde_json::from_str(text) {
        Ok(Opening { ping_interval, ping_timeout }) => {
            Notice::Opened { patience_ms: ping_interval.saturating_add(ping_timeout) }
        }
        Err(_) => Notice::Unknown,
    }
}

fn read_packet(packet: &str) -> Result<TextPayload, Notice> {
    match packet.split_at_checked(1) {
        Some(("0", _)) => Err(Notice::Entered),
        Some(("1", _)) => Err(Notice::Ended),
        Some(("2", rest)) => event(body(rest)),
        Some(("3", rest)) => Err(acknowledged(body(rest))),
        Some(("4", rest)) => Err(refused(body(rest))),
        Some(("5", rest)) => Err(announced(rest)),
        _ => Err(Notice::Unknown),
    }
}

/// The rest of a packet after the namespace and the acknowledgement number.
fn body(rest: &str) -> &str {
    let rest = match rest.starts_with('/') {
        true => rest.split_once(',').map_or("", |(_, rest)| rest),
        false => rest,
    };
    rest.trim_start_matches(|c: char| c.is_ascii_digit())
}

/// The payload is the last argument of an event, so an event may also carry topics.
fn event(body: &str) -> Result<TextPayload, Notice> {
    let arguments: Vec<&RawValue> = serde_json::from_str(body).map_err(|_| Notice::Garbled)?;
    match arguments.as_slice() {
        [before @ .., payload] if !before.is_empty() => {
            let payload = payload_of(payload).ok_or(Notice::Garbled)?;
            Ok(TextPayload { payload, channel: channel_of(before) })
        }
        _ => Err(Notice::Foreign),
    }
}

/// The last text before the payload: a topic, or the name of the event.
fn channel_of(arguments: &[&RawValue]) -> Option<String> {
    arguments.iter().rev().find_map(|argument| serde_json::from_str(argument.get()).ok())
}

/// The content of an acknowledgement is free; only `false` and an `error` mean a refusal.
fn acknowledged(body: &str) -> Notice {
    let Ok(serde_json::Value::Array(arguments)) = serde_json::from_str(body) else {
        return Notice::Unknown;
    };
    match arguments.first() {
        Some(no) if *no == serde_json::Value::Bool(false) || no.get("error").is_some() => {
            Notice::Refused(format!("a subscription: {no}"))
        }
        _ => Notice::Acknowledged,
    }
}

fn refused(body: &str) -> Notice {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let refusal = serde_json::from_str(body);
    Notice::Refused(refusal.map_or_else(|_| body.to_owned(), |Refusal { message }| message))
}

/// `1-["event",{"_placeholder":true,"num":0}]`
fn announced(rest: &str) -> Notice {
    #[derive(Deserialize)]
    struct Placeholder {
        #[serde(rename = "_placeholder")]
        is_one: bool,
        num: u32,
    }
    let Some((left, rest)) = rest.split_once('-') else { return Notice::Unknown };
    let left = left.parse::<u32>().ok().filter(|left| *left <= ATTACHMENTS_MAX);
    let Some(left) = left else { return Notice::Unknown };
    let arguments: Result<Vec<&RawValue>, _> = serde_json::from_str(body(rest));
    let arguments = arguments.unwrap_or_default();
    let (last, before) = arguments.split_last().map_or((None, &[][..]), |(l, b)| (Some(*l), b));
    let place = last.and_then(|last| serde_json::from_str::<Placeholder>(last.get()).ok());
    let place = place.filter(|place| place.is_one && place.num < left);
    let channel = channel_of(before);
    Notice::Announced(Attachments { left, before: place.map(|place| place.num), channel })
}

const PONG: &str = "3";
/// An upper bound; an event with one payload has far fewer.
const ATTACHMENTS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::super::broker::Broker;
    use super::super::broker::fixtures::{Reaction, texts_of};
    use super::*;
    use crate::codec::dialect::dialect::Dialect;
    use proptest::prelude::*;

    const OPEN: &str = r#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;

    fn broker(events: &Events, client: &ClientSetup<'_>) -> Broker {
        let (broker, opening) = Broker::new(&Dialect::SocketIo(events.clone()), client).unwrap();
        assert_eq!(texts_of(&opening), Vec::<String>::new(), "the server speaks first");
        broker
    }

    /// A subscriber that is connected and waits for nothing.
    fn open() -> Broker {
        let events = Events { subscribe_acks: false, ..Events::default() };
        let mut broker = broker(&events, &ClientSetup::default());
        broker.receive_text(OPEN);
        broker.receive_text(r#"40{"sid":"y"}"#);
        assert!(broker.is_confirmed());
        broker
    }

    #[test]
    fn a_subscriber_is_open_once_its_last_event_is_acknowledged() {
        let client = ClientSetup { topics: &["a/1", "b"], token: Some("k\"y"), publishes: false };
        let mut broker = broker(&Events::default(), &client);
        assert_eq!(broker.receive_text(OPEN), Reaction::answers(&[r#"40{"token":"k\"y"}"#]));
        let requests = [r#"420["subscribe","a/1"]"#, r#"421["subscribe","b"]"#];
        assert_eq!(broker.receive_text(r#"40{"sid":"y"}"#), Reaction::answers(&requests));
        assert_eq!(broker.receive_text(r#"430["ok"]"#), Reaction::answers(&[]));
        assert!(!broker.is_confirmed());
        broker.receive_text("431[]");
        assert!(broker.is_confirmed());
    }

    #[test]
    fn a_namespace_is_named_in_every_packet() {
        let events = Events { namespace: "/grid".into(), ..Events::default() };
        let client = ClientSetup { topics: &["a"], ..ClientSetup::default() };
        let mut broker = broker(&events, &client);
        assert_eq!(broker.receive_text(OPEN), Reaction::answers(&["40/grid,"]));
        let request = r#"42/grid,0["subscribe","a"]"#;
        assert_eq!(broker.receive_text(r#"40/grid,{"sid":"y"}"#), Reaction::answers(&[request]));
        broker.receive_text("43/grid,0[]");
        assert!(broker.is_confirmed());
        let event = r#"42/grid,["a",{"x":1.50}]"#;
        assert_eq!(broker.receive_text(event), Reaction::payloads(&[br#"{"x":1.50}"#]));
        assert_eq!(events.publish_head("a"), r#"42/grid,["publish","a","#);
        assert!(events.publish_announcement("a").starts_with(r#"451-/grid,["publish","a",{"_"#));
    }

    #[test]
    fn text_payloads_are_the_last_argument_as_a_string_or_as_it_is() {
        let mut broker = open();
        for (text, payload) in [
            (r#"42["a","{\"x\":1}"]"#, &br#"{"x":1}"#[..]),
            (r#"4212["message","a",{"x": 1.0}]"#, &br#"{"x": 1.0}"#[..]),
            (r#"42["a","AAEC"]"#, &[0, 1, 2][..]),
        ] {
            assert_eq!(broker.receive_text(text), Reaction::payloads(&[payload]), "{text}");
        }
    }

    #[test]
    fn binary_payloads_follow_their_event() {
        let mut broker = open();
        let announced = r#"451-["a",{"_placeholder":true,"num":0}]"#;
        assert_eq!(broker.receive_text(announced), Reaction::answers(&[]));
        // Pings belong to the Engine.IO layer.
        assert_eq!(broker.receive_text("2"), Reaction::answers(&["3"]));
        assert_eq!(broker.receive(b"\xAAx", false, 0), Reaction::payloads(&[b"\xAAx"]));
        let second = r#"453-["a",{"_placeholder":true,"num":1}]"#;
        assert_eq!(broker.receive_text(second), Reaction::answers(&[]));
        for (bytes, payloads) in [(b"0", vec![]), (b"1", vec![&b"1"[..]]), (b"2", vec![])] {
            assert_eq!(broker.receive(bytes, false, 0), Reaction::payloads(&payloads));
        }
        let ended = broker.receive(b"3", false, 0).ended.unwrap();
        assert_eq!(ended, "protocol: an attachment of no event");
    }

    #[test]
    fn what_is_not_understood_is_counted_or_ends_the_socket_with_a_reason() {
        for (text, reject) in [
            (r#"42["hello"]"#, Reject::Foreign),
            (r#"42["a",{"x":1]"#, Reject::Corrupt),
            (r#"42["a","\ud800"]"#, Reject::Corrupt),
            (r#"451-["a",{"_placeholder":true,"num":1}]"#, Reject::Corrupt),
            (r#"450-["a"]"#, Reject::Corrupt),
        ] {
            assert_eq!(open().receive_text(text), Reaction::rejected(reject), "{text}");
        }
        for (text, reason) in [
            (r#"44{"message":"not you"}"#, "refused: not you"),
            (r#"430[{"error":"full"}]"#, r#"refused: a subscription: {"error":"full"}"#),
            ("41", "the server ended the session"),
            ("1", "the server ended the session"),
            ("40", "protocol: a namespace out of turn"),
            (OPEN, "protocol: opened twice"),
            ("49", "protocol: no packet of Socket.IO"),
            ("", "protocol: no packet of Socket.IO"),
            (r#"45999-["a"]"#, "protocol: no packet of Socket.IO"),
        ] {
            assert_eq!(open().receive_text(text).ended.as_deref(), Some(reason), "{text}");
        }
        let mut broker = open();
        broker.receive_text(r#"451-["a",{"_placeholder":true,"num":0}]"#);
        let ended = broker.receive_text(r#"42["a",1]"#).ended.unwrap();
        assert_eq!(ended, "protocol: a packet before the attachments of another");
    }

    #[test]
    fn a_server_that_does_not_ping_in_time_is_left() {
        let mut broker = broker(&Events::default(), &ClientSetup::default());
        broker.receive(OPEN.as_bytes(), true, 0);
        let second = 1_000_000_000;
        assert_eq!(broker.receive(b"2", true, 44 * second).ended, None);
        assert_eq!(broker.receive(b"2", true, 89 * second).ended, None);
        let ended = broker.receive(b"2", true, 135 * second).ended;
        assert_eq!(ended.as_deref(), Some("no ping in time"));
        assert_eq!(broker.advance_to(134 * second), Reaction::answers(&[]));
        let ended = broker.advance_to(134 * second + 1).ended;
        assert_eq!(ended.as_deref(), Some("no ping in time"), "nothing need arrive");
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            kind in "[0-6]?[0-6]?",
            text in r#"[0-9]{0,3}-?(/[a-z]*,)?[\[\]{}",:a-z0-9\\]{0,40}"#,
            bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut broker = open();
            broker.receive_text(&format!("{kind}{text}"));
            broker.receive(&bytes, true, 0);
            broker.receive(&bytes, false, 0);
        }

        #[test]
        fn any_cut_of_an_event_is_no_payload(cut in 3usize..38) {
            let event = r#"42["pmu/1001","{\"id\":1001,\"t\":17}"]"#;
            let reaction = open().receive_text(&event[..cut.min(event.len() - 1)]);
            prop_assert_eq!(reaction, Reaction::rejected(Reject::Corrupt));
        }
    }
}
