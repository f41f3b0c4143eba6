//! The JSON client protocol of Centrifugo (version 2): each text message holds one or more objects,
//! separated by line ends. Must not know sockets.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::codec::claim::Reject;
use crate::codec::dialect::json::{payload_of, quoted, value_of};
use crate::codec::dialect::ping_timeout::PingTimeout;
use crate::codec::dialect::protocol::{
    ClientSetup, MessageContext, Protocol, TextPayload, push_text, refusal,
};
use crate::codec::wire::Message;

/// The protocol state of one socket.
#[derive(Debug)]
pub struct Centrifugo {
    /// Frames to send once the server has accepted the connection; `None` after they were sent.
    requests: Option<Vec<u8>>,
    /// Replies to these frames that have not arrived yet.
    awaited: u32,
    answers_pings: bool,
    ping_timeout: PingTimeout,
}

/// The meaning of an object that is not a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Notice {
    /// The connection is accepted: the ping interval in seconds, and whether pings must be
    /// answered.
    Entered { ping_s: u64, answers_pings: bool },
    /// A subscription is in place.
    Subscribed,
    /// An empty object: a ping, which may need an answer.
    Ping,
    /// A command failed, or a subscription was ended.
    Refused(String),
    /// Valid, but not a frame of this run.
    Foreign,
    /// A publication that was damaged on the way.
    Garbled,
    /// A publish was accepted, or a client joined or left.
    Nothing,
}

impl Centrifugo {
    /// The state of a new socket, and the text that opens the protocol.
    pub fn new(client: &ClientSetup<'_>) -> (Centrifugo, String) {
        let token = client.token.map(|token| format!("\"token\":{},", quoted(token)));
        let token = token.unwrap_or_default();
        let opening = format!(r#"{{"id":{CONNECT_ID},"connect":{{{token}"name":"gridload"}}}}"#);
        let topics: &[&str] = if client.publishes { &[] } else { client.topics };
        let mut requests = Vec::new();
        for (topic, id) in topics.iter().zip(CONNECT_ID + 1..) {
            let channel = quoted(topic);
            let request = format!(r#"{{"id":{id},"subscribe":{{"channel":{channel}}}}}"#);
            push_text(&request, &mut requests);
        }
        let centrifugo = Centrifugo {
            requests: Some(requests),
            awaited: topics.len() as u32,
            answers_pings: false,
            ping_timeout: PingTimeout::default(),
        };
        (centrifugo, opening)
    }
}

impl Protocol for Centrifugo {
    /// Whether the connection is accepted and every subscription is in place.
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
            return Err("protocol: a binary message where JSON is spoken".to_owned());
        }
        let lines = message.bytes.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some(notice) = context.payload_or_notice(line, read) {
                self.act_on(notice, context)?;
            }
        }
        Ok(())
    }

    fn check_timers(&mut self, now_ns: u64, _out: &mut Vec<u8>) -> Result<(), String> {
        self.ping_timeout.check(now_ns)
    }
}

impl Centrifugo {
    fn act_on(&mut self, notice: Notice, context: &mut MessageContext<'_>) -> Result<(), String> {
        match notice {
            Notice::Entered { ping_s, answers_pings } => {
                let requests = self.requests.take().ok_or("protocol: connected twice")?;
                context.answers.extend(requests);
                self.answers_pings = answers_pings;
                let patience_ms = match ping_s {
                    0 => 0,
                    ping_s => ping_s.saturating_add(PING_DELAY_S).saturating_mul(1000),
                };
                self.ping_timeout = PingTimeout::begin(patience_ms, context.now_ns);
            }
            Notice::Subscribed => self.awaited = self.awaited.saturating_sub(1),
            Notice::Ping => {
                self.ping_timeout.renew(context.now_ns);
                if self.answers_pings {
                    context.reply(NOTHING);
                }
            }
            Notice::Refused(why) => return Err(refusal(&why)),
            Notice::Foreign => context.reject(Reject::Foreign),
            Notice::Garbled => context.reject(Reject::Corrupt),
            Notice::Nothing => {}
        }
        Ok(())
    }
}

/// The command that publishes a payload.
pub fn publish(id: u32, topic: &str, payload: &[u8], is_text: bool) -> String {
    let (channel, data) = (quoted(topic), value_of(payload, is_text));
    format!(r#"{{"id":{id},"publish":{{"channel":{channel},"data":{data}}}}}"#)
}

#[derive(Deserialize)]
struct Reply<'m> {
    #[serde(borrow)]
    error: Option<Failure<'m>>,
    connect: Option<Connected>,
    subscribe: Option<IgnoredAny>,
    publish: Option<IgnoredAny>,
    #[serde(borrow)]
    push: Option<Push<'m>>,
}

