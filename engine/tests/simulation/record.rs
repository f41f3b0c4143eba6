//! The oracle: every message that clients sent, and the order in which each feed took them. Owns
//! readers of its own, one a feed, that look after every turn. Must not judge what clients got.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gridcast::delivery::doorbell::{Doorbell, Tap, Wake};
use gridcast::feed::awaited::Follower;
use gridcast::feed::epoch::Epoch;
use gridcast::feed::lane_reader::LaneReader;
use gridcast::feed::log::{Feed, FeedName};
use gridcast::feed::registry::Registry;
use gridcast::frame::{Kind, encode};

use gridcast::feed::kind::LaneKind;

/// A message that a client sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub topic: String,
    /// As what.
    pub kind: Kind,
    /// Its bytes, which hold its own number among all messages, so that no two are alike.
    pub payload: Vec<u8>,
    /// Who sent it: a client sends in the order of these numbers.
    pub by: usize,
}

/// See the file header.
pub struct Record {
    sent: Vec<Sent>,
    feeds: BTreeMap<FeedName, Watched>,
    order: HashMap<Epoch, Order>,
    doorbell: Arc<Doorbell>,
}

/// What one feed took.
#[derive(Default)]
struct Order {
    /// The messages, number 1 first.
    messages: Vec<usize>,
    /// The number of each.
    seqs: HashMap<usize, u64>,
    /// The last of each client.
    last_by: HashMap<usize, usize>,
}

struct Watched {
    feed: Arc<Feed>,
    reader: LaneReader,
    tap: Arc<Tap>,
    pos: u64,
}

/// Nobody sleeps who would have to be woken.
struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

impl Record {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        Self {
            sent: Vec::new(),
            feeds: BTreeMap::new(),
            order: HashMap::new(),
            doorbell: Arc::new(Doorbell::new(Box::new(Awake))),
        }
    }

    /// The number that the next message will have.
    pub fn next(&self) -> usize {
        self.sent.len()
    }

    /// Notes a message that is about to be sent. Its payload must hold [`next`](Self::next).
    pub fn send(&mut self, sent: Sent) -> usize {
        assert_eq!(number_in(&sent.payload), Some(self.next()));
        self.sent.push(sent);
        self.sent.len() - 1
    }

    /// The message of a number.
    pub fn sent(&self, message: usize) -> &Sent {
        &self.sent[message]
    }

    /// Watches a feed from now on, and answers its epoch. To be called before anybody follows it.
    pub fn watch(&mut self, registry: &Registry, name: &FeedName, now_ns: u64) -> Epoch {
        if let Some(watched) = self.feeds.get(name) {
            return watched.feed.epoch();
        }
        let feed = registry.follow(name, &Follower::default(), now_ns).unwrap();
        let opened = feed.open(LaneKind::RAW, &self.doorbell, 0).unwrap();
        // It never is what publishers are made to wait for.
        opened.tap.set_swept(u64::MAX);
        let (epoch, reader, tap) = (feed.epoch(), opened.reader, opened.tap);
        let order = self.order.entry(epoch).or_default();
        assert!(order.messages.is_empty(), "an epoch is watched once");
        let pos = reader.oldest().frame_pos;
        assert_eq!(reader.oldest().seq, 1, "{name:?} was used before it was watched");
        self.feeds.insert(name.clone(), Watched { feed, reader, tap, pos });
        epoch
    }

    /// Stops watching whatever `is_wanted` does not name.
    pub fn forget(&mut self, now_ns: u64, is_wanted: impl Fn(&FeedName) -> bool) {
        self.feeds.retain(|name, watched| {
            let stays = is_wanted(name);
            if !stays {
                watched.feed.shut(LaneKind::RAW, &watched.tap, now_ns);
            }
            stays
        });
    }

    /// Takes in what the feeds took since. Answers the most that one of them took, those left out
    /// that publish by the clock.
    pub fn look(&mut self) -> usize {
        let mut most = 0;
        let Self { feeds, order, sent, doorbell } = self;
        for (name, watched) in feeds {
            watched.tap.clear();
            watched.reader.refresh();
            let order = order.get_mut(&watched.feed.epoch()).unwrap();
            let before = order.messages.len();
            watched.take_new(|kind, payload| {
                let message = number_in(payload).expect("each message has a number");
                let sent = &sent[message];
                assert_eq!((sent.kind, &sent.payload[..]), (kind, payload), "published as sent");
                assert!(names(name, &sent.topic), "{} in {name:?}", sent.topic);
                order.take(message, sent.by, name.rate.is_some());
            });
            if name.rate.is_none() {
                most = most.max(order.messages.len() - before);
            }
        }
        while doorbell.take().is_some() {}
        most
    }

    /// The number that a message has in a feed.
    pub fn seq(&self, epoch: Epoch, message: usize) -> Option<u64> {
        self.order.get(&epoch)?.seqs.get(&message).copied()
    }

    /// The highest number of a feed; 0 while it has none.
    pub fn last_seq(&self, epoch: Epoch) -> u64 {
        self.order.get(&epoch).map_or(0, |order| order.messages.len() as u64)
    }

    /// Whether the feed of a topic took a message, of a topic that is watched.
    pub fn was_published(&self, message: usize) -> Option<bool> {
        let topic = self.sent[message].topic.parse().unwrap();
        let watched = self.feeds.get(&FeedName { target: topic, rate: None })?;
        Some(self.seq(watched.feed.epoch(), message).is_some())
    }
}

impl Watched {
    fn take_new(&mut self, mut take: impl FnMut(Kind, &[u8])) {
        let (reader, pos) = (&self.reader, &mut self.pos);
        let head = reader.head().pos;
        reader.slices(*pos, |slice| {
            let mut rest = slice;
            while !rest.is_empty() {
                let len = encode::frame_len(rest).unwrap() as usize;
                let (kind, payload) = encode::message(&rest[..len]).unwrap();
                take(kind, payload);
                rest = &rest[len..];
            }
            true
        });
        *pos = head;
        // Kept until here, so that what retention passed meanwhile was seen as well.
        self.reader.drop_before(head);
    }
}

impl Order {
    fn take(&mut self, message: usize, by: usize, is_rated: bool) {
        self.messages.push(message);
        let earlier = self.seqs.insert(message, self.messages.len() as u64);
        assert_eq!(earlier, None, "message {message} was published twice");
        let last = self.last_by.insert(by, message);
        // What is rated goes out by topic, in the order of each topic's first.
        assert!(is_rated || last < Some(message), "of one client in the order it sent them");
    }
}

fn names(name: &FeedName, topic: &str) -> bool {
    name.target.matches(&gridcast::feed::topic::Topic::new(topic).unwrap())
}

/// The number in a payload: its first digits.
pub fn number_in(payload: &[u8]) -> Option<usize> {
    let digits = payload.iter().skip_while(|byte| !byte.is_ascii_digit());
    let digits: Vec<u8> = digits.take_while(|byte| byte.is_ascii_digit()).copied().collect();
    str::from_utf8(&digits).ok()?.parse().ok()
}
