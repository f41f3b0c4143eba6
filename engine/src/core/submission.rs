//! Submissions: messages on their way to a log. Owns the hand-over to the thread that talks to it,
//! who waits for which message, how much may be on its way, and for how long the log may not
//! answer. Must not know connections beside their keys, nor the log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::core::bells::Bells;
use crate::delivery::doorbell::Wake;
use crate::feed::domain::LogFrame;
use crate::feed::epoch::Position;
use crate::feed::message::Message;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::frame::Kind;
use crate::wire::command::Id;

pub use crate::settings::choices::Publishing;

/// Bytes, and messages, on their way to the log at once: beyond that publishers wait.
pub const SUBMITTED_BYTES_MAX: u64 = 64 << 20;
/// See there.
pub const SUBMITTED_FRAMES_MAX: u64 = 64 << 10;
/// The same for one connection: what it may have on its way before it is not read any more.
pub const WINDOW_BYTES_MAX: u64 = 256 << 10;
/// See there.
pub const WINDOW_FRAMES_MAX: u64 = 1024;
/// How long publishers wait while the log does not answer, before they are refused.
pub const HELD_NS_MAX: u64 = 5_000_000_000;
/// How long it may not answer before the engine says that it is not ready.
pub const UNREADY_NS_MAX: u64 = 2_000_000_000;
/// What a message costs beside its payload.
const FRAME_BYTES: u64 = 128;

/// How the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It answers.
    Up,
    /// It does not answer: publishers wait, and are refused after a while.
    Held,
    /// Publishers are refused at once.
    Refusing,
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not in the log for sure.
    Unavailable,
    /// It may be in the log.
    Unacknowledged,
}

impl Refused {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Unavailable, Self::Unacknowledged];

    /// Its name in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Unacknowledged => "unacknowledged",
        }
    }
}

impl From<Refused> for FeedError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unavailable => Self::Unavailable,
            Refused::Unacknowledged => Self::Unacknowledged,
        }
    }
}

/// Who published a message, and what is to be said of it.
#[derive(Debug)]
pub struct Caller {
    /// Its core.
    pub core: usize,
    /// The core's key of it.
    pub conn: u32,
    /// What it has on its way; tells it from others that had the key before.
    pub window: Arc<Window>,
    /// What it wants to hear.
    pub reply: Reply,
}

/// What a publisher wants to hear of its message.
#[derive(Debug)]
pub enum Reply {
    /// Nothing: if it is refused, the connection is closed.
    Silence,
    /// The answer to a POST of one message of this kind.
    Post(Kind),
    /// That the line of this number of its POST is done.
    Line(u64),
    /// The answer to its command; without an id only if that is refused.
    Command(Option<Id>),
    /// A call. Whoever it belongs to is no core's, so the thread of the [`Bells`] makes it.
    Call(Callback),
}

impl Reply {
    /// True when its connection is told of a success.
    fn is_wanted(&self) -> bool {
        matches!(self, Self::Post(_) | Self::Line(_) | Self::Command(Some(_)))
    }
}

/// What is called with the outcome.
pub struct Callback(pub Box<dyn FnOnce(Result<Position, Refused>) + Send>);

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// What one publisher has on its way.
#[derive(Debug, Default)]
pub struct Window {
    frames: AtomicU64,
    bytes: AtomicU64,
    /// Set by its core when it stops reading the connection; cleared by whoever tells it that there
    /// is room.
    waits: AtomicBool,
    /// Set when it is told that something was refused.
    is_refused: AtomicBool,
}

