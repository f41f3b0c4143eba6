//! The Pusher Channels protocol (version 7): each text message is one JSON object whose data is a
//! string. Publishers send client events, which servers accept on private channels only, so every
//! channel here is private and signed. Must not know sockets.

use std::borrow::Cow;
use std::fmt::Write as _;

use ring::hmac;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::codec::claim::Reject;
use crate::codec::dialect::channel::private_channel;
use crate::codec::dialect::json::{payload_of, quoted, string_of};
use crate::codec::dialect::options::app_key;
use crate::codec::dialect::ping_timeout::PingTimeout;
use crate::codec::dialect::protocol::{
    ClientSetup, MessageContext, Protocol, TextPayload, push_text, refusal,
};
use crate::codec::wire::Message;

/// The protocol state of one socket.
#[derive(Debug)]
pub struct Pusher {
    /// What is needed to subscribe; `None` after the requests were sent.
    entry: Option<Box<Entry>>,
    /// Subscriptions that are not confirmed yet.
    awaited: u32,
    /// After this much silence the client sends a ping, ns; 0 for never.
    quiet_ns_max: u64,
    /// When the client last sent a ping.
    spoke_ns: u64,
    /// The time limit from one server message to the next.
    ping_timeout: PingTimeout,
}

/// The data needed to subscribe.
#[derive(Debug)]
struct Entry {
    channels: Vec<String>,
    key: String,
    secret: String,
}

/// The meaning of a message that is not a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Notice {
    /// The connection is accepted.
    Established { socket_id: String, activity_s: u64 },
    /// A subscription is in place.
    Subscribed,
    /// A ping, which must be answered.
    Ping,
    /// The server refused something.
    Refused(String),
    /// Valid, but not a frame of this run.
    Foreign,
    /// An event that was damaged on the way.
    Garbled,
    /// A pong, or news about other members.
    Nothing,
}

impl Pusher {
    /// The state of a new socket. The server speaks first. The application key is in the path.
    pub fn new(path: &str, client: &ClientSetup<'_>) -> Pusher {
        let entry = Entry {
            channels: client.topics.iter().map(|topic| private_channel(topic)).collect(),
            key: app_key(path).unwrap_or_default().to_owned(),
            secret: client.token.unwrap_or_default().to_owned(),
        };
        let awaited = entry.channels.len() as u32;
        let ping_timeout = PingTimeout::default();
        Pusher { entry: Some(Box::new(entry)), awaited, quiet_ns_max: 0, spoke_ns: 0, ping_timeout }
    }
}

impl Protocol for Pusher {
    /// Whether every subscription is confirmed. A publisher subscribes too, because only members
    /// may publish.
    fn is_confirmed(&self) -> bool {
        self.entry.is_none() && self.awaited == 0
    }

    fn on_message(
        &mut self,
        message: Message<'_>,
        context: &mut MessageContext<'_>,
    ) -> Result<(), String> {
        if !message.is_text {
            return Err("protocol: a binary message where JSON is spoken".to_owned());
        }
        self.ping_timeout.renew(context.now_ns);
        match context.payload_or_notice(message.bytes, read) {
            None => Ok(()),
            Some(notice) => self.act_on(notice, context),
        }
    }

    fn check_timers(&mut self, now_ns: u64, out: &mut Vec<u8>) -> Result<(), String> {
        self.ping_timeout.check(now_ns)?;
        // Servers close clients that never send, but answer pings.
        let quiet_ns = now_ns.saturating_sub(self.spoke_ns);
        if self.quiet_ns_max > 0 && quiet_ns > self.quiet_ns_max {
            self.spoke_ns = now_ns;
            push_text(PING, out);
        }
        Ok(())
    }
}

impl Pusher {
    fn act_on(&mut self, notice: Notice, context: &mut MessageContext<'_>) -> Result<(), String> {
        match notice {
            Notice::Established { socket_id, activity_s } => {
                let entry = self.entry.take().ok_or("protocol: established twice")?;
                entry.subscribe(&socket_id, context.answers);
                self.spoke_ns = context.now_ns;
                self.quiet_ns_max = activity_s.saturating_mul(SECOND_NS) / 2;
                let patience_ms = match activity_s {
                    0 => 0,
                    activity_s => activity_s.saturating_add(PONG_DELAY_S).saturating_mul(1000),
                };
                self.ping_timeout = PingTimeout::begin(patience_ms, context.now_ns);
            }
            Notice::Subscribed => self.awaited = self.awaited.saturating_sub(1),
            Notice::Ping => self.reply(PONG, context),
            Notice::Refused(why) => return Err(refusal(&why)),
            Notice::Foreign => context.reject(Reject::Foreign),
            Notice::Garbled => context.reject(Reject::Corrupt),
            Notice::Nothing => {}
        }
        Ok(())
    }

