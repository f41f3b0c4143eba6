//! A connection: its socket, its role, and the incomplete end of what the peer has sent. Owns the
//! state of one peer. Must not act on other connections or on feeds by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::Grant;
use crate::core::flags::Flags;
use crate::core::history::answer::Answer;
use crate::core::poll::waiting::Waiting;
use crate::core::submission::Window;
use crate::core::wheel::Tick;
use crate::delivery::flush::Delivery;
use crate::feed::awaited::Follower;
use crate::feed::kind::{Deflation, Form, LaneKind};
use crate::feed::log::Feed;
use crate::feed::topic::{Target, Topic};
use crate::frame::Kind;
use crate::frame::decode::Decoder;
use crate::http::body::Body;
use crate::http::refusal::Refusal;
use crate::http::request::is_empty_lines;
use crate::http::response::Exchange;
use crate::http::route::Door;
use crate::limits::admission::Full;
use crate::limits::places::Place;
use crate::limits::rate::{PerSecond, TokenBucket};
use crate::metrics;
use crate::net::backend::Stream;
use crate::net::transport::Transport;
use crate::wire::deflate::Context;

/// One peer. A few bytes more are hundreds of kilobytes where there are a hundred thousand of them.
#[derive(Debug)]
pub struct Conn<S> {
    /// The sending half; first, because a sweep touches little else.
    pub delivery: Delivery,
    /// The socket, and the TLS session on it if there is one.
    pub transport: Transport<S>,
    /// What is so of it.
    pub flags: Flags,
    /// How many pings and commands it has sent this second.
    pub controls: PerSecond,
    /// When its socket last took bytes, or began to refuse them.
    pub sent: Tick,
    /// When it was last heard of.
    pub heard: Tick,
    /// When the wheel will bring it up; an entry for another tick is stale.
    pub due: Tick,
    /// Which endpoints it may ask for.
    pub door: Door,
    /// What it is for.
    pub role: Role,
    /// Fragments of an unfinished message.
    pub decoder: Decoder,
    /// Bytes received that are not a whole frame or request yet.
    pub rest: Rest,
    /// What few connections have; none before it had any of it.
    pub extras: Option<Box<Extras>>,
    /// What it may do; none where nobody is asked, or before it was.
    pub grant: Option<Arc<Grant>>,
    /// Where it comes from, for the limit per source.
    pub source: IpAddr,
}

/// What few connections have, so that all others carry one pointer for it.
#[derive(Debug, Default)]
pub struct Extras {
    /// What its messages may refer to, if they may refer to earlier ones.
    pub context: Context,
    /// How much more it may publish by POST now; none before it did.
    pub posts: Option<TokenBucket>,
    /// Why it is one too many, until it has been told.
    pub excess: Option<Full>,
    /// What it has on its way to a log; none before it had anything.
    pub window: Option<Arc<Window>>,
    /// Messages of its that it waits to be answered for.
    pub awaited: u64,
}

/// What a connection is for.
#[derive(Debug)]
pub enum Role {
    /// Sending an HTTP request: its head, or the body of the request that is here.
    Request(Option<Box<Posting>>),
    /// Being answered what was published before.
    History(Box<Answer>),
    /// Waiting for what comes next in a feed.
    Poll(Box<Waiting>),
    /// Following a feed, as WebSocket or as event stream.
    Subscriber(LaneKind),
    /// Following many feeds, publishing and being answered over one WebSocket.
    Multiplexed(Box<Multiplexed>),
    /// Publishing to one topic over a WebSocket.
    Publisher(Box<Publisher>),
    /// Having its messages sent back, deflated or not.
    Echo(Option<Deflation>),
    /// Told to go: a close frame or last response is out or waits.
    Closing(Closing),
}

impl Role {
    /// True before it has become anything, and again once it has been told to go.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Request(_) | Self::History(_) | Self::Poll(_) | Self::Closing(_))
    }

    /// Its name in the metrics; none while there is no more to say than that it is open.
    pub fn label(&self) -> Option<metrics::Role> {
        match self {
            Self::Subscriber(kind) if kind.form == Form::Sse => Some(metrics::Role::Events),
            Self::Subscriber(_) => Some(metrics::Role::Subscriber),
            Self::Multiplexed(_) => Some(metrics::Role::Multiplexed),
            Self::Publisher(_) => Some(metrics::Role::Publisher),
            Self::Echo(_) => Some(metrics::Role::Echo),
            Self::Poll(_) => Some(metrics::Role::Poll),
            Self::Request(_) | Self::History(_) | Self::Closing(_) => None,
        }
    }
}