impl Window {
    /// True when nothing more may be on its way.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.frames.load(Ordering::SeqCst) >= WINDOW_FRAMES_MAX
            || self.bytes.load(Ordering::SeqCst) >= WINDOW_BYTES_MAX
    }

    fn take(&self, bytes: u64) {
        self.frames.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Takes in that a message is on its way no more.
    pub fn give_back(&self, bytes: u64) {
        self.frames.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Has the core be told as soon as there is room. False when there is some already.
    ///
    /// The flag is set before the window is looked at; whoever makes room looks at the flag
    /// afterwards. So one of the two sees the other.
    #[must_use]
    pub fn wait(&self) -> bool {
        self.waits.store(true, Ordering::SeqCst);
        self.is_full() || !self.waits.swap(false, Ordering::SeqCst)
    }

    /// True once for each time that somebody waits for room that there is now.
    fn ends_wait(&self) -> bool {
        !self.is_full() && self.waits.swap(false, Ordering::SeqCst)
    }

    /// True for the first refusal that its core has not been told of.
    fn begins_refusal(&self) -> bool {
        !self.is_refused.swap(true, Ordering::SeqCst)
    }

    /// Takes in that its core has been told.
    pub fn has_been_refused(&self) {
        self.is_refused.store(false, Ordering::SeqCst);
    }
}

/// One message on its way.
#[derive(Debug)]
pub struct Ticket {
    caller: Caller,
    /// Where somebody is told how many it was for.
    topic: Option<Topic>,
    bytes: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug)]
pub struct Completed {
    /// Where it stands.
    pub position: Position,
    /// How many on this node it was for.
    pub subscribers: u64,
}

/// What a core is told about messages of one of its connections.
#[derive(Debug)]
pub struct Letter {
    /// The core's key of the connection.
    pub conn: u32,
    /// Tells it from others that had the key before.
    pub window: Arc<Window>,
    /// What it is about.
    pub about: About,
}

/// See [`Letter`].
#[derive(Debug)]
pub enum About {
    /// There is room in its window.
    Room,
    /// A message that it is told nothing else of was refused.
    Refused(Refused),
    /// A message that it waits for.
    Answer {
        /// What it wants to hear.
        reply: Reply,
        /// What the message held of its window.
        bytes: u64,
        /// What became of it.
        outcome: Result<Completed, Refused>,
    },
}

/// Messages that the log takes as one.
#[derive(Debug)]
pub struct Batch {
    /// In the order of their index.
    pub frames: Vec<LogFrame>,
    /// Bytes of their payloads and topics.
    pub bytes: usize,
    /// Stands for whoever waits for them.
    pub number: u64,
}

/// How publishes of this engine become frames.
#[derive(Debug)]
pub enum Submission {
    /// Here and at once.
    Local,
    /// By way of a log.
    Log(Box<Submitting>),
}

impl Submission {
    /// True while so much is on its way that publishers have to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Local => false,
            Self::Log(log) => log.is_full(),
        }
    }

    /// True before the log has answered for the first time.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        match self {
            Self::Local => false,
            Self::Log(log) => log.state.load(Ordering::Acquire) == STARTING,
        }
    }

    /// True while what is published is sure to be taken soon.
    #[must_use]
    pub fn is_ready(&self, now_ns: u64) -> bool {
        match self {
            Self::Local => true,
            Self::Log(log) => log.is_held_for(now_ns).is_none_or(|held| held < UNREADY_NS_MAX),
        }
    }

    /// How many messages were refused without being answered at once, by the name of the reason.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); Refused::ALL.len()] {
        Refused::ALL.map(|reason| {
            let count = self.log().map_or(0, |log| log.refused_for(reason).load(Ordering::Relaxed));
            (reason.word(), count)
        })
    }

    /// The way to the log, if there is one.
    #[must_use]
    pub fn log(&self) -> Option<&Submitting> {
        match self {
            Self::Local => None,
            Self::Log(log) => Some(log),
        }
    }
}

/// See the file header.
#[derive(Default)]
pub struct Submitting {
    queue: Mutex<Queue>,
    frames: AtomicU64,
    bytes: AtomicU64,
    /// Messages that were refused after they were taken on, or of a publisher that is told of none,
    /// in the order of [`Refused::ALL`].
    refused: [AtomicU64; Refused::ALL.len()],
    /// Since when the log does not answer, or one of the values below.
    state: AtomicU64,
    wake: OnceLock<Box<dyn Wake>>,
}

