//! A node in log mode: what is published here is appended to the log, and what the log says is
//! applied here. Owns what outlives a connection. Must not know engines.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gridcast::clock::{Clock, unix_ms};
use gridcast::core::submission::{LogState, Refused};
use gridcast::engine::log_side::{BatchTicket, LogSide};
use gridcast::feed::domain::{ApplyError, LogFrame};
use gridcast::feed::epoch::Epoch;
use gridcast::feed::source::Source;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::backplane::applier::{Applier, Doubt, Passed, Verdict};
use crate::backplane::batch::{BATCH_BYTES_MAX, Batch, BatchId, FRAMES_MAX, Frame};
use crate::backplane::link::{Appending, LogLink, Stored};
use crate::backplane::metrics::Metrics;
use crate::backplane::record::{Record, random};
use crate::backplane::retention::Retention;
use crate::backplane::sender::{Sender, Stamp};
use crate::backplane::settings::Backplane;
use crate::backplane::sources::Sources;
use crate::backplane::topics::Topics;
use crate::bridge::supervisor::SessionError;

/// How often the record of the domain is looked at.
const RECORD_NS: u64 = 500_000_000;
/// How often is looked whether the engine takes what it would not take.
const LOOK: Duration = Duration::from_millis(2);
/// How often is looked whether publishers are refused.
const REFUSING: Duration = Duration::from_millis(100);
/// So often a record that somebody else has changed is written.
const RECORD_TRIES: u32 = 5;
/// Epochs that are remembered as over.
const LEFT_MAX: usize = 64;
/// So often a batch is sent in one session before that is given up.
const ATTEMPTS_MAX: u32 = 3;

/// See the file header.
#[derive(Debug)]
pub struct Log {
    settings: Backplane,
    clock: Clock,
    metrics: Metrics,
    side: LogSide,
    wake: Arc<Notify>,
    sender: Sender<BatchTicket>,
    domain: Option<Domain>,
    topics: Topics,
    sources: Sources,
    retention: Retention,
    pending: Option<Pending>,
    /// The message up to which the log was filled when the session began: the node is not ready
    /// before it has applied that. None when it has.
    ready_after: Option<u64>,
    shown: LogState,
    record_at_ns: u64,
    /// Reading and sending begin anew: with a session, and with an epoch.
    must_begin: bool,
    /// Attempts of the batch that is out, in this session.
    attempts: u32,
}

/// What is known of the domain.
#[derive(Debug)]
struct Domain {
    record: Record,
    /// As it is kept.
    text: Vec<u8>,
    applier: Applier,
    /// The message that came next at the last look, if retention had taken it.
    expired: Option<u64>,
    /// Epochs that were in force before, the newest last.
    left: VecDeque<u64>,
}

impl Domain {
    fn enter(&mut self, record: Record, text: &[u8]) {
        if self.record.epoch != record.epoch {
            tracing::warn!(epoch = %Epoch(record.epoch), "the log has another epoch");
            self.applier.enter(record.epoch, record.from);
            if self.left.len() == LEFT_MAX {
                self.left.pop_front();
            }
            self.left.push_back(self.record.epoch);
        }
        (self.record, self.text) = (record, text.to_vec());
    }

    /// Whether retention has taken what comes next in a log that holds messages from `first` on.
    /// What is read may still have it on its way: it has not if nothing came between two looks.
    fn is_expired(&mut self, first: u64) -> bool {
        let next = self.applier.next().filter(|&next| next < first);
        let is_expired = next.is_some() && next == self.expired;
        self.expired = next;
        is_expired
    }
}

/// A message that the engine had no room for.
#[derive(Debug)]
struct Pending {
    sequence: u64,
    frames: Arc<[LogFrame]>,
}

impl Log {
    /// A node that was not connected yet. `wake` is notified when publishes wait.
    #[must_use]
    pub fn new(
        settings: Backplane,
        side: LogSide,
        wake: Arc<Notify>,
        metrics: Metrics,
        dedups: bool,
    ) -> Self {
        let ack_timeout_ns = settings.ack_timeout_ms * 1_000_000;
        Self {
            clock: Clock::start(),
            metrics,
            side,
            wake,
            sender: Sender::new(random(), &settings.node, ack_timeout_ns, dedups),
            domain: None,
            topics: Topics::default(),
            sources: Sources::default(),
            retention: Retention::new(settings.retention_s, settings.retention_bytes),
            pending: None,
            ready_after: Some(0),
            shown: LogState::Held,
            record_at_ns: 0,
            must_begin: true,
            attempts: 0,
            settings,
        }
    }

