//! The record of a domain in a key-value bucket of JetStream. Must not know what it says.

use async_nats::Client;
use async_nats::jetstream::kv::{Config, Operation, Store};
use async_nats::jetstream::{self, stream::StorageType};

use crate::backplane::link::Records;
use crate::backplane::settings::{Backplane, Storage};
use crate::bridge::supervisor::SessionError;

const KEY: &str = "domain";

/// See the file header.
#[derive(Debug)]
pub struct Domain {
    store: Store,
    /// Of what was read last.
    revision: u64,
}

impl Domain {
    /// Opens the bucket, or makes it.
    ///
    /// # Errors
    /// When the server has no JetStream, or forbids it.
    pub async fn open(client: &Client, settings: &Backplane) -> Result<Self, SessionError> {
        let context = jetstream::new(client.clone());
        let bucket = format!("gridcast-{}", settings.name);
        let config = Config {
            bucket: bucket.clone(),
            description: "What the nodes of a gridcast domain agree on".to_owned(),
            history: 1,
            storage: storage(settings),
            num_replicas: settings.replicas as usize,
            ..Config::default()
        };
        let store = match context.get_key_value(&bucket).await {
            Ok(store) => store,
            Err(_) => context
                .create_key_value(config)
                .await
                .map_err(|error| SessionError::new("domain", error))?,
        };
        Ok(Self { store, revision: 0 })
    }
}

/// Where JetStream is to keep things.
pub(super) fn storage(settings: &Backplane) -> StorageType {
    match settings.storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

impl Records for Domain {
    async fn record(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        let entry = self.store.entry(KEY).await;
        let entry = entry.map_err(|error| SessionError::new("domain", error))?;
        let entry = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(entry.map(|entry| {
            self.revision = entry.revision;
            entry.value.to_vec()
        }))
    }

    async fn replace_record(
        &mut self,
        old: Option<&[u8]>,
        new: &str,
    ) -> Result<bool, SessionError> {
        let new = new.to_owned().into();
        // Whoever loses the race reads what the other has written.
        match old {
            None => Ok(self.store.create(KEY, new).await.is_ok()),
            Some(old) if self.record().await?.as_deref() == Some(old) => {
                Ok(self.store.update(KEY, new, self.revision).await.is_ok())
            }
            Some(_) => Ok(false),
        }
    }
}