#[derive(Deserialize)]
struct Failure<'m> {
    code: u32,
    #[serde(borrow, default, alias = "reason")]
    message: Cow<'m, str>,
}

#[derive(Deserialize)]
struct Connected {
    #[serde(default)]
    ping: u64,
    #[serde(default)]
    pong: bool,
}

#[derive(Deserialize)]
struct Push<'m> {
    #[serde(borrow)]
    channel: Option<Cow<'m, str>>,
    #[serde(borrow, rename = "pub")]
    publication: Option<Publication<'m>>,
    #[serde(borrow)]
    unsubscribe: Option<Failure<'m>>,
    #[serde(borrow)]
    disconnect: Option<Failure<'m>>,
    join: Option<IgnoredAny>,
    leave: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Publication<'m> {
    #[serde(borrow)]
    data: &'m RawValue,
}

/// The payload of an object, or its other meaning.
fn read(line: &[u8]) -> Result<TextPayload, Notice> {
    if line.trim_ascii() == NOTHING.as_bytes() {
        return Err(Notice::Ping);
    }
    let reply: Reply<'_> = serde_json::from_slice(line).map_err(|_| Notice::Garbled)?;
    match reply {
        Reply { push: Some(push), .. } => read_push(push),
        Reply { error: Some(error), .. } => Err(refused(&error)),
        Reply { connect: Some(Connected { ping, pong }), .. } => {
            Err(Notice::Entered { ping_s: ping, answers_pings: pong })
        }
        Reply { subscribe: Some(_), .. } => Err(Notice::Subscribed),
        Reply { publish: Some(_), .. } => Err(Notice::Nothing),
        _ => Err(Notice::Foreign),
    }
}

fn read_push(push: Push<'_>) -> Result<TextPayload, Notice> {
    match push {
        Push { publication: Some(Publication { data }), channel, .. } => {
            let payload = payload_of(data).ok_or(Notice::Garbled)?;
            Ok(TextPayload { payload, channel: channel.map(Cow::into_owned) })
        }
        Push { unsubscribe: Some(end), .. } | Push { disconnect: Some(end), .. } => {
            Err(refused(&end))
        }
        Push { join: Some(_), .. } | Push { leave: Some(_), .. } => Err(Notice::Nothing),
        _ => Err(Notice::Foreign),
    }
}

fn refused(Failure { code, message }: &Failure<'_>) -> Notice {
    Notice::Refused(format!("{code} {message}"))
}

/// A ping and its answer.
const NOTHING: &str = "{}";
/// The id of the connect command; publishes use the ids after it.
pub const CONNECT_ID: u32 = 1;
/// How late a ping may be before a client closes the connection; the value of Centrifugo's clients.
const PING_DELAY_S: u64 = 10;

#[cfg(test)]
mod tests {
    use super::super::broker::Broker;
    use super::super::broker::fixtures::{Reaction, texts_of};
    use super::*;
    use crate::codec::dialect::dialect::Dialect;
    use proptest::prelude::*;

    const ENTERED: &str = r#"{"id":1,"connect":{"client":"c","ping":25,"pong":true}}"#;

    fn broker(client: &ClientSetup<'_>) -> (Broker, Vec<String>) {
        let dialect = Dialect::named("centrifugo").unwrap();
        let (broker, opening) = Broker::new(&dialect, client).unwrap();
        (broker, texts_of(&opening))
    }

    fn open() -> Broker {
        let (mut broker, _) = broker(&ClientSetup::default());
        broker.receive_text(ENTERED);
        assert!(broker.is_confirmed());
        broker
    }

