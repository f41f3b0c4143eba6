//! The record of a domain under a key of Redis. Must not know what it says.

use redis::aio::MultiplexedConnection;
use redis::{Client, Value, cmd};

use crate::backplane::link::Records;
use crate::backplane::redis::{connect, lost};
use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// See the file header.
#[derive(Debug)]
pub struct Domain {
    /// Of its own: a transaction watches for all commands of a connection.
    connection: MultiplexedConnection,
    key: String,
}

impl Domain {
    /// Connects.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn open(client: &Client, settings: &Backplane) -> Result<Self, SessionError> {
        let connection = connect(client).await?;
        Ok(Self { connection, key: format!("gridcast.{}.domain", settings.name) })
    }

    async fn create(&mut self, new: &str) -> Result<bool, SessionError> {
        let mut set = cmd("SET");
        set.arg(&self.key).arg(new).arg("NX");
        let answer: Value = set.query_async(&mut self.connection).await.map_err(lost)?;
        Ok(answer != Value::Nil)
    }

    /// WATCH makes EXEC fail when somebody has changed the key since.
    async fn replace(&mut self, old: &[u8], new: &str) -> Result<bool, SessionError> {
        let connection = &mut self.connection;
        let watch = cmd("WATCH").arg(&self.key).to_owned();
        let _: Value = watch.query_async(connection).await.map_err(lost)?;
        let get = cmd("GET").arg(&self.key).to_owned();
        let now: Option<Vec<u8>> = get.query_async(connection).await.map_err(lost)?;
        if now.as_deref() != Some(old) {
            let _: Value = cmd("UNWATCH").query_async(connection).await.map_err(lost)?;
            return Ok(false);
        }
        let mut set = redis::pipe();
        set.atomic().cmd("SET").arg(&self.key).arg(new).ignore();
        let done: Option<()> = set.query_async(connection).await.map_err(lost)?;
        Ok(done.is_some())
    }
}

impl Records for Domain {
    async fn record(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        let get = cmd("GET").arg(&self.key).to_owned();
        get.query_async(&mut self.connection).await.map_err(lost)
    }

    async fn replace_record(
        &mut self,
        old: Option<&[u8]>,
        new: &str,
    ) -> Result<bool, SessionError> {
        match old {
            None => self.create(new).await,
            Some(old) => self.replace(old, new).await,
        }
    }
}