    /// Takes part in the domain until the connection is lost.
    ///
    /// # Errors
    /// Why it was.
    pub async fn run<L: LogLink>(&mut self, link: &mut L) -> Result<(), SessionError> {
        self.look_at_record(link).await?;
        self.metrics.up.set(1);
        self.metrics.sessions.inc();
        let mut appending: Option<(BatchId, Appending)> = None;
        self.must_begin = true;
        loop {
            if self.must_begin {
                // What was on its way belongs to what was before.
                appending = None;
                self.begin(link).await?;
            }
            self.apply_pending();
            self.show_state();
            if let Some(new) = self.append_next(link)? {
                appending = Some(new);
            }
            let can_read = self.pending.is_none() && !self.side.must_wait();
            let pause = self.pause(can_read);
            tokio::select! {
                (id, place) = answered(&mut appending) => {
                    appending = None;
                    self.appended(link, id, place?).await?;
                }
                stored = link.next(), if can_read => self.take(link, stored?).await?,
                () = self.wake.notified(), if self.sender.is_free() => {}
                () = sleep(pause) => self.tick(link).await?,
            }
        }
    }

    /// What is to be done while there is no connection.
    pub async fn run_alone(&mut self) {
        self.sender.went_down();
        self.metrics.up.set(0);
        loop {
            self.apply_pending();
            self.show_state();
            sleep(REFUSING).await;
        }
    }

    /// The same until a connection is made.
    pub async fn alone_while<T>(&mut self, connecting: impl Future<Output = T>) -> T {
        tokio::select! {
            connected = connecting => connected,
            () = self.run_alone() => std::future::pending().await,
        }
    }

    /// Whether this node may take part, as far as the record says.
    ///
    /// # Errors
    /// When it may not, or the record cannot be had.
    pub async fn look_at_record<L: LogLink>(&mut self, link: &mut L) -> Result<(), SessionError> {
        self.record_at_ns = self.clock.now_ns() + RECORD_NS;
        for _ in 0..RECORD_TRIES {
            let text = link.record().await?;
            let new = match &text {
                Some(text) => self.agree(text)?,
                // Gone with the log, or never written. Whoever is first decides.
                None => Some(self.next_record(link.bounds().await?.last + 1)),
            };
            let Some(new) = new else { return Ok(()) };
            let is_written = link.replace_record(text.as_deref(), &new.to_text()).await?;
            if is_written && self.domain.is_some() {
                self.metrics.epochs_raised.inc();
            }
        }
        Err(SessionError::new("domain", "the record of the domain can be read, but not written"))
    }

    fn next_record(&self, from: u64) -> Record {
        let Backplane { mode, shards, .. } = self.settings;
        let known = self.domain.as_ref().map(|domain| domain.record.raised(from));
        known.unwrap_or_else(|| Record::new(mode, shards))
    }

    /// Takes over what the record says. Answers another one where it says what was in force before:
    /// then the engine has lost a record, and an epoch never comes again.
    fn agree(&mut self, text: &[u8]) -> Result<Option<Record>, SessionError> {
        if self.domain.as_ref().is_some_and(|domain| domain.text == text) {
            return Ok(None);
        }
        let Backplane { mode, shards, .. } = self.settings;
        let record = Record::agree(text, mode, shards)
            .map_err(|error| SessionError::new("disagrees", error))?;
        match &mut self.domain {
            Some(domain) if domain.left.contains(&record.epoch) => {
                return Ok(Some(record.raised(domain.applier.next().unwrap_or(1))));
            }
            Some(domain) => {
                self.metrics.gap("epoch", 0);
                self.must_begin = true;
                // What is not applied yet is read again, from there on.
                self.pending = self.pending.take().filter(|p| p.sequence < record.from);
                domain.enter(record, text);
            }
            None => {
                let applier = Applier::new(record.epoch, self.sender.boot());
                let (text, left) = (text.to_vec(), VecDeque::new());
                self.domain = Some(Domain { record, text, applier, expired: None, left });
            }
        }
        self.side.set_epoch(Epoch(self.epoch()));
        Ok(None)
    }

    /// Raises the epoch, or takes over what another node has raised it to.
    async fn raise<L: LogLink>(&mut self, link: &mut L, doubt: Doubt) -> Result<(), SessionError> {
        let Some(domain) = &self.domain else { return Ok(()) };
        tracing::error!(
            %doubt,
            "the log lost what it had acknowledged: the epoch is raised, subscribers are told"
        );
        self.metrics.error(doubt.word());
        let new = domain.record.raised(doubt.from());
        if link.replace_record(Some(&domain.text), &new.to_text()).await? {
            self.metrics.epochs_raised.inc();
        }
        self.look_at_record(link).await
    }