    fn reply(&mut self, text: &str, context: &mut MessageContext<'_>) {
        self.spoke_ns = context.now_ns;
        context.reply(text);
    }
}

impl Entry {
    fn subscribe(&self, socket_id: &str, out: &mut Vec<u8>) {
        for channel in &self.channels {
            let signature = signature(&self.secret, &format!("{socket_id}:{channel}"));
            let auth = quoted(&format!("{}:{signature}", self.key));
            let data = format!(r#"{{"channel":{},"auth":{auth}}}"#, quoted(channel));
            push_text(&format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#), out);
        }
    }
}

/// HMAC-SHA256 in hexadecimal.
fn signature(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

/// The client event that publishes a payload.
pub fn publish(topic: &str, payload: &[u8], is_text: bool) -> String {
    let (channel, data) = (quoted(&private_channel(topic)), string_of(payload, is_text));
    format!(r#"{{"event":"client-frame","channel":{channel},"data":{data}}}"#)
}

#[derive(Deserialize)]
struct Event<'m> {
    #[serde(borrow)]
    event: Cow<'m, str>,
    #[serde(borrow)]
    channel: Option<Cow<'m, str>>,
    #[serde(borrow)]
    data: Option<&'m RawValue>,
}

/// The payload of a message, or its other meaning.
fn read(text: &[u8]) -> Result<TextPayload, Notice> {
    let read: Event<'_> = serde_json::from_slice(text).map_err(|_| Notice::Garbled)?;
    let Event { event, channel, data } = read;
    let own = event.strip_prefix("pusher:").or_else(|| event.strip_prefix("pusher_internal:"));
    match (own, data) {
        (Some(own), data) => Err(read_own(own, data)),
        (None, Some(data)) => {
            let payload = payload_of(data).ok_or(Notice::Garbled)?;
            Ok(TextPayload { payload, channel: channel.map(Cow::into_owned) })
        }
        (None, None) => Err(Notice::Foreign),
    }
}

/// A protocol event.
fn read_own(event: &str, data: Option<&RawValue>) -> Notice {
    match event {
        "connection_established" => data.and_then(established).unwrap_or(Notice::Garbled),
        "subscription_succeeded" => Notice::Subscribed,
        "ping" => Notice::Ping,
        "error" | "subscription_error" => {
            Notice::Refused(data.map_or("", RawValue::get).to_owned())
        }
        "pong" | "cache_miss" | "member_added" | "member_removed" | "subscription_count" => {
            Notice::Nothing
        }
        _ => Notice::Foreign,
    }
}

fn established(data: &RawValue) -> Option<Notice> {
    #[derive(Deserialize)]
    struct Established {
        socket_id: String,
        #[serde(default)]
        activity_timeout: u64,
    }
    // `data` is a string that holds an object; some servers send the object itself.
    let inner: Cow<'_, str> = match data.get().starts_with('"') {
        true => Cow::Owned(serde_json::from_str::<String>(data.get()).ok()?),
        false => Cow::Borrowed(data.get()),
    };
    let Established { socket_id, activity_timeout } = serde_json::from_str(&inner).ok()?;
    Some(Notice::Established { socket_id, activity_s: activity_timeout })
}

const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;
const PONG: &str = r#"{"event":"pusher:pong","data":{}}"#;
/// How late an answer may be before a client closes the connection; the value of Pusher's clients.
const PONG_DELAY_S: u64 = 30;
const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::broker::Broker;
    use super::super::broker::fixtures::{Reaction, texts_of};
    use super::*;
    use crate::codec::dialect::dialect::Dialect;
    use proptest::prelude::*;

    const ESTABLISHED: &str = concat!(
        r#"{"event":"pusher:connection_established","#,
        r#""data":"{\"socket_id\":\"1234.1234\",\"activity_timeout\":120}"}"#,
    );
    const SUCCEEDED: &str =
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}"#;

    fn broker(topics: &[&str]) -> Broker {
        let path = "/app/278d425bdf160c739803?protocol=7".to_owned();
        let token = Some("7ad3773142a6692b25b8");
        let client = ClientSetup { topics, token, publishes: false };
        let (broker, opening) = Broker::new(&Dialect::Pusher { path }, &client).unwrap();
        assert_eq!(texts_of(&opening), Vec::<String>::new(), "the server speaks first");
        broker
    }

    fn open() -> Broker {
        let mut broker = broker(&[]);
        broker.receive_text(ESTABLISHED);
        assert!(broker.is_confirmed());
        broker
    }