    #[test]
    fn a_subscriber_is_open_once_its_last_subscription_is_in_place() {
        let client = ClientSetup { topics: &["a/1", "b"], token: Some("t"), publishes: false };
        let (mut broker, opening) = broker(&client);
        assert_eq!(opening, [r#"{"id":1,"connect":{"token":"t","name":"gridload"}}"#]);
        let requests = [
            r#"{"id":2,"subscribe":{"channel":"a/1"}}"#,
            r#"{"id":3,"subscribe":{"channel":"b"}}"#,
        ];
        assert_eq!(broker.receive_text(ENTERED), Reaction::answers(&requests));
        broker.receive_text(r#"{"id":2,"subscribe":{}}"#);
        assert!(!broker.is_confirmed());
        broker.receive_text("{\"id\":3,\"subscribe\":{\"recoverable\":true}}\n");
        assert!(broker.is_confirmed());
    }

    #[test]
    fn a_publisher_is_open_once_it_is_let_in_and_numbers_its_commands() {
        let client = ClientSetup { topics: &["a"], publishes: true, token: None };
        let (mut broker, opening) = broker(&client);
        assert_eq!(opening, [r#"{"id":1,"connect":{"name":"gridload"}}"#]);
        assert_eq!(broker.receive_text(ENTERED), Reaction::answers(&[]));
        assert!(broker.is_confirmed());
        let command = r#"{"id":7,"publish":{"channel":"a","data":{"x":1.50}}}"#;
        assert_eq!(publish(7, "a", br#"{"x":1.50}"#, true), command);
        let command = r#"{"id":8,"publish":{"channel":"a","data":"AAE="}}"#;
        assert_eq!(publish(8, "a", &[0, 1], false), command);
        assert_eq!(broker.receive_text(r#"{"id":7,"publish":{}}"#), Reaction::answers(&[]));
        let no = r#"{"id":8,"error":{"code":103,"message":"permission denied"}}"#;
        let ended = broker.receive_text(no).ended;
        assert_eq!(ended.as_deref(), Some("refused: 103 permission denied"));
    }

    #[test]
    fn several_objects_share_a_message() {
        let text = concat!(
            r#"{"push":{"channel":"a","pub":{"data":{"x": 1.50},"offset":3}}}"#,
            "\n{}\n",
            r#"{"push":{"channel":"b","pub":{"data":"AAEC"}}}"#,
        );
        let payloads = [&br#"{"x": 1.50}"#[..], &[0, 1, 2]];
        let expected = Reaction { answers: vec!["{}".into()], ..Reaction::payloads(&payloads) };
        assert_eq!(open().receive_text(text), expected);
    }

    #[test]
    fn pings_are_answered_only_where_that_is_asked_for() {
        let (mut broker, _) = broker(&ClientSetup::default());
        broker.receive_text(r#"{"id":1,"connect":{"client":"c","ping":25}}"#);
        assert_eq!(broker.receive_text("{}"), Reaction::answers(&[]));
        assert_eq!(broker.advance_to(35_000_000_000), Reaction::answers(&[]));
        assert_eq!(broker.advance_to(35_000_000_001).ended.as_deref(), Some("no ping in time"));
        let late_ns = 36_000_000_000;
        let ended = broker.receive(b"{}", true, late_ns).ended;
        assert_eq!(ended.as_deref(), Some("no ping in time"));
    }

    #[test]
    fn what_is_not_understood_is_counted_or_ends_the_socket_with_a_reason() {
        for (text, reject) in [
            (r#"{"push":{"channel":"a","message":{"data":1}}}"#, Reject::Foreign),
            (r#"{"id":9,"rpc":{}}"#, Reject::Foreign),
            (r#"{"push":{"channel":"a","pub":{"data":{"x":1}}"#, Reject::Corrupt),
            (r#"{"push":{"channel":"a","pub":{}}}"#, Reject::Corrupt),
            ("hello", Reject::Corrupt),
        ] {
            assert_eq!(open().receive_text(text), Reaction::rejected(reject), "{text}");
        }
        for (text, reason) in [
            (ENTERED, "protocol: connected twice"),
            (r#"{"push":{"unsubscribe":{"code":2000,"reason":"x"}}}"#, "refused: 2000 x"),
            (r#"{"push":{"disconnect":{"code":3001,"reason":"y"}}}"#, "refused: 3001 y"),
        ] {
            assert_eq!(open().receive_text(text).ended.as_deref(), Some(reason), "{text}");
        }
        let ended = open().receive(b"{}", false, 0).ended.unwrap();
        assert_eq!(ended, "protocol: a binary message where JSON is spoken");
        let nothing = open().receive_text(r#"{"push":{"channel":"a","join":{"info":{}}}}"#);
        assert_eq!(nothing, Reaction::answers(&[]));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            text in r#"[\[\]{}",:a-z0-9\\\n]{0,60}"#,
            bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut broker = open();
            broker.receive_text(&text);
            broker.receive(&bytes, true, 0);
            broker.receive(&bytes, false, 0);
        }

        #[test]
        fn what_is_published_is_heard(payload in prop::collection::vec(any::<u8>(), 0..99)) {
            let command = publish(2, "a\"b", &payload, false);
            let command: serde_json::Value = serde_json::from_str(&command).unwrap();
            let publication = serde_json::json!({"push": {
                "channel": command["publish"]["channel"],
                "pub": {"data": command["publish"]["data"], "offset": 1},
            }});
            let reaction = open().receive_text(&publication.to_string());
            prop_assert_eq!(reaction, Reaction::payloads(&[&payload]));
        }
    }
}
