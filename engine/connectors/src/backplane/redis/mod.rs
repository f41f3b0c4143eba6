//! The back-plane on Redis and Valkey: Pub/Sub for relays, Streams for logs. Owns connections and
//! what a domain is called there. Must not know what batches hold.

pub mod domain;
pub mod log;
pub mod relay;

use std::fs;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    TlsCertificates,
};

use crate::backplane::settings::Backplane;
use crate::bridge::supervisor::SessionError;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How a server is connected to.
///
/// # Errors
/// When files or addresses cannot be used.
pub fn server(settings: &Backplane, protocol: ProtocolVersion) -> Result<Client, SessionError> {
    let unusable = |error: &dyn ToString| SessionError::new("credentials", error.to_string());
    let info = settings.url.as_str().into_connection_info().map_err(|error| unusable(&error))?;
    let info = with_user(info, settings, protocol)?;
    let client = match &settings.credentials.ca_file {
        Some(path) => {
            let read = fs::read(path);
            let read = read
                .map_err(|error| unusable(&format!("cannot read {}: {error}", path.display())))?;
            let authorities = TlsCertificates { client_tls: None, root_cert: Some(read) };
            Client::build_with_tls(info, authorities)
        }
        None => Client::open(info),
    };
    client.map_err(|error| unusable(&error))
}

fn with_user(
    info: ConnectionInfo,
    settings: &Backplane,
    protocol: ProtocolVersion,
) -> Result<ConnectionInfo, SessionError> {
    let credentials = &settings.credentials;
    let password =
        credentials.password().map_err(|error| SessionError::new("credentials", error))?;
    let mut redis = info.redis_settings().clone().set_protocol(protocol);
    if let Some(user) = &credentials.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = password {
        redis = redis.set_password(password);
    }
    Ok(info.set_redis_settings(redis))
}

/// A connection for commands that are answered at once.
///
/// # Errors
/// Why there is none.
pub async fn connect(client: &Client) -> Result<MultiplexedConnection, SessionError> {
    let config = AsyncConnectionConfig::new();
    connect_with(client, config.set_response_timeout(Some(ANSWER))).await
}

/// A connection of some kind.
async fn connect_with(
    client: &Client,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, SessionError> {
    let config = config.set_connection_timeout(Some(CONNECT));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    tokio::time::timeout(CONNECT, connecting)
        .await
        .map_err(|_| SessionError::new("connect", "no answer within 5 s"))?
        .map_err(|error| SessionError::new("connect", error))
}

/// An error of a connection that was up.
fn lost(error: redis::RedisError) -> SessionError {
    SessionError::new(if error.is_timeout() { "silent" } else { "closed" }, error)
}
