//! A Kafka cluster and its clients, made of the settings. Owns who this engine says it is, and what
//! its errors are called. Must not move messages.

use std::time::Duration;

use krafka::admin::DescribeTopicsOptions;
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::consumer::{AutoOffsetReset, Consumer, GroupProtocol, TopicPartition};
use krafka::producer::{Acks, Producer};
use krafka::{Kafka, KrafkaError};
use tokio::time::timeout;

use crate::bridge::settings::{Common, Credentials};
use crate::bridge::supervisor::SessionError;
use crate::kafka::progress::Progress;
use crate::kafka::settings::{Protocol, Sasl, Settings, Start};

/// How long a connection, or an answer, may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Records that one look brings at most.
const RECORDS_MAX: i32 = 500;
/// How long a message may be on its way to the cluster.
const DELIVERY_TIME: Duration = Duration::from_secs(20);
/// How long messages wait for others of the same batch.
const LINGER: Duration = Duration::from_millis(2);
/// What a compressed batch may become.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Connects.
///
/// # Errors
/// Why not.
pub async fn connect(common: &Common, settings: &Settings) -> Result<Kafka, SessionError> {
    let (brokers, is_tls) =
        brokers(&common.url).map_err(|error| SessionError::new("settings", error))?;
    let security = security(&common.credentials, settings.sasl, is_tls)
        .map_err(|error| SessionError::new("credentials", error))?;
    let builder = Kafka::builder(brokers)
        .client_id(format!("gridcast-{}", common.name))
        .security(security)
        .connect_timeout(ANSWER_TIME)
        .request_timeout(ANSWER_TIME);
    let connected = timeout(ANSWER_TIME, builder.connect()).await;
    connected.map_err(|_| no_answer())?.map_err(|error| failure(&error))
}

/// Joins the group with the topics of the settings. Where the group has committed nothing, it goes
/// on where `progress` says.
///
/// # Errors
/// Why not.
pub async fn consumer(
    kafka: &Kafka,
    common: &Common,
    settings: &Settings,
    (group, progress): (&str, &Progress),
) -> Result<Consumer, SessionError> {
    let consumer =
        kafka
            .consumer(group)
            .enable_auto_commit(false)
            .group_protocol(match settings.protocol {
                Protocol::Consumer => GroupProtocol::Consumer,
                Protocol::Classic => GroupProtocol::Classic,
            })
            .auto_offset_reset(match settings.start {
                // What was taken is known: from the oldest on, nothing is lost or repeated.
                Start::Latest if progress.is_empty() => AutoOffsetReset::Latest,
                Start::Earliest | Start::Latest => AutoOffsetReset::Earliest,
            })
            .initial_offsets(progress.beginnings().map(|((topic, partition), offset)| {
                (TopicPartition::new(topic, *partition), offset)
            }))
            .fetch_max_bytes(settings.fetch_bytes_max)
            .max_partition_fetch_bytes(settings.fetch_bytes_max)
            .max_decompressed_size(DECOMPRESSED_BYTES_MAX)
            .max_poll_records(RECORDS_MAX)
            .max_buffered_records(RECORDS_MAX)
            .build()
            .await
            .map_err(|error| failure(&error))?;
    let subscribed = timeout(ANSWER_TIME, consumer.subscribe(&common.inputs)).await;
    subscribed.map_err(|_| no_answer())?.map_err(|error| failure(&error))?;
    Ok(consumer)
}

/// A producer whose messages all replicas have before they count.
///
/// # Errors
/// Why there is none.
pub async fn producer(kafka: &Kafka) -> Result<Producer, SessionError> {
    let producer = kafka.producer().acks(Acks::All).idempotent(true).linger(LINGER);
    let producer = producer.delivery_timeout(DELIVERY_TIME).max_block(ANSWER_TIME);
    producer.build().await.map_err(|error| failure(&error))
}

/// Asks the cluster for topics that are used.
///
/// # Errors
/// When it does not answer, or one of them is not there.
pub async fn look(kafka: &Kafka, topics: &[String]) -> Result<(), SessionError> {
    let described = kafka.admin();
    let described = described.describe_topics(topics, DescribeTopicsOptions::default());
    let described = timeout(ANSWER_TIME, described).await.map_err(|_| no_answer())?;
    for (topic, answer) in described.map_err(|error| failure(&error))? {
        answer.map_err(|error| {
            let SessionError { reason, message } = failure(&error);
            SessionError::new(reason, format!("topic {topic}: {message}"))
        })?;
    }
    Ok(())
}

/// Host and port of each broker in the address, and whether the connections are encrypted.
///
/// # Errors
/// What is wrong with the address.
pub fn brokers(url: &str) -> Result<(&str, bool), String> {
    let (scheme, brokers) = url.split_once("://").unwrap_or_default();
    let is_tls = match scheme {
        "kafka" => false,
        "kafkas" => true,
        _ => return Err("url: it begins with kafka:// or kafkas://".to_owned()),
    };
    if brokers.contains('@') {
        return Err("url: credentials stand in `user` and `password_file`, not in it".to_owned());
    }
    let has_port = |broker: &str| {
        let split = broker.rsplit_once(':');
        split.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match brokers.split(',').find(|broker| !has_port(broker)) {
        Some(broker) => Err(format!("url: `{broker}` is not a host and a port")),
        None => Ok((brokers, is_tls)),
    }
}

fn security(credentials: &Credentials, sasl: Sasl, is_tls: bool) -> Result<AuthConfig, String> {
    let password = credentials.password().map_err(|error| error.to_string())?;
    let security = match (&credentials.user, password) {
        (Some(user), Some(password)) => match sasl {
            Sasl::Plain => AuthConfig::sasl_plain(user, password),
            Sasl::Scram256 => AuthConfig::sasl_scram_sha256(user, password),
            Sasl::Scram512 => AuthConfig::sasl_scram_sha512(user, password),
        },
        _ => AuthConfig::plaintext(),
    };
    if !is_tls {
        return Ok(security);
    }
    let tls = match &credentials.ca_file {
        Some(path) => TlsConfig::new().with_ca_cert(path.display().to_string()),
        None => TlsConfig::new().with_native_roots(),
    };
    Ok(security.with_tls(tls))
}

/// An error of the client in a word for the metrics and a sentence for people.
pub fn failure(error: &KrafkaError) -> SessionError {
    let reason = match error {
        KrafkaError::Auth { .. } => "credentials",
        KrafkaError::Network(_) | KrafkaError::Timeout { .. } => "connect",
        KrafkaError::Broker { .. } => "refused",
        _ => "protocol",
    };
    SessionError::new(reason, error)
}

fn no_answer() -> SessionError {
    SessionError::new("connect", format!("no answer within {} s", ANSWER_TIME.as_secs()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed step ends its test
mod tests {
    use super::*;

    #[test]
    fn addresses_name_every_broker() {
        assert_eq!(brokers("kafka://a:9092,b:1").unwrap(), ("a:9092,b:1", false));
        assert_eq!(brokers("kafkas://[::1]:9093").unwrap(), ("[::1]:9093", true));
        for (url, part) in [
            ("a:9092", "begins with kafka://"),
            ("http://a:9092", "begins with kafka://"),
            ("kafka://", "`` is not a host"),
            ("kafka://a", "`a` is not a host"),
            ("kafka://a:9092,b", "`b` is not a host"),
            ("kafka://me:secret@a:1", "`user` and `password_file`"),
        ] {
            let error = brokers(url).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
