//! A relay on Pub/Sub of Redis. Owns a connection that listens and one that sends. Must not know
//! what batches hold.

use bytes::Bytes;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, Value, cmd};
use tokio::sync::mpsc::{Receiver, channel};

use crate::backplane::link::{Records, RelayLink};
use crate::backplane::redis::domain::Domain;
use crate::backplane::redis::{connect, connect_with, lost, server};
use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// Batches that wait here: 64 MiB of full ones. More are dropped, which their numbers tell.
const WAITING_MAX: usize = 256;

/// See the file header.
pub struct Relay {
    /// Of its own: what it says comes unasked.
    _listening: MultiplexedConnection,
    heard: Receiver<PushInfo>,
    sending: MultiplexedConnection,
    channels: Vec<String>,
    domain: Domain,
}

impl Relay {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn open(settings: &Backplane) -> Result<Self, SessionError> {
        // Messages that come unasked need the third version of the protocol.
        let client = server(settings, ProtocolVersion::RESP3)?;
        let (hear, heard) = channel(WAITING_MAX);
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| {
            match hear.try_send(push) {
                // A batch that finds no room is missed by its number.
                Ok(()) => Ok(()),
                Err(error) if hear.is_closed() => Err(error).map_err(|_| SendError),
                Err(_) => Ok(()),
            }
        });
        let mut listening = connect_with(&client, config).await?;
        let all = format!("gridcast.{}.*", settings.name);
        listening.psubscribe(all).await.map_err(lost)?;
        let sending = connect(&client).await?;
        let domain = Domain::open(&client, settings).await?;
        let channels = (0..settings.shards).map(|shard| settings.subject(shard)).collect();
        Ok(Self { _listening: listening, heard, sending, channels, domain })
    }
}

impl RelayLink for Relay {
    async fn send(&mut self, shard: u16, batch: Bytes) -> Result<(), SessionError> {
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.channels[usize::from(shard)]).arg(&batch[..]);
        let _: Value = publish.query_async(&mut self.sending).await.map_err(lost)?;
        Ok(())
    }

    async fn next(&mut self) -> Result<Bytes, SessionError> {
        loop {
            match self.heard.recv().await {
                Some(PushInfo { kind: PushKind::PMessage, mut data }) => {
                    if let Some(Value::BulkString(batch)) = data.pop() {
                        return Ok(Bytes::from(batch));
                    }
                }
                None | Some(PushInfo { kind: PushKind::Disconnection, .. }) => {
                    return Err(SessionError::new("closed", "the connection to Redis was lost"));
                }
                Some(_) => {}
            }
        }
    }
}

impl Records for Relay {
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
