//! The thread of a group: follows its topics, and publishes its ticks. Must not decide what is in
//! them.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use gridcast::clock::unix_ns;
use gridcast::engine::follower::Follower;
use gridcast::engine::handle::Handle;
use gridcast::engine::publisher::Publisher;
use gridcast::feed::topic::Target;
use tokio::runtime;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::aligner::{Aligner, Tick};
use super::message::Value;
use super::metrics::{Counters, Metrics};
use super::reading::{CONFIGURATION, Reader};
use super::settings::Settings;
use crate::bridge::context::{Waker, stopped};
use crate::bridge::publishing::publish;

/// Messages that are read before is looked whether a tick is due, and whether to end.
const READ_MAX: usize = 256;
/// The longest sleep: members are forgotten meanwhile.
const SLEEP_NS: u64 = 1_000_000_000;

/// See the file header.
struct Group {
    settings: Settings,
    counters: Counters,
    aligner: Aligner<Value>,
    reader: Reader,
    /// The topics that were heard, so that a name is kept once.
    names: HashSet<Arc<str>>,
    publisher: Publisher,
    messages: Follower,
    configurations: Option<Follower>,
    wake: Arc<Notify>,
    out: Vec<u8>,
}

/// Starts a group's thread.
///
/// # Errors
/// When there is no thread, or the engine takes no more feeds.
pub fn start(
    settings: Settings,
    handle: &Handle,
    metrics: &Metrics,
    stopping: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let thread = Builder::new().name(format!("align-{}", settings.name));
    let mut group = Group::new(settings, handle, metrics)?;
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = group.run() => {}
                () = stopped(stopping) => {}
            }
        });
    })
}

impl Group {
    fn new(settings: Settings, handle: &Handle, metrics: &Metrics) -> io::Result<Self> {
        let wake = Arc::new(Notify::new());
        let follow = |target: &Target| {
            let waker = Box::new(Waker(Arc::clone(&wake)));
            handle.follow(target, None, waker).map_err(io::Error::other)
        };
        let configurations = settings.configurations.as_ref().map(&follow).transpose()?;
        let messages = follow(&settings.topics)?;
        let source = handle.new_source().map_err(io::Error::other)?;
        Ok(Self {
            counters: metrics.of(&settings.name),
            aligner: Aligner::new(settings.rules),
            reader: Reader::new(settings.time_base),
            names: HashSet::new(),
            publisher: handle.publisher(source),
            messages,
            configurations,
            wake,
            out: Vec::new(),
            settings,
        })
    }

    /// Reads and publishes for ever.
    async fn run(&mut self) {
        loop {
            self.configure();
            let is_more = self.read().await;
            self.publish_due().await;
            if is_more {
                // The word to end is heard between two shares.
                tokio::task::yield_now().await;
                continue;
            }
            let now_ns = unix_ns();
            let due_ns = self.aligner.deadline_ns().unwrap_or(u64::MAX);
            let pause = Duration::from_nanos(due_ns.saturating_sub(now_ns).min(SLEEP_NS));
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn configure(&mut self) {
        let Some(follower) = &mut self.configurations else { return };
        while let Some(message) = follower.next() {
            if let Some(topic) = message.topic.strip_suffix(CONFIGURATION) {
                self.reader.configure(topic, message.payload);
            }
        }
    }

    /// Reads what is there, up to a share of it. Answers whether there may be more.
    async fn read(&mut self) -> bool {
        for _ in 0..READ_MAX {
            if !self.read_one() {
                return false;
            }
            self.publish_due().await;
        }
        true
    }

    fn read_one(&mut self) -> bool {
        let own = self.publisher.source();
        let Some(message) = self.messages.next() else {
            let missed = self.messages.take_missed();
            self.counters.arrivals("missed", missed);
            return false;
        };
        // A pattern may have the group's own ticks among its topics.
        if message.source == own {
            return true;
        }
        let (kind, payload) = (message.kind, message.payload);
        let Some(instant_ns) = self.reader.instant_ns(message.topic, kind, payload) else {
            self.counters.arrivals("unreadable", 1);
            return true;
        };
        let topic = match self.names.get(message.topic) {
            Some(topic) => Arc::clone(topic),
            None => Arc::from(message.topic),
        };
        if self.names.len() < self.settings.rules.members_max {
            self.names.insert(Arc::clone(&topic));
        }
        let value = Value { kind, payload: payload.into() };
        let arrival = self.aligner.arrive(&topic, instant_ns, value, unix_ns());
        self.counters.arrival(arrival);
        true
    }

    async fn publish_due(&mut self) {
        while let Some(tick) = self.aligner.take_due(unix_ns()) {
            let delay_ns = unix_ns().saturating_sub(tick.instant_ns);
            self.counters.tick(tick.missing.len(), self.aligner.members(), delay_ns);
            self.publish(&tick).await;
        }
    }

    async fn publish(&mut self, tick: &Tick<Value>) {
        let Settings { name, topic, form, .. } = &self.settings;
        if let Err(error) = form.write(&mut self.out, name, tick) {
            tracing::error!(group = name, %error, "a tick cannot be written");
            return;
        }
        if let Err(error) = publish(&mut self.publisher, topic, form.kind(), &self.out).await {
            self.counters.arrivals("refused", tick.values.len() as u64);
            tracing::warn!(group = name, %error, "a tick was refused");
        }
    }
}
