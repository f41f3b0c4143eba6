//! What `[backplane]` says: the engine behind several nodes, and how it is used. Owns the keys,
//! their defaults and ranges. Must not connect.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::backplane::batch::NODE_BYTES_MAX;
use crate::backplane::shard::SHARDS_MAX;
use crate::bridge::settings::Credentials;
use crate::table::Reader;

/// Which engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// NATS: its core, or JetStream.
    Nats,
    /// Redis or Valkey: Pub/Sub, or Streams.
    Redis,
}

/// What is promised between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// At most once; what is lost is told.
    #[default]
    Relay,
    /// One order and one position on all nodes.
    Log,
}

/// Where JetStream keeps a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// On disk: it survives a restart of the server.
    #[default]
    File,
    /// In memory: faster, and gone with the server.
    Memory,
}

/// See the file header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backplane {
    /// Which engine it is.
    pub kind: Kind,
    /// What is promised.
    pub mode: Mode,
    /// Where it is.
    pub url: String,
    /// The domain: nodes of the same name form one.
    pub name: String,
    /// What this node is called, in logs and batches.
    pub node: String,
    /// Who this node is there.
    pub credentials: Credentials,
    /// A NATS credentials file (JWT and seed).
    pub creds_file: Option<PathBuf>,
    /// Subjects of the domain.
    pub shards: u16,
    /// How long a log keeps messages, s.
    pub retention_s: u64,
    /// How much a log keeps, bytes.
    pub retention_bytes: u64,
    /// When a batch that was not acknowledged is sent again, ms.
    pub ack_timeout_ms: u64,
    /// Where JetStream keeps the log.
    pub storage: Storage,
    /// On how many servers JetStream keeps the log.
    pub replicas: u64,
}

/// The keys of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    kind: Kind,
    #[serde(default)]
    mode: Mode,
    url: Option<String>,
    name: Option<String>,
    node: Option<String>,
    creds_file: Option<PathBuf>,
    shards: Option<u64>,
    retention_s: Option<u64>,
    retention_bytes: Option<u64>,
    ack_timeout_ms: Option<u64>,
    #[serde(default)]
    storage: Storage,
    replicas: Option<u64>,
}

/// A number: its key, default, least and most.
type Range = (&'static str, u64, u64, u64);

const SHARDS: Range = ("shards", 1, 1, SHARDS_MAX as u64);
const RETENTION_S: Range = ("retention_s", 15, 1, 86_400);
const RETENTION_BYTES: Range = ("retention_bytes", 1 << 30, 1 << 20, 1 << 40);
const ACK_TIMEOUT_MS: Range = ("ack_timeout_ms", 1000, 50, 60_000);
const REPLICAS: Range = ("replicas", 1, 1, 5);

impl Backplane {
    /// Reads the table.
    ///
    /// # Errors
    /// What is missing, wrong, unknown or of another type.
    pub fn read(table: &Table) -> Result<Self, String> {
        let mut reader = Reader::single("backplane", table);
        let credentials = Credentials::take(&mut reader)?;
        let keys: Keys = reader.rest()?;
        let number = |given: Option<u64>, range: Range| checked(given, range);
        let shards = number(keys.shards, SHARDS)?;
        let backplane = Self {
            kind: keys.kind,
            mode: keys.mode,
            url: keys.url.unwrap_or_else(|| keys.kind.default_url().to_owned()),
            name: keys.name.unwrap_or_else(|| "gridcast".to_owned()),
            node: keys.node.unwrap_or_else(host_name),
            credentials,
            creds_file: keys.creds_file,
            // At most SHARDS_MAX.
            shards: shards as u16,
            retention_s: number(keys.retention_s, RETENTION_S)?,
            retention_bytes: number(keys.retention_bytes, RETENTION_BYTES)?,
            ack_timeout_ms: number(keys.ack_timeout_ms, ACK_TIMEOUT_MS)?,
            storage: keys.storage,
            replicas: number(keys.replicas, REPLICAS)?,
        };
        backplane.check().map(|()| backplane)
    }

    fn check(&self) -> Result<(), String> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.name.is_empty()
            || self.name.len() > NAME_BYTES_MAX
            || !self.name.bytes().all(is_plain)
        {
            return Err(format!(
                "backplane.name: `{}` must be 1 to {NAME_BYTES_MAX} letters, digits, - and _: it \
                 is part of subjects and keys",
                self.name
            ));
        }
        if self.node.is_empty() || self.node.len() > NODE_BYTES_MAX {
            return Err(format!("backplane.node: a name of 1 to {NODE_BYTES_MAX} bytes"));
        }
        if self.mode == Mode::Log && self.shards != 1 {
            return Err("backplane.shards: a log has one order, and so one shard; more are for \
                        mode = \"relay\""
                .to_owned());
        }
        Ok(())
    }

    /// The subject or key of a shard.
    #[must_use]
    pub fn subject(&self, shard: u16) -> String {
        format!("gridcast.{}.{shard}", self.name)
    }
}

impl Kind {
    fn default_url(self) -> &'static str {
        match self {
            Self::Nats => "nats://127.0.0.1:4222",
            Self::Redis => "redis://127.0.0.1:6379",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Log => "log",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nats => "nats",
            Self::Redis => "redis",
        })
    }
}

fn checked(given: Option<u64>, (key, default, min, max): Range) -> Result<u64, String> {
    let value = given.unwrap_or(default);
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("backplane.{key}: {value} must be {min} to {max}"))
    }
}

/// What the machine is called.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let end = name.floor_char_boundary(NODE_BYTES_MAX);
    if end == 0 { "node".to_owned() } else { name[..end].to_owned() }
}

/// The longest name of a domain, bytes: JetStream makes folders of it.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Backplane, String> {
        Backplane::read(&text.parse::<Table>().unwrap())
    }

    #[test]
    fn a_kind_is_enough() {
        let backplane = read("kind = \"nats\"").unwrap();
        assert_eq!((backplane.kind, backplane.mode), (Kind::Nats, Mode::Relay));
        assert_eq!(backplane.url, "nats://127.0.0.1:4222");
        assert_eq!(backplane.subject(0), "gridcast.gridcast.0");
        assert_eq!((backplane.retention_s, backplane.retention_bytes), (15, 1 << 30));
        assert!(!backplane.node.is_empty());
        assert_eq!(read("kind = \"redis\"").unwrap().url, "redis://127.0.0.1:6379");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("mode = \"log\"", "kind"),
            ("kind = \"kafka\"", "kafka"),
            ("kind = \"nats\"\nmod = \"log\"", "mod"),
            ("kind = \"nats\"\nname = \"a.b\"", "backplane.name"),
            ("kind = \"nats\"\nnode = \"\"", "backplane.node"),
            ("kind = \"nats\"\nshards = 65", "1 to 64"),
            ("kind = \"nats\"\nretention_s = 0", "backplane.retention_s: 0 must be 1 to 86400"),
            ("kind = \"nats\"\nmode = \"log\"\nshards = 2", "one shard"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
