//! Records on their way in: published first, committed once they stand in their feeds. Owns when
//! it is time to commit. Must not connect.

use std::time::Duration;

use bytes::Bytes;
use gridcast::clock::Clock;
use gridcast::feed::topic::Topic;
use krafka::consumer::{Consumer, ConsumerRecord, OffsetAndMetadata, TopicPartition};
use tokio::time::sleep;

use crate::bridge::arrivals::Arrivals;
use crate::bridge::context::Context;
use crate::bridge::payload::Payload;
use crate::bridge::receipt::Receipt;
use crate::bridge::supervisor::SessionError;
use crate::kafka::cluster::failure;
use crate::kafka::outgoing::MARK;
use crate::kafka::progress::{Partition, Progress};
use crate::kafka::settings::{Named, Settings};

/// How long what was published may stay uncommitted: so much comes again after an engine was
/// killed.
const COMMIT_AFTER: Duration = Duration::from_millis(500);

/// How long records wait that a log has refused.
const PAUSE: Duration = Duration::from_millis(500);

/// What one session knows of what came in.
pub struct Incoming {
    named: Named,
    payload: Payload,
    /// What records have that this bridge has sent.
    mark: String,
    clock: Clock,
    committed_ns: u64,
}

impl Incoming {
    /// Nothing came yet.
    pub fn new(settings: &Settings, mark: &str) -> Self {
        let (named, payload) = (settings.record_name, settings.payload);
        let mark = mark.to_owned();
        Self { named, payload, mark, clock: Clock::start(), committed_ns: 0 }
    }

    /// Publishes records, but those that were published before, and returns when all stand in their
    /// feeds. What a log refused is published again, and what came behind it: the order is kept.
    pub async fn take(
        &self,
        records: Vec<ConsumerRecord>,
        progress: &mut Progress,
        context: &mut Context,
    ) {
        let mut left = records.as_slice();
        loop {
            let taken = self.publish_all(left, progress, context).await;
            left = left.get(taken..).unwrap_or_default();
            if left.is_empty() {
                return;
            }
            context.counters().error("unavailable");
            sleep(PAUSE).await;
        }
    }

    /// Publishes records. Answers how many of them, from the first on, are taken.
    async fn publish_all(
        &self,
        records: &[ConsumerRecord],
        progress: &mut Progress,
        context: &mut Context,
    ) -> usize {
        let mut arrivals = Arrivals::default();
        for record in records {
            let partition = (record.topic.to_string(), record.partition);
            let receipt = if progress.is_known(&partition, record.offset, record.timestamp) {
                context.counters().error("repeated");
                None
            } else {
                self.publish(record, context).await
            };
            let mark = (partition, record.offset, record.timestamp);
            match receipt {
                Some(receipt) => arrivals.push(mark, receipt),
                None => arrivals.push_settled(mark),
            }
        }
        let mut taken = 0;
        while !arrivals.is_empty()
            && let Ok((partition, offset, time_ms)) = arrivals.next().await
        {
            progress.taken(&partition, offset, time_ms);
            taken += 1;
        }
        taken
    }

    /// Publishes a record, or counts why it is none for this engine: it will not be one later.
    async fn publish(&self, record: &ConsumerRecord, context: &mut Context) -> Option<Receipt> {
        let published = match self.message(record, context) {
            Ok((topic, value)) => {
                let kind = self.payload.kind(value);
                context.submit(&topic, kind, value).await.map_err(|_| "refused")
            }
            Err(reason) => Err(reason),
        };
        published.inspect_err(|reason| context.counters().dropped(reason, 1)).ok()
    }

    /// What of a record is published, and where; else the word for why it is not.
    fn message<'a>(
        &self,
        record: &'a ConsumerRecord,
        context: &Context,
    ) -> Result<(Topic, &'a Bytes), &'static str> {
        let mut marks = record.headers.iter().filter(|(name, _)| name == MARK);
        let is_ours = |value: &Option<Bytes>| value.as_deref() == Some(self.mark.as_bytes());
        if marks.any(|(_, value)| is_ours(value)) {
            return Err("loop");
        }
        let value = record.value.as_ref().ok_or("no_value")?;
        let name = self.named.of(&record.topic, record.key.as_deref()).ok_or("topic")?;
        Ok((context.map_in(&name).map_err(|_| "topic")?, value))
    }

    /// Commits, if it is time: after a while, and where a partition was assigned, because a group
    /// that has committed nothing would begin elsewhere after a lost connection.
    pub async fn commit(
        &mut self,
        consumer: &Consumer,
        progress: &mut Progress,
        context: &Context,
    ) -> Result<(), SessionError> {
        let assigned = assigned(consumer).await;
        let mut is_due = self.clock.now_ns() - self.committed_ns >= COMMIT_AFTER.as_nanos() as u64;
        for partition in &assigned {
            if !progress.knows(partition)
                && let Some(offset) = consumer.position(&partition.0, partition.1).await
            {
                progress.begin(partition.clone(), offset);
                is_due = true;
            }
        }
        if !is_due {
            return Ok(());
        }
        match self.commit_now(consumer, progress).await {
            // The partitions are another member's now, or soon this one's again.
            Err(error) if error.reason == "refused" => context.counters().error("commit"),
            other => return other,
        }
        Ok(())
    }

    /// Commits what was published of the partitions that are assigned.
    pub async fn commit_now(
        &mut self,
        consumer: &Consumer,
        progress: &mut Progress,
    ) -> Result<(), SessionError> {
        let offsets = progress.uncommitted(&assigned(consumer).await);
        self.committed_ns = self.clock.now_ns();
        if offsets.is_empty() {
            return Ok(());
        }
        let written = offsets.iter().map(|((topic, partition), offset)| {
            (TopicPartition::new(topic, *partition), OffsetAndMetadata::new(*offset))
        });
        consumer.commit_offsets(written).await.map_err(|error| failure(&error))?;
        progress.committed(&offsets);
        Ok(())
    }
}

async fn assigned(consumer: &Consumer) -> Vec<Partition> {
    let topics = consumer.assignment().await;
    let partitions = topics.into_iter().map(|(topic, partitions)| {
        partitions.into_iter().map(move |partition| (topic.clone(), partition))
    });
    partitions.flatten().collect()
}