/// A POST whose body is still coming.
#[derive(Debug)]
pub struct Posting {
    /// Where the body goes.
    pub target: PostTarget,
    /// The reader of the body's framing.
    pub body: Body,
    /// How the answer is sent.
    pub exchange: Exchange,
    /// The lines of a body that is here, as far as they are not published yet.
    pub batch: Option<Batch>,
}

/// Lines that are published some at a time, and what has become of those that were.
#[derive(Debug, Default)]
pub struct Batch {
    body: Vec<u8>,
    at: usize,
    line: u64,
    /// Published.
    pub done: u64,
    /// Not published.
    pub failed: u64,
    /// The first that was not, and why.
    pub first: Option<(u64, Refusal)>,
    /// Lines that a log has still to acknowledge.
    pub awaited: u64,
    /// No line is left to be published.
    pub is_read: bool,
}

impl Batch {
    /// The lines of `body`.
    pub fn new(body: Vec<u8>) -> Self {
        Self { body, ..Self::default() }
    }

    /// Counts a line that could not be published.
    pub fn fail(&mut self, line: u64, refusal: Refusal) {
        self.failed += 1;
        if self.first.as_ref().is_none_or(|(first, _)| line < *first) {
            self.first = Some((line, refusal));
        }
    }

    /// The next line that is not empty, and its number, counted from 1.
    pub fn next_line(&mut self) -> Option<(u64, &[u8])> {
        while self.at < self.body.len() {
            let rest = &self.body[self.at..];
            let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            let from = self.at;
            self.at += len + 1;
            self.line += 1;
            if !self.body[from..from + len].trim_ascii().is_empty() {
                return Some((self.line, self.body[from..from + len].trim_ascii()));
            }
        }
        None
    }
}

/// Where a POST publishes to.
#[derive(Clone, Debug)]
pub enum PostTarget {
    /// The whole body, to one topic.
    One(Topic, Option<Kind>),
    /// Each line, to the topic it names.
    Many,
}

/// A publishing socket.
#[derive(Debug)]
pub struct Publisher {
    /// Where it publishes to.
    pub topic: Topic,
    /// The feed, kept so that it is looked up once.
    pub held: Option<Arc<Feed>>,
    /// How much more it may publish now.
    pub rate: TokenBucket,
}

/// What a multiplexed connection has asked for.
#[derive(Debug)]
pub struct Multiplexed {
    /// What its messages look like.
    pub kind: LaneKind,
    /// Tells it from every other connection there was.
    pub number: u64,
    /// The index of each of its subscriptions.
    pub topics: BTreeMap<Target, u32>,
    /// Whether it has published: then it waits with other publishers.
    pub publishes: bool,
    /// Whether it asked for a greeting, and so for beats.
    pub has_heartbeat: bool,
    /// How much more it may publish now.
    pub rate: TokenBucket,
    /// It has still to say who it is.
    pub guest: Option<Guest>,
}

/// What holds for a client until it has said who it is.
#[derive(Debug)]
pub struct Guest {
    /// When it must have.
    pub due: Tick,
    /// Its place among all those.
    pub place: Place,
}

impl Multiplexed {
    /// Bytes of user memory held, beside its subscriptions.
    pub fn memory_bytes(&self) -> usize {
        // A tree's nodes are two thirds full on average.
        size_of::<Self>() + self.topics.len() * size_of::<(Target, u32)>() / 2 * 3
    }
}

/// How a closing connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Our close frame is out: the peer answers with its own.
    AwaitClose,
    /// Nothing more can be understood from the peer: what it sends is dropped until it ends.
    AwaitEnd,
    /// Both sides are done: end as soon as the outbox is sent.
    AfterFlush,
}

impl Extras {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.context.memory_bytes()
    }
}

impl<S: Stream> Conn<S> {
    /// A connection that was just accepted.
    pub fn new(transport: Transport<S>, source: IpAddr, now: Tick) -> Self {
        Self {
            delivery: Delivery::default(),
            transport,
            flags: Flags::empty(),
            controls: PerSecond::default(),
            sent: now,
            heard: now,
            due: 0,
            door: Door::All,
            role: Role::Request(None),
            decoder: Decoder::default(),
            rest: Rest::default(),
            extras: None,
            grant: None,
            source,
        }
    }