    #[test]
    fn subscriptions_are_signed_as_the_documentation_of_pusher_has_it() {
        let mut broker = broker(&["foobar", "a/1"]);
        let answers = broker.receive_text(ESTABLISHED).answers;
        let auth = "278d425bdf160c739803:\
                    58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        let first: serde_json::Value = serde_json::from_str(&answers[0]).unwrap();
        let data = serde_json::json!({"channel": "private-foobar", "auth": auth});
        assert_eq!(first, serde_json::json!({"event": "pusher:subscribe", "data": data}));
        assert!(answers[1].contains(r#""channel":"private-a.1""#), "{}", answers[1]);
        broker.receive_text(SUCCEEDED);
        assert!(!broker.is_confirmed());
        // As soketi has it.
        broker.receive_text(r#"{"event":"pusher_internal:subscription_succeeded","channel":"b"}"#);
        assert!(broker.is_confirmed());
    }

    #[test]
    fn channels_have_the_characters_they_may_have() {
        assert_eq!(private_channel("grid north/pmu/1001"), "private-grid_north.pmu.1001");
    }

    #[test]
    fn payloads_are_strings_in_both_directions() {
        let json = publish("a/1", br#"{"x":1.50}"#, true);
        let expected = r#"{"event":"client-frame","channel":"private-a.1","data":"{\"x\":1.50}"}"#;
        assert_eq!(json, expected);
        assert_eq!(open().receive_text(&json), Reaction::payloads(&[br#"{"x":1.50}"#]));
        let binary = publish("a", &[0, 1, 2], false);
        assert!(binary.ends_with(r#""data":"AAEC"}"#), "{binary}");
        assert_eq!(open().receive_text(&binary), Reaction::payloads(&[&[0, 1, 2]]));
        let of_a_server = r#"{"event":"tick","channel":"private-a","data":"AAEC","user_id":"u"}"#;
        assert_eq!(open().receive_text(of_a_server), Reaction::payloads(&[&[0, 1, 2]]));
    }

    #[test]
    fn pings_are_answered_and_a_client_that_listens_speaks_up() {
        let ping = r#"{"event":"pusher:ping","data":{}}"#;
        assert_eq!(open().receive_text(ping), Reaction::answers(&[PONG]));
        let mut broker = open();
        let answers = [59, 61, 62, 122].map(|second| broker.advance_to(second * SECOND_NS).answers);
        assert_eq!(answers, [vec![], vec![PING.to_owned()], vec![], vec![PING.to_owned()]]);
    }

    #[test]
    fn a_server_that_does_not_answer_is_waited_for_no_longer_than_clients_do() {
        let mut broker = open();
        let pong = br#"{"event":"pusher:pong","data":{}}"#;
        broker.receive(pong, true, 10 * SECOND_NS);
        assert_eq!(broker.advance_to(160 * SECOND_NS).ended, None);
        assert_eq!(
            broker.advance_to(160 * SECOND_NS + 1).ended.as_deref(),
            Some("no ping in time")
        );
    }

    #[test]
    fn what_is_not_understood_is_counted_or_ends_the_socket_with_a_reason() {
        for (text, reject) in [
            (r#"{"event":"hello"}"#, Reject::Foreign),
            (r#"{"event":"pusher:news","data":"x"}"#, Reject::Foreign),
            (r#"{"event":"client-frame","data":"\ud800"}"#, Reject::Corrupt),
            (r#"{"event":"client-frame","data":"AA==}"#, Reject::Corrupt),
            ("[]", Reject::Corrupt),
            ("", Reject::Corrupt),
        ] {
            assert_eq!(open().receive_text(text), Reaction::rejected(reject), "{text}");
        }
        let error = r#"{"event":"pusher:error","data":{"code":4001,"message":"no such app"}}"#;
        let ended = open().receive_text(error).ended.unwrap();
        assert_eq!(ended, r#"refused: {"code":4001,"message":"no such app"}"#);
        let ended = open().receive_text(ESTABLISHED).ended;
        assert_eq!(ended.as_deref(), Some("protocol: established twice"));
        let ended = open().receive(b"x", false, 0).ended.unwrap();
        assert_eq!(ended, "protocol: a binary message where JSON is spoken");
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            event in "(pusher(_internal)?:)?[a-z_]{0,25}",
            data in r#"[\[\]{}",:a-z0-9\\]{0,40}"#,
            bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut broker = open();
            broker.receive_text(&format!(r#"{{"event":"{event}","data":{data}}}"#));
            broker.receive(&bytes, true, 0);
            broker.receive(&bytes, false, 0);
        }

        #[test]
        fn what_is_published_is_heard(payload in prop::collection::vec(any::<u8>(), 0..99)) {
            let reaction = open().receive_text(&publish("a", &payload, false));
            prop_assert_eq!(reaction, Reaction::payloads(&[&payload]));
        }
    }
}