    /// Goes on reading where that stopped, and sends what is out again.
    async fn begin<L: LogLink>(&mut self, link: &mut L) -> Result<(), SessionError> {
        for _ in 0..RECORD_TRIES {
            let bounds = link.bounds().await?;
            let Some(domain) = &mut self.domain else { break };
            match domain.applier.begin(bounds.first, bounds.last) {
                Ok((from, passed)) => {
                    self.tell(passed, "expired");
                    self.retention.clear();
                    self.ready_after = (bounds.last >= from).then_some(bounds.last);
                    self.sender.came_up(self.clock.now_ns());
                    (self.must_begin, self.attempts) = (false, 0);
                    return link.read_from(from).await;
                }
                Err(doubt) => self.raise(link, doubt).await?,
            }
        }
        Err(SessionError::new("domain", "the log changes faster than it can be read"))
    }

    /// Sends the batch that is to be sent now, if any.
    fn append_next<L: LogLink>(
        &mut self,
        link: &mut L,
    ) -> Result<Option<(BatchId, Appending)>, SessionError> {
        let now_ns = self.clock.now_ns();
        if self.sender.is_free()
            && let Some(submitted) = self.side.take_submitted(FRAMES_MAX, PAYLOAD_BYTES_MAX)
        {
            let stamp = Stamp { epoch: self.epoch(), made_ms: unix_ms(), now_ns };
            let frames = submitted.frames.iter().map(|frame| Frame {
                topic: frame.topic.as_str(),
                kind: frame.kind,
                is_bridged: frame.source != Source::CLIENTS,
                counter: 0,
                payload: &frame.payload,
            });
            let id = self.sender.load(frames, submitted.ticket, stamp);
            let sources = submitted.frames.iter().map(|frame| frame.source);
            self.sources.note(id.number, sources.collect());
            self.metrics.sent.add(submitted.bytes, submitted.frames.len());
            self.attempts = 0;
        }
        let Some(batch) = self.sender.poll(now_ns) else { return Ok(None) };
        self.attempts += 1;
        if self.attempts > 1 {
            self.metrics.resends.inc();
        }
        if self.attempts > ATTEMPTS_MAX {
            // What was sent waits in buffers of a connection that may be dead.
            let message = format!("batch {} was not acknowledged", batch.id.number);
            return Err(SessionError::new("silent", message));
        }
        Ok(Some((batch.id, link.append(batch))))
    }

    async fn appended<L: LogLink>(
        &mut self,
        link: &mut L,
        id: BatchId,
        sequence: u64,
    ) -> Result<(), SessionError> {
        let Some(domain) = &mut self.domain else { return Ok(()) };
        if let Err(doubt) = domain.applier.acknowledged(sequence, id) {
            return self.raise(link, doubt).await;
        }
        if let Some(ticket) = self.sender.acknowledged(id, sequence) {
            self.side.complete(ticket, Epoch(self.epoch()), sequence);
        }
        Ok(())
    }

    async fn take<L: LogLink>(&mut self, link: &mut L, stored: Stored) -> Result<(), SessionError> {
        let Stored { sequence, bytes, pending } = stored;
        self.retention.read(sequence, bytes.len() as u64, self.clock.now_ns());
        let read = Batch::decode(bytes).map_err(|error| error.word());
        let read = read.and_then(|batch| {
            let BatchId { boot, number } = batch.head().id;
            let own = if boot == self.sender.boot() { self.sources.of(number) } else { &[] };
            let frames = self.topics.frames_of(&batch, own).map_err(|_| "topic")?;
            Ok((batch, frames))
        });
        let (batch, frames) = match read {
            Ok(read) => read,
            Err(reason) => {
                self.metrics.error(reason);
                let passed = self.domain.as_mut().and_then(|domain| domain.applier.skip(sequence));
                self.tell(passed, "damaged");
                return Ok(());
            }
        };
        self.metrics.read.add(batch.bytes_len(), batch.len());
        self.metrics.lag_ms.set(unix_ms().saturating_sub(batch.head().made_ms) as i64);
        let lag_frames = pending.saturating_mul(batch.len() as u64);
        self.metrics.lag_frames.set(i64::try_from(lag_frames).unwrap_or(i64::MAX));
        if batch.head().epoch != self.epoch() {
            self.look_at_record(link).await?;
        }
        // A new epoch says from where to read.
        if self.must_begin || !self.judge(link, sequence, &batch, frames).await? {
            return Ok(());
        }
        if let Some(ticket) = self.sender.seen(batch.head().id, sequence) {
            self.side.complete(ticket, Epoch(self.epoch()), sequence);
        }
        Ok(())
    }

