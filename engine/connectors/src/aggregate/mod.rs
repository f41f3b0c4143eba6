//! Aggregates: figures over windows of the UTC grid, published as one message for each topic and
//! window. Owns the thread of each: what it follows, when its windows close. Must not work anything
//! out itself (that is `machine`).

pub mod machine;
pub mod metrics;
pub mod numbers;
pub mod settings;

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use gridcast::clock::unix_ms;
use gridcast::engine::follower::Follower;
use gridcast::engine::handle::Handle;
use gridcast::engine::publisher::Publisher;
use gridcast::feed::topic::{Target, Topic};
use gridcast::frame::Kind;
use tokio::runtime;
use tokio::sync::{Notify, watch};
use toml::Table;

use crate::bridge::context::{Waker, stopped};
use crate::bridge::publishing::publish;
use crate::table::Reader;
use machine::{Closed, Machine};
use metrics::{Counters, Metrics};
use settings::Row;

/// Messages taken in before it is looked whether a window is over.
const MESSAGES_AT_ONCE: usize = 1_024;
/// How often losses are told in the log, at most.
const TELL_MS: u64 = 10_000;

/// Reads all tables.
///
/// # Errors
/// Everything that is wrong, one line each.
pub fn read(tables: &[Table]) -> Result<Vec<Row>, Vec<String>> {
    let (mut rows, mut errors): (Vec<Row>, Vec<String>) = (Vec::new(), Vec::new());
    for (index, table) in tables.iter().enumerate() {
        let reader = Reader::new("aggregate", index, table);
        let name = reader.name.clone();
        match reader.rest::<Row>() {
            Ok(row) if rows.iter().any(|other| other.name == row.name) => {
                errors.push(format!("{name}: another has that name"));
            }
            Ok(row) => {
                errors.extend(row.faults().iter().map(|fault| format!("{name}: {fault}")));
                rows.push(row);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// Starts a thread for each aggregate, which ends when `stopping` says so.
///
/// # Errors
/// When there is no thread, or the engine takes no more feeds.
pub fn start(
    rows: Vec<Row>,
    handle: &Handle,
    stopping: &watch::Receiver<bool>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let metrics = Metrics::default();
    let shown = metrics.clone();
    if !rows.is_empty() {
        handle.add_metrics(move |registry| shown.register(registry));
    }
    rows.into_iter().map(|row| start_one(row, handle, &metrics, stopping.clone())).collect()
}

fn start_one(
    row: Row,
    handle: &Handle,
    metrics: &Metrics,
    stopping: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let name = format!("aggregate-{}", row.name);
    let aggregate = Aggregate::new(row, handle, metrics)?;
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    Builder::new().name(name).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = aggregate.run() => {}
                () = stopped(stopping) => {}
            }
        });
    })
}

/// One aggregate that runs.
struct Aggregate {
    name: String,
    into: String,
    machine: Machine,
    follower: Follower,
    publisher: Publisher,
    wake: Arc<Notify>,
    counters: Counters,
    lost: u64,
    told_lost: u64,
    told_ms: u64,
}

impl Aggregate {
    fn new(row: Row, handle: &Handle, metrics: &Metrics) -> io::Result<Self> {
        let target: Target = row.topics.parse().map_err(io::Error::other)?;
        let wake = Arc::new(Notify::new());
        let waker = Box::new(Waker(Arc::clone(&wake)));
        let follower = handle.follow(&target, None, waker).map_err(io::Error::other)?;
        let source = handle.new_source().map_err(io::Error::other)?;
        Ok(Self {
            name: row.name.clone(),
            into: row.into.replace("{name}", &row.name),
            counters: metrics.of(&row.name),
            machine: Machine::new(row),
            follower,
            publisher: handle.publisher(source),
            wake,
            lost: 0,
            told_lost: 0,
            told_ms: 0,
        })
    }

    async fn run(mut self) {
        loop {
            let has_more = self.take_some();
            let now_ms = unix_ms();
            while let Some(closed) = self.machine.closed(now_ms) {
                self.publish(closed).await;
            }
            self.counters.show(self.machine.counts(), self.machine.open());
            self.tell(now_ms);
            if has_more {
                tokio::task::yield_now().await;
            } else {
                self.wait(now_ms).await;
            }
        }
    }

    /// Takes in what has come. Answers whether there may be more.
    fn take_some(&mut self) -> bool {
        let (own, now_ms) = (self.publisher.source(), unix_ms());
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(message) = self.follower.next() else { return false };
            // Its own results may match what it follows: else they would be aggregated for ever.
            if message.source != own {
                self.machine.take(message.topic, message.payload, now_ms);
            }
            let missed = self.follower.take_missed();
            if missed > 0 {
                self.machine.lost(now_ms);
                self.counters.drop("retention", missed);
                self.lost += missed;
            }
        }
        true
    }

    async fn publish(&mut self, closed: Closed) {
        let Ok(topic) = Topic::new(&self.into.replace("{topic}", &closed.topic)) else {
            return self.counters.drop("topic_too_long", 1);
        };
        match publish(&mut self.publisher, &topic, Kind::Text, &closed.json).await {
            Ok(_) => {
                self.counters.results.inc();
            }
            Err(_) => self.counters.drop("refused", 1),
        }
    }

    /// Waits for a message, or until a window is over.
    async fn wait(&self, now_ms: u64) {
        match self.machine.due_ms() {
            None => self.wake.notified().await,
            Some(due_ms) => {
                let pause = Duration::from_millis(due_ms.saturating_sub(now_ms).max(1));
                // That time is over says as much as that something has come.
                let _ = tokio::time::timeout(pause, self.wake.notified()).await;
            }
        }
    }

    /// Losses are told in one line, and not with every message.
    fn tell(&mut self, now_ms: u64) {
        let dropped: u64 = self.machine.counts().dropped().iter().map(|(_, count)| count).sum();
        let lost = dropped + self.lost;
        if lost == self.told_lost || now_ms < self.told_ms + TELL_MS {
            return;
        }
        let (aggregate, counts, retention) = (&self.name, self.machine.counts(), self.lost);
        tracing::warn!(aggregate, ?counts, retention, "some of what came is in no result");
        (self.told_lost, self.told_ms) = (lost, now_ms);
    }
}
