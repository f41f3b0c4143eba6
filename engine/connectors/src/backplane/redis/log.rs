//! A log on a stream of Redis, whose entries are numbered `0-1`, `0-2` …: dense, as positions need
//! them. Owns where it reads. Must not know what batches hold.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisError, Value, cmd};

use crate::backplane::link::{
    Appending, Bounds, LogLink, Records, Stored, foreign, within_positions,
};
use crate::backplane::redis::domain::Domain;
use crate::backplane::redis::{connect, connect_with, lost, server};
use crate::backplane::sender::Outgoing;
use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// Entries that are read at once: 16 MiB of full batches.
const READ_MAX: usize = 64;
/// How long the server waits for an entry, ms. It is asked again then, so that a connection that is
/// dead is found.
const BLOCK_MS: u64 = 1000;
/// How long an answer may take that the server gives after [`BLOCK_MS`].
const BLOCKED: Duration = Duration::from_secs(6);
/// The only field of an entry.
const FIELD: &str = "b";

type Reading = Pin<Box<dyn Future<Output = Result<Value, RedisError>>>>;

/// See the file header.
pub struct Log {
    sending: MultiplexedConnection,
    /// Of its own: a server that waits for an entry answers nothing else there.
    blocking: MultiplexedConnection,
    domain: Domain,
    key: String,
    next: u64,
    /// Kept while others have their turn: a question that is forgotten is answered all the same.
    reading: Option<Reading>,
    read: VecDeque<Stored>,
}

impl Log {
    /// Connects.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn open(settings: &Backplane) -> Result<Self, SessionError> {
        let client = server(settings, ProtocolVersion::RESP2)?;
        let blocked = AsyncConnectionConfig::new().set_response_timeout(Some(BLOCKED));
        Ok(Self {
            sending: connect(&client).await?,
            blocking: connect_with(&client, blocked).await?,
            domain: Domain::open(&client, settings).await?,
            key: settings.subject(0),
            next: 1,
            reading: None,
            read: VecDeque::new(),
        })
    }

    fn ask(&self) -> Reading {
        let (mut connection, mut read) = (self.blocking.clone(), cmd("XREAD"));
        read.arg("COUNT").arg(READ_MAX).arg("BLOCK").arg(BLOCK_MS);
        read.arg("STREAMS").arg(&self.key).arg(id(self.next - 1));
        Box::pin(async move { read.query_async(&mut connection).await })
    }
}

impl LogLink for Log {
    const DEDUPS: bool = false;

    async fn bounds(&mut self) -> Result<Bounds, SessionError> {
        let info = cmd("XINFO").arg("STREAM").arg(&self.key).to_owned();
        let info: Value = match info.query_async(&mut self.sending).await {
            Ok(info) => info,
            Err(error) if error.to_string().contains("no such key") => {
                return Ok(Bounds { first: 1, last: 0 });
            }
            Err(error) => return Err(lost(error)),
        };
        let last = field(&info, "last-generated-id").and_then(text).and_then(sequence);
        let last = last.ok_or_else(foreign)?;
        let first = field(&info, "first-entry").and_then(|entry| match entry {
            Value::Array(parts) => parts.first().and_then(text).and_then(sequence),
            _ => None,
        });
        Ok(Bounds { first: first.unwrap_or(last + 1), last })
    }

    async fn read_from(&mut self, sequence: u64) -> Result<(), SessionError> {
        self.next = sequence.max(1);
        self.reading = None;
        self.read.clear();
        Ok(())
    }

    async fn next(&mut self) -> Result<Stored, SessionError> {
        loop {
            if let Some(stored) = self.read.pop_front() {
                return Ok(stored);
            }
            if self.reading.is_none() {
                self.reading = Some(self.ask());
            }
            let Some(reading) = &mut self.reading else { continue };
            let answer = reading.await;
            self.reading = None;
            self.read = entries(answer.map_err(lost)?).ok_or_else(foreign)?;
            if let Some(last) = self.read.back() {
                self.next = last.sequence + 1;
            }
        }
    }