/// The log answers.
const UP: u64 = 0;
/// Publishers are refused.
const REFUSING: u64 = u64::MAX - 1;
/// The log has not answered yet.
const STARTING: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Queue {
    /// With the time at which each was submitted.
    waiting: VecDeque<(LogFrame, Ticket, u64)>,
    /// Those that are with the log, by the number of their batch.
    taken: BTreeMap<u64, Taken>,
    last_batch: u64,
}

#[derive(Debug)]
struct Taken {
    tickets: Vec<Ticket>,
    submitted_ns: u64,
}

impl fmt::Debug for Submitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitting").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Submitting {
    /// To a log that has not answered yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: AtomicU64::new(STARTING), ..Self::default() }
    }

    /// Has `wake` be called when messages wait. Answers false when another one is called already.
    #[must_use]
    pub fn attach(&self, wake: Box<dyn Wake>) -> bool {
        self.wake.set(wake).is_ok()
    }

    /// Takes in how the log is.
    pub fn set_state(&self, state: LogState, now_ns: u64) {
        let state = match (state, self.state.load(Ordering::Acquire)) {
            (LogState::Up, _) => UP,
            (LogState::Held, since @ 1..) => since,
            (LogState::Held, _) => now_ns.clamp(1, REFUSING - 1),
            (LogState::Refusing, STARTING) => STARTING,
            (LogState::Refusing, _) => REFUSING,
        };
        self.state.store(state, Ordering::Release);
    }

    /// For how long the log has not answered; none while it does.
    fn is_held_for(&self, now_ns: u64) -> Option<u64> {
        match self.state.load(Ordering::Acquire) {
            UP => None,
            REFUSING | STARTING => Some(u64::MAX),
            since_ns => Some(now_ns.saturating_sub(since_ns)),
        }
    }

    /// True while publishers are refused.
    #[must_use]
    pub fn is_refusing(&self, now_ns: u64) -> bool {
        self.is_held_for(now_ns).is_some_and(|held| held >= HELD_NS_MAX)
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= SUBMITTED_BYTES_MAX
            || self.frames.load(Ordering::Relaxed) >= SUBMITTED_FRAMES_MAX
    }

    /// Messages and bytes on their way.
    #[must_use]
    pub fn in_flight(&self) -> (u64, u64) {
        (self.frames.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Counts a message that is refused, of a publisher that is told of no single one, or after it
    /// was taken on.
    pub fn count_refused(&self, reason: Refused) {
        self.refused_for(reason).fetch_add(1, Ordering::Relaxed);
    }

    fn refused_for(&self, reason: Refused) -> &AtomicU64 {
        let [unavailable, unacknowledged] = &self.refused;
        match reason {
            Refused::Unavailable => unavailable,
            Refused::Unacknowledged => unacknowledged,
        }
    }

    /// Takes a message on, which its caller will hear of.
    ///
    /// # Errors
    /// [`Refused`] while the log does not answer; nobody hears of it then.
    pub fn submit(
        &self,
        topic: &Topic,
        message: Message<'_>,
        caller: Caller,
        now_ns: u64,
    ) -> Result<(), Refused> {
        if self.is_refusing(now_ns) {
            return Err(Refused::Unavailable);
        }
        let bytes = (message.payload.len() + topic.as_str().len()) as u64 + FRAME_BYTES;
        caller.window.take(bytes);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let told_of = caller.reply.is_wanted().then(|| topic.clone());
        let ticket = Ticket { caller, topic: told_of, bytes };
        let payload = Bytes::copy_from_slice(message.payload);
        let Message { kind, source, .. } = message;
        let frame = LogFrame { topic: topic.clone(), kind, source, payload };
        let mut queue = self.lock();
        queue.waiting.push_back((frame, ticket, now_ns));
        let is_first = queue.waiting.len() == 1;
        drop(queue);
        if is_first && let Some(wake) = self.wake.get() {
            wake.wake();
        }
        Ok(())
    }

    /// The next messages for the log, the oldest first: at most so many, and so many bytes, but at
    /// least one; none while none waits.
    #[must_use]
    pub fn take(&self, frames_max: usize, bytes_max: usize) -> Option<Batch> {
        let mut queue = self.lock();
        let submitted_ns = queue.waiting.front()?.2;
        let (mut frames, mut tickets, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((next, ..)) = queue.waiting.front() {
            let next_bytes = next.payload.len() + next.topic.as_str().len();
            let is_room = frames.len() < frames_max && bytes + next_bytes <= bytes_max;
            if !(frames.is_empty() || is_room) {
                break;
            }
            let Some((frame, ticket, _)) = queue.waiting.pop_front() else { break };
            bytes += next_bytes;
            frames.push(frame);
            tickets.push(ticket);
        }
        queue.last_batch += 1;
        let number = queue.last_batch;
        queue.taken.insert(number, Taken { tickets, submitted_ns });
        Some(Batch { frames, bytes, number })
    }

    /// Those who wait for a batch, in the order of its frames; nobody, once they were told.
    #[must_use]
    pub fn finish(&self, batch: u64) -> Vec<Ticket> {
        let taken = self.lock().taken.remove(&batch);
        let tickets = taken.map_or(Vec::new(), |taken| taken.tickets);
        self.release(&tickets);
        tickets
    }

    /// Those who have waited as long as they may, and how sure it is that nothing was published.
    #[must_use]
    pub fn expire(&self, now_ns: u64) -> Vec<(Ticket, Refused)> {
        if self.frames.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let is_refusing = self.is_refusing(now_ns);
        let is_over = |since_ns: u64| is_refusing || now_ns.saturating_sub(since_ns) >= HELD_NS_MAX;
        let mut queue = self.lock();
        let over = queue.taken.extract_if(.., |_, taken| is_over(taken.submitted_ns));
        let taken: Vec<Ticket> = over.flat_map(|(_, taken)| taken.tickets).collect();
        let count = queue.waiting.partition_point(|(.., since_ns)| is_over(*since_ns));
        let waiting: Vec<Ticket> = queue.waiting.drain(..count).map(|(_, t, _)| t).collect();
        drop(queue);
        self.release(&taken);
        self.release(&waiting);
        let taken = taken.into_iter().map(|ticket| (ticket, Refused::Unacknowledged));
        taken.chain(waiting.into_iter().map(|ticket| (ticket, Refused::Unavailable))).collect()
    }

    fn release(&self, tickets: &[Ticket]) {
        let bytes: u64 = tickets.iter().map(|ticket| ticket.bytes).sum();
        self.frames.fetch_sub(tickets.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The topic, where somebody is told how many its message was for.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        self.topic.as_ref()
    }

    /// Ends the wait for a message. Answers the core to be told, and what, if anything; none where
    /// `bells` call somebody else.
    #[must_use]
    pub fn settle(self, outcome: Result<Completed, Refused>, bells: &Bells) -> Option<Settled> {
        let Self { caller, bytes, .. } = self;
        let Caller { core, conn, window, reply } = caller;
        let is_told =
            reply.is_wanted() || matches!((&reply, &outcome), (Reply::Command(_), Err(_)));
        // What is to be told holds its part of the window until it is: so letters and calls have a
        // bound.
        let about = match reply {
            Reply::Call(call) => {
                bells.call(move || {
                    window.give_back(bytes);
                    (call.0)(outcome.map(|completed| completed.position));
                });
                return None;
            }
            reply if is_told => Some(About::Answer { reply, bytes, outcome }),
            _ => {
                window.give_back(bytes);
                let refused = outcome.err().filter(|_| window.begins_refusal());
                refused.map(About::Refused)
            }
        };
        Some(Settled { core, conn, window, about })
    }
}

/// A message that nobody waits for any more, and what is to be said of it.
#[derive(Debug)]
pub struct Settled {
    /// The core to be told.
    pub core: usize,
    conn: u32,
    window: Arc<Window>,
    about: Option<About>,
}

impl Settled {
    /// What the core is told. To be called when all that was settled together is.
    #[must_use]
    pub fn letter(self) -> Option<Letter> {
        let Self { conn, window, about, .. } = self;
        let about = about.or_else(|| window.ends_wait().then_some(About::Room))?;
        Some(Letter { conn, window, about })
    }
}
