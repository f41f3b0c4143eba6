//! The oracle: every message that clients sent, and the order in which each feed took them. Owns
//! readers of its own, one a feed, that look after every turn. Must not judge what clients got.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gridcast::delivery::doorbell::{Doorbell, Tap, Wake};
use gridcast::feed::awaited::Follower;
use gridcast::feed::epoch::{Epoch, Position, PositionError};
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
    order: HashMap<FeedKey, Order>,
    doorbell: Arc<Doorbell>,
}

/// Tells a feed from all others there were: its number. Its epoch may be that of others as well.
pub type FeedKey = u64;

/// What one feed took.
#[derive(Default)]
struct Order {
    /// Frames that it had given up before anybody looked: of a domain, which had them before.
    unseen: u64,
    /// The positions, number 1 first, and the messages.
    seqs: Vec<u64>,
    /// The number of each.
    ordinals: HashMap<usize, u64>,
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

    /// Watches a feed from now on, and answers which it is. To be called before anybody follows it.
    pub fn watch(&mut self, registry: &Registry, name: &FeedName, now_ns: u64) -> FeedKey {
        if let Some(watched) = self.feeds.get(name) {
            return watched.feed.number();
        }
        let feed = registry.follow(name, &Follower::default(), now_ns).unwrap();
        let opened = feed.open(LaneKind::RAW, &self.doorbell, 0).unwrap();
        // It never is what publishers are made to wait for.
        opened.tap.set_swept(u64::MAX);
        let (key, reader, tap) = (feed.number(), opened.reader, opened.tap);
        let order = self.order.entry(key).or_default();
        assert!(order.seqs.is_empty(), "a feed is watched once");
        let pos = reader.oldest().frame_pos;
        order.unseen = reader.oldest().ordinal - 1;
        let is_new = order.unseen == 0 || registry.domain().is_some();
        assert!(is_new, "{name:?} was used before it was watched");
        self.feeds.insert(name.clone(), Watched { feed, reader, tap, pos });
        self.look();
        key
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
            let order = order.get_mut(&watched.feed.number()).unwrap();
            let (before, feed) = (order.seqs.len(), Arc::clone(&watched.feed));
            watched.take_new(|kind, payload| {
                let message = number_in(payload).expect("each message has a number");
                let sent = &sent[message];
                assert_eq!((sent.kind, &sent.payload[..]), (kind, payload), "published as sent");
                assert!(names(name, &sent.topic), "{} in {name:?}", sent.topic);
                let ordinal = order.last() + 1;
                order.take((message, feed.seq_of(ordinal)), sent.by, name.rate.is_some());
            });
            if name.rate.is_none() {
                most = most.max(order.seqs.len() - before);
            }
        }
        while doorbell.take().is_some() {}
        most
    }

    /// The number that a message has in a feed: the first has 1.
    pub fn ordinal(&self, feed: FeedKey, message: usize) -> Option<u64> {
        self.order.get(&feed)?.ordinals.get(&message).copied()
    }

    /// The highest number of a feed; 0 while it has none.
    pub fn last(&self, feed: FeedKey) -> u64 {
        self.order.get(&feed).map_or(0, Order::last)
    }

    /// The lowest number of a feed that is known, if it has any.
    pub fn first(&self, feed: FeedKey) -> u64 {
        self.order.get(&feed).map_or(0, |order| order.unseen) + 1
    }

    /// The frame of a feed that has this position.
    pub fn ordinal_at(&self, feed: FeedKey, seq: u64) -> Option<u64> {
        let order = self.order.get(&feed)?;
        order.seqs.binary_search(&seq).ok().map(|at| order.unseen + at as u64 + 1)
    }

    /// The epoch of a feed.
    pub fn epoch(&self, feed: FeedKey) -> Result<Epoch, PositionError> {
        let mut feeds = self.feeds.values().map(|watched| &watched.feed);
        Ok(feeds.find(|own| own.number() == feed).unwrap().epoch())
    }

    /// Whether positions have holes: a log gives them.
    pub fn has_holes(&self) -> bool {
        self.order.values().any(|order| order.seqs.last() > Some(&order.last()))
    }

    /// How many frames of a feed have a position up to `seq`.
    pub fn count_to(&self, feed: FeedKey, seq: u64) -> u64 {
        let order = self.order.get(&feed);
        order.map_or(0, |order| order.unseen + order.seqs.partition_point(|own| *own <= seq) as u64)
    }

    /// What a client writes that has frame `ordinal` of a feed.
    pub fn position(&self, name: &FeedName, ordinal: u64) -> Position {
        let watched = &self.feeds[name];
        let order = &self.order[&watched.feed.number()];
        let at = ordinal.checked_sub(order.unseen + 1);
        let seq = at.map_or(0, |at| order.seqs[at as usize]);
        Position { epoch: watched.feed.epoch(), seq }
    }

    /// Where a message stands in the feed of its topic, of a topic that is watched.
    pub fn position_of(&self, message: usize) -> Option<Position> {
        let target = self.sent[message].topic.parse().unwrap();
        let name = FeedName { target, rate: None };
        let ordinal = self.ordinal(self.feeds.get(&name)?.feed.number(), message)?;
        Some(self.position(&name, ordinal))
    }

    /// A feed that is watched.
    pub fn key(&self, name: &FeedName) -> FeedKey {
        self.feeds[name].feed.number()
    }

    /// All feeds that are watched.
    pub fn names(&self) -> impl Iterator<Item = &FeedName> {
        self.feeds.keys()
    }

    /// Whether the topic of a message is watched.
    pub fn is_watched(&self, message: usize) -> bool {
        let target = self.sent[message].topic.parse().unwrap();
        self.feeds.contains_key(&FeedName { target, rate: None })
    }

    /// Whether the feed of a topic took a message, of a topic that is watched.
    pub fn was_published(&self, message: usize) -> Option<bool> {
        self.is_watched(message).then(|| self.position_of(message).is_some())
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
    fn last(&self) -> u64 {
        self.unseen + self.seqs.len() as u64
    }

    fn take(&mut self, (message, seq): (usize, u64), by: usize, is_rated: bool) {
        assert!(self.seqs.last() < Some(&seq), "positions increase");
        self.seqs.push(seq);
        let earlier = self.ordinals.insert(message, self.last());
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