    /// What few connections have, from now on.
    pub fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// Why it is one too many, if it has not been told yet.
    pub fn take_excess(&mut self) -> Option<Full> {
        self.extras.as_mut()?.excess.take()
    }

    /// True when it speaks WebSocket: it may be pinged and is closed with a close frame.
    pub fn is_websocket(&self) -> bool {
        match &self.role {
            Role::Subscriber(kind) => kind.form != Form::Sse,
            Role::Multiplexed(_) | Role::Publisher(_) | Role::Echo(_) => true,
            Role::Request(_) | Role::History(_) | Role::Poll(_) | Role::Closing(_) => false,
        }
    }

    /// True when it is shown that the engine lives where nothing else is sent.
    pub fn has_heartbeat(&self) -> bool {
        match &self.role {
            Role::Subscriber(kind) => kind.form == Form::Sse,
            Role::Multiplexed(multiplexed) => multiplexed.has_heartbeat,
            Role::Publisher(_) | Role::Echo(_) => false,
            Role::Request(_) | Role::History(_) | Role::Poll(_) | Role::Closing(_) => false,
        }
    }

    /// True when what it sends next may be published, as far as is known.
    pub fn publishes(&self) -> bool {
        match &self.role {
            Role::Publisher(_) | Role::Request(Some(_)) => true,
            Role::Multiplexed(multiplexed) => multiplexed.publishes,
            Role::Subscriber(_) | Role::Echo(_) => false,
            Role::Request(None) | Role::History(_) | Role::Poll(_) | Role::Closing(_) => false,
        }
    }

    /// True while it is not read, whatever has come.
    pub fn is_held(&self) -> bool {
        self.flags.intersects(Flags::HELD)
    }

    /// What holds for it until it has said who it is.
    pub fn guest(&self) -> Option<&Guest> {
        match &self.role {
            Role::Multiplexed(multiplexed) => multiplexed.guest.as_ref(),
            _ => None,
        }
    }

    /// What it has on its way to a log, from now on.
    pub fn window(&mut self) -> Arc<Window> {
        Arc::clone(self.extras().window.get_or_insert_default())
    }

    /// True when lines of its POST have still to be published.
    pub fn has_batch(&self) -> bool {
        matches!(&self.role, Role::Request(Some(posting)) if posting.batch.is_some())
    }

    /// True while it is answered what was published before.
    pub fn asks_for_history(&self) -> bool {
        matches!(&self.role, Role::History(_))
    }

    /// Who it is where topics are limited by who waits for them.
    pub fn follower(&self) -> Follower<'_> {
        let connection = match &self.role {
            Role::Multiplexed(multiplexed) => Some(multiplexed.number),
            _ => None,
        };
        Follower { subject: self.grant.as_ref().map(|grant| grant.subject()), connection }
    }

    /// True when part of a request is here: more than the empty lines that may stand before one.
    pub fn has_begun_request(&self) -> bool {
        match &self.role {
            Role::Request(Some(_)) | Role::History(_) | Role::Poll(_) => true,
            Role::Request(None) => !is_empty_lines(self.rest.bytes()),
            _ => false,
        }
    }

    /// True when it waits for its turn of TLS handshakes.
    pub fn awaits_handshake(&self) -> bool {
        self.flags.contains(Flags::READABLE) && self.transport.is_handshaking()
    }

    /// Bytes that the kernel has not taken, those of feeds not counted.
    pub fn unsent_bytes(&self) -> usize {
        self.delivery.outbox().pending().len() + self.transport.held_bytes()
    }

    /// True when bytes wait that the kernel has not taken, those of feeds not counted.
    pub fn has_unsent(&self) -> bool {
        !self.delivery.outbox().is_empty() || self.transport.held_bytes() > 0
    }

    /// Bytes of user memory held beside the slot itself.
    pub fn memory_bytes(&self) -> usize {
        let body = match &self.role {
            Role::Request(Some(posting)) => {
                let batch = posting.batch.as_ref().map_or(0, |batch| batch.body.capacity());
                size_of::<Posting>() + posting.body.memory_bytes() + batch
            }
            _ => 0,
        };
        let body = body
            + match &self.role {
                Role::Multiplexed(multiplexed) => multiplexed.memory_bytes(),
                Role::History(answer) => answer.memory_bytes(),
                Role::Poll(_) => size_of::<Waiting>(),
                _ => 0,
            };
        let extras = self.extras.as_ref().map_or(0, |extras| extras.memory_bytes());
        let input = extras + self.rest.memory_bytes() + self.decoder.held_bytes() + body;
        input + self.delivery.memory_bytes() + self.transport.memory_bytes()
    }
}

