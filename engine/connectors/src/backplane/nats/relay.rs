//! A relay on the core of NATS. Owns one subscription to all shards. Must not know what batches
//! hold.

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::backplane::link::{Records, RelayLink};
use crate::backplane::nats::Connection;
use crate::backplane::nats::domain::Domain;
use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// See the file header.
#[derive(Debug)]
pub struct Relay {
    connection: Connection,
    subscriber: Subscriber,
    subjects: Vec<String>,
    /// None where the server has no JetStream: then nothing can be written down.
    domain: Option<Domain>,
}

impl Relay {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn open(settings: &Backplane) -> Result<Self, SessionError> {
        let connection = Connection::open(settings).await?;
        let domain = Domain::open(&connection.client, settings).await.ok();
        let all = format!("gridcast.{}.*", settings.name);
        let lost = |error| SessionError::new("subscribe", error);
        let subscriber = connection.client.subscribe(all).await.map_err(lost)?;
        let subjects = (0..settings.shards).map(|shard| settings.subject(shard)).collect();
        // What others send from now on is heard.
        connection.client.flush().await.map_err(|error| SessionError::new("closed", error))?;
        Ok(Self { connection, subscriber, subjects, domain })
    }
}

impl RelayLink for Relay {
    async fn send(&mut self, shard: u16, batch: Bytes) -> Result<(), SessionError> {
        let subject = self.subjects[usize::from(shard)].clone();
        let sent = self.connection.client.publish(subject, batch).await;
        sent.map_err(|error| SessionError::new("closed", error))
    }

    async fn next(&mut self) -> Result<Bytes, SessionError> {
        tokio::select! {
            message = self.subscriber.next() => match message {
                Some(message) => Ok(message.payload),
                None => Err(SessionError::new("closed", "the subscription ended")),
            },
            error = self.connection.lost() => Err(error),
        }
    }
}

impl Records for Relay {
    async fn record(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        match &mut self.domain {
            Some(domain) => domain.record().await,
            None => Ok(None),
        }
    }

    async fn replace_record(
        &mut self,
        old: Option<&[u8]>,
        new: &str,
    ) -> Result<bool, SessionError> {
        match &mut self.domain {
            Some(domain) => domain.replace_record(old, new).await,
            None => Ok(true),
        }
    }
}
