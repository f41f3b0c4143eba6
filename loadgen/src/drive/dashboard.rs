//! The state of one multiplexed socket: which feed each number stands for, and the newest frame of
//! each feed. Must not judge payloads (the reception does), and must not know sockets.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::codec::claim::Reject;
use crate::codec::envelope::Notice;
use crate::codec::form::Form;
use crate::codec::memo::Memo;
use crate::codec::wire::{Gap, MASK, Message, Opcode};
use crate::codec::{envelope, wire};
use crate::plan::audience::SubscriberPlan;
use crate::plan::plan::Plan;
use crate::receive::reception::{Arrival, Reception};
use crate::receive::stamp;
use crate::receive::stamp::Stamp;

/// One multiplexed socket.
#[derive(Debug)]
pub struct Dashboard {
    form: Form,
    /// Subscriptions that are not confirmed yet.
    awaited: u32,
    /// Whether its only subscription is the pattern that matches all topics.
    is_wall: bool,
    /// By number.
    feeds: Vec<Feed>,
}

#[derive(Debug, Clone, Copy)]
struct Feed {
    /// In binary envelopes the server's number; in JSON envelopes the publisher.
    number: u64,
    publisher: u32,
    newest_seq: u64,
}

/// What all multiplexed sockets of a thread share: the names of the plan, and cached texts.
#[derive(Debug)]
pub struct Catalogue {
    names: Names,
    texts: Memo<Frame>,
}

#[derive(Debug)]
struct Names {
    publisher_of: FxHashMap<String, u32>,
    /// The pattern of walls.
    wall: String,
}

/// A frame in an envelope.
#[derive(Debug, Clone, Copy)]
struct Frame {
    publisher: u32,
    /// Whether it says that it is for a wall.
    is_walls: bool,
    seq: u64,
    stamp: Stamp,
    payload_bytes: usize,
}

/// A text that is not a frame of this run.
enum Unframed {
    Subscribed { topic: String, feed: Option<u64> },
    Announced { topic: String, pattern: Option<String>, feed: u64 },
    Gap(Gap),
    Refused(String),
    Rejected(Reject),
    Other,
}

