//! One subscription as the connections see it: where it stands, what it asks for, what it is told.
//! Must not send: a session does.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::inbox::{Inbox, Pressure};
use crate::error::Error;
use crate::items::{Gap, Item, Message, Position, Reason, Restarted, Resumed};
use crate::options::{Mode, Start, SubscribeOptions};
use crate::wire::command;
use crate::wire::told::Missing;

/// What a feed and its handle share.
pub struct Shared {
    inbox: Mutex<Inbox>,
}

impl Shared {
    /// The queue. A panic of whoever held it left it whole: it is changed in single steps.
    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server has it, and the position before the first message.
pub type Ready = Option<Result<Position, Error>>;

/// See the file header.
pub struct Feed {
    /// Its number in this client.
    pub id: u64,
    /// The topic or pattern.
    pub target: Arc<str>,
    /// Its queue.
    pub shared: Arc<Shared>,
    /// Paused, it has no subscription at the server, and costs nothing there.
    pub is_paused: bool,
    options: SubscribeOptions,
    ready: watch::Sender<Ready>,
    /// Whether what comes is taken: from the answer to `subscribe` until it is given up.
    is_standing: bool,
    /// Whether the next answer to `subscribe` follows a lost connection.
    was_cut: bool,
    /// Behind what was received last. It does not move when the server answers, because the gap
    /// that follows may be cut off, and then has to be told again.
    position: Option<Position>,
    epoch: Option<Arc<str>>,
}

impl Feed {
    /// A feed that no server knows of yet.
    #[must_use]
    pub fn new(id: u64, target: &str, options: SubscribeOptions) -> Self {
        let target: Arc<str> = target.into();
        let shared = Arc::new(Shared { inbox: Mutex::new(Inbox::new(&target, &options)) });
        let position = match &options.start {
            Start::After(position) => Some(position.clone()),
            _ => None,
        };
        Self {
            id,
            target,
            shared,
            is_paused: false,
            options,
            ready: watch::Sender::new(None),
            is_standing: false,
            was_cut: false,
            position,
            epoch: None,
        }
    }

    /// Tells when the server has it.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<Ready> {
        self.ready.subscribe()
    }

    /// The command that asks for it, from where it stands.
    #[must_use]
    pub fn command(&self, id: u64) -> String {
        let mut fields = String::new();
        if let Some(rate) = self.options.rate {
            // Writing to memory cannot fail.
            let _ = write!(fields, r#","rate":{rate}"#);
        }
        for (name, value) in self.fields() {
            // As above.
            let _ = write!(fields, r#","{name}":"{value}""#);
        }
        command::subscribe(id, &self.target, &self.from().to_string(), &fields)
    }

    /// Where it stands, or is to begin.
    #[must_use]
    pub fn from(&self) -> Start {
        self.position.clone().map_or_else(|| self.options.start.clone(), Start::After)
    }

    /// What is asked for beside the position and the rate: names and words.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let mode = (self.options.mode == Mode::Latest).then_some(("mode", "latest"));
        let lag = self.options.lag.map(|lag| ("lag", lag.word()));
        mode.into_iter().chain(lag)
    }

    /// Messages a second of each topic at most.
    #[must_use]
    pub fn rate(&self) -> Option<u32> {
        self.options.rate
    }

    /// Another transport carries it. What is thinned out has positions of its own, which mean
    /// nothing where all of it comes: such a feed begins anew.
    pub fn change_transport(&mut self) {
        if self.options.rate.is_some() && self.position.take().is_some() {
            self.options.start = Start::Latest;
        }
    }

    /// The server has it: what follows comes behind `seq`.
    pub fn subscribed(&mut self, epoch: &str, seq: u64) -> Pressure {
        self.is_standing = true;
        let epoch: Arc<str> = match &self.epoch {
            Some(before) if **before == *epoch => Arc::clone(before),
            _ => epoch.into(),
        };
        let before = self.epoch.replace(Arc::clone(&epoch));
        let answered = Position { epoch: Arc::clone(&epoch), seq };
        let position = self.position.get_or_insert_with(|| answered.clone()).clone();
        let was_cut = std::mem::take(&mut self.was_cut);
        let topic = Arc::clone(&self.target);
        match before {
            None => {
                self.shared.inbox().position = Some(position);
                self.ready.send_replace(Some(Ok(answered)));
                Pressure::None
            }
            Some(epoch_before) if epoch_before != epoch => {
                self.put(Item::Restarted(Restarted { topic, epoch_before, epoch }))
            }
            Some(_) if was_cut => self.put(Item::Resumed(Resumed { topic, position })),
            Some(_) => Pressure::None,
        }
    }

    /// The connection is gone.
    pub fn cut(&mut self) {
        self.give_up();
        self.was_cut = self.epoch.is_some() && !self.is_paused;
    }

    /// What still comes is not taken.
    pub fn give_up(&mut self) {
        self.is_standing = false;
    }

    /// A message came.
    pub fn message(&mut self, named: (&Arc<str>, bool), seq: u64, data: (Bytes, bool)) -> Pressure {
        let Some(position) = self.moved(seq) else { return Pressure::None };
        let ((topic, is_pattern), (payload, is_text)) = (named, data);
        let topic = Arc::clone(topic);
        let pattern = is_pattern.then(|| Arc::clone(&self.target));
        self.put(Item::Message(Message { topic, pattern, position, payload, is_text }))
    }

    /// The server says that something is missing.
    pub fn gap(&mut self, missing: &Missing<'_>) -> Pressure {
        let Some(Position { epoch, .. }) = self.moved(missing.to) else { return Pressure::None };
        let topic = Arc::clone(&self.target);
        let &Missing { from, to, frames, .. } = missing;
        let reason = Reason::of(&missing.reason);
        self.put(Item::Gap(Gap { topic, epoch, from, to, frames, reason }))
    }

    /// The server did not take it. Answers whether to ask again later.
    #[must_use]
    pub fn is_asked_again(&self, error: &Error) -> bool {
        self.epoch.is_some() && error.is_passing()
    }

    /// It is over.
    pub fn end(&mut self, error: &Error, at_once: bool) {
        self.is_standing = false;
        self.shared.inbox().end(error.clone(), at_once);
        self.ready.send_if_modified(|ready| {
            let is_new = ready.is_none();
            ready.get_or_insert_with(|| Err(error.clone()));
            is_new
        });
    }

    fn moved(&mut self, seq: u64) -> Option<Position> {
        let epoch = self.epoch.as_ref().filter(|_| self.is_standing)?;
        let position = Position { epoch: Arc::clone(epoch), seq };
        self.position = Some(position.clone());
        Some(position)
    }

    fn put(&mut self, item: Item) -> Pressure {
        let mut inbox = self.shared.inbox();
        inbox.position.clone_from(&self.position);
        inbox.put(item)
    }
}
