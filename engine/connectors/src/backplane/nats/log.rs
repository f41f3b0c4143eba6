//! A log on JetStream: one stream, one consumer that is read in order. Owns where it reads. Must
//! not know what batches hold.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use async_nats::jetstream::{Context, Message, context::ContextBuilder};
use futures_util::StreamExt;

use crate::backplane::link::{
    Appending, Bounds, LogLink, Records, Stored, foreign, within_positions,
};
use crate::backplane::nats::Connection;
use crate::backplane::nats::domain::{Domain, storage};
use crate::backplane::sender::Outgoing;
use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// Appends that are under way: one, and what was sent again.
const INFLIGHT_MAX: usize = 8;
/// Batches that are asked for at once: 16 MiB of full ones.
const PULLED_MAX: usize = 64;
/// For how long the server drops what comes again, where the log is kept for longer.
const DEDUP_S_MAX: u64 = 120;
/// A consumer that nobody reads from is gone after so long.
const CONSUMER_IDLE: Duration = Duration::from_secs(30);
/// How long a question for messages stands.
const PULL: Duration = Duration::from_secs(10);
/// How often the server says that it is there while there are none.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// See the file header.
pub struct Log {
    connection: Connection,
    context: Context,
    stream: Stream,
    domain: Domain,
    subject: String,
    messages: Option<pull::Stream>,
    /// The message that should come next; none for the first after the reader was made: there
    /// retention may have passed.
    expected: Option<u64>,
}

impl Log {
    /// Connects, and makes the stream where there is none.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn open(settings: &Backplane) -> Result<Self, SessionError> {
        let connection = Connection::open(settings).await?;
        let context = ContextBuilder::new()
            .max_ack_inflight(INFLIGHT_MAX)
            .timeout(Duration::from_secs(5))
            .build(connection.client.clone());
        let domain = Domain::open(&connection.client, settings).await?;
        let stream = context
            .get_or_create_stream(config(settings))
            .await
            .map_err(|error| SessionError::new("stream", error))?;
        let subject = settings.subject(0);
        Ok(Self { connection, context, stream, domain, subject, messages: None, expected: None })
    }
}

fn config(settings: &Backplane) -> Config {
    Config {
        name: format!("gridcast-{}", settings.name),
        description: Some("Batches of a gridcast domain".to_owned()),
        subjects: vec![settings.subject(0)],
        max_age: Duration::from_secs(settings.retention_s),
        // The largest setting is 2^40.
        max_bytes: settings.retention_bytes as i64,
        discard: DiscardPolicy::Old,
        storage: storage(settings),
        num_replicas: settings.replicas as usize,
        duplicate_window: Duration::from_secs(settings.retention_s.min(DEDUP_S_MAX)),
        ..Config::default()
    }
}

impl LogLink for Log {
    const DEDUPS: bool = true;

    async fn bounds(&mut self) -> Result<Bounds, SessionError> {
        let info = self.stream.get_info().await;
        let state = info.map_err(|error| SessionError::new("stream", error))?.state;
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        // A stream may have been made to begin with any number.
        within_positions(first.max(last)).ok_or_else(foreign)?;
        Ok(Bounds { first, last })
    }

    async fn read_from(&mut self, sequence: u64) -> Result<(), SessionError> {
        let unread = |error: &dyn ToString| SessionError::new("consumer", error.to_string());
        let consumer = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence },
            ack_policy: AckPolicy::None,
            inactive_threshold: CONSUMER_IDLE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(consumer).await;
        let consumer = consumer.map_err(|error| unread(&error))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULLED_MAX)
            .expires(PULL)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| unread(&error))?;
        self.messages = Some(messages);
        self.expected = None;
        Ok(())
    }

    async fn next(&mut self) -> Result<Stored, SessionError> {
        let Some(messages) = &mut self.messages else { return std::future::pending().await };
        let message = tokio::select! {
            message = messages.next() => message,
            error = self.connection.lost() => return Err(error),
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(SessionError::new("consumer", error)),
            None => return Err(SessionError::new("consumer", "the reader ended")),
        };
        let stored = stored(message)?;
        let expected = self.expected.replace(stored.sequence + 1);
        if expected.is_some_and(|expected| expected != stored.sequence) {
            // Lost on its way here: the next session reads it again, if it still is there.
            return Err(SessionError::new("consumer", "a message was lost on its way"));
        }
        Ok(stored)
    }

    fn append(&mut self, batch: Outgoing) -> Appending {
        let (context, subject) = (self.context.clone(), self.subject.clone());
        Box::pin(async move {
            let refused = |error: &dyn ToString| SessionError::new("append", error.to_string());
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{:x}:{}", batch.id.boot, batch.id.number));
            let sent = context.publish_with_headers(subject, headers, batch.bytes).await;
            let acknowledged = sent.map_err(|error| refused(&error))?.await;
            acknowledged.map(|ack| ack.sequence).map_err(|error| refused(&error))
        })
    }

    async fn trim(&mut self, _: u64) -> Result<(), SessionError> {
        // The stream has its own bounds.
        Ok(())
    }
}

fn stored(message: Message) -> Result<Stored, SessionError> {
    let info = message.info().map_err(|error| SessionError::new("consumer", error))?;
    let sequence = within_positions(info.stream_sequence).ok_or_else(foreign)?;
    let pending = info.pending;
    Ok(Stored { sequence, pending, bytes: message.message.payload })
}

impl Records for Log {
    async fn record(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        self.domain.record().await
    }

    async fn replace_record(
        &mut self,
        old: Option<&[u8]>,
        new: &str,
    ) -> Result<bool, SessionError> {
        self.domain.replace_record(old, new).await
    }
}
