//! A node in relay mode: what is published here goes to the others, what they send is published
//! here, and what was lost between is told. Owns what outlives a connection. Must not know engines.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gridcast::clock::{Clock, unix_ms};
use gridcast::engine::follower::Follower;
use gridcast::engine::handle::Handle;
use gridcast::engine::publisher::Publisher;
use gridcast::feed::gap::GapReason;
use gridcast::feed::source::Source;
use gridcast::feed::topic::{Pattern, Target};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::backplane::batch::{Batch, FRAMES_MAX, Frame, Note};
use crate::backplane::link::RelayLink;
use crate::backplane::metrics::Metrics;
use crate::backplane::record::random;
use crate::backplane::relay::{Heard, Peers};
use crate::backplane::relay_sender::RelaySender;
use crate::backplane::settings::Backplane;
use crate::backplane::shard;
use crate::bridge::context::Waker;
use crate::bridge::supervisor::SessionError;

/// How often is looked whether a core has caught up.
const LOOK: Duration = Duration::from_millis(2);

/// See the file header.
#[derive(Debug)]
pub struct Relay {
    settings: Backplane,
    clock: Clock,
    metrics: Metrics,
    handle: Handle,
    wake: Arc<Notify>,
    follower: Follower,
    senders: Vec<RelaySender>,
    peers: Peers,
    outlet: Outlet,
    is_layout_told: bool,
}

/// Where frames of other nodes go.
#[derive(Debug)]
struct Outlet {
    handle: Handle,
    metrics: Metrics,
    /// Of clients of other nodes.
    clients: Publisher,
    /// Of bridges of other nodes.
    bridged: Publisher,
}

impl Relay {
    /// Follows what is published on this node from now on.
    ///
    /// # Errors
    /// When the engine takes no more feeds or sources.
    pub fn new(settings: Backplane, handle: Handle, metrics: Metrics) -> std::io::Result<Self> {
        let wake = Arc::new(Notify::new());
        let all = Target::Pattern(Pattern::new("#").map_err(std::io::Error::other)?);
        let waker = Box::new(Waker(Arc::clone(&wake)));
        let follower = handle.follow(&all, None, waker).map_err(std::io::Error::other)?;
        let clients = handle.publisher(handle.new_source().map_err(std::io::Error::other)?);
        let bridged = handle.publisher(Source::BRIDGED_ELSEWHERE);
        let outlet = Outlet { handle: handle.clone(), metrics: metrics.clone(), clients, bridged };
        let mut relay = Self {
            clock: Clock::start(),
            metrics,
            handle,
            wake,
            follower,
            senders: Vec::new(),
            peers: Peers::new(Vec::new()),
            outlet,
            is_layout_told: false,
            settings,
        };
        relay.begin_life();
        Ok(relay)
    }

    /// New senders, whose counters begin at 0. What is known of the peers stays.
    fn begin_life(&mut self) {
        let Backplane { node, shards, .. } = &self.settings;
        let starts_ms = unix_ms() - self.clock.now_ns() / 1_000_000;
        let sender = |_| RelaySender::new(random(), node, *shards).with_clock(starts_ms);
        self.senders = (0..*shards).map(sender).collect();
        self.peers.begin_life(self.senders.iter().map(RelaySender::boot).collect());
    }