    fn append(&mut self, batch: Outgoing) -> Appending {
        let (mut connection, mut add) = (self.sending.clone(), cmd("XADD"));
        add.arg(&self.key).arg("0-*").arg(FIELD).arg(&batch.bytes[..]);
        Box::pin(async move {
            let id: Value = add.query_async(&mut connection).await.map_err(lost)?;
            text(&id).and_then(sequence).ok_or_else(foreign)
        })
    }

    async fn trim(&mut self, sequence: u64) -> Result<(), SessionError> {
        let mut trim = cmd("XTRIM");
        trim.arg(&self.key).arg("MINID").arg("~").arg(id(sequence + 1));
        let _: Value = trim.query_async(&mut self.sending).await.map_err(lost)?;
        Ok(())
    }
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

fn id(sequence: u64) -> String {
    format!("0-{sequence}")
}

fn sequence(id: &str) -> Option<u64> {
    within_positions(id.strip_prefix("0-")?.parse().ok()?)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A field of an answer that is a map, whichever way the protocol writes it.
fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    match map {
        Value::Array(items) => {
            let found = items.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name))?;
            Some(&found[1])
        }
        Value::Map(pairs) => pairs.iter().find(|(key, _)| text(key) == Some(name)).map(|(_, v)| v),
        _ => None,
    }
}

/// The entries of an answer to XREAD for one stream, empty when there were none in time; none where
/// the stream has something else.
#[must_use]
pub fn entries(answer: Value) -> Option<VecDeque<Stored>> {
    let entries = match answer {
        Value::Nil => return Some(VecDeque::new()),
        Value::Array(mut streams) => match streams.pop()? {
            Value::Array(mut stream) => stream.pop()?,
            _ => return None,
        },
        Value::Map(mut streams) => streams.pop()?.1,
        _ => return None,
    };
    let Value::Array(entries) = entries else { return None };
    let count = entries.len() as u64;
    let entries = (1..).zip(entries).map(|(nth, entry)| stored(entry, count - nth));
    entries.collect()
}

fn stored(entry: Value, pending: u64) -> Option<Stored> {
    let Value::Array(mut parts) = entry else { return None };
    let fields = parts.pop()?;
    let sequence = parts.pop().as_ref().and_then(text).and_then(sequence)?;
    let bytes = match fields {
        Value::Array(mut fields) => fields.pop()?,
        _ => return None,
    };
    let Value::BulkString(bytes) = bytes else { return None };
    Some(Stored { sequence, bytes: Bytes::from(bytes), pending })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridcast::feed::positions::SEQUENCE_MAX;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn entries_are_read_in_both_protocols() {
        let entry =
            |id: &str| Value::Array(vec![bulk(id), Value::Array(vec![bulk("b"), bulk("x")])]);
        let list = Value::Array(vec![entry("0-7"), entry("0-8")]);
        let second = Value::Array(vec![Value::Array(vec![bulk("key"), list.clone()])]);
        let third = Value::Map(vec![(bulk("key"), list)]);
        for answer in [second, third] {
            let read = entries(answer).unwrap();
            let read: Vec<_> = read.iter().map(|one| (one.sequence, one.pending)).collect();
            assert_eq!(read, [(7, 1), (8, 0)]);
        }
        assert_eq!(entries(Value::Nil).unwrap().len(), 0);
    }

    #[test]
    fn a_stream_of_somebody_else_is_refused() {
        let entry = Value::Array(vec![bulk("1700-0"), Value::Array(vec![bulk("b"), bulk("x")])]);
        let answer = Value::Map(vec![(bulk("key"), Value::Array(vec![entry]))]);
        assert!(entries(answer).is_none());
        assert_eq!((sequence("0-12"), sequence("1-12"), sequence("0-")), (Some(12), None, None));
    }

    #[test]
    fn a_number_that_no_position_can_hold_is_refused() {
        assert_eq!(sequence(&format!("0-{SEQUENCE_MAX}")), Some(SEQUENCE_MAX));
        for number in [SEQUENCE_MAX + 1, u64::MAX] {
            assert_eq!(sequence(&format!("0-{number}")), None);
        }
    }
}