/// The incomplete end of what a connection has sent. Costs one pointer while there is none.
#[derive(Debug, Default)]
pub struct Rest(Option<Box<Incomplete>>);

#[derive(Debug)]
struct Incomplete {
    kept: Kept,
    need: usize,
}

/// Bytes that wait to be parsed. Those that were used are passed over, not taken out: a publisher
/// that has to wait after each message must not have all the others moved each time.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    used: usize,
}

impl Kept {
    /// What has still to be parsed.
    pub fn unused(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Passes `count` bytes over; lets go of those passed once they are most of the buffer.
    fn pass(&mut self, count: usize) {
        self.used += count;
        // A large buffer is not kept for a small rest either.
        if self.bytes.capacity() > 4 * self.len() {
            self.bytes.drain(..std::mem::take(&mut self.used));
            self.bytes.shrink_to_fit();
        }
    }
}

impl Rest {
    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What is kept.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |rest| &rest.kept.bytes[rest.kept.used..])
    }

    /// True when what is kept is worth parsing: it waits for something else than more bytes.
    pub fn is_ready(&self) -> bool {
        self.0.as_ref().is_some_and(|rest| rest.kept.len() >= rest.need)
    }

    /// How many bytes there must be before parsing makes sense.
    pub fn need(&self) -> usize {
        self.0.as_ref().map_or(0, |rest| rest.need)
    }

    /// Keeps `bytes`; parsing them again makes sense from `need` bytes on.
    pub fn keep(&mut self, bytes: &[u8], need: usize) {
        let kept = Kept { bytes: bytes.to_vec(), used: 0 };
        self.0 = (!bytes.is_empty()).then(|| Box::new(Incomplete { kept, need }));
    }

    /// Adds `bytes` to what is kept. Answers all of it once it is worth parsing: what is not
    /// consumed must be [restored](Self::restore).
    pub fn extend(&mut self, bytes: &[u8]) -> Option<Kept> {
        let rest = self.0.as_mut()?;
        rest.kept.bytes.extend_from_slice(bytes);
        if !self.is_ready() {
            return None;
        }
        self.0.take().map(|rest| rest.kept)
    }

    /// Puts back what [`extend`](Self::extend) gave after `consumed` bytes of it were used.
    pub fn restore(&mut self, mut kept: Kept, consumed: usize, need: usize) {
        if consumed < kept.len() {
            kept.pass(consumed);
            self.0 = Some(Box::new(Incomplete { kept, need }));
        }
    }

    /// Bytes of user memory held.
    pub fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |rest| size_of::<Incomplete>() + rest.kept.bytes.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hundreds of thousands of connections have one each.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Conn<mio::net::TcpStream>>() <= 160);
    }

    #[test]
    fn what_is_used_bit_by_bit_is_not_moved_each_time() {
        let mut rest = Rest::default();
        rest.keep(&[7; 100_000], 0);
        let (mut moves, mut at) = (0, std::ptr::null());
        for left in (0..100_000).rev() {
            let mut kept = rest.extend(&[]).unwrap();
            let now = kept.unused().as_ptr();
            moves += usize::from(now != next_of(at));
            at = now;
            assert_eq!(kept.unused().len(), left + 1);
            rest.restore(kept, 1, 0);
        }
        assert!(rest.is_empty() && moves < 20, "{moves} moves");
    }

    /// Where the next byte would be, had nothing moved.
    fn next_of(at: *const u8) -> *const u8 {
        at.wrapping_add(1)
    }

    #[test]
    fn what_comes_later_joins_what_is_kept() {
        let mut rest = Rest::default();
        rest.keep(b"abcdef", 0);
        let kept = rest.extend(&[]).unwrap();
        rest.restore(kept, 2, 6);
        assert!(rest.extend(b"g").is_none() && !rest.is_ready());
        assert_eq!(rest.extend(b"h").unwrap().unused(), b"cdefgh");
    }

    #[test]
    fn lines_are_numbered_and_empty_ones_passed_over() {
        let mut batch = Batch::new(b"a\r\n\n  \nb\n c".to_vec());
        let mut seen = Vec::new();
        while let Some((number, line)) = batch.next_line() {
            seen.push((number, line.to_vec()));
        }
        assert_eq!(seen, [(1, b"a".to_vec()), (4, b"b".to_vec()), (5, b"c".to_vec())]);
    }
}