    /// Relays until the connection is lost.
    ///
    /// # Errors
    /// Why it was.
    pub async fn run(&mut self, link: &mut impl RelayLink) -> Result<(), SessionError> {
        self.peers.connected(self.clock.now_ns());
        self.metrics.up.set(1);
        self.metrics.sessions.inc();
        loop {
            let is_all = self.send_out(link).await?;
            let pause = if is_all { self.pause() } else { Duration::ZERO };
            tokio::select! {
                batch = link.next() => self.take_in(batch?).await,
                () = self.wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Counts what is published while there is no connection, so that the others learn of it.
    pub async fn run_alone(&mut self) {
        self.metrics.up.set(0);
        self.metrics.peers.set(0);
        loop {
            let is_all = self.lose_some();
            self.note_missed();
            if is_all {
                self.wake.notified().await;
            } else {
                // That the pause is over is heard between two shares.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Counts a bounded amount of what was published as lost. Answers whether that was all.
    fn lose_some(&mut self) -> bool {
        for _ in 0..FRAMES_MAX {
            let Some(message) = self.follower.next() else { return true };
            if !self.outlet.is_foreign(message.source) {
                let shard = shard::of_topic(message.topic, self.settings.shards);
                self.senders[usize::from(shard)].lose(message.topic);
            }
        }
        false
    }

    /// Sends what was published here, a bounded amount before others have their turn. Answers
    /// whether that was all.
    async fn send_out(&mut self, link: &mut impl RelayLink) -> Result<bool, SessionError> {
        let mut batches = Vec::new();
        let is_all = self.fill(&mut batches);
        self.note_missed();
        self.flush(&mut batches);
        for (shard, batch) in batches {
            link.send(shard, batch).await?;
        }
        if self.senders.iter().any(RelaySender::is_worn) {
            self.begin_life();
        }
        Ok(is_all)
    }

    /// Puts what was published into batches; those that are full are handed out.
    fn fill(&mut self, batches: &mut Vec<(u16, Bytes)>) -> bool {
        let now_ns = self.clock.now_ns();
        for _ in 0..FRAMES_MAX {
            let Some(message) = self.follower.next() else { return true };
            if self.outlet.is_foreign(message.source) {
                continue;
            }
            let frame = Frame {
                topic: message.topic,
                kind: message.kind,
                is_bridged: message.source != Source::CLIENTS,
                counter: 0,
                payload: message.payload,
            };
            let shard = shard::of_topic(frame.topic, self.settings.shards);
            let full = self.senders[usize::from(shard)].push(&frame, now_ns);
            self.metrics.sent.add_frame();
            batches.extend(full.map(|batch| (shard, batch)));
        }
        false
    }

    /// Hands out what waits, and what is due besides: questions, answers, signs of life.
    fn flush(&mut self, batches: &mut Vec<(u16, Bytes)>) {
        let now_ns = self.clock.now_ns();
        for (shard, sender) in (0..).zip(&mut self.senders) {
            batches.extend(sender.flush(now_ns).map(|batch| (shard, batch)));
            if shard == 0
                && let Some(boot) = self.peers.ask(now_ns)
            {
                // Every node hears every shard.
                batches.push((0, sender.ask(boot, now_ns)));
            }
            batches.extend(sender.tick(now_ns).map(|batch| (shard, batch)));
        }
        batches.iter().for_each(|(_, batch)| self.metrics.sent.add_batch(batch.len()));
    }

    /// What retention took before it was sent: the others are told of it by the next batch.
    fn note_missed(&mut self) {
        let missed = self.follower.take_missed();
        if missed > 0 {
            self.senders[0].missed(missed);
            self.metrics.gap("retention", missed);
        }
    }

    fn pause(&self) -> Duration {
        let now_ns = self.clock.now_ns();
        let due_ns = self.senders.iter().map(RelaySender::wake_at_ns).min().unwrap_or(0);
        let pause = Duration::from_nanos(due_ns.saturating_sub(now_ns));
        if self.peers.is_asking() { pause.min(Duration::from_millis(200)) } else { pause }
    }

    async fn take_in(&mut self, bytes: Bytes) {
        let now_ns = self.clock.now_ns();
        match Batch::decode(bytes) {
            Ok(batch) if batch.head().shards != self.settings.shards => self.tell_layout(&batch),
            Ok(batch) => self.take_batch(&batch, now_ns),
            Err(error) => self.metrics.error(error.word()),
        }
        let Self { peers, outlet, .. } = self;
        peers.tick(now_ns, |heard| outlet.take(heard));
        self.metrics.peers.set(self.peers.count(now_ns) as i64);
        while self.outlet.must_wait() && !self.handle.is_stopping() {
            sleep(LOOK).await;
        }
    }

    fn take_batch(&mut self, batch: &Batch, now_ns: u64) {
        let head = batch.head();
        if self.senders.iter().any(|sender| sender.boot() == head.id.boot) {
            return;
        }
        self.metrics.read.add(batch.bytes_len(), batch.len());
        self.metrics.lag_ms.set(unix_ms().saturating_sub(head.made_ms) as i64);
        if let Note::Ask { boot } = head.note {
            let asked = self.senders.iter_mut().filter(|sender| sender.boot() == boot);
            asked.for_each(RelaySender::was_asked);
        }
        let Self { peers, outlet, .. } = self;
        peers.take(batch, now_ns, |heard| outlet.take(heard));
    }

    fn tell_layout(&mut self, batch: &Batch) {
        self.metrics.error("shards");
        if !std::mem::replace(&mut self.is_layout_told, true) {
            tracing::error!(
                node = batch.node(),
                theirs = batch.head().shards,
                ours = self.settings.shards,
                "a node of this domain has another number of shards: it is not heard"
            );
        }
    }
}

impl Outlet {
    fn is_foreign(&self, source: Source) -> bool {
        source == self.clients.source() || source == self.bridged.source()
    }

    fn must_wait(&self) -> bool {
        self.clients.must_wait() || self.bridged.must_wait()
    }

    fn take(&mut self, heard: Heard<'_>) {
        match heard {
            Heard::Frame { topic, frame } => {
                let publisher =
                    if frame.is_bridged { &mut self.bridged } else { &mut self.clients };
                if publisher.publish(topic, frame.kind, frame.payload).is_err() {
                    self.metrics.error("refused");
                    self.metrics.gap("refused", 1);
                    self.handle.tell_gap(topic, 1, GapReason::Relay);
                }
            }
            Heard::Lost { topic, frames } => {
                self.metrics.gap("relay", frames);
                self.handle.tell_gap(topic, frames, GapReason::Relay);
            }
            Heard::LostSomewhere => {
                self.metrics.gap("unknown", 0);
                self.handle.tell_gap_all(GapReason::Relay);
            }
            Heard::Late => {
                self.metrics.duplicates.inc();
            }
            Heard::NoTopic => self.metrics.error("topic"),
        }
    }
}