impl Dashboard {
    /// The state of a subscriber's socket, and the requests it has to send.
    pub fn new(form: Form, plan: &Plan, subscriber: &SubscriberPlan) -> (Dashboard, Vec<u8>) {
        let topics = plan.subscriptions(subscriber.follows);
        let class = plan.classes.get(usize::from(subscriber.class));
        let options = class.map_or_else(String::new, |class| class.pace.json());
        let mut requests = Vec::new();
        for (id, topic) in topics.iter().enumerate() {
            let topic = serde_json::Value::from(*topic);
            let text = format!(r#"{{"id":{id},"subscribe":{{"topic":{topic}{options}}}}}"#);
            wire::encode(Opcode::Text, text.as_bytes(), MASK, &mut requests);
        }
        let (awaited, is_wall) = (topics.len() as u32, topics == [&plan.wall]);
        (Dashboard { form, awaited, is_wall, feeds: Vec::new() }, requests)
    }

    /// Whether every subscription is confirmed.
    pub fn is_confirmed(&self) -> bool {
        self.awaited == 0
    }

    /// Handles a message before every subscription is confirmed. Frames are ignored then, because
    /// this run publishes only once all sockets are open. `Err`: what the server refused.
    pub fn confirm(&mut self, message: Message<'_>, catalogue: &Catalogue) -> Result<(), String> {
        let notice =
            if message.is_text { envelope::read_text(message.bytes) } else { return Ok(()) };
        match notice.map(unframed).map_err(|error| error.to_string())? {
            Unframed::Refused(code) => return Err(format!("refused: {code}")),
            Unframed::Subscribed { topic, feed } => {
                self.awaited = self.awaited.saturating_sub(1);
                self.subscribed(&catalogue.names, &topic, feed);
            }
            Unframed::Announced { topic, pattern, feed } => {
                self.announced(&catalogue.names, &topic, pattern.as_deref(), feed);
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles a message.
    #[inline]
    pub fn take(
        &mut self,
        message: Message<'_>,
        catalogue: &mut Catalogue,
        reception: &mut Reception,
        arrival: Arrival<'_>,
    ) {
        if message.is_text {
            return self.take_text(message.bytes, catalogue, reception, arrival);
        }
        let Ok((number, seq, payload)) = envelope::read_binary(message.bytes) else {
            return reception.reject(arrival, Reject::Corrupt);
        };
        let Some(feed) = self.feed(number) else {
            return reception.reject(arrival, Reject::Foreign);
        };
        match reception.stamp(payload, arrival.publisher_index) {
            Ok(stamp) if stamp.publisher == feed.publisher => {
                let is_newest = reception.frame(arrival, stamp, payload.len());
                feed.note(seq, is_newest, reception, arrival);
            }
            Ok(_) => reception.reject(arrival, Reject::Foreign),
            Err(reject) => reception.reject(arrival, reject),
        }
    }

    fn take_text(
        &mut self,
        text: &[u8],
        catalogue: &mut Catalogue,
        reception: &mut Reception,
        arrival: Arrival<'_>,
    ) {
        let Catalogue { names, texts } = catalogue;
        let frame = texts.of(text, |text| read_frame(text, names, arrival));
        match frame.copied() {
            Ok(Frame { is_walls, .. }) if is_walls != self.is_wall => {
                reception.reject(arrival, Reject::Foreign);
            }
            Ok(Frame { publisher, seq, stamp, payload_bytes, .. }) => {
                let is_newest = reception.frame(arrival, stamp, payload_bytes);
                self.feed_of(publisher).note(seq, is_newest, reception, arrival);
            }
            Err(Unframed::Gap(gap)) => reception.gap(arrival.account, gap),
            Err(Unframed::Subscribed { topic, feed }) => self.subscribed(names, &topic, feed),
            Err(Unframed::Announced { topic, pattern, feed }) => {
                self.announced(names, &topic, pattern.as_deref(), feed);
            }
            Err(Unframed::Rejected(reject)) => reception.reject(arrival, reject),
            Err(Unframed::Refused(_)) => reception.reject(arrival, Reject::Foreign),
            Err(Unframed::Other) => {}
        }
    }

    /// Stores the number of a topic that was subscribed to.
    fn subscribed(&mut self, names: &Names, topic: &str, number: Option<u64>) {
        if let Some(number) = number.filter(|_| !self.is_wall) {
            self.number(names, topic, number);
        }
    }

    /// Stores the number of a topic of the wall's pattern. What has the number of another
    /// subscription is misdelivered when it arrives.
    fn announced(&mut self, names: &Names, topic: &str, pattern: Option<&str>, number: u64) {
        if self.is_wall && pattern == Some(&names.wall) {
            self.number(names, topic, number);
        }
    }

    /// A topic without a publisher is left out, so there are never more feeds than publishers.
    fn number(&mut self, names: &Names, topic: &str, number: u64) {
        let publisher = names.publisher_of.get(topic).copied();
        if let (Form::Bin, Some(publisher)) = (self.form, publisher) {
            self.feeds.retain(|feed| feed.publisher != publisher);
            self.insert(Feed { number, publisher, newest_seq: 0 });
        }
    }

    fn insert(&mut self, feed: Feed) -> usize {
        match self.feeds.binary_search_by_key(&feed.number, |feed| feed.number) {
            Ok(at) => at,
            Err(at) => {
                self.feeds.insert(at, feed);
                at
            }
        }
    }

    #[inline]
    fn feed(&mut self, number: u64) -> Option<&mut Feed> {
        let at = self.feeds.binary_search_by_key(&number, |feed| feed.number).ok()?;
        self.feeds.get_mut(at)
    }

    /// The feed of a publisher, if envelopes name topics.
    fn feed_of(&mut self, publisher: u32) -> &mut Feed {
        let number = u64::from(publisher);
        let at = self.insert(Feed { number, publisher, newest_seq: 0 });
        &mut self.feeds[at]
    }
}

impl Feed {
    /// Sequence numbers of a feed only grow; a late or repeated frame is reported elsewhere.
    #[inline]
    fn note(&mut self, seq: u64, is_newest: bool, reception: &mut Reception, arrival: Arrival<'_>) {
        if is_newest {
            if seq <= self.newest_seq {
                reception.misnumbered(arrival.account);
            }
            self.newest_seq = seq;
        }
    }
}

impl Catalogue {
    /// The names of a plan.
    pub fn new(plan: &Plan) -> Catalogue {
        let topics = plan.publishers.iter().map(|publisher| publisher.topic.clone());
        let names = Names { publisher_of: topics.zip(0..).collect(), wall: plan.wall.clone() };
        Catalogue { names, texts: Memo::new(plan.messages_remembered()) }
    }
}

fn read_frame(text: &[u8], names: &Names, arrival: Arrival<'_>) -> Result<Frame, Unframed> {
    let (topic, pattern, seq, payload) = match envelope::read_text(text) {
        Ok(Notice::Data { topic, pattern, seq, payload }) => (topic, pattern, seq, payload),
        Ok(notice) => return Err(unframed(notice)),
        Err(envelope::Malformed) => return Err(Unframed::Rejected(Reject::Corrupt)),
    };
    let stamp = stamp::identified(&payload, arrival.publisher_index).map_err(Unframed::Rejected)?;
    let is_known = pattern.as_ref().is_none_or(|pattern| *pattern == names.wall);
    match names.publisher_of.get(topic.as_ref()) {
        Some(&publisher) if publisher == stamp.publisher && is_known => {
            let (is_walls, payload_bytes) = (pattern.is_some(), payload.len());
            Ok(Frame { publisher, is_walls, seq, stamp, payload_bytes })
        }
        _ => Err(Unframed::Rejected(Reject::Foreign)),
    }
}

fn unframed(notice: Notice<'_>) -> Unframed {
    match notice {
        Notice::Subscribed { topic, feed } => {
            Unframed::Subscribed { topic: topic.into_owned(), feed }
        }
        Notice::Announced { topic, pattern, feed } => {
            let pattern = pattern.map(Cow::into_owned);
            Unframed::Announced { topic: topic.into_owned(), pattern, feed }
        }
        Notice::Gap(gap) => Unframed::Gap(gap),
        Notice::Refused(code) => Unframed::Refused(code.into_owned()),
        Notice::Data { .. } | Notice::Other => Unframed::Other,
    }
}