    /// Answers whether the message is the one that belongs there.
    async fn judge<L: LogLink>(
        &mut self,
        link: &mut L,
        sequence: u64,
        batch: &Batch,
        frames: Arc<[LogFrame]>,
    ) -> Result<bool, SessionError> {
        let Some(domain) = &mut self.domain else { return Ok(false) };
        match domain.applier.take(sequence, batch.head(), batch.hash()) {
            Verdict::Doubt(doubt) => {
                self.raise(link, doubt).await?;
                return Ok(false);
            }
            Verdict::Repeated { passed } => {
                self.tell(passed, "expired");
                self.metrics.duplicates.inc();
            }
            Verdict::Apply { passed } => {
                self.tell(passed, "expired");
                self.pending = Some(Pending { sequence, frames });
                self.apply_pending();
            }
        }
        Ok(true)
    }

    /// Applies what was read. It is tried again later where the engine has no memory for it.
    fn apply_pending(&mut self) {
        let Some(Pending { sequence, frames }) = self.pending.take() else { return };
        match self.side.apply(sequence, &frames) {
            Ok(_) => {}
            Err(ApplyError::OverBudget) => self.pending = Some(Pending { sequence, frames }),
            Err(ApplyError::TooLong(_) | ApplyError::TooFar(_) | ApplyError::NoLog) => {
                self.metrics.error("frames");
                self.tell(Some(Passed { from: sequence, to: sequence }), "damaged");
            }
        }
    }

    fn tell(&mut self, passed: Option<Passed>, reason: &'static str) {
        if let Some(Passed { from, to }) = passed {
            tracing::warn!(from, to, reason, "messages of the log were not applied");
            self.metrics.gap(reason, 0);
            self.side.lost(to);
        }
    }

    /// Looks whether the log still is what it was, now and then.
    async fn tick<L: LogLink>(&mut self, link: &mut L) -> Result<(), SessionError> {
        if self.clock.now_ns() < self.record_at_ns {
            return Ok(());
        }
        let patience = Duration::from_millis(self.settings.ack_timeout_ms);
        let looked = timeout(patience, self.look(link)).await;
        looked.unwrap_or_else(|_| Err(SessionError::new("silent", "it does not answer")))
    }

    async fn look<L: LogLink>(&mut self, link: &mut L) -> Result<(), SessionError> {
        self.look_at_record(link).await?;
        let Some(domain) = self.domain.as_mut().filter(|_| !self.must_begin) else { return Ok(()) };
        let bounds = link.bounds().await?;
        if let Err(doubt) = domain.applier.check(bounds.last) {
            return self.raise(link, doubt).await;
        }
        // A quiet log brings no later message that would show it.
        self.must_begin = domain.is_expired(bounds.first) && self.pending.is_none();
        match self.retention.passed(self.clock.now_ns()) {
            Some(sequence) => link.trim(sequence).await,
            None => Ok(()),
        }
    }

    fn pause(&self, can_read: bool) -> Duration {
        if !can_read {
            return LOOK;
        }
        let now_ns = self.clock.now_ns();
        let resend_ns = self.sender.wake_at_ns().unwrap_or(u64::MAX);
        let pause = Duration::from_nanos(self.record_at_ns.min(resend_ns).saturating_sub(now_ns));
        if self.sender.is_in_trouble() { pause.min(REFUSING) } else { pause }
    }

    /// Tells the engine how the log does, and refuses who has waited for too long.
    fn show_state(&mut self) {
        let next = self.domain.as_ref().and_then(|domain| domain.applier.next());
        if self.ready_after.is_some_and(|last| next.is_some_and(|next| next > last)) {
            self.ready_after = None;
        }
        let is_up = self.ready_after.is_none() && !self.sender.is_in_trouble();
        let state = if is_up { LogState::Up } else { LogState::Held };
        if state != self.shown {
            self.shown = state;
            self.side.set_state(state);
        }
        if self.side.is_refusing()
            && let Some(ticket) = self.sender.take_ticket()
        {
            self.side.refuse(ticket, Refused::Unacknowledged);
        }
    }

    fn epoch(&self) -> u64 {
        self.domain.as_ref().map_or(0, |domain| domain.record.epoch)
    }
}

/// What became of the append that is under way; never, while there is none.
async fn answered(
    appending: &mut Option<(BatchId, Appending)>,
) -> (BatchId, Result<u64, SessionError>) {
    match appending {
        Some((id, appending)) => (*id, appending.await),
        None => std::future::pending().await,
    }
}

/// Payloads and topics of a batch, which has a head and some bytes for each frame besides.
const PAYLOAD_BYTES_MAX: usize = BATCH_BYTES_MAX - (FRAMES_MAX * 14 + 256);
